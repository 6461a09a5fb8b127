"""Score files of the toy benchmark, and the tables that are read off them."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from rich.table import Table as Screen

from tools.errors import UserError
from tools.screen import BOOTSTRAP, empty_table
from tools.statistics import ALL, Interval, Scores, Spreads, difference, groups_of, intervals
from tools.store.files import CorruptLine, read_json

# Metric -> what it is, as a row of a table says it.
METRICS = {
    "recall": "events recalled",
    "precision": "events told that are true",
    "ordered": "pairs of events in order, of all",
    "order": "pairs of events in order, of recalled",
    "exact": "all events, in order",
    "after": "what happens right after",
    "before": "what happens right before",
    "prefer_reversed": "log p: over reversed",
    "prefer_halves": "log p: over halves swapped",
    "prefer_adjacent": "log p: over neighbours swapped",
    "prefer_dropped": "log p a token: over half dropped",
    "log_p_true": "log p a token: the truth",
    "log_p_moved": "log p a token: in another order",
    "clip": "clip captions",
}
NOT_ASKED = "-"


def with_intervals(scores: Scores) -> Scores:
    """A score file's content, with `scores` computed from its videos' counts."""
    return {
        **scores,
        "scores": {
            metric: {
                group: {"value": spread.value, "low": spread.low, "high": spread.high}
                for group, spread in groups.items()
            }
            for metric, groups in intervals([scores]).items()
        },
    }


def read_scores(path: Path) -> Scores:
    """Read a score file.

    Raises:
        UserError: it is not there, half-written, or something else.
    """
    try:
        scores = read_json(path)
        if scores is None:
            raise UserError(f"{path}: no such score file")
        if not all({"video_name", "n", "counts"} <= video.keys() for video in scores["videos"]):
            raise KeyError("videos")
        if not (scores["videos"] and scores["scores"] and scores["name"]):
            raise ValueError("nothing in it")
    except (CorruptLine, KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(
            f"{path} is no score file, or half of one ({type(error).__name__}: {error}): make it"
            f" again with evaluate_model.py toy --out {path}"
        ) from None
    return scores


def table(scores: Scores) -> Screen:
    """A model's scores: a row a metric, for all videos and for those of n events each."""
    groups = groups_of(scores)
    title = f"{scores['name']}, {len(scores['videos'])} videos of {scores['dataset']}"
    screen = empty_table(title, BOOTSTRAP)
    for group in groups:
        screen.add_column("all" if group == ALL else f"n = {group}", justify="right", no_wrap=True)
    for label, spreads in _rows(intervals([scores])):
        screen.add_row(label, *(_cell(spreads.get(group)) for group in groups))
    return screen


def comparison(scores: Scores, baseline: Scores) -> Screen:
    """Two models' scores and their paired difference, bold where its interval excludes 0.

    Raises:
        UserError: they are scores of different videos.
    """
    rows = zip(
        _rows(intervals([scores])),
        _rows(intervals([baseline])),
        _rows(difference([(scores, baseline)]), of_difference=True),
        strict=True,
    )
    screen = empty_table(f"{len(scores['videos'])} videos of {scores['dataset']}", BOOTSTRAP)
    for title in (scores["name"], f"{baseline['name']} (baseline)", "difference"):
        screen.add_column(title, justify="right")
    for (label, own), (_, base), (_, effects) in rows:
        effect = effects.get(ALL)
        cell = _cell(effect, "+")
        marked = f"[bold]{cell}[/bold]" if effect and effect.excludes(0) else cell
        screen.add_row(label, _cell(own.get(ALL)), _cell(base.get(ALL)), marked)
    return screen


def _rows(
    spreads: Spreads, of_difference: bool = False
) -> Iterator[tuple[str, Mapping[str, Interval]]]:
    """Yield (label, {group: interval}) of every row of a table."""
    for metric, label in METRICS.items():
        groups = spreads.get(metric, {})
        yield label, groups
        if metric == "order":
            # tau = concordant - discordant = 2 * concordant - 1, as shares of all pairs.
            less = 0 if of_difference else 1
            tau = {
                group: Interval(*(2 * share - less for share in (side.value, side.low, side.high)))
                for group, side in groups.items()
            }
            yield "Kendall's tau of them", tau


def _cell(estimate: Interval | None, sign: str = "") -> str:
    if estimate is None:
        return NOT_ASKED
    return f"{estimate.value:{sign}.3f} [{estimate.low:{sign}.2f}, {estimate.high:{sign}.2f}]"
