"""Tables and claims, made from results/grounding.json alone.

    python -m reproduction.grounding.report                 # reproduction/results/
    python -m reproduction.grounding.report exp/grounding/quick

Writes grounding.md and the claims in claims.json beside it; of reproduction/results/ the tables in
docs/reproduction_grounding.md too.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from reproduction.claims import entries, read_claims, write_claims
from reproduction.results import Results, as_scores
from reproduction.tables import effect_cell, interval_cell, markdown_table, page_with, share_cell
from tools.cli import new_folder, run_script, script_parser
from tools.errors import UserError
from tools.statistics import Spreads, intervals
from tools.store.dataset import REPOSITORY
from tools.store.files import read_json, replace_atomically

RESULTS = REPOSITORY / "reproduction" / "results"
PAGE = REPOSITORY / "docs" / "reproduction_grounding.md"
METHOD = "grounding"
CLAIMS = read_claims(Path(__file__).with_name("claims.yaml"))


def spreads_of(results: Results) -> dict[str, Spreads]:
    """Arm -> intervals of its metrics over seeds and films."""
    return {
        name: intervals([as_scores(results, run["phases"][-1]) for run in arm["seeds"].values()])
        for name, arm in results["arms"].items()
    }


def accuracy_rows(results: Results, spreads: dict[str, Spreads]) -> Iterator[Sequence[str]]:
    """Right answers by length, and what share of those at the length of training is kept at the
    longest."""
    lengths = [str(n) for n in dict.fromkeys(results["asked"]["events"])]
    yield ["arm", "seeds", *(f"{n} shots" for n in lengths), "kept", "kept, by seed"]
    for name, arm in results["arms"].items():
        accuracy = spreads[name]["accuracy"]
        kept = accuracy[lengths[-1]].value / max(accuracy[lengths[0]].value, 1e-9)
        by_seed = [
            _share(results, run, lengths[-1]) / max(_share(results, run, lengths[0]), 1e-9)
            for run in arm["seeds"].values()
        ]
        yield [
            arm["label"],
            str(len(arm["seeds"])),
            *(interval_cell(accuracy[n]) for n in lengths),
            f"{kept:.2f}",
            f"{min(by_seed):.2f} to {max(by_seed):.2f}",
        ]


def _share(results: Results, run: Results, length: str) -> float:
    """The share of right answers of a seed at a length."""
    right = run["phases"][-1]["counts"]["accuracy"][0]
    events = results["asked"]["events"]
    return fmean(r for r, n in zip(right, events, strict=True) if str(n) == length)


def detail_rows(results: Results, spreads: dict[str, Spreads]) -> Iterator[Sequence[str]]:
    """Spans, chosen frames and both kinds of questions, at the shortest and the longest."""
    lengths = [str(n) for n in dict.fromkeys(results["asked"]["events"])]
    ends = (lengths[0], lengths[-1])
    metrics = {"iou": "IoU", "inside": "frames inside", "direct": "direct", "after": "after"}
    yield ["arm", *(f"{label}, {n} shots" for label in metrics.values() for n in ends)]
    for name, arm in results["arms"].items():
        of_arm = spreads[name]
        yield [
            arm["label"],
            *(
                share_cell(of_arm[metric][n].value if metric in of_arm else None)
                for metric in metrics
                for n in ends
            ),
        ]


def claim_rows(claims: Sequence[dict[str, Any]]) -> Iterator[Sequence[str]]:
    """The claims, as claims.json holds them."""
    yield ["claim", "of", "shots", "seeds", "effect", "verdict"]
    for row in claims:
        cells = [row["claim"], row["source"], row["group"], str(row["n"]), effect_cell(row)]
        yield [*cells, f"**{row['verdict']}**"]


def tables(results: Results, claims: Sequence[dict[str, Any]]) -> str:
    """All tables in Markdown."""
    spreads = spreads_of(results)
    seconds = results["seconds"]
    minutes = [seconds[job]["cpu_s"] / 60 for job in seconds if job.startswith("seed-")]
    versions = ", ".join(f"{name} {number}" for name, number in results["versions"].items())
    parts = [
        markdown_table(accuracy_rows(results, spreads)),
        markdown_table(detail_rows(results, spreads)),
        markdown_table(claim_rows(claims)),
        f"Window: {results['window']} tokens on either side. {results['machine']}; {versions}."
        + (f" A seed took {fmean(minutes):.0f} CPU minutes." if minutes else ""),
    ]
    return "\n\n".join(parts)


def write_report(folder: Path) -> None:
    """Write what follows from a folder's grounding.json.

    Raises:
        UserError: it is not there.
    """
    results = read_json(folder / "grounding.json")
    if results is None:
        raise UserError(
            f"{folder} holds no grounding.json: python -m reproduction.grounding.run makes it"
        )
    claims = entries(METHOD, results, CLAIMS)
    text = tables(results, claims)
    write_claims(folder / "claims.json", METHOD, claims)
    heading = (
        "# The toy reproduction of VideoTGB\n\nWritten by `python -m reproduction.grounding.report`"
        " from `grounding.json`; docs/reproduction_grounding.md says what the arms are.\n\n"
    )
    with replace_atomically(folder / "grounding.md") as file:
        file.write(f"{heading}{text}\n".encode())
    if folder.resolve() == RESULTS:
        PAGE.write_text(page_with(PAGE.read_text(encoding="utf-8"), text), encoding="utf-8")
    for name in ("grounding.json", "grounding.md", "claims.json"):
        print(folder / name)


def main(argv: Sequence[str] | None = None) -> None:
    """Write the tables again."""
    parser = script_parser(__doc__)
    parser.add_argument(
        "folder",
        type=new_folder,
        nargs="?",
        default=RESULTS,
        help="holds grounding.json (default: reproduction/results/)",
    )
    write_report(parser.parse_args(argv).folder)


if __name__ == "__main__":
    run_script(main)
