"""Pooled ratios of counts, their intervals over videos, and differences between models.

Every statistic is sum(numerators) / sum(denominators) over videos, so that a video with more event
pairs weighs more and one without any does not count. A *score file* is what `evaluate_model.py toy
--out` writes; here it is its content:

    {"name", "dataset", "benchmark",
     "videos": [{"video_name", "n", "counts": {metric: [numerator, denominator]}}, ...]}

Intervals are percentile bootstraps of 95 % (Efron, 1979) that draw videos with replacement. All
metrics and all models are resampled by the same draws, which is what pairs them.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from tools.errors import UserError

RESAMPLES = 2000
TAILS = (2.5, 97.5)  # percentiles: an interval of 95 %
NORMAL_95 = 1.96  # standard errors on either side of a mean: 95 % of a normal distribution
ALL = "all"  # the group of all videos, beside those of n events each

Scores = dict[str, Any]
Estimate = tuple[float, np.ndarray]
"""A value, and its resamples over videos."""


@dataclass(frozen=True)
class Interval:
    """An estimate and its interval of 95 %."""

    value: float
    low: float
    high: float

    @property
    def stderr(self) -> float:
        """The standard error that an interval as wide has, of a normal distribution."""
        return (self.high - self.low) / 2 / NORMAL_95

    def excludes(self, number: float) -> bool:
        """Whether a number lies outside of the interval."""
        return not self.low <= number <= self.high


@dataclass(frozen=True)
class Spread(Interval):
    """A mean over so many seeds, its interval of 95 %, and the seeds' standard deviation, None of
    one."""

    sd: float | None
    seeds: int


Spreads = dict[str, dict[str, Spread]]
"""{metric: {group: spread}}"""


def normal_interval(value: float, stderr: float) -> Interval:
    """An estimate with its standard error, if its errors are normal."""
    return Interval(value, value - NORMAL_95 * stderr, value + NORMAL_95 * stderr)


def mean_interval(estimates: Sequence[Interval]) -> Interval:
    """The mean of independent estimates; of one, itself."""
    if len(estimates) == 1:
        return estimates[0]
    value = sum(estimate.value for estimate in estimates) / len(estimates)
    stderr = math.hypot(*(estimate.stderr for estimate in estimates)) / len(estimates)
    return normal_interval(value, stderr)


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """Wilson's interval of 95 % of a share (1927, JASA 22, 209-212); (0, 1) without a trial."""
    if not trials:
        return 0.0, 1.0
    share, z2 = successes / trials, NORMAL_95**2
    middle = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = math.sqrt(share * (1 - share) / trials + z2 / (4 * trials**2))
    half *= NORMAL_95 / (1 + z2 / trials)
    return max(0.0, middle - half), min(1.0, middle + half)


def interval(
    counts: Sequence[Sequence[float]] | np.ndarray, resamples: int = RESAMPLES, seed: int = 0
) -> Interval | None:
    """The pooled ratio of (numerator, denominator) rows, a video each, with its interval; None
    where all denominators are 0."""
    estimate = estimate_of(counts, resamples, seed)
    return interval_of(*estimate) if estimate else None


def intervals(runs: Sequence[Scores], resamples: int = RESAMPLES, seed: int = 0) -> Spreads:
    """{metric: {group: spread}} of the mean over the score files of a model's seeds, or of its only
    one; the groups are "all" and each number of events. A metric that was never asked is absent.
    Raises UserError as `check_same_videos` does."""
    for run in runs:
        check_same_videos(run, runs[0])
    return _spreads([_estimates(run, resamples, seed) for run in runs], seed)


def difference(
    pairs: Sequence[tuple[Scores, Scores]], resamples: int = RESAMPLES, seed: int = 0
) -> Spreads:
    """{metric: {group: spread}} of the mean over seeds of (a's ratio - b's), paired by video.

    The bootstrap has two levels: each resample draws seeds and videos, and the same videos for all
    seeds, since all were asked about the same ones. Of S seeds it draws S - 1, with which the
    variance of a mean of few is not underestimated (Rao & Wu, 1988, JASA 83, 231-241). With five
    seeds the interval still leaves out that a normal quantile is not Student's: read `sd` too.

    Args:
        pairs: (scores of one arm, scores of the other) of each seed, all of the same videos.
            Metrics that only one of them was asked are absent.
    """
    differences = []
    for pair in pairs:
        check_same_videos(*pair)
        check_same_videos(pair[0], pairs[0][0])
        a, b = (_estimates(scores, resamples, seed) for scores in pair)
        differences.append(
            {key: (a[key][0] - b[key][0], a[key][1] - b[key][1]) for key in a if key in b}
        )
    return _spreads(differences, seed)


def kept(
    runs: Sequence[Scores],
    metric: str,
    group: str,
    of: str,
    share: float,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Spread:
    """The mean over a model's seeds of (a metric's ratio in a group of videos - `share` of that in
    the group `of`): above 0 where that share is kept. Resampled as in `difference`."""
    estimates = []
    for run in runs:
        own = _estimates(run, resamples, seed)
        value, drawn = own[metric, of]
        estimates.append(difference_of(own[metric, group], (share * value, share * drawn)))
    return _spreads([{(metric, group): estimate} for estimate in estimates], seed)[metric][group]


def check_same_videos(scores: Scores, others: Scores) -> None:
    """Raise UserError where two models were not asked the same about the same videos."""
    questions, subjects = [], []
    for run in (scores, others):
        names = [(video["video_name"], video["n"]) for video in run["videos"]]
        benchmark = run.get("benchmark")
        questions.append((names, benchmark))
        subjects.append(f"{len(names)} videos of {run.get('dataset')} ({benchmark})")
    if questions[0] != questions[1]:
        raise UserError(
            f"{scores['name']} and {others['name']} were not asked the same:"
            f" {' against '.join(subjects)}; score both on one dataset, with one --limit"
        )


def groups_of(scores: Scores) -> list[str]:
    """The groups of a score file's videos: "all", and each number of events in ascending order."""
    return [ALL, *map(str, sorted({video["n"] for video in scores["videos"]}))]


def _estimates(scores: Scores, resamples: int, seed: int) -> dict[tuple[str, str], Estimate]:
    """The ratio of each (metric, group) that was asked."""
    estimates = {}
    metrics = dict.fromkeys(name for video in scores["videos"] for name in video["counts"])
    for metric, group in itertools.product(metrics, groups_of(scores)):
        counts = [
            video["counts"].get(metric, (0, 0))
            for video in scores["videos"]
            if group in (ALL, str(video["n"]))
        ]
        if estimate := estimate_of(counts, resamples, seed):
            estimates[metric, group] = estimate
    return estimates


@lru_cache(maxsize=64)
def _draws(videos: int, resamples: int, seed: int) -> np.ndarray:
    """(resamples, videos) float64: how often a video is in a resample."""
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(videos, np.full(videos, 1 / videos), resamples).astype(float)
    drawn.flags.writeable = False
    return drawn


def estimate_of(
    counts: Sequence[Sequence[float]] | np.ndarray, resamples: int = RESAMPLES, seed: int = 0
) -> Estimate | None:
    """See `interval`; a resample whose denominators are all 0 is nan. Estimates of as many videos
    are resampled by the same draws."""
    table = np.asarray(counts, float).reshape(-1, 2)
    numerator, denominator = (column.sum() for column in table.T)
    if not denominator:
        return None
    numerators, denominators = (_draws(len(table), resamples, seed) @ table).T
    with np.errstate(invalid="ignore"):
        return float(numerator / denominator), numerators / denominators


def mean_of(estimates: Sequence[Estimate]) -> Estimate:
    """The mean of ratios of the same videos, such as the accuracies of several types; a resample
    without a video of some type is the mean of the others."""
    values, drawn = zip(*estimates, strict=True)
    table = np.stack(drawn)
    with np.errstate(invalid="ignore"):
        means = np.nansum(table, axis=0) / np.count_nonzero(~np.isnan(table), axis=0)
    return float(np.mean(values)), means


def difference_of(a: Estimate, b: Estimate) -> Estimate:
    """a - b, paired: both of the same videos in the same order."""
    return a[0] - b[0], a[1] - b[1]


def interval_of(value: float, drawn: np.ndarray) -> Interval:
    """An estimate's interval."""
    low, high = np.nanpercentile(drawn, TAILS)
    return Interval(value, float(low), float(high))


def _spreads(runs: Sequence[Mapping[tuple[str, str], Estimate]], seed: int) -> Spreads:
    """Of the estimates of each seed; a metric that some lack is left out."""
    spreads: Spreads = {}
    for metric, group in runs[0]:
        if not all((metric, group) in run for run in runs):
            continue
        estimates = [run[metric, group] for run in runs]
        mean = interval_of(*mean_over_seeds(estimates, seed))
        sd = float(np.std([value for value, _ in estimates], ddof=1)) if len(runs) > 1 else None
        spreads.setdefault(metric, {})[group] = Spread(**vars(mean), sd=sd, seeds=len(runs))
    return spreads


def mean_over_seeds(estimates: Sequence[Estimate], seed: int = 0) -> Estimate:
    """The mean of the estimates of several seeds, and its resamples over seeds and videos, as
    `difference` draws them; means of as many seeds are resampled by the same draws."""
    values, resamples = zip(*estimates, strict=True)
    table = np.stack(resamples)
    # A stream of its own: these draws have nothing to do with those of the videos.
    rng = np.random.default_rng([seed, len(values)])
    chosen = rng.integers(0, len(values), (table.shape[1], max(1, len(values) - 1)))
    return float(np.mean(values)), table[chosen, np.arange(len(chosen))[:, None]].mean(axis=1)
