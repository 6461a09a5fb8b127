"""The paper's claims, and the controls that the pilot asked for, held against the results.

A claim says that one arm beats another on one metric. Its effect is the mean over seeds of the
paired difference of the final models; the bootstrap draws seeds and videos. It is supported where
the interval of 95 % lies above 0, refuted where it lies below, else undecided. Many claims are
tested, and each interval stands for itself: of twenty true nothings, one excludes 0.
"""

from dataclasses import dataclass

from reproduction.temple.results import Results, as_scores
from tools.statistics import ALL, Interval, Scores, Spread, difference_over_seeds


@dataclass(frozen=True)
class Claim:
    """That arm `better` beats arm `worse` on a metric.

    Attributes:
        source: paper, control (the pilot's questions) or own (of an arm of our own).
        text: the claim as a sentence.
    """

    source: str
    text: str
    better: str
    worse: str
    metric: str = "order"


OWN = "large_chosen"
CONTROLS = {"chosen_sft": "SFT on chosen", "sft_x4": "SFT on 4 x data"}
FINE = {"prefer_adjacent": "neighbours swapped: ", "exact": "all in order: "}  # finer than order
CLAIMS = (
    Claim("paper", "DPO before SFT beats SFT alone", "temple", "sft"),
    Claim("paper", "DPO before SFT beats SFT before DPO", "temple", "sft_dpo"),
    Claim("paper", "SFT before DPO beats SFT alone", "sft_dpo", "sft"),
    Claim("paper", "easy to hard beats all levels mixed", "temple", "mixed"),
    Claim("paper", "easy to hard beats hard to easy", "temple", "hard_to_easy"),
    Claim("paper", "easy to hard beats level r16 alone", "temple", "r16"),
    Claim("paper", "easy to hard beats level r8 alone", "temple", "r8"),
    Claim("paper", "easy to hard beats level r4 alone", "temple", "r4"),
    Claim("paper", "easy to hard beats level r2 alone", "temple", "r2"),
    Claim("paper", "own pairs beat another model's", "temple", "other_model"),
    Claim("control", "preferring beats SFT on the same chosen texts", "temple", "chosen_sft"),
    Claim("control", "DPO before SFT beats SFT on 4 x the data", "temple", "sft_x4"),
    Claim("control", "the SFT term in DPO's loss helps", "temple", "no_sft_term"),
    Claim("control", "leaving repeated pairs out helps", "distinct", "temple"),
    *(
        Claim("control", f"{told}DPO before SFT beats {other}", "temple", arm, metric)
        for metric, told in FINE.items()
        for arm, other in {"sft": "SFT alone", **CONTROLS}.items()
    ),
    *(
        Claim("own", f"{told}many chosen texts in large batches beat {other}", OWN, arm, metric)
        for metric, told in {"order": "", **FINE}.items()
        for arm, other in CONTROLS.items()
    ),
)


@dataclass(frozen=True)
class Finding:
    """What became of a claim; no effect where one of its arms was not run.

    Attributes:
        verdict: supported, refuted, undecided, one seed or not run.
    """

    claim: Claim
    effect: Spread | None
    verdict: str


def findings(results: Results) -> list[Finding]:
    """Every claim's verdict."""
    return [_finding(results, claim) for claim in CLAIMS]


def _finding(results: Results, claim: Claim) -> Finding:
    better, worse = (final_scores(results, arm) for arm in (claim.better, claim.worse))
    pairs = [(better[seed], worse[seed]) for seed in better if seed in worse]
    if not pairs:
        return Finding(claim, None, "not run")
    effect = difference_over_seeds(pairs).get(claim.metric, {}).get(ALL)
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


def final_scores(results: Results, arm: str) -> dict[str, Scores]:
    """seed -> scores of an arm's final model; empty where it was not run."""
    seeds = results["arms"].get(arm, {}).get("seeds", {})
    return {
        seed: as_scores(results, run["phases"][-1], f"{arm}, seed {seed}")
        for seed, run in seeds.items()
    }
