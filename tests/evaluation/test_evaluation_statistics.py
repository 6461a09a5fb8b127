"""Pooled ratios and their bootstrap, against what can be computed by hand or in closed form."""

import time

import numpy as np
import pytest

from tools.errors import UserError
from tools.statistics import (
    Interval,
    difference,
    interval,
    interval_of,
    intervals,
    mean_of,
)

NORMAL = 1.959964  # its 97.5th percentile


def scores(counts, name="model", benchmark="b", n=4):
    """A score file of one metric; `counts` are (numerator, denominator) a video."""
    return {
        "name": name,
        "dataset": "toytest",
        "benchmark": benchmark,
        "videos": [
            {"video_name": f"toy_{i:04d}.mp4", "n": n, "counts": {"order": list(count)}}
            for i, count in enumerate(counts)
        ],
    }


def binary(rng, share, videos):
    return [(int(one), 1) for one in rng.random(videos) < share]


def test_a_ratio_is_pooled_over_videos():
    assert interval([(1, 2), (3, 3), (0, 0)]).value == 4 / 5


def test_a_metric_without_a_denominator_has_no_value():
    assert interval([(0, 0), (0, 0)]) is None


def test_videos_that_are_all_alike_leave_no_doubt():
    assert interval([(1, 2)] * 9) == Interval(0.5, 0.5, 0.5)


def test_of_many_videos_the_interval_is_the_normal_one():
    counts = np.array(binary(np.random.default_rng(0), 0.3, 2000))
    found = interval(counts, resamples=4000)
    share = counts[:, 0].mean()
    half = NORMAL * np.sqrt(share * (1 - share) / len(counts))
    assert found.value == share
    assert found.low == pytest.approx(share - half, abs=0.1 * half)
    assert found.high == pytest.approx(share + half, abs=0.1 * half)


def test_a_ratio_of_unequal_videos_has_the_interval_of_the_delta_method():
    rng = np.random.default_rng(1)
    pairs = rng.choice([6, 28, 120], 1500)
    right = rng.binomial(pairs, rng.beta(6, 4, 1500))
    found = interval(np.stack([right, pairs], axis=1), resamples=4000)
    ratio = right.sum() / pairs.sum()
    half = NORMAL * np.sqrt(((right - ratio * pairs) ** 2).sum()) / pairs.sum()
    assert found.value == pytest.approx(ratio)
    assert found.high - found.low == pytest.approx(2 * half, rel=0.1)


def test_a_mean_of_ratios_is_the_mean_in_each_resample_too():
    a = (0.2, np.array([0.0, 0.2, 0.4, np.nan]))
    b = (0.6, np.array([1.0, 0.6, 0.8, 0.7]))
    value, drawn = mean_of([a, b])
    assert value == pytest.approx(0.4)
    # The last resample has no video of the first ratio: the other one stands alone.
    assert drawn == pytest.approx([0.5, 0.4, 0.6, 0.7])


def test_a_mean_of_opposite_ratios_has_no_width():
    shares = np.linspace(0, 1, 101)
    found = interval_of(*mean_of([(0.5, shares), (0.5, 1 - shares)]))
    assert (found.value, found.low, found.high) == pytest.approx((0.5, 0.5, 0.5))
    alone = interval_of(*mean_of([(0.5, shares)]))
    assert (alone.low, alone.high) == pytest.approx((0.025, 0.975))


def test_the_same_seed_draws_the_same_videos():
    counts = [(one, 97) for one in np.random.default_rng(2).integers(0, 98, 90)]
    assert interval(counts) == interval(counts)
    assert interval(counts) != interval(counts, seed=1)


def test_groups_are_all_videos_and_those_of_each_number_of_events():
    mixed = scores([(1, 1)] * 3 + [(0, 1)] * 2)
    for video in mixed["videos"][3:]:
        video["n"] = 16
    assert {group: one.value for group, one in intervals([mixed])["order"].items()} == {
        "all": 3 / 5,
        "4": 1,
        "16": 0,
    }


def test_models_are_paired_by_video():
    """Two models that both stumble over the same videos: their difference is sure, though neither
    score is."""
    rng = np.random.default_rng(3)
    hard = rng.integers(0, 90, 90)
    a = scores([(one + 5, 100) for one in hard])
    b = scores([(one, 100) for one in hard])
    found = difference([(a, b)])["order"]["all"]
    assert found.value == pytest.approx(0.05)
    assert found.high - found.low < 1e-9
    one = interval([(one, 100) for one in hard])
    assert one.high - one.low > 0.05
    back = difference([(b, a)])["order"]["all"]
    assert back.value == pytest.approx(-0.05)


def test_an_interval_knows_what_it_excludes():
    assert Interval(0.2, 0.1, 0.3).excludes(0)
    assert not Interval(0.2, -0.1, 0.3).excludes(0)


@pytest.mark.parametrize(
    "other",
    [
        scores([(1, 2)] * 8, "other"),
        scores([(1, 2)] * 9, "other", n=8),
        scores([(1, 2)] * 9, "other", benchmark="c"),
    ],
    ids=["fewer videos", "other numbers of events", "other questions"],
)
def test_scores_of_different_videos_are_not_compared(other):
    with pytest.raises(UserError, match=r"^model and other were not asked the same: 9 videos of"):
        difference([(scores([(1, 2)] * 9), other)])


def test_what_one_of_two_was_not_asked_is_left_out():
    a, b = scores([(1, 2)] * 9), scores([(1, 2)] * 9)
    for video in a["videos"]:
        video["counts"]["prefer_reversed"] = [1, 1]
    assert difference([(a, b)]).keys() == difference([(b, a)]).keys() == {"order"}


def test_over_seeds_the_mean_and_the_spread_are_those_of_the_seeds():
    base = scores([(50, 100)] * 90)
    pairs = [(scores([(50 + more, 100)] * 90), base) for more in (2, 4, 6)]
    found = difference(pairs)["order"]["all"]
    assert found.value == pytest.approx(0.04)
    assert found.sd == pytest.approx(0.02)
    assert found.seeds == 3
    assert found.low == pytest.approx(0.02)
    assert found.high == pytest.approx(0.06)


def test_over_many_seeds_the_interval_is_the_normal_one_of_their_mean():
    rng = np.random.default_rng(4)
    shifts = rng.normal(10, 5, 40)
    base = scores([(50, 100)] * 20)
    pairs = [(scores([(50 + shift, 100)] * 20), base) for shift in shifts]
    found = difference(pairs, resamples=8000)["order"]["all"]
    half = NORMAL * shifts.std(ddof=1) / 100 / np.sqrt(len(shifts))
    assert found.high - found.low == pytest.approx(2 * half, rel=0.05)


def test_over_five_seeds_the_interval_is_no_narrower_than_their_standard_error_says():
    base = scores([(50, 100)] * 20)
    shifts = np.array([1.0, 3.3, 4.1, 7.7, 12.1])
    pairs = [(scores([(50 + shift, 100)] * 20), base) for shift in shifts]
    found = difference(pairs, resamples=8000)["order"]["all"]
    width = 2 * NORMAL * shifts.std(ddof=1) / 100 / np.sqrt(5)
    # Means of five draws, not four, of these five seeds would be narrower by nine hundredths.
    assert found.high - found.low == pytest.approx(width, rel=0.05)


def test_over_seeds_that_agree_the_doubt_about_the_videos_is_left():
    rng = np.random.default_rng(5)
    a, b = scores(binary(rng, 0.7, 400)), scores(binary(rng, 0.5, 400))
    alone = difference([(a, b)])["order"]["all"]
    found = difference([(a, b)] * 5)["order"]["all"]
    assert (found.value, found.low, found.high) == pytest.approx(
        (alone.value, alone.low, alone.high)
    )
    assert found.sd == pytest.approx(0)


def test_one_seed_has_no_spread():
    a, b = scores([(6, 10)] * 9), scores([(5, 10)] * 9)
    found = difference([(a, b)])["order"]["all"]
    assert (found.value, found.sd, found.seeds) == (pytest.approx(0.1), None, 1)


def test_over_seeds_too_only_the_same_videos_are_compared():
    a, b = scores([(1, 2)] * 9), scores([(1, 2)] * 8)
    with pytest.raises(UserError, match="not asked the same"):
        difference([(a, a), (b, b)])
    with pytest.raises(UserError, match="not asked the same"):
        intervals([a, b])


def test_an_arm_s_own_scores_over_seeds():
    found = intervals([scores([(share, 100)] * 90) for share in (60, 70)])["order"]["all"]
    assert (found.value, found.low, found.high) == pytest.approx((0.65, 0.6, 0.7))
    assert found.sd == pytest.approx(np.std([0.6, 0.7], ddof=1))


def test_twelve_metrics_of_ninety_videos_take_no_time():
    rng = np.random.default_rng(6)
    both = []
    for _ in "ab":
        one = scores([(0, 1)] * 90)
        for number, video in enumerate(one["videos"]):
            video["n"] = (4, 8, 16)[number % 3]
            video["counts"] = {f"m{k}": [int(rng.integers(0, 9)), 9] for k in range(12)}
        both.append(one)
    start = time.process_time()
    intervals([both[0]])
    difference([tuple(both)])
    assert time.process_time() - start < 1
