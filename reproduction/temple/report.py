"""Tables, claims and figures, made from results/reproduction.json alone.

    python -m reproduction.temple.report                 # reproduction/results/
    python -m reproduction.temple.report exp/reproduction/quick

Writes reproduction.md, order.png and damage.png beside reproduction.json; of reproduction/results/
the tables in docs/reproduction.md too.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from reproduction import figures
from reproduction.results import Results, arm_scores, as_scores
from reproduction.tables import (
    claim_rows,
    columns_named,
    interval_cell,
    markdown_table,
    share_cell,
)
from reproduction.temple.claims import CLAIMS
from tools.cli import new_folder, run_script, script_parser
from tools.errors import UserError
from tools.statistics import ALL, Spread, Spreads, intervals
from tools.store.dataset import REPOSITORY
from tools.store.files import read_json, replace_atomically

RESULTS = REPOSITORY / "reproduction" / "results"
BASE_LABEL = "base"
METRICS = (
    ("exact", "exact"),
    ("after", "after"),
    ("before", "before"),
    ("prefer_reversed", "reversed"),
    ("prefer_halves", "halves"),
    ("prefer_adjacent", "adjacent"),
    ("prefer_dropped", "dropped"),
    ("recall", "recall"),
    ("precision", "precision"),
    ("clip", "clip"),
)
PAGE_COLUMNS = ("arm", "seeds", "order", "exact", "adjacent", "recall", "clip")
PAGE_CLAIMS = ("claim", "measure", "effect", "verdict")
DAMAGED = ("recall", "clip")  # what alignment costs
BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"  # in docs/reproduction.md
PAGE = REPOSITORY / "docs" / "reproduction.md"


def final_spreads(results: Results) -> Iterator[tuple[str, str, Spreads]]:
    """Yield (name, label, spreads over seeds) of the bases and of each arm's final models."""
    bases = [as_scores(results, kept, name) for name, kept in results["bases"].items()]
    if bases:
        yield BASE_LABEL, BASE_LABEL, intervals(bases)
    for arm, entry in results["arms"].items():
        yield arm, entry["label"], intervals(list(arm_scores(results, arm).values()))


def markdown(results: Results) -> str:
    """All tables, as reproduction.md holds them."""
    parts = [
        "# The toy reproduction",
        "Written by `python -m reproduction.temple.report` from `reproduction.json`;"
        " docs/reproduction.md says what the arms are.",
        *_warning(results),
        _seeds(results),
        "## Order",
        "Final models. order: pairs of recalled events told in the right order, with its interval"
        " of 95 % (bootstrap over seeds and videos) and the standard deviation over seeds; exact:"
        " all events, in order; after, before: events named right; reversed, halves, adjacent,"
        " dropped: how often the truth is more likely than a text so perturbed.",
        markdown_table(_order_rows(results)),
        "## Damage and repair",
        "Events recalled, and clip captions right, after each phase.",
        markdown_table(_damage_rows(results)),
        "## Claims",
        "The effect is the mean paired difference of the final models over seeds, with its interval"
        " of 95 %. Each interval stands for itself.",
        markdown_table(claim_rows(results, CLAIMS)),
        "## Steps and time",
        "Optimizer steps that swift took, as its checkpoints say, summed over a phase's stages"
        " (bold where they are not as planned), and what its commands took on one thread, start-up"
        " and merging included; means over seeds.",
        markdown_table(_cost_rows(results)),
        _machine(results),
    ]
    return "\n\n".join(parts) + "\n"


def page_tables(results: Results) -> str:
    """The tables of docs/reproduction.md: what tells the arms apart, and the claims."""
    return "\n\n".join(
        [
            markdown_table(columns_named(_order_rows(results), PAGE_COLUMNS)),
            markdown_table(columns_named(claim_rows(results, CLAIMS), PAGE_CLAIMS)),
        ]
    )


def with_tables(page: str, results: Results) -> str:
    """A page with its tables written again."""
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n\n{page_tables(results)}\n\n{END}{rest.split(END)[1]}"


def _warning(results: Results) -> list[str]:
    most = max(len(entry["seeds"]) for entry in results["arms"].values())
    return ["**One seed proves nothing.**"] if most == 1 else []


def _seeds(results: Results) -> str:
    """Which seed starts from which base, and what a seed draws."""
    bases: dict[str, list[str]] = {}
    for entry in results["arms"].values():
        for seed, run in entry["seeds"].items():
            if seed not in bases.setdefault(run["base"], []):
                bases[run["base"]].append(seed)
    starts = ", ".join(f"{' '.join(sorted(seeds))} from {base}" for base, seeds in bases.items())
    rates = ", ".join(f"{arm} {rate}" for arm, rate in results["rates"].items())
    return (
        f"Seeds: {starts}. A seed draws the rows of fine-tuning, which of a level's pairs are"
        " trained on, the order of all rows and the first weights of the LoRA; pairs are their"
        f" base's. Learning rates, chosen on other stories from a seed of their own: {rates};"
        " arms.yaml says which arm takes which."
    )


def _order_rows(results: Results) -> Iterator[Sequence[str]]:
    groups = [str(n) for n in sorted(set(results["asked"]["events"]))]
    header = ["order", "sd", *(f"n = {group}" for group in groups)]
    yield ["arm", "seeds", *header, *(label for _, label in METRICS)]
    for _, label, spreads in final_spreads(results):
        order = spreads["order"]
        yield [
            label,
            str(order[ALL].seeds),
            interval_cell(order[ALL]),
            share_cell(order[ALL].sd),
            *(share_cell(order[group].value) if group in order else "" for group in groups),
            *(share_cell(spreads[m][ALL].value) if m in spreads else "" for m, _ in METRICS),
        ]


def _damage_rows(results: Results) -> Iterator[Sequence[str]]:
    yield ["arm", "recall, phase 1", "recall, end", "clip, phase 1", "clip, end"]
    for label, spreads in damage(results):
        yield [label, *map(interval_cell, [*spreads["recall"], *spreads["clip"]])]


def _cost_rows(results: Results) -> Iterator[Sequence[str]]:
    yield ["arm", "phase", "steps", "planned", "wall", "CPU"]
    for entry in results["arms"].values():
        seeds = list(entry["seeds"].values())
        for at, first in enumerate(seeds[0]["phases"]):
            phases = [seed["phases"][at] for seed in seeds]
            steps = " or ".join(str(n) for n in sorted({sum(phase["steps"]) for phase in phases}))
            planned = str(sum(first["planned"]))
            yield [
                entry["label"],
                f"`{first['recipe'].rpartition('=')[2]}`",
                steps if steps == planned else f"**{steps}**",
                planned,
                *(
                    f"{sum(phase[kind] for phase in phases) / len(phases):.0f} s"
                    for kind in ("wall_s", "cpu_s")
                ),
            ]


def _machine(results: Results) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in results["versions"].items())
    before = sum(one["cpu_s"] for one in results["preparation"].values())
    return (
        f"{results['machine']}; {versions}. Rendering, pairs and the second base took"
        f" {before / 60:.0f} CPU minutes."
    )


def write_report(folder: Path) -> None:
    """Write what follows from a folder's reproduction.json.

    Raises:
        UserError: it is not there.
    """
    results = read_json(folder / "reproduction.json")
    if results is None:
        raise UserError(
            f"{folder} holds no reproduction.json: python -m reproduction.temple.run makes it"
        )
    with replace_atomically(folder / "reproduction.md") as file:
        file.write(markdown(results).encode())
    figures.draw_order(list(final_spreads(results)), seed_values(results), folder / "order.png")
    figures.draw_damage(damage(results), folder / "damage.png")
    if folder.resolve() == RESULTS:
        PAGE.write_text(with_tables(PAGE.read_text(), results))
    for name in ("reproduction.json", "reproduction.md", "order.png", "damage.png"):
        print(folder / name)


def seed_values(results: Results) -> dict[str, list[tuple[str, float]]]:
    """arm -> (base, order accuracy) of each seed's final model; the bases' own as `base`."""
    values = {
        arm: [
            (run["base"], run["phases"][-1]["scores"]["order"][ALL])
            for run in entry["seeds"].values()
        ]
        for arm, entry in results["arms"].items()
    }
    bases = [(name, kept["scores"]["order"][ALL]) for name, kept in results["bases"].items()]
    return {BASE_LABEL: bases, **values}


def damage(results: Results) -> list[tuple[str, dict[str, list[Spread]]]]:
    """(label, {metric: its spread after the first phase and after the last}) of each arm."""
    rows = []
    for arm, entry in results["arms"].items():
        phases = [
            intervals(list(arm_scores(results, arm, phase, DAMAGED).values())) for phase in (0, -1)
        ]
        metrics = {metric: [phase[metric][ALL] for phase in phases] for metric in DAMAGED}
        rows.append((entry["label"], metrics))
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    """Write the tables and figures again."""
    parser = script_parser(__doc__)
    parser.add_argument(
        "folder",
        type=new_folder,
        nargs="?",
        default=RESULTS,
        help="holds reproduction.json (default: reproduction/results/)",
    )
    write_report(parser.parse_args(argv).folder)


if __name__ == "__main__":
    run_script(main)
