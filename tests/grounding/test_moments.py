"""Spans: labels from scores of frames, decoding of logits, and the frames of spans."""

import random

import numpy as np
import pytest
import torch

from grounding.bridge.moments import (
    DIGITS,
    decode,
    decode_reference,
    frame_times,
    intervals_of,
    iou,
    label_of,
    largest_rectangle,
    middles,
    ratios_of,
    ratios_of_tokens,
    tokens_of,
)
from tools.errors import UserError

THIRDS = [1 / 3] * 5 + [2 / 3] * 7 + [1] * 4 + [1 / 3] * 16


def brute_force_rectangle(scores):
    """All pairs in their order, so that of equal ones the first wins."""
    best = (0, len(scores) - 1, 0.0)
    for first in range(len(scores)):
        for last in range(first, len(scores)):
            area = round((last - first + 1) * min(scores[first : last + 1]), DIGITS)
            if area > best[2]:
                best = (first, last, area)
    return best


def test_the_largest_rectangle_is_that_of_all_pairs():
    rng = random.Random(0)
    for _ in range(1000):
        scores = [rng.choice((0, 0.25, 1 / 3, 0.5, 1)) for _ in range(rng.randint(1, 20))]
        assert largest_rectangle(scores) == brute_force_rectangle(scores)


@pytest.mark.parametrize(
    ("scores", "span"),
    [([0.9, 0.9, 0, 0.9, 0.9], (0, 1)), ([1, 0.5], (0, 0)), ([0.3] * 2 + [0] + [0.6], (0, 1))],
)
def test_of_equal_rectangles_the_first_is_taken(scores, span):
    assert largest_rectangle(scores)[:2] == span


@pytest.mark.parametrize(
    ("scores", "baseline", "span"),
    [
        ([0.2] * 10 + [0.9] * 4 + [0.2] * 18, "none", (0, 31)),
        ([0.2] * 10 + [0.9] * 4 + [0.2] * 18, "min", (10, 13)),
        ([0.2] * 10 + [0.9] * 4 + [0.2] * 18, "mean", (10, 13)),
        # Frames that share one word with the answer stand beside the moment.
        (THIRDS, "min", (5, 15)),
        (THIRDS, "mean", (12, 15)),
        (THIRDS, "top", (12, 15)),
    ],
)
def test_the_baseline_decides_what_of_a_score_counts(scores, baseline, span):
    label = label_of(scores, baseline)
    assert (label.first, label.last) == span
    assert label.confidence is not None


@pytest.mark.parametrize("baseline", ["none", "min", "mean", "top"])
def test_without_a_score_there_is_no_label(baseline):
    label = label_of([0.0] * 32, baseline)
    assert (label.first, label.last, label.confidence) == (0, 31, None)


@pytest.mark.parametrize("baseline", ["min", "mean", "top"])
def test_scores_that_are_all_the_same_give_no_label(baseline):
    assert label_of([0.1] * 7, baseline).confidence is None


@pytest.mark.parametrize(
    ("scores", "confidence"),
    [
        ([0, 1, 1, 0, 0, 1, 1, 0], 0.0),
        ([0, 1, 1, 0, 0, 0, 0, 0], 1.0),
        ([0, 1, 1, 0, 0, 1, 0, 0], 0.5),
    ],
)
def test_confidence_is_what_the_best_rectangle_outside_leaves(scores, confidence):
    assert label_of(scores, "none").confidence == confidence


def test_an_unknown_baseline_is_named_with_the_near_one():
    with pytest.raises(UserError, match="did you mean 'mean'"):
        label_of([0.0, 1.0], "meen")


@pytest.mark.parametrize("n", [1, 2, 31, 32])
@pytest.mark.parametrize("length", [1, 2, 31, 32, 100, 512])
def test_intervals_map_onto_flow_tokens_in_order_and_from_end_to_end(n, length):
    spans = [intervals_of(ratios_of(place, place, n), length) for place in range(n)]
    assert spans == sorted(spans)
    assert spans[0][0] == 0
    assert spans[-1][1] == length - 1
    assert all(0 <= first <= last < length for first, last in spans)
    if n == length:
        assert spans == [(place, place) for place in range(n)]


def test_ratios_outside_a_video_and_empty_ones_become_tokens_of_it():
    assert intervals_of((-0.1, 1.2), 10) == (0, 9)
    assert intervals_of((0.55, 0.55), 10) == (5, 5)
    assert intervals_of((1.0, 1.0), 10) == (9, 9)


def test_a_flow_token_lies_between_two_pictures_of_one_more():
    """8 s at two pictures a second: 16 pictures, 15 tokens, of which 12 is that from 6 s on."""
    assert tokens_of((6 / 8, 1), 15) == (12, 14)
    assert tokens_of((3 / 8, 5 / 8), 15) == (6, 9)
    assert tokens_of((0.97, 1), 15) == (14, 14)  # the last picture has no token of its own
    assert tokens_of((0, 1), 1) == (0, 0)
    assert ratios_of_tokens(12, 14, 15) == (6 / 8, 1)
    assert ratios_of_tokens(6, 9, 15) == (3 / 8, 5 / 8)
    assert ratios_of_tokens(0, 0, 1) == (0, 1)


@pytest.mark.parametrize("seconds", [0.04, 1.0, 15.5, 50.0])
@pytest.mark.parametrize("n", [1, 4, 8])
def test_the_frames_of_a_span_are_n_rising_times_inside_it(seconds, n):
    times = frame_times([(2.0, 2.0 + seconds)], n)
    assert len(times) == n
    assert times == sorted(times)
    assert all(2.0 <= time < 2.0 + seconds for time in times)


def test_the_frames_of_several_spans_are_spread_over_their_union():
    assert frame_times([(10, 12), (0, 1), (0.5, 2)], 4) == [0.5, 1.5, 10.5, 11.5]
    assert frame_times([(3, 3)], 2) == [3, 3]
    assert frame_times([(3, 3), (5, 6)], 2) == [5.25, 5.75]


def test_frames_lie_in_a_moment_that_no_frame_of_32_hits():
    """128 shots of 2 s: 32 frames of the video are 8 s apart."""
    moment = (102.0, 104.0)
    candidates = [(place + 0.5) * 256 / 32 for place in range(32)]
    assert not any(moment[0] <= time < moment[1] for time in candidates)
    assert all(moment[0] <= time < moment[1] for time in frame_times([moment], 4))


@pytest.mark.parametrize(
    ("total", "n", "frames"),
    [
        (32, 4, [3, 11, 19, 27]),
        (1, 4, [0, 0, 0, 0]),
        (2, 4, [0, 0, 1, 1]),
        (31, 32, None),
        (100, 32, None),
    ],
)
def test_middles_of_intervals(total, n, frames):
    chosen = middles(total, n)
    assert chosen == (frames or chosen)
    assert len(chosen) == n
    assert chosen == sorted(chosen)
    assert 0 <= chosen[0] <= chosen[-1] < total
    if (total, n) == (100, 32):
        assert chosen[:4] == [1, 4, 7, 10]


def logits(count, length, seed):
    generator = torch.Generator().manual_seed(seed)
    return [3 * torch.randn(count, length, generator=generator) for _ in range(2)]


def brute_force_spans(start, end, k):
    """Greedily, of all pairs, the best that overlaps none before it."""
    length = len(start)
    pairs = [
        (-(start[first] + end[last]), first, last)
        for first in range(length)
        for last in range(first, length)
    ]
    spans = []
    for _, first, last in sorted(pairs):
        if len(spans) < k and all(last < a or first > b for a, b in spans):
            spans.append((first, last))
    return spans


@pytest.mark.parametrize("k", [1, 2, 3])
def test_decoding_is_that_of_all_pairs_and_its_spans_are_disjoint(k):
    start, end = logits(40, 17, seed=k)
    lengths = torch.arange(40) % 17 + 1
    mask = torch.arange(17) < lengths[:, None]
    start, end = (part.masked_fill(~mask, -torch.inf) for part in (start, end))
    log_p = [part.double().log_softmax(-1).numpy() for part in (start, end)]
    for clip, spans in enumerate(decode(start, end, mask, k)):
        own = [part[clip, : lengths[clip]] for part in log_p]
        assert [(span.first, span.last) for span in spans] == brute_force_spans(*own, k)
        assert all(span.first <= span.last < lengths[clip] for span in spans)
        assert spans[0].log_p == pytest.approx(own[0][spans[0].first] + own[1][spans[0].last])


def test_a_start_behind_the_end_is_never_chosen():
    start, end = torch.full((1, 6), -5.0), torch.full((1, 6), -5.0)
    start[0, 5] = end[0, 0] = 5.0
    (span,) = decode(start, end, torch.ones(1, 6), 1)[0]
    assert span.first <= span.last


def test_the_reference_draws_the_same_for_the_same_seed():
    start, end = logits(8, 12, seed=0)
    mask = torch.ones(8, 12)
    draws = [decode_reference(start / 3, end / 3, mask, seed) for seed in (1, 1, 2)]
    assert draws[0] == draws[1]
    assert draws[0] != draws[2]


@pytest.mark.parametrize(
    ("start", "end", "spans"),
    [
        (2, 5, [(2, 4)]),  # the end itself is left out
        (5, 2, [(0, 7)]),  # nothing is between them
        (3, 3, [(0, 7)]),
        (0, 0, [(0, 7)]),
        (9, 11, [(0, 7)]),  # beyond the clip, since the released head has no mask
    ],
)
def test_the_reference_falls_back_to_the_whole_clip(start, end, spans):
    rows = torch.full((2, 1, 12), -1e4)
    rows[0, 0, start] = rows[1, 0, end] = 1e4
    mask = torch.arange(12)[None] < 8
    (drawn,) = decode_reference(*rows, mask)
    assert [(span.first, span.last) for span in drawn] == spans


def test_the_reference_joins_what_it_draws_twice():
    rows = torch.full((2, 1, 12), -1e4)
    rows[0, 0, [1, 6]] = rows[1, 0, [3, 8]] = 1e4
    outcomes = {
        tuple(
            (span.first, span.last) for span in decode_reference(*rows, torch.ones(1, 12), seed)[0]
        )
        for seed in range(30)
    }
    assert ((1, 2), (6, 7)) in outcomes
    assert ((1, 7),) in outcomes


@pytest.mark.parametrize(
    ("a", "b", "value"),
    [
        ((0, 4), (0, 4), 1.0),
        ((0, 4), (2, 6), 2 / 6),
        ((3, 6), (5, 8), 1 / 5),  # frames 3 to 5 and 5 to 7 share one
        ((4, 5), (4, 5), 1.0),  # one frame
        ((0, 2), (2, 4), 0.0),
        ((0, 1), (3, 4), 0.0),
        ((2, 2), (2, 2), 1.0),
    ],
)
def test_iou(a, b, value):
    assert iou(a, b) == pytest.approx(value)
    assert iou(b, a) == pytest.approx(value)


@pytest.mark.parametrize("baseline", ["mean", "top", "none"])
def test_labels_of_answers_that_are_right_in_the_moment_alone(baseline):
    """A model that is right inside the moment and gets a word right outside."""
    from grounding.scores import rouge1_recall

    rng = np.random.default_rng(0)
    for _ in range(50):
        frames = int(rng.integers(1, 6))
        first = int(rng.integers(0, 33 - frames))
        moment = range(first, first + frames)
        answers = ["A red circle." if t in moment else "a blue star" for t in range(32)]
        label = label_of([rouge1_recall(answer, "a red circle") for answer in answers], baseline)
        expected = (0, 32) if baseline == "none" else (moment.start, moment.stop)
        assert iou((label.first, label.last + 1), expected) == 1
