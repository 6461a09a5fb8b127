"""What the studies beyond the paper measure that is no claim of one arm over another: where
preferring overtakes imitating as captions get worse, and what a loss does to both likelihoods."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from reproduction.claims import ORDERED
from reproduction.results import Results, as_scores
from tools.statistics import ALL, TAILS, Estimate, difference_of, estimate_of, mean_over_seeds

IMITATING = "chosen_sft"
PREFERRING = ("temple", "mixed", "r8")
PERCENTS = (0, 10, 20, 35)


@dataclass(frozen=True)
class Crossing:
    """Where one way to learn overtakes another.

    Attributes:
        percent: of wrong captions, interpolated between those that were run; inf: nowhere.
        low, high: its interval of 95 %, over bases, then videos; None of one base.
        seeds: bases that all arms were trained from.
    """

    percent: float
    low: float | None
    high: float | None
    seeds: int


def crossing(results: Results, right: str, metric: str = ORDERED) -> Crossing | None:
    """The share of wrong captions from which on preferring stays better than SFT on chosen.

    Args:
        right: an arm of PREFERRING.

    Returns:
        None where arms are missing.
    """
    seeds = [_runs(results, arm) for arm in _names(right) + _names(IMITATING)]
    common = sorted(set.intersection(*map(set, seeds)))
    if not common:
        return None
    differences = [
        mean_over_seeds(
            [
                difference_of(
                    _estimate(results, better[seed], metric),
                    _estimate(results, worse[seed], metric),
                )
                for seed in common
            ]
        )
        for better, worse in zip(seeds[: len(PERCENTS)], seeds[len(PERCENTS) :], strict=True)
    ]
    percent = above_from([value for value, _ in differences])
    if len(common) == 1:
        return Crossing(percent, None, None, 1)
    drawn = [above_from(draw) for draw in np.stack([d for _, d in differences], axis=1)]
    # Between infinities nothing can be interpolated: the nearest resample counts.
    low, high = np.percentile(drawn, TAILS, method="nearest")
    return Crossing(percent, float(low), float(high), len(common))


def above_from(differences: Sequence[float]) -> float:
    """From which percentage on a line through differences at PERCENTS stays above 0; inf: nowhere
    up to the last of them."""
    if differences[-1] <= 0:
        return float("inf")
    points = list(zip(PERCENTS, differences, strict=True))
    for (x, before), (following, after) in reversed(list(pairwise(points))):
        if before <= 0:
            return float(x + (following - x) * -before / (after - before))
    return 0.0


def likelihood_rows(results: Results) -> Iterator[Sequence[str]]:
    """A table: how each stage that learned from pairs has changed the log p of the chosen and the
    rejected sides, means over bases."""
    yield ["arm", "stage", "chosen", "rejected", "nats"]
    for arm in results["arms"].values():
        runs = list(arm["seeds"].values())
        for phases in zip(*(run["phases"] for run in runs), strict=True):
            for stages in zip(*(phase.get("log_p", []) for phase in phases), strict=True):
                means = [
                    f"{np.mean([stage[side] for stage in stages]):+.2f}"
                    for side in ("chosen", "rejected")
                ]
                unit = "a token" if stages[0]["loss"] == "ipo" else "an answer"
                yield [arm["label"], stages[0]["stage"], *means, unit]


def narrative_rows(results: Results) -> Iterator[Sequence[str]]:
    """A table: log p a token of the true narratives of the test stories, and of their events in
    another order, of the bases and after each phase of each arm, means over bases."""
    yield ["arm", "after", "true", "in another order"]
    bases = {"label": "base", "seeds": {n: {"phases": [b]} for n, b in results["bases"].items()}}
    for arm in (bases, *results["arms"].values()):
        for phases in zip(*(run["phases"] for run in arm["seeds"].values()), strict=True):
            values = [
                [phase["scores"][metric][ALL] for phase in phases if metric in phase["scores"]]
                for metric in ("log_p_true", "log_p_moved")
            ]
            if len(values[0]) == len(phases):
                name = phases[0].get("recipe", "").rpartition("=")[2]
                yield [arm["label"], name and f"`{name}`", *(f"{np.mean(v):.3f}" for v in values)]


def crossing_rows(results: Results) -> Iterator[Sequence[str]]:
    """A table: from which share of wrong captions on each way of preferring is better."""
    yield ["preferring", "better from", "interval of 95 %", "bases"]
    for arm in PREFERRING:
        if found := crossing(results, arm):
            label = results["arms"][arm]["label"]
            ends = [_percent(end) for end in (found.low, found.high) if end is not None]
            yield [label, _percent(found.percent), " to ".join(ends), str(found.seeds)]


def _percent(value: float) -> str:
    return f"more than {PERCENTS[-1]} %" if value == float("inf") else f"{value:.0f} %"


def _names(right: str) -> list[str]:
    """The arms of PERCENTS, of which `right` is the one of right captions."""
    return [f"noisy_{right}_n{percent}" if percent else right for percent in PERCENTS]


def _runs(results: Results, arm: str) -> Results:
    runs: Results = results["arms"].get(arm, {}).get("seeds", {})
    return runs


def _estimate(results: Results, run: Results, metric: str) -> Estimate:
    scores = as_scores(results, run["phases"][-1], [metric])
    estimate = estimate_of([video["counts"][metric] for video in scores["videos"]])
    assert estimate
    return estimate
