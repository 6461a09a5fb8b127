"""The table of judged answers: what the judge says, and beside it what needs no judge."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from inference.captioner import Refused
from qa.judge.asking import Content, Judge
from qa.judge.verdicts import Row, read_verdict, was_cut_off
from qa.matching import contains, exact
from qa.records import Question
from tools.screen import BOOTSTRAP, empty_table, show
from tools.statistics import ALL, Interval, Scores, Spreads, difference, intervals, wilson

MANY_NULLS = 0.01  # share of verdicts that could not be read, from which the table says so
ACCURACY = "accuracy, yes / (yes + no)"
ACCURACY_OF_ALL = "accuracy of all (null: wrong)"
CONTAINS = "contains the answer"
LENGTH = "mean length, words"
OF_TYPE = "  accuracy of all, type "
SMALL, RANKS = " ~", " !"  # marks of a difference


@dataclass(frozen=True)
class Run:
    """One model's answers.

    Attributes:
        path: the file of predictions.
        contents: what is judged, one a question, in the questions' order.
    """

    path: Path
    contents: list[Content]

    @property
    def name(self) -> str:
        """What the table calls the model."""
        return self.path.name.removesuffix(".jsonl")


def scores_of(run: Run, questions: Sequence[Question], rows: Mapping[str, Row | Refused]) -> Scores:
    """The counts of each video (see `tools.statistics`) of one run."""
    videos: dict[str, dict[str, list[float]]] = {}
    for question, content in zip(questions, run.contents, strict=True):
        counts = videos.setdefault(question.unit, {})
        row = rows[content.sha1]
        for name, numerator, denominator in _counts(question, content.prediction, row):
            pair = counts.setdefault(name, [0, 0])
            pair[0] += numerator
            pair[1] += denominator
    return {
        "name": run.name,
        "dataset": f"{questions[0].dataset}/{questions[0].split}",
        "benchmark": "judge",
        "videos": [{"video_name": name, "n": 1, "counts": own} for name, own in videos.items()],
    }


def _counts(
    question: Question, prediction: str, row: Row | Refused
) -> Iterator[tuple[str, float, int]]:
    """(metric, numerator, denominator) of one question."""
    verdict, score = (None, None) if isinstance(row, Refused) else (row["verdict"], row["score"])
    answers = (str(question.answer), *question.references)
    yield ACCURACY, verdict == "yes", int(verdict is not None)
    yield ACCURACY_OF_ALL, verdict == "yes", 1
    yield "mean score, 0 to 5", score or 0, int(score is not None)
    yield "null verdicts", verdict is None, 1
    yield "exactly the answer", exact(prediction, *answers), 1
    yield CONTAINS, contains(prediction, *answers), 1
    yield LENGTH, len(prediction.split()), 1
    if question.type is not None:
        yield f"{OF_TYPE}{question.type}", verdict == "yes", 1


def print_report(
    judge: Judge,
    questions: Sequence[Question],
    runs: Sequence[Run],
    rows: Mapping[str, Row | Refused],
    flips: tuple[int, int],
) -> None:
    """Print the table of one run, or of two with their paired difference, and remarks below it.

    Args:
        rows: {sha1 of a content: its row, or how the server refused it}.
        flips: (verdicts that changed, contents that were judged once more).
    """
    scores = [scores_of(run, questions, rows) for run in runs]
    noise = flips[0] / flips[1] if flips[1] else 0.0
    # A title of the table's own would be broken by a narrow table.
    print(
        f"\n{len(questions)} questions about {len(scores[0]['videos'])} videos of"
        f" {scores[0]['dataset']}, judged by {judge.model} with the prompt {judge.prompt.digest}"
    )
    screen = empty_table("", BOOTSTRAP)
    for title in (*(run.name for run in runs), *(["difference"] if len(runs) > 1 else [])):
        screen.add_column(title, justify="right", no_wrap=True)
    columns = [intervals([own]) for own in scores]
    effects = difference([(scores[0], scores[1])]) if len(runs) > 1 else None
    marks = _marks(effects, noise) if effects else {}
    metrics = sorted(dict.fromkeys(metric for own in columns for metric in own), key=_place)
    for metric in metrics:
        cells = [_cell(own.get(metric, {}).get(ALL)) for own in columns]
        if effects is not None:
            effect = effects.get(metric, {}).get(ALL)
            cells.append(_cell(effect, "+") + marks.get(metric, ""))
        screen.add_row(metric, *cells)
    if flips[1]:
        low, high = wilson(*flips)
        rate = f"{noise:.3f} [{low:.2f}, {high:.2f}]"
        screen.add_row(f"flip rate of {flips[1]} judged again", *[rate] * len(runs))
    show(screen)
    for line in remarks(runs, rows, "".join(marks.values()), judge.model):
        print(line)


def _place(metric: str) -> tuple[bool, str]:
    """Sorts the rows of types behind all others, which keep their order."""
    return (True, metric) if metric.startswith(OF_TYPE) else (False, "")


def _marks(effects: Spreads, noise: float) -> dict[str, str]:
    """{metric: marks of its difference}: SMALL below the judge's noise, RANKS where the judge and
    `contains` put two models in different orders."""
    marks: dict[str, str] = {}
    matched = effects[CONTAINS][ALL].value
    for metric in (ACCURACY, ACCURACY_OF_ALL):
        if metric in effects:
            value = effects[metric][ALL].value
            small = SMALL if abs(value) < noise else ""
            marks[metric] = small + (RANKS if value * matched < 0 else "")
    return marks


def remarks(
    runs: Sequence[Run], rows: Mapping[str, Row | Refused], marks: str, model: str
) -> Iterator[str]:
    """What a reader of the table must know."""
    if SMALL in marks:
        yield f"{SMALL.strip()}  a difference smaller than the judge's own flip rate"
    if RANKS in marks:
        yield f"{RANKS.strip()}  the judge and `contains` rank the two models differently"
    for run in runs:
        own = [rows[content.sha1] for content in run.contents]
        judged = [row for row in own if not isinstance(row, Refused)]
        refused = [row for row in own if isinstance(row, Refused)]
        nulls = len(refused) + sum(row["verdict"] is None for row in judged)
        if nulls > MANY_NULLS * len(own):
            yield (
                f"{run.name}: {nulls} of {len(own)} verdicts ({nulls / len(own):.1%}) are null, so"
                " the two accuracies differ: read both"
            )
        if refused:
            yield f"{run.name}: the server refused {len(refused)} requests (first: {refused[0]})"
        if cut_off := sum(map(was_cut_off, judged)):
            yield f"{run.name}: {cut_off} replies were cut off before a verdict (--max_new_tokens)"
        if floats := sum(read_verdict(row["raw"]).rounded for row in judged):
            yield f"{run.name}: {floats} scores were no whole numbers and were rounded half up"
        if others := sorted({row["model"] for row in judged} - {model}):
            yield f"{run.name}: some verdicts are of another model: {', '.join(others)}"


def _cell(estimate: Interval | None, sign: str = "") -> str:
    if estimate is None:
        return "-"
    return f"{estimate.value:{sign}.3f} [{estimate.low:{sign}.2f}, {estimate.high:{sign}.2f}]"
