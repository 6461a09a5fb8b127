"""Tables, claims and plots, made of results/reproduction.json alone.

    python -m reproduction.temple.report                 # results/
    python -m reproduction.temple.report exp/reproduction/quick

Writes reproduction.md, order.png and damage.png beside reproduction.json.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from reproduction.temple import figures
from reproduction.temple.claims import findings
from reproduction.temple.results import Results, as_scores
from tools.cli import new_folder, run_script, script_parser
from tools.errors import UserError
from tools.statistics import ALL, Scores, Spread, over_seeds
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
Spreads = dict[str, dict[str, Spread]]


def final_spreads(results: Results) -> Iterator[tuple[str, str, Spreads]]:
    """Yield (name, label, spreads over seeds) of the bases and of each arm's final models."""
    bases = [as_scores(results, kept, name) for name, kept in results["bases"].items()]
    if bases:
        yield BASE_LABEL, BASE_LABEL, over_seeds(bases)
    for arm, entry in results["arms"].items():
        yield arm, entry["label"], over_seeds(runs(results, arm, -1))


def runs(results: Results, arm: str, phase: int) -> list[Scores]:
    """The scores of each seed of an arm after one of its phases."""
    return [
        as_scores(results, run["phases"][phase], f"{arm}, seed {seed}")
        for seed, run in results["arms"][arm]["seeds"].items()
    ]


def markdown(results: Results) -> str:
    """All tables, as reproduction.md holds them."""
    parts = [
        "# The toy reproduction",
        "Written by `python -m reproduction.temple.report` from `reproduction.json`; README says"
        " what the arms are.",
        *_warning(results),
        _seeds(results),
        "## Order",
        "Final models. order: pairs of recalled events told in the right order, with its interval"
        " of 95 % (bootstrap over seeds and videos) and the standard deviation over seeds; exact:"
        " all events, in order; after, before: events named right; reversed, halves, adjacent,"
        " dropped: how often the truth is more likely than a text so perturbed.",
        table(_order_rows(results)),
        "## Damage and repair",
        "Events recalled, and clip captions right, after each phase.",
        table(_damage_rows(results)),
        "## Claims",
        "The effect is the mean paired difference of the final models over seeds, with its interval"
        " of 95 %. Each interval stands for itself.",
        table(_claim_rows(results)),
        "## Steps and time",
        "Optimizer steps that swift took, as its checkpoints say, summed over a phase's stages"
        " (bold where they are not as planned), and what its commands took on one thread, start-up"
        " and merging included; means over seeds.",
        table(_cost_rows(results)),
        _machine(results),
    ]
    return "\n\n".join(parts) + "\n"


def table(rows: Iterator[Sequence[str]]) -> str:
    """A table in Markdown; its first row is the header."""
    head, *body = rows
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, rule, *body])


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
    told = ", ".join(f"{' '.join(sorted(seeds))} from {base}" for base, seeds in bases.items())
    rates = ", ".join(f"{arm} {rate}" for arm, rate in results["rates"].items())
    return (
        f"Seeds: {told}. A seed draws the rows of fine-tuning, which of a level's pairs are trained"
        " on, the order of all rows and the first weights of the LoRA; pairs are their base's."
        f" Learning rates, chosen on other stories from a seed of their own: {rates}; arms.yaml"
        " says which arm takes which."
    )


def _order_rows(results: Results) -> Iterator[Sequence[str]]:
    groups = [str(n) for n in sorted(set(results["asked"]["events"]))]
    header = ["order", "sd", *(f"n = {group}" for group in groups)]
    yield ["arm", "seeds", *header, *(label for _, label in METRICS)]
    for _, label, found in final_spreads(results):
        order = found["order"]
        yield [
            label,
            str(order[ALL].seeds),
            _with_interval(order[ALL]),
            _share(order[ALL].sd),
            *(_share(order[group].value) if group in order else "" for group in groups),
            *(_share(found[m][ALL].value) if m in found else "" for m, _ in METRICS),
        ]


def _damage_rows(results: Results) -> Iterator[Sequence[str]]:
    yield ["arm", "recall, phase 1", "recall, end", "clip, phase 1", "clip, end"]
    for arm, entry in results["arms"].items():
        phases = [over_seeds(runs(results, arm, phase)) for phase in (0, -1)]
        yield [
            entry["label"],
            *(
                _with_interval(phase[metric][ALL])
                for metric in ("recall", "clip")
                for phase in phases
            ),
        ]


def _claim_rows(results: Results) -> Iterator[Sequence[str]]:
    yield ["claim", "of", "measure", "effect", "verdict"]
    for found in findings(results):
        effect = "" if found.effect is None else _with_interval(found.effect, "+")
        metric = found.claim.metric
        yield [found.claim.text, found.claim.source, metric, effect, f"**{found.verdict}**"]


def _cost_rows(results: Results) -> Iterator[Sequence[str]]:
    yield ["arm", "phase", "steps", "planned", "wall", "CPU"]
    for entry in results["arms"].values():
        seeds = list(entry["seeds"].values())
        for at, first in enumerate(seeds[0]["phases"]):
            phases = [seed["phases"][at] for seed in seeds]
            taken = " or ".join(str(n) for n in sorted({sum(phase["steps"]) for phase in phases}))
            planned = str(sum(first["planned"]))
            yield [
                entry["label"],
                f"`{first['recipe'].rpartition('=')[2]}`",
                taken if taken == planned else f"**{taken}**",
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


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _with_interval(one: Any, sign: str = "") -> str:
    return f"{one.value:{sign}.3f} [{one.low:{sign}.3f}, {one.high:{sign}.3f}]"


def write(folder: Path) -> None:
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
    """(label, {metric: its spread after each phase}) of each arm."""
    found = []
    for arm, entry in results["arms"].items():
        count = len(next(iter(entry["seeds"].values()))["phases"])
        phases = [over_seeds(runs(results, arm, phase)) for phase in range(count)]
        metrics = {m: [phase[m][ALL] for phase in phases] for m in ("recall", "clip")}
        found.append((entry["label"], metrics))
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Make them again."""
    parser = script_parser(__doc__)
    parser.add_argument(
        "folder",
        type=new_folder,
        nargs="?",
        default=RESULTS,
        help="default: results/ of the checkout",
    )
    write(parser.parse_args(argv).folder)


if __name__ == "__main__":
    run_script(main)
