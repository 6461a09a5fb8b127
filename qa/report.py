"""The tables of questions, whoever predicted: a model of models.yaml, a method, or somebody else's
program."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table as Screen

from qa.groups import groups_of
from qa.open_scores import OPEN_METRICS, OpenScore
from qa.options import LETTERS
from qa.predictions import BLIND, benchmark_digest
from qa.records import Question
from qa.scoring import Answers, ChoiceScore, Control
from tools.screen import BOOTSTRAP, empty_table
from tools.statistics import Interval

NOT_RUN = "not run (--controls)"
# Of fewer independent videos a percentile bootstrap is too narrow by about a tenth or more against
# Student's t: 1.96 * sqrt(19 / 20) = 1.91 standard errors, where t of 19 degrees has 2.09.
ENOUGH_VIDEOS = 20


def choice_table(score: ChoiceScore, subject: str) -> Screen:
    """A model's accuracy by type, beside a baseline's where there is one, and its controls.

    Args:
        subject: whose questions they are, such as "nextqa/val".
    """
    caption = "\n".join([BOOTSTRAP, *blind_remarks(score)])
    screen = empty_table(
        f"{score.questions} multiple-choice questions about {score.videos} videos of {subject}",
        caption,
    )
    compared = [f"{score.baseline_name} (baseline)", "difference"] if score.baseline else []
    for title in ("questions", score.name, *compared, "above control"):
        screen.add_column(title, justify="right")
    for label, (count, accuracy) in score.accuracy.items():
        base, effect = score.baseline.get(label, (None, None))
        cells = [cell(base), _marked(effect)] if compared else []
        screen.add_row(label, str(count), cell(accuracy), *cells, "")
    screen.add_section()
    for control in score.controls:
        cells = [str(control.questions), cell(control.accuracy)]
        cells = ["", NOT_RUN] if control.accuracy is None else cells
        name = control.name.replace("_", " ") + (" (blind)" if control.name in BLIND else "")
        screen.add_row(name, *cells, *[""] * len(compared), _marked(control.difference))
    return screen


def blind_remarks(score: ChoiceScore) -> Iterator[str]:
    """Say so where a model that sees no video is above chance."""
    for control in score.controls:
        if is_answered_blind(control, score.chance):
            assert control.accuracy
            yield (
                f"This benchmark can be answered blind: {control.name} reaches"
                f" {cell(control.accuracy)} where chance is {score.chance:.3f}. Only what is above"
                " it is due to the video."
            )


def is_answered_blind(control: Control, chance: float) -> bool:
    """Whether a control without a video is above chance by its interval's low end, with enough
    videos to say so."""
    if control.name not in BLIND or control.accuracy is None or control.videos < ENOUGH_VIDEOS:
        return False
    return control.accuracy.low > chance


def choice_remarks(score: ChoiceScore, questions: Sequence[Question]) -> Iterator[str]:
    """What a reader of the table must know beside it."""
    chosen, right = (_positions(p) for p in (score.positions, score.right_positions))
    yield f"{score.name}: chosen position {chosen}; right position {right}"
    yield (
        f"{score.name}: {score.unanswered} of {score.questions} answers name no option and are"
        f" wrong; {score.ties} ties went to the first of the likeliest options"
    )
    if score.at_chance:
        rows = ", ".join(label.strip() for label in score.at_chance)
        yield f"{score.name}: not above chance by its interval: {rows}"
    if orders := score.orders:
        accuracies = " ".join(f"{value:.3f}" for value in orders["accuracies"])
        yield (
            f"{score.name}: accuracy by order of the options, the published one first:"
            f" {accuracies}; the same option in all orders: {orders['same_option']:.1%} of"
            f" questions; listed position chosen {_positions(orders['positions'])}"
        )
    for control in score.controls:
        if control.note:
            yield f"{control.name} was made with {control.note}: run --controls again"
    yield from benchmark_remarks([q for q in questions if q.choices is not None])


def benchmark_remarks(questions: Sequence[Question]) -> Iterator[str]:
    """Which of the numbers is the benchmark's own, where that is known."""
    if remark := groups_of(str(q.type) for q in questions if q.type is not None).remark:
        yield remark


def open_table(score: OpenScore, subject: str) -> Screen:
    """Open answers by type; with a baseline its values and the differences too."""
    screen = empty_table(
        f"{score.questions} open questions about {score.videos} videos of {subject}: {score.name}",
        BOOTSTRAP,
    )
    for title in ("questions", *OPEN_METRICS):
        screen.add_column(title, justify="right")
    for label, (count, own) in score.metrics.items():
        screen.add_row(label, str(count), *(cell(own[metric]) for metric in OPEN_METRICS))
        if label in score.baseline:
            both = [score.baseline[label][metric] for metric in OPEN_METRICS]
            screen.add_row(f"    {score.baseline_name}", "", *(cell(base) for base, _ in both))
            screen.add_row("    difference", "", *(_marked(effect) for _, effect in both))
    return screen


def open_remarks(score: OpenScore, questions: Sequence[Question]) -> Iterator[str]:
    """What a reader of the table must know beside it."""
    lengths = [f"{score.name} {score.words:.1f}"]
    if score.baseline_words is not None:
        lengths.append(f"{score.baseline_name} {score.baseline_words:.1f}")
    yield (
        f"mean length in words: {', '.join(lengths)}, right answers {score.answer_words:.1f}"
        " (`contains` favours long answers, `exact` punishes sentences)"
    )
    if score.empty:
        yield f"{score.name}: {score.empty} of {score.questions} answers are empty"
    yield from benchmark_remarks([q for q in questions if q.choices is None])


def settings_remarks(
    model: Answers, everything: Sequence[Question], questions: Sequence[Question]
) -> Iterator[str]:
    """How the predictions were made, as far as their file says."""
    meta: Mapping[str, Any] = model.meta
    if len(questions) < len(everything):
        yield f"{model.name}: {len(questions)} of the {len(everything)} questions"
    if meta.get("benchmark", digest := benchmark_digest(everything)) != digest:
        yield f"{model.name}: the questions have changed since it was asked"
    if "frames" in meta and "protocol" in meta:
        part = any(q.start is not None for q in questions) and not meta.get("whole_video")
        settings = [
            _frames(meta["frames"], meta["protocol"]),
            "of the part that is asked about" if part else "of whole videos",
            _subtitles(questions) if meta.get("subtitles") else "without subtitles",
        ]
        if any(question.choices for question in questions):
            compared = "mean of log p a token" if meta.get("per_token") else "sum of log p"
            settings.append(f"options by {'what is written' if meta.get('write') else compared}")
        yield f"{model.name}: {', '.join(settings)}"
    if meta.get("cut_off"):
        yield f"{model.name}: {meta['cut_off']} answers were cut off (--max_new_tokens)"


def _frames(count: int, protocol: str) -> str:
    frames = f"{count} frame{'' if count == 1 else 's'}"
    if protocol == "per_second":
        return f"{frames} per second"
    return f"{frames} ({protocol})"


def _subtitles(questions: Sequence[Question]) -> str:
    having = sum(bool(question.context.get("subtitles")) for question in questions)
    few = f" ({having} of {len(questions)} questions have some)" if having < len(questions) else ""
    return f"with subtitles{few}"


def choice_document(score: ChoiceScore) -> dict[str, Any]:
    """The score as JSON."""
    document = {**asdict(score), "accuracy": _counted(score.accuracy)}
    document["baseline"] = {
        label: {"baseline": asdict(base), "difference": asdict(effect)}
        for label, (base, effect) in score.baseline.items()
    }
    blind = [c.name for c in score.controls if is_answered_blind(c, score.chance)]
    return {**document, "answered_blind": blind}


def open_document(score: OpenScore) -> dict[str, Any]:
    """The score as JSON."""
    metrics = {
        label: {"questions": count, **{metric: asdict(own[metric]) for metric in own}}
        for label, (count, own) in score.metrics.items()
    }
    effects = {
        label: {
            metric: {"baseline": asdict(base), "difference": asdict(effect)}
            for metric, (base, effect) in own.items()
        }
        for label, own in score.baseline.items()
    }
    return {**asdict(score), "metrics": metrics, "baseline": effects}


def cell(estimate: Interval | None, sign: str = "") -> str:
    """A value with its interval; nothing where there is none."""
    if estimate is None:
        return ""
    return f"{estimate.value:{sign}.3f} [{estimate.low:{sign}.2f}, {estimate.high:{sign}.2f}]"


def _marked(effect: Interval | None) -> str:
    """A difference, bold where its interval excludes 0."""
    text = cell(effect, "+")
    return f"[bold]{text}[/bold]" if effect and effect.excludes(0) else text


def _counted(rows: Mapping[str, tuple[int, Interval]]) -> dict[str, Any]:
    return {label: {"questions": count, **asdict(own)} for label, (count, own) in rows.items()}


def _positions(shares: Sequence[float]) -> str:
    return " ".join(f"{LETTERS[place]} {share:.1%}" for place, share in enumerate(shares))
