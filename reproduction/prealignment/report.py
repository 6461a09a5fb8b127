"""Tables and claims, made from results/prealignment.json alone.

    python -m reproduction.prealignment.report              # reproduction/results/
    python -m reproduction.prealignment.report exp/prealignment/quick

Writes prealignment.md and the claims in claims.json beside it; of reproduction/results/ the tables
in docs/reproduction_prealignment.md too.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from reproduction.claims import read_claims
from reproduction.prealignment.arms import ARMS, WORDS
from reproduction.prealignment.language import CONTENT, KINDS
from reproduction.results import Results
from reproduction.seeds import made_on, report_folder, spreads_of, write_seed_report
from reproduction.tables import effect_cell, interval_cell, markdown_table, share_cell
from tools.cli import run_script
from tools.statistics import ALL, Spreads

METHOD = "prealignment"
CLAIMS = read_claims(Path(__file__).with_name("claims.yaml"))
MEASURES = {  # what they are called in tables
    CONTENT: "content",
    "order": "order",
    f"letter_{CONTENT}": "content, letters",
    "letter_order": "order, letters",
    "recall": "recall",
    "told_order": "told in order",
    "pairs_in_order": "pairs in order",
    "whole": "whole story",
}


def measure_rows(results: Results, spreads: dict[str, Spreads]) -> Iterator[Sequence[str]]:
    """Every measure of every arm."""
    yield ["arm", "seeds", *MEASURES.values()]
    for name, arm in results["arms"].items():
        cells = [
            interval_cell(spreads[name][m][ALL]) if m in spreads[name] else "" for m in MEASURES
        ]
        yield [arm["label"], str(len(arm["seeds"])), *cells]


def kind_rows(results: Results, spreads: dict[str, Spreads]) -> Iterator[Sequence[str]]:
    """The kinds of questions, by the likelihood of the options / by letters."""
    yield ["arm", *(kind.replace("_", " ") for kind in KINDS)]
    for name, arm in results["arms"].items():
        values = (
            [
                share_cell(spreads[name][m][ALL].value if m in spreads[name] else None)
                for m in (kind, f"letter_{kind}")
            ]
            for kind in KINDS
        )
        yield [arm["label"], *(" / ".join(pair) for pair in values)]


def gap_rows(results: Results) -> Iterator[Sequence[str]]:
    """The gap that each CLIP leaves, and its retrieval, seed by seed."""
    yield ["CLIP", "gap", "retrieval"]
    clips = {"logit scale 100": "projected", "default logit scale": "default_projected"}
    for label, arm in clips.items():
        if arm in results["arms"]:
            runs = results["arms"][arm]["seeds"].values()
            yield [
                label,
                *(", ".join(f"{r[figure]:.2f}" for r in runs) for figure in ("gap", "retrieval")),
            ]


def claim_rows(
    claims: Sequence[dict[str, Any]], spreads: dict[str, Spreads]
) -> Iterator[Sequence[str]]:
    """The claims, as claims.json holds them, and what the language model reads of plain text."""
    yield ["claim", "of", "measure", "plain text", "seeds", "effect", "verdict"]
    plain = spreads.get(WORDS, {})
    for row in claims:
        metric = row["metric"]
        value = share_cell(plain[metric][ALL].value if metric in plain else None)
        cells = [row["claim"], row["source"], MEASURES.get(metric, metric), value, str(row["n"])]
        yield [*cells, effect_cell(row), f"**{row['verdict']}**"]


def tables(results: Results, claims: Sequence[dict[str, Any]]) -> str:
    """All tables in Markdown."""
    spreads = spreads_of(results)
    missing = [arm.label for name, arm in ARMS.items() if name not in results["arms"]]
    parts = [
        markdown_table(measure_rows(results, spreads)),
        markdown_table(kind_rows(results, spreads)),
        markdown_table(gap_rows(results)),
        markdown_table(claim_rows(claims, spreads)),
        *([f"Not run yet: {'; '.join(missing)}."] if missing else []),
        made_on(results),
    ]
    return "\n\n".join(parts)


def write_report(folder: Path) -> None:
    """Write what follows from a folder's prealignment.json; see `write_seed_report`."""
    write_seed_report(folder, METHOD, "TOPA", CLAIMS, tables)


def main(argv: Sequence[str] | None = None) -> None:
    """Write the tables again."""
    write_report(report_folder(__doc__, METHOD, argv))


if __name__ == "__main__":
    run_script(main)
