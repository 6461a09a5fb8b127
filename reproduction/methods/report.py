"""Tables, claims and a figure, made from results/methods.json alone.

    python -m reproduction.methods.report              # reproduction/results/
    python -m reproduction.methods.report exp/methods/quick

Writes methods.md, methods.png and the claims in claims.json beside it; of reproduction/results/ the
tables in docs/reproduction_methods.md too.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from reproduction.claims import read_claims
from reproduction.methods.arms import ARMS
from reproduction.methods.figure import draw
from reproduction.results import Results
from reproduction.seeds import made_on, report_folder, spreads_of, write_seed_report
from reproduction.tables import interval_cell, markdown_table, seed_claim_rows
from tools.cli import run_script
from tools.statistics import ALL, Spreads
from tools.store.files import read_json
from toyworld.language import CONTENT_KINDS, ORDER_KINDS

METHOD = "methods"
CLAIMS = read_claims(Path(__file__).with_name("claims.yaml"))


def arm_rows(results: Results, spreads: dict[str, Spreads]) -> Iterator[Sequence[str]]:
    """Right answers to all questions, those about content and about order, and what one costs."""
    yield ["who answers", "seeds", "all", "content", "order", "CPU ms a question"]
    for name, arm in results["arms"].items():
        cells = [
            interval_cell(spreads[name][metric][ALL]) for metric in ("accuracy", "content", "order")
        ]
        cost = results["cost"].get(ARMS[name].cost)
        yield [
            arm["label"],
            str(len(arm["seeds"])),
            *cells,
            f"{1000 * cost:.0f}" if cost else "",
        ]


def kind_rows(results: Results, spreads: dict[str, Spreads]) -> Iterator[Sequence[str]]:
    """Right answers of each kind of question."""
    kinds = (*CONTENT_KINDS, *ORDER_KINDS)
    yield ["who answers", *(kind.replace("_", " ") for kind in kinds)]
    for name, arm in results["arms"].items():
        yield [arm["label"], *(interval_cell(spreads[name][kind][ALL]) for kind in kinds)]


def tables(results: Results, claims: Sequence[dict[str, Any]]) -> str:
    """All tables in Markdown."""
    spreads = spreads_of(results)
    missing = [arm.label for name, arm in ARMS.items() if name not in results["arms"]]
    parts = [
        markdown_table(arm_rows(results, spreads)),
        markdown_table(kind_rows(results, spreads)),
        markdown_table(seed_claim_rows(claims, {"questions about": "metric"})),
        *([f"Not run yet: {'; '.join(missing)}."] if missing else []),
        made_on(results),
    ]
    return "\n\n".join(parts)


def write_report(folder: Path) -> None:
    """Write what follows from a folder's methods.json; see `write_seed_report`."""
    write_seed_report(folder, METHOD, "all methods on the same questions", CLAIMS, tables)
    results = read_json(folder / f"{METHOD}.json")
    draw(results, spreads_of(results), folder / f"{METHOD}.png")


def main(argv: Sequence[str] | None = None) -> None:
    """Write the tables again."""
    write_report(report_folder(__doc__, METHOD, argv))


if __name__ == "__main__":
    run_script(main)
