"""What is chosen on validation stories, from a seed that no result comes from: learning rates, and
which of our own arms deserves five seeds."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evaluation.scores import read_scores
from reproduction.jobs import Runner
from reproduction.temple.arms import Arm, Rates, arms
from reproduction.temple.pipeline import Pipeline
from reproduction.temple.trainings import Workspace, phases_of
from tools.errors import UserError
from tools.statistics import ALL, Scores
from tools.store.files import write_json

SEED = 100
VALIDATION = "toyval"
FINE_TUNING = ("sft",)  # chosen first: the other arms' recipes take its rate
KEPT = ("order", "exact", "prefer_adjacent", "recall", "clip")
MEASURE = "pairs of events told in the right order, of all pairs of a story's events"


Summary = dict[str, float | None]


def told_in_order(scores: Scores) -> float:
    """The share of all pairs of events that are told, and told in the right order.

    Order accuracy asks only about pairs that are told; a rate must not win by making a model leave
    events out.
    """
    videos = scores["videos"]
    right = sum(video["counts"]["order"][0] for video in videos)
    return right / sum(video["n"] * (video["n"] - 1) // 2 for video in videos)


def choose(
    workspace: Workspace, runner: Runner, grids: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """Train each arm at each rate of its grid, and keep the best; what write_rates writes.

    Raises:
        UserError: a training failed.
    """
    known = arms()
    rates: dict[str, str] = {}
    tried: dict[str, dict[str, Summary]] = {}
    others = [arm for arm in grids if arm not in FINE_TUNING]
    for names in (FINE_TUNING, others):
        tries = [(name, rate) for name in names for rate in grids[name]]
        wanted = [(known[name], {**rates, name: rate}) for name, rate in tries]
        scored = trained_and_scored(workspace, runner, wanted)
        for (name, rate), scores in zip(tries, scored, strict=True):
            tried.setdefault(name, {})[rate] = summary(scores)
        for name in names:
            rates[name] = best(tried[name])
    return {
        "seed": SEED,
        "dataset": VALIDATION,
        "chosen_by": MEASURE,
        "rates": {name: {"rate": rates[name], "tried": tried[name]} for name in rates},
    }


def compare(
    workspace: Workspace, runner: Runner, chosen: Sequence[Arm], rates: Rates
) -> dict[str, Summary]:
    """Train arms at their rates; for each what validation says of the order that it tells.

    Raises:
        UserError: a training failed.
    """
    scored = trained_and_scored(workspace, runner, [(arm, rates) for arm in chosen])
    return {arm.name: summary(scores) for arm, scores in zip(chosen, scored, strict=True)}


def trained_and_scored(
    workspace: Workspace, runner: Runner, wanted: Sequence[tuple[Arm, Rates]]
) -> list[Scores]:
    """Train arms from the seed of validation; the scores of their final models.

    Raises:
        UserError: a training failed.
    """
    models = [phases_of(workspace, arm, SEED, rates) for arm, rates in wanted]
    # Only the final models matter here.
    if failed := Pipeline(workspace, runner, VALIDATION).run(models, only_last=True):
        raise UserError(f"{failed[0]} failed: {workspace.logs} says why")
    return [read_scores(phases[-1].scores(VALIDATION)) for phases in models]


def summary(scores: Scores) -> Summary:
    """What is kept of a score file; None where the model told nothing to measure it on."""
    values: Summary = {"told_in_order": round(told_in_order(scores), 4)}
    for metric in KEPT:
        one = scores["scores"].get(metric, {}).get(ALL)
        values[metric] = one and round(one["value"], 4)
    return values


def best(tried: Mapping[str, Summary]) -> str:
    """The rate that tells most pairs in order; of equal ones the smallest."""
    return max(sorted(tried, key=float), key=lambda rate: tried[rate]["told_in_order"] or 0.0)


def write_rates(path: Path, chosen: Mapping[str, Any]) -> None:
    """Write and print what `choose` returns."""
    for name, entry in chosen["rates"].items():
        grid = sorted(entry["tried"], key=float)
        edge = ", at the edge of what was tried" if entry["rate"] in (grid[0], grid[-1]) else ""
        tried = ", ".join(f"{rate} {entry['tried'][rate]['told_in_order']:.3f}" for rate in grid)
        print(f"{name}: {entry['rate']}{edge} ({tried})")
    write_json(path, chosen)
    print(path)


def write_compared(path: Path, compared: Mapping[str, Summary]) -> None:
    """Write and print what `compare` returns."""
    width = max(map(len, compared))
    for name, values in compared.items():
        cells = (f"{kept} {'-' if v is None else f'{v:.3f}'}" for kept, v in values.items())
        print(f"{name:{width}}  {', '.join(cells)}")
    write_json(path, {"seed": SEED, "dataset": VALIDATION, "arms": compared})
    print(path)
