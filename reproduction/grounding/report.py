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

from reproduction.claims import read_claims
from reproduction.grounding.results import FIGURES
from reproduction.results import Results
from reproduction.seeds import made_on, report_folder, spreads_of, write_seed_report
from reproduction.tables import interval_cell, markdown_table, seed_claim_rows, share_cell
from tools.cli import run_script
from tools.statistics import Spreads

METHOD = "grounding"
CLAIMS = read_claims(Path(__file__).with_name("claims.yaml"))


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


def training_rows(results: Results) -> Iterator[Sequence[str]]:
    """How bridges were labelled, and how long it took to train those that come with an image model;
    means over seeds."""
    yield ["arm", "films with a label", "IoU of labels", "CPU seconds"]
    for arm in results["arms"].values():
        runs = arm["seeds"].values()
        values = [[run[name] for run in runs if name in run] for name in FIGURES]
        if any(values):
            means = [fmean(own) if own else None for own in values]
            yield [arm["label"], *map(share_cell, means[:2]), f"{means[2]:.0f}" if means[2] else ""]


def tables(results: Results, claims: Sequence[dict[str, Any]]) -> str:
    """All tables in Markdown."""
    spreads, training = spreads_of(results), list(training_rows(results))
    parts = [
        markdown_table(accuracy_rows(results, spreads)),
        markdown_table(detail_rows(results, spreads)),
        *([markdown_table(training)] if len(training) > 1 else []),
        markdown_table(seed_claim_rows(claims, {"shots": "group"})),
        f"Window: {results['window']} tokens on either side. {made_on(results)}",
    ]
    return "\n\n".join(parts)


def write_report(folder: Path) -> None:
    """Write what follows from a folder's grounding.json; see `write_seed_report`."""
    write_seed_report(folder, METHOD, "VideoTGB", CLAIMS, tables)


def main(argv: Sequence[str] | None = None) -> None:
    """Write the tables again."""
    write_report(report_folder(__doc__, METHOD, argv))


if __name__ == "__main__":
    run_script(main)
