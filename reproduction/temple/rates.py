"""What is chosen on validation stories, from a seed that no result comes from: learning rates, and
which of our own arms deserves five seeds."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from evaluation.scores import read_scores
from reproduction.claims import ORDERED
from reproduction.jobs import Runner
from reproduction.temple.arms import Arm, Rates, arms
from reproduction.temple.pipeline import Pipeline
from reproduction.temple.trainings import VALIDATION_SEED, Workspace, phases_of
from tools.errors import UserError
from tools.statistics import ALL, Scores
from tools.store.files import read_json, write_json

VALIDATION = "toyval"
FINE_TUNING = ("sft",)  # chosen first: the other arms' recipes take its rate
KEPT = (ORDERED, "order", "exact", "prefer_adjacent", "recall", "clip")
MEASURE = "pairs of events in the right order, of all pairs of a story's events"

Shares = dict[str, float | None]


def choose(
    workspace: Workspace, runner: Runner, grids: Mapping[str, Sequence[str]], path: Path
) -> None:
    """Train each arm at each rate of its grid; write and print how each did, and the best. Rates of
    other arms that stand in the file remain.

    Raises:
        UserError: a training failed.
    """
    known = arms()
    entries = (read_json(path) or {"rates": {}})["rates"]
    rates: dict[str, str] = {name: entry["rate"] for name, entry in entries.items()}
    first = [name for name in grids if name in FINE_TUNING]
    for names in (first, [name for name in grids if name not in first]):
        tries = [(name, rate) for name in names for rate in grids[name]]
        wanted = [(known[name], {**rates, name: rate}) for name, rate in tries]
        scores = dict(zip(tries, trained_and_scored(workspace, runner, wanted), strict=True))
        for name in names:
            tried = {rate: scores[name, rate] for rate in grids[name]}
            rates[name] = best(tried)
            entries[name] = {"rate": rates[name], "tried": tried}
            grid = sorted(tried, key=float)
            is_at_edge = rates[name] in (grid[0], grid[-1])
            entries[name]["at_the_edge"] = is_at_edge
            edge = ", at the edge of what was tried" if is_at_edge else ""
            shares = ", ".join(f"{rate} {tried[rate][ORDERED]:.3f}" for rate in grid)
            print(f"{name}: {rates[name]}{edge} ({shares})")
    chosen = {
        "seed": VALIDATION_SEED,
        "dataset": VALIDATION,
        "chosen_by": MEASURE,
        "rates": entries,
    }
    write_json(path, chosen)
    print(path)


def compare(
    workspace: Workspace, runner: Runner, chosen: Sequence[Arm], rates: Rates, path: Path
) -> None:
    """Train arms at their rates; write and print what validation says of the order of each.

    Raises:
        UserError: a training failed.
    """
    scored = trained_and_scored(workspace, runner, [(arm, rates) for arm in chosen])
    compared = {arm.name: scores for arm, scores in zip(chosen, scored, strict=True)}
    width = max(map(len, compared))
    for name, values in compared.items():
        cells = (f"{kept} {'-' if v is None else f'{v:.3f}'}" for kept, v in values.items())
        print(f"{name:{width}}  {', '.join(cells)}")
    write_json(path, {"seed": VALIDATION_SEED, "dataset": VALIDATION, "arms": compared})
    print(path)


def trained_and_scored(
    workspace: Workspace, runner: Runner, wanted: Sequence[tuple[Arm, Rates]]
) -> list[Shares]:
    """Train arms from the seed of validation, and score their final models.

    Raises:
        UserError: a training failed.
    """
    models = [phases_of(workspace, arm, VALIDATION_SEED, rates) for arm, rates in wanted]
    if failed := Pipeline(workspace, runner, VALIDATION).run(models, only_last=True):
        raise UserError(f"{failed[0]} failed: {workspace.logs} says why")
    return [summary(read_scores(phases[-1].scores(VALIDATION))) for phases in models]


def summary(scores: Scores) -> Shares:
    """What is kept of a score file; None where the model told nothing to measure it on."""
    values: Shares = {}
    for metric in KEPT:
        score = scores["scores"].get(metric, {}).get(ALL)
        values[metric] = score and round(score["value"], 4)
    return values


def best(tried: Mapping[str, Shares]) -> str:
    """The rate with most pairs in order; of equal ones the smallest."""
    return max(sorted(tried, key=float), key=lambda rate: tried[rate][ORDERED] or 0.0)
