"""The table of judged answers: what the judge says, and beside it what needs no judge."""

from collections.abc import Iterator, Mapping, Sequence

from inference.captioner import Refused
from qa.judge.asking import Judge
from qa.judge.runs import Run
from qa.judge.verdicts import Row, read_verdict, was_cut_off
from qa.matching import contains, exact
from qa.records import Question
from qa.report import cell
from qa.scoring import Values, estimate, rows_of
from tools.screen import BOOTSTRAP, empty_table, show
from tools.statistics import Estimate, difference_of, interval_of, wilson

MANY_NULLS = 0.01  # share of verdicts that could not be read, from which the table says so
ACCURACY = "accuracy, yes / (yes + no)"
ACCURACY_OF_ALL = "accuracy of all (null: wrong)"
CONTAINS = "contains the answer"
SMALL, RANKS = "~", "!"  # marks of a difference


def values_of(
    run: Run, questions: Sequence[Question], rows: Mapping[str, Row | Refused]
) -> dict[str, Values]:
    """{metric: {id of a question: its value}}; what is null has no value."""
    values: dict[str, dict[str, float]] = {}
    for question, content in zip(questions, run.contents, strict=True):
        row = rows[content.sha1]
        verdict = None if isinstance(row, Refused) else row["verdict"]
        score = None if isinstance(row, Refused) else row["score"]
        answers = (str(question.answer), *question.references)
        for metric, value in (
            (ACCURACY, verdict and verdict == "yes"),
            (ACCURACY_OF_ALL, verdict == "yes"),
            ("mean score, 0 to 5", score),
            ("null verdicts", verdict is None),
            ("exactly the answer", exact(content.prediction, *answers)),
            (CONTAINS, contains(content.prediction, *answers)),
            ("mean length, words", len(content.prediction.split())),
        ):
            own = values.setdefault(metric, {})
            if value is not None:
                own[question.id] = float(value)
    return dict(values)


def estimates_of(
    questions: Sequence[Question], values: Mapping[str, Values]
) -> dict[str, Estimate]:
    """The rows of the table: each metric, then the accuracy of all by type."""
    estimates = {metric: estimate(questions, own) for metric, own in values.items() if own}
    for row in rows_of(questions)[1:]:
        label = f"  {ACCURACY_OF_ALL.partition(' (')[0]}: {row.label.strip()}"
        estimates[label] = row.estimate(questions, values[ACCURACY_OF_ALL])
    return estimates


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
    # A title of the table's own would be broken by a narrow table.
    print(
        f"\n{len(questions)} questions about {len({q.unit for q in questions})} videos of"
        f" {questions[0].dataset}/{questions[0].split}, judged by {judge.model} with the prompt"
        f" {judge.prompt.digest}"
    )
    columns = [estimates_of(questions, values_of(run, questions, rows)) for run in runs]
    noise = flips[0] / flips[1] if flips[1] else 0.0
    effects, marks = {}, {}
    if len(runs) > 1:
        effects = {
            label: difference_of(columns[0][label], columns[1][label])
            for label in columns[0]
            if label in columns[1]
        }
        marks = marks_of(effects, noise)
    screen = empty_table("", BOOTSTRAP)
    for title in (*(run.name for run in runs), *(["difference"] if effects else [])):
        screen.add_column(title, justify="right", no_wrap=True)
    for label in dict.fromkeys(label for column in columns for label in column):
        cells = [cell(interval_of(*own[label])) if label in own else "-" for own in columns]
        if label in effects:
            effect = cell(interval_of(*effects[label]), "+")
            cells.append(" ".join(filter(None, (effect, marks.get(label)))))
        screen.add_row(label, *cells)
    if flips[1]:
        low, high = wilson(*flips)
        rate = f"{noise:.3f} [{low:.2f}, {high:.2f}]"
        screen.add_row(f"flip rate of {flips[1]} judged again", *[rate] * len(runs))
    show(screen)
    for line in remarks(judge, runs, rows, "".join(marks.values())):
        print(line)


def marks_of(effects: Mapping[str, Estimate], noise: float) -> dict[str, str]:
    """{label: marks of its difference}: SMALL below the judge's noise, RANKS where the judge and
    `contains` put two models in different orders."""
    marks = {}
    for label in {ACCURACY, ACCURACY_OF_ALL} & effects.keys():
        value, matched = effects[label][0], effects[CONTAINS][0]
        small = SMALL if abs(value) < noise else ""
        marks[label] = small + (RANKS if value * matched < 0 else "")
    return marks


def remarks(
    judge: Judge, runs: Sequence[Run], rows: Mapping[str, Row | Refused], marks: str
) -> Iterator[str]:
    """What a reader of the table must know."""
    if SMALL in marks:
        yield f"{SMALL}  a difference smaller than the judge's own flip rate"
    if RANKS in marks:
        yield f"{RANKS}  the judge and `contains` rank the two models differently"
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
        if others := sorted({row["model"] for row in judged} - {judge.model}):
            yield f"{run.name}: some verdicts are of another model: {', '.join(others)}"
