"""Tables, claims and figures, made from results/reproduction.json alone.

    python -m reproduction.temple.report                 # reproduction/results/
    python -m reproduction.temple.report exp/reproduction/quick

Writes reproduction.md, order.png, damage.png and the claims in claims.json beside
reproduction.json; of reproduction/results/ the tables in docs/reproduction.md too.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from reproduction.claims import ORDERED, entries, read_claims, write_claims
from reproduction.figures import draw_damage, draw_order
from reproduction.results import BASE, DAMAGED, Results, Summary, summaries
from reproduction.tables import (
    claim_rows,
    columns_named,
    interval_cell,
    markdown_table,
    page_with,
    share_cell,
)
from reproduction.temple.studies import crossing_rows, likelihood_rows, narrative_rows
from tools.cli import new_folder, run_script, script_parser
from tools.errors import UserError
from tools.statistics import ALL
from tools.store.dataset import REPOSITORY
from tools.store.files import read_json, replace_atomically

RESULTS = REPOSITORY / "reproduction" / "results"
PAGE = REPOSITORY / "docs" / "reproduction.md"
PAGE_COLUMNS = (
    "arm",
    "bases",
    "ordered",
    "order",
    "exact",
    "adjacent",
    "after",
    "before",
    "recall",
    "clip",
)
PAGE_CLAIMS = ("claim", "measure", "bases", "effect", "verdict", "of recalled pairs")
METRICS = (
    *("order", "exact", "after", "before"),
    *("prefer_reversed", "prefer_halves", "prefer_adjacent", "prefer_dropped"),
    *("recall", "precision", "clip"),
)
METHOD = "temple"
CLAIMS = read_claims(Path(__file__).with_name("claims.yaml"))

Table = list[Sequence[str]]
"""Rows of cells; the first row is the header."""


def make_tables(
    results: Results, arms: Sequence[Summary], claims: Sequence[dict[str, Any]]
) -> dict[str, Table]:
    """All tables of results; `claims` as claims.json has them."""
    return {
        "order": list(_order_rows(results, arms)),
        "damage": list(_damage_rows(arms)),
        "claims": list(claim_rows(claims)),
        "cost": list(_cost_rows(results)),
        "likelihood": list(likelihood_rows(results)),
        "narratives": list(narrative_rows(results)),
        "crossing": list(crossing_rows(results)),
    }


def markdown(results: Results, tables: Mapping[str, Table]) -> str:
    """All tables, as reproduction.md holds them."""
    one_base = all(len(arm["seeds"]) == 1 for arm in results["arms"].values())
    minutes = sum(job["cpu_s"] for job in results["preparation"].values()) / 60
    parts = [
        "# The toy reproduction",
        "Written by `python -m reproduction.temple.report` from `reproduction.json`;"
        " docs/reproduction.md says what the arms are.",
        *(["**One base proves nothing.**"] if one_base else []),
        _seeds(results),
        "## Order",
        "Final models. ordered: pairs of events in the right order, of all pairs of a video's"
        " events, with its interval of 95 % (bootstrap over bases and videos) and the standard"
        " deviation over bases; order: the same, of the pairs that are recalled; exact: all events,"
        " in order; after, before: events named right; reversed, halves, adjacent, dropped: how"
        " often the truth is more likely than a text so perturbed.",
        markdown_table(tables["order"]),
        "## Damage and repair",
        "Events recalled, and clip captions right, after each phase.",
        markdown_table(tables["damage"]),
        "## Claims",
        "The effect is the mean paired difference of the final models over bases, with its interval"
        " of 95 %. Each interval stands for itself. Verdicts on order count all pairs of events;"
        " the last column counts recalled pairs alone.",
        markdown_table(tables["claims"]),
        "## Likelihood of both sides",
        "By how much the log p of the chosen and the rejected answers of a stage's last tenth of"
        " steps lies above what the model gave them when the stage began, means over bases. SimPO"
        " has no model to compare with.",
        markdown_table(tables["likelihood"]),
        "What SFT and every loss do to the likelihood of the test stories: log p a token, in nats,"
        " of the true description and of those that tell its events in another order. Arms that"
        " were scored before November 28, 2026 lack it.",
        markdown_table(tables["narratives"]),
        "## Wrong captions",
        "From which share of wrong captions on preferring is better than SFT on the same chosen"
        f" texts, in {ORDERED}, interpolated between 0, 10, 20 and 35 %; at the learning rates that"
        " are best for right captions, and beside the 2 to 4 % of clip captions that are wrong by"
        " themselves.",
        markdown_table(tables["crossing"]),
        "## Steps and time",
        "Optimizer steps that swift took, as its checkpoints say, summed over a phase's stages"
        " (bold where they are not as planned), and what its commands took on one thread, start-up"
        " and merging included; means over bases.",
        markdown_table(tables["cost"]),
        f"{_made_on(results)} Rendering and pairs took {minutes:.0f} CPU minutes.",
    ]
    return "\n\n".join(parts) + "\n"


def with_tables(page: str, tables: Mapping[str, Table]) -> str:
    """docs/reproduction.md with its tables written again: what tells the arms apart, and the
    claims."""
    order = markdown_table(columns_named(tables["order"], PAGE_COLUMNS))
    claims = markdown_table(columns_named(tables["claims"], PAGE_CLAIMS))
    return page_with(page, f"{order}\n\n{claims}")


def _seeds(results: Results) -> str:
    """What differs from base to base, and the learning rates."""
    rates = ", ".join(f"{arm} {rate}" for arm, rate in results["rates"].items())
    return (
        "Each base was trained from a seed of its own, and so were the arms that start from it: the"
        " seed draws the rows of fine-tuning, which of a level's pairs are trained on and the first"
        " weights of the LoRA; pairs are their base's. Learning rates,"
        f" chosen on other stories with a seed of their own: {rates}; arms.yaml says which arm"
        " takes which."
    )


def _made_on(results: Results) -> str:
    """The machine and the versions of libraries; where arms differ in them, which has which."""
    arms: dict[str, list[str]] = {}
    for arm in results["arms"].values():
        made = {**results, **arm}
        versions = ", ".join(f"{name} {number}" for name, number in made["versions"].items())
        arms.setdefault(f"{made['machine']}; {versions}.", []).append(arm["label"])
    if len(arms) == 1:
        return next(iter(arms))
    return " ".join(f"{', '.join(labels)}: {place}" for place, labels in arms.items())


def _order_rows(results: Results, arms: Sequence[Summary]) -> Iterator[Sequence[str]]:
    groups = [str(n) for n in sorted(set(results["asked"]["events"]))]
    labels = [metric.removeprefix("prefer_") for metric in METRICS]
    by_length = [f"{group} events" for group in groups]
    yield ["arm", "bases", ORDERED, "sd", *by_length, *labels]
    for arm in arms:
        ordered = arm.final[ORDERED]
        yield [
            arm.label,
            str(ordered[ALL].seeds),
            interval_cell(ordered[ALL]),
            share_cell(ordered[ALL].sd),
            *(share_cell(ordered[group].value) if group in ordered else "" for group in groups),
            *(share_cell(arm.final[m][ALL].value) if m in arm.final else "" for m in METRICS),
        ]


def _damage_rows(arms: Sequence[Summary]) -> Iterator[Sequence[str]]:
    yield ["arm", "recall, phase 1", "recall, end", "clip, phase 1", "clip, end"]
    for arm in arms:
        if arm.name != BASE:
            spreads = [phase[m][ALL] for m in DAMAGED for phase in (arm.first, arm.final)]
            yield [arm.label, *map(interval_cell, spreads)]


def _cost_rows(results: Results) -> Iterator[Sequence[str]]:
    yield ["arm", "phase", "steps", "planned", "wall", "CPU"]
    for arm in results["arms"].values():
        for phases in zip(*(run["phases"] for run in arm["seeds"].values()), strict=True):
            recipe = phases[0]["recipe"].rpartition("=")[2]
            steps = " or ".join(str(n) for n in sorted({sum(phase["steps"]) for phase in phases}))
            planned = str(sum(phases[0]["planned"]))
            marked = steps if steps == planned else f"**{steps}**"
            wall, cpu = (fmean(phase[kind] for phase in phases) for kind in ("wall_s", "cpu_s"))
            yield [arm["label"], f"`{recipe}`", marked, planned, f"{wall:.0f} s", f"{cpu:.0f} s"]


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
    arms, claims = list(summaries(results)), entries(METHOD, results, CLAIMS)
    tables = make_tables(results, arms, claims)
    write_claims(folder / "claims.json", METHOD, claims)
    with replace_atomically(folder / "reproduction.md") as file:
        file.write(markdown(results, tables).encode())
    draw_order(arms, folder / "order.png")
    draw_damage([arm for arm in arms if arm.name != BASE], folder / "damage.png")
    if folder.resolve() == RESULTS:
        PAGE.write_text(with_tables(PAGE.read_text(), tables))
    for name in ("reproduction.json", "reproduction.md", "claims.json", "order.png", "damage.png"):
        print(folder / name)


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
