"""Results as tables in Markdown."""

from collections.abc import Iterable, Iterator, Sequence

from reproduction.claims import Claim, effect_and_verdict
from reproduction.results import Results
from tools.statistics import Interval


def markdown_table(rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown; its first row is the header."""
    head, *body = rows
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, rule, *body])


def columns_named(rows: Iterable[Sequence[str]], names: Sequence[str]) -> Iterator[Sequence[str]]:
    """The columns of a table that have these headers."""
    head, *body = rows
    places = [head.index(name) for name in names]
    for row in [head, *body]:
        yield [row[place] for place in places]


def share_cell(value: float | None) -> str:
    """A share of 0 to 1; empty where there is none."""
    return "" if value is None else f"{value:.3f}"


def interval_cell(estimate: Interval, sign: str = "") -> str:
    """An estimate and its interval; `sign` + shows the sign of a difference."""
    value, low, high = estimate.value, estimate.low, estimate.high
    return f"{value:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"


def claim_rows(results: Results, claims: Sequence[Claim]) -> Iterator[Sequence[str]]:
    """The rows of a table of claims."""
    yield ["claim", "of", "measure", "effect", "verdict"]
    for claim in claims:
        effect, verdict = effect_and_verdict(results, claim)
        cell = interval_cell(effect, "+") if effect else ""
        yield [claim.text, claim.source, claim.metric, cell, f"**{verdict}**"]
