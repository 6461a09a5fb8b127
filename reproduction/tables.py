"""Results as tables in Markdown."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from tools.statistics import Interval

BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"  # in a page of docs/


def page_with(page: str, tables: str) -> str:
    """A page of docs/ with its tables written again."""
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n\n{tables}\n\n{END}{rest.split(END)[1]}"


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


def claim_rows(entries: Iterable[Mapping[str, Any]]) -> Iterator[Sequence[str]]:
    """The rows of a table of claims, as claims.json holds them."""
    yield ["claim", "of", "measure", "bases", "effect", "verdict", "of recalled pairs"]
    for row in entries:
        yield [
            row["claim"],
            row["source"],
            row["metric"],
            str(row["n"]),
            effect_cell(row),
            f"**{row['verdict']}**",
            effect_cell(row.get("order", {})),
        ]


def seed_claim_rows(
    entries: Iterable[Mapping[str, Any]], about: Mapping[str, str] = {}
) -> Iterator[Sequence[str]]:
    """The rows of a table of claims over seeds.

    Args:
        about: heading -> the key of claims.json that says what a claim is about.
    """
    yield ["claim", "of", *about, "seeds", "effect", "verdict"]
    for row in entries:
        cells = [row["claim"], row["source"], *(row[key] for key in about.values())]
        yield [*cells, str(row["n"]), effect_cell(row), f"**{row['verdict']}**"]


def effect_cell(row: Mapping[str, Any]) -> str:
    """An effect with its interval; empty where there is none."""
    if row.get("effect") is None:
        return ""
    return interval_cell(Interval(row["effect"], row["low"], row["high"]), "+")
