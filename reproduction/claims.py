"""Claims that one arm beats another, tested on the results.

A claim's effect is the mean over bases of the paired difference of the final models; the bootstrap
draws bases, each of which has one seed, and then videos. The claim is supported where the interval
of 95 % lies above 0, or above what the claim names, refuted where it lies below, else undecided.
Many claims are tested, and each interval stands for itself: of twenty differences that are truly 0,
one excludes 0.

The claims of all methods stand in results/claims.json.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import orjson
import yaml

from reproduction.results import Results, as_scores
from tools.statistics import ALL, Interval, Scores, Spread, difference, kept
from tools.store.files import read_json, replace_atomically

ORDERED = "ordered"  # the measure of a claim that names none


@dataclass(frozen=True)
class Claim:
    """That arm `better` beats arm `worse` on a metric.

    Attributes:
        source: paper, control (a question about the paper's claim) or own (of an arm of our own).
        text: the claim as a sentence.
        group: of the videos that it is about: those of so many events, or all.
        above: what the difference must be above.
        kept: where it is not 0, the claim is that an arm, `better` and `worse`, keeps this share of
            what it reaches in the group `of`.
    """

    source: str
    text: str
    better: str
    worse: str
    metric: str = ORDERED
    group: str = ALL
    above: float = 0.0
    kept: float = 0.0
    of: str = ALL


def read_claims(path: Path) -> list[Claim]:
    """The claims of a YAML file; one with `metrics`, or `groups`, is one claim for each of them."""
    claims = []
    for entry in yaml.safe_load(path.read_text(encoding="utf-8")):
        every = product(entry.pop("metrics", [ORDERED]), entry.pop("groups", [ALL]))
        claims += [Claim(**entry, metric=metric, group=group) for metric, group in every]
    return claims


def effect_and_verdict(results: Results, claim: Claim) -> tuple[Spread | None, str]:
    """What the results say of a claim: the effect, where both arms were run and asked, and one of
    supported, refuted, undecided, one base, not run and not asked."""
    better, worse = (
        results["arms"].get(arm, {}).get("seeds", {}) for arm in (claim.better, claim.worse)
    )

    def final(run: Results) -> Scores:
        return as_scores(results, run["phases"][-1], [claim.metric])

    pairs = [(final(better[seed]), final(worse[seed])) for seed in better if seed in worse]
    if not pairs:
        return None, "not run"
    effect = difference(pairs).get(claim.metric, {}).get(claim.group)
    if claim.kept:
        effect = kept([run for run, _ in pairs], claim.metric, claim.group, claim.of, claim.kept)
    return effect, verdict(effect, len(pairs), claim.above) if effect else "not asked"


def verdict(effect: Interval, bases: int, above: float = 0.0) -> str:
    """What an interval of a difference says of the claim that the difference is above a number."""
    if bases == 1:
        return "one base"
    if not effect.excludes(above):
        return "undecided"
    return "supported" if effect.low > above else "refuted"


def entries(method: str, results: Results, claims: Sequence[Claim]) -> list[dict[str, Any]]:
    """The claims of a method as claims.json holds them; `n` is how many bases were compared, and
    `group` the number of events of the videos that a claim is about.

    A claim about `ordered` has beside it what the same claim about `order` would be: the order of
    the events that are mentioned, whatever is left out.
    """
    rows = []
    for claim in claims:
        effect, judged = effect_and_verdict(results, claim)
        row: dict[str, Any] = {
            "method": method,
            "claim": claim.text,
            "source": claim.source,
            "metric": claim.metric,
            **({} if claim.group == ALL else {"group": claim.group}),
            "better": claim.better,
            "worse": claim.worse,
            **({"above": claim.above} if claim.above else {}),
            **({"kept": claim.kept, "of": claim.of} if claim.kept else {}),
            **_numbers(effect),
            "n": effect.seeds if effect else 0,
            "verdict": judged,
        }
        if claim.metric == ORDERED:
            conditional = Claim(claim.source, claim.text, claim.better, claim.worse, "order")
            row["order"] = _numbers(effect_and_verdict(results, conditional)[0])
        rows.append(row)
    return rows


def _numbers(effect: Interval | None) -> dict[str, float | None]:
    if effect is None:
        return dict.fromkeys(("effect", "low", "high"))
    values = {"effect": effect.value, "low": effect.low, "high": effect.high}
    return {name: round(value, 4) for name, value in values.items()}


def write_claims(path: Path, method: str, rows: Sequence[dict[str, Any]]) -> None:
    """Put a method's claims into claims.json, in the place of those that it had there."""
    others = [row for row in read_json(path) or [] if row["method"] != method]
    every = sorted([*others, *rows], key=lambda row: row["method"])
    lines = b",\n".join(orjson.dumps(row) for row in every)
    with replace_atomically(path) as file:
        file.write(b"[\n" + lines + b"\n]\n")
