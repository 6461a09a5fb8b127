"""Tables and claims, made from results/distillation.json alone.

    python -m reproduction.distillation.report              # reproduction/results/
    python -m reproduction.distillation.report exp/distillation/quick

Writes distillation.md and the claims in claims.json beside it; of reproduction/results/ the tables
in docs/reproduction_distillation.md too.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from reproduction.claims import read_claims
from reproduction.distillation.arms import ARMS, TESTED, label_of
from reproduction.distillation.questions import TYPES
from reproduction.results import Results
from reproduction.seeds import made_on, report_folder, spreads_of, write_seed_report
from reproduction.tables import interval_cell, markdown_table, seed_claim_rows, share_cell
from tools.cli import run_script
from tools.statistics import ALL, Spreads

METHOD = "distillation"
CLAIMS = read_claims(Path(__file__).with_name("claims.yaml"))


def arm_rows(results: Results, spreads: dict[str, Spreads]) -> Iterator[Sequence[str]]:
    """Accuracy of every arm, whole and by type, and what was chosen for it."""
    yield ["arm", "seeds", "accuracy", "sd", *TYPES, "learning rate", "weight"]
    for name, arm in results["arms"].items():
        if name in TESTED:
            continue
        accuracy = spreads[name]["accuracy"][ALL]
        chosen = results["choices"].get(name, {})
        yield [
            arm["label"],
            str(len(arm["seeds"])),
            interval_cell(accuracy),
            share_cell(accuracy.sd),
            *(share_cell(spreads[name][kind][ALL].value) for kind in TYPES),
            *(f"{chosen[key]:g}" if key in chosen else "" for key in ("lr", "weight")),
        ]


def control_rows(results: Results, spreads: dict[str, Spreads]) -> Iterator[Sequence[str]]:
    """The same students with less to see."""
    yield ["student, and what it lacks at test", "seeds", "accuracy"]
    for name in TESTED:
        if arm := results["arms"].get(name):
            cell = interval_cell(spreads[name]["accuracy"][ALL])
            yield [arm["label"], str(len(arm["seeds"])), cell]


def curve_rows(results: Results) -> Iterator[Sequence[str]]:
    """Validation accuracy along the training, a mean over seeds, and the epochs that were kept."""
    arms = {name: arm for name, arm in results["arms"].items() if name in ARMS}
    curves = {
        name: [run["validation"] for run in arm["seeds"].values()] for name, arm in arms.items()
    }
    quarters = (0.25, 0.5, 0.75, 1.0)
    yield ["arm", *(f"{part:.0%} of the epochs" for part in quarters), "epochs", "epoch kept"]
    for name, own in curves.items():
        count = len(own[0])
        places = [round(part * count) - 1 for part in quarters]
        kept = sorted(1 + curve.index(max(curve)) for curve in own)
        yield [
            arms[name]["label"],
            *(f"{fmean(curve[place] for curve in own):.3f}" for place in places),
            str(count),
            f"{kept[0]} to {kept[-1]}",
        ]


def cost_rows(cost: dict[str, dict[str, float]]) -> Iterator[Sequence[str]]:
    """What an answer costs, here and at the sizes of the method."""
    yield ["a question by", "CPU-s, here", "TFLOP, here", "TFLOP, ViT-B/16 and 7B models"]
    for name, row in cost.items():
        yield [name, f"{row['cpu_s']:.5f}", f"{row['tflop']:.6f}", f"{row['tflop_whole']:.2f}"]


def tables(results: Results, claims: Sequence[dict[str, Any]]) -> str:
    """All tables in Markdown."""
    spreads = spreads_of(results)
    every = (*ARMS, *TESTED)
    missing = [label_of(name) for name in every if name not in results["arms"]]
    parts = [
        markdown_table(seed_claim_rows(claims)),
        markdown_table(arm_rows(results, spreads)),
        markdown_table(control_rows(results, spreads)),
        markdown_table(curve_rows(results)),
        *([markdown_table(cost_rows(results["cost"]))] if results["cost"] else []),
        *([f"Not run yet: {'; '.join(missing)}."] if missing else []),
        made_on(results),
    ]
    return "\n\n".join(parts)


def write_report(folder: Path) -> None:
    """Write what follows from a folder's distillation.json; see `write_seed_report`."""
    write_seed_report(folder, METHOD, "CaTeR", CLAIMS, tables)


def main(argv: Sequence[str] | None = None) -> None:
    """Write the tables again."""
    write_report(report_folder(__doc__, METHOD, argv))


if __name__ == "__main__":
    run_script(main)
