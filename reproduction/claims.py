"""Claims that one arm beats another, tested on the results.

A claim's effect is the mean over seeds of the paired difference of the final models; the bootstrap
draws seeds and videos. The claim is supported where the interval of 95 % lies above 0, refuted
where it lies below, else undecided. Many claims are tested, and each interval stands for itself: of
twenty differences that are truly 0, one excludes 0.
"""

from dataclasses import dataclass

from reproduction.results import Results, as_scores
from tools.statistics import ALL, Interval, Scores, Spread, difference


@dataclass(frozen=True)
class Claim:
    """That arm `better` beats arm `worse` on a metric.

    Attributes:
        source: paper, control (a question about the paper's claim) or own (of an arm of our own).
        text: the claim as a sentence.
    """

    source: str
    text: str
    better: str
    worse: str
    metric: str = "order"


def effect_and_verdict(results: Results, claim: Claim) -> tuple[Spread | None, str]:
    """What the results say of a claim: the effect, where both arms were run and asked, and one of
    supported, refuted, undecided, one seed, not run and not asked."""
    better, worse = (
        results["arms"].get(arm, {}).get("seeds", {}) for arm in (claim.better, claim.worse)
    )

    def final(run: Results) -> Scores:
        return as_scores(results, run["phases"][-1], [claim.metric])

    pairs = [(final(better[seed]), final(worse[seed])) for seed in better if seed in worse]
    if not pairs:
        return None, "not run"
    effect = difference(pairs).get(claim.metric, {}).get(ALL)
    return effect, verdict(effect, len(pairs)) if effect else "not asked"


def verdict(effect: Interval, seeds: int) -> str:
    """What an interval of a difference says of the claim that the difference is above 0."""
    if seeds == 1:
        return "one seed"
    if not effect.excludes(0):
        return "undecided"
    return "supported" if effect.low > 0 else "refuted"
