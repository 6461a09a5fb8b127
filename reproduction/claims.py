"""Claims that one arm beats another, tested on the results.

A claim's effect is the mean over seeds of the paired difference of the final models; the bootstrap
draws seeds and videos. The claim is supported where the interval of 95 % lies above 0, refuted
where it lies below, else undecided. Many claims are tested, and each interval stands for itself: of
twenty differences that are truly 0, one excludes 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from reproduction.results import Results, arm_scores
from tools.statistics import ALL, Interval, Spread, difference


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


@dataclass(frozen=True)
class Finding:
    """A claim's verdict; no effect where one of its arms was not run.

    Attributes:
        verdict: supported, refuted, undecided, one seed, not run or not asked.
    """

    claim: Claim
    effect: Spread | None
    verdict: str


def findings(results: Results, claims: Sequence[Claim]) -> list[Finding]:
    """Every claim's verdict."""
    return [_finding(results, claim) for claim in claims]


def _finding(results: Results, claim: Claim) -> Finding:
    better, worse = (
        arm_scores(results, arm, metrics=[claim.metric]) for arm in (claim.better, claim.worse)
    )
    pairs = [(better[seed], worse[seed]) for seed in better if seed in worse]
    if not pairs:
        return Finding(claim, None, "not run")
    effect = difference(pairs).get(claim.metric, {}).get(ALL)
    if effect is None:
        return Finding(claim, None, "not asked")
    return Finding(claim, effect, verdict(effect, len(pairs)))


def verdict(effect: Interval, seeds: int) -> str:
    """What an interval of a difference says of the claim that the difference is above 0."""
    if seeds == 1:
        return "one seed"
    if not effect.excludes(0):
        return "undecided"
    return "supported" if effect.low > 0 else "refuted"
