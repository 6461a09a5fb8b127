"""Learning rates, chosen on validation stories from a seed that no result comes from."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evaluation.scores import read_scores
from evaluation.statistics import Scores
from reproduction.arms import arms
from reproduction.jobs import Runner
from reproduction.plan import Plan
from reproduction.trainings import Place, Training
from tools.errors import UserError
from tools.jsonl import write_json

SEED = 100
VALIDATION = "toyval"
FINE_TUNING = ("sft",)  # chosen first: the other arms' recipes take its rate
MEASURE = "pairs of events told in the right order, of all pairs of a story's events"


def told_in_order(scores: Scores) -> float:
    """The share of all pairs of events that are told, and told in the right order.

    Order accuracy asks only about pairs that are told; a rate that makes a model leave events out
    is not to win by it.
    """
    videos = scores["videos"]
    right = sum(video["counts"]["order"][0] for video in videos)
    return right / sum(video["n"] * (video["n"] - 1) // 2 for video in videos)


def choose(place: Place, runner: Runner, grids: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Train each arm at each rate of its grid, and keep the best; what write_rates writes.

    Raises:
        UserError: a training failed.
    """
    known = arms()
    rates: dict[str, str] = {}
    tried: dict[str, dict[str, dict[str, float]]] = {}
    others = [arm for arm in grids if arm not in FINE_TUNING]
    for names in (FINE_TUNING, others):
        models = {
            (name, rate): [
                Training(place, known[name], SEED, phase)
                for phase in known[name].phases({**rates, name: rate})
            ]
            for name in names
            for rate in grids[name]
        }
        # Only what comes out at the end is looked at.
        ends = {phases[-1].key for phases in models.values()}
        plan = Plan(place, [one for phases in models.values() for one in phases], VALIDATION, ends)
        outcomes = runner.run(plan.jobs())
        if bad := [name for name, outcome in outcomes.items() if outcome == "failed"]:
            raise UserError(f"{bad[0]} failed: without it no rate can be chosen")
        for (name, rate), phases in models.items():
            scores = read_scores(phases[-1].scores(VALIDATION))
            tried.setdefault(name, {})[rate] = {
                "told_in_order": round(told_in_order(scores), 4),
                "order": round(scores["scores"]["order"]["all"]["value"], 4),
                "recall": round(scores["scores"]["recall"]["all"]["value"], 4),
            }
        for name in names:
            rates[name] = best(tried[name])
    return {
        "seed": SEED,
        "dataset": VALIDATION,
        "chosen_by": MEASURE,
        "rates": {name: {"rate": rates[name], "tried": tried[name]} for name in rates},
    }


def best(tried: Mapping[str, Mapping[str, float]]) -> str:
    """The rate that tells most pairs in order; of equal ones the smallest."""
    return max(sorted(tried, key=float), key=lambda rate: tried[rate]["told_in_order"])


def write_rates(path: Path, found: Mapping[str, Any]) -> None:
    """Write and print what was found."""
    for name, entry in found["rates"].items():
        grid = sorted(entry["tried"], key=float)
        edge = ", at the edge of what was tried" if entry["rate"] in (grid[0], grid[-1]) else ""
        told = ", ".join(f"{rate} {entry['tried'][rate]['told_in_order']:.3f}" for rate in grid)
        print(f"{name}: {entry['rate']}{edge} ({told})")
    write_json(path, found)
    print(path)
