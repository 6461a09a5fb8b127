"""Spans: from scores of single frames to a label, and from the bridge's logits to frames.

Spans have one scale on disk: ratios of the video's time, 0 to 1. Of n equal intervals that a video
is cut into, i covers the ratios i / n to (i + 1) / n, so that a span of intervals (first, last) is
the ratios (first / n, (last + 1) / n).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from tools.errors import UserError, did_you_mean

BASELINES = ("none", "min", "mean", "top")
DIGITS = 9  # decimals to which areas and places are compared: sums of thirds are not exact

Ratios = tuple[float, float]


@dataclass(frozen=True)
class Label:
    """The moment that the scores of a video's frames point at.

    Attributes:
        first, last: frames, both within it.
        confidence: 1 - area of the best rectangle outside / area of the span's, 0 to 1; None where
            no frame stands out, so that there is no label, and the span is the whole clip.
    """

    first: int
    last: int
    confidence: float | None


@dataclass(frozen=True)
class Span:
    """Flow tokens `first` to `last`, both within it, and its log p(start) + log p(end), nats."""

    first: int
    last: int
    log_p: float


def largest_rectangle(scores: Sequence[float]) -> tuple[int, int, float]:
    """First, last and area of the largest rectangle under a histogram: the a <= b with the largest
    (b - a + 1) * min(scores[a..b]); of equal ones the first. O(n), by a stack of rising scores.

    The whole histogram with area 0 where no score is above 0.
    """
    best = (0.0, 0, 1 - len(scores))  # area, -first, -last
    rising: list[int] = []  # places whose scores rise
    for place, score in enumerate([*scores, -math.inf]):
        while rising and scores[rising[-1]] >= score:
            height = scores[rising.pop()]
            first = rising[-1] + 1 if rising else 0
            if height > 0:
                area = round((place - first) * height, DIGITS)
                best = max(best, (area, -first, 1 - place))
        rising.append(place)
    area, first, last = best
    return -first, -last, area


def above_baseline(scores: Sequence[float], baseline: str) -> list[float]:
    """What of each score counts.

    Args:
        baseline: none: all of it (VideoTGB with InstructBLIP); min: what exceeds the smallest
            (VideoTGB's self-refinement with BLIP-2); mean: what exceeds the mean; top: the largest
            scores alone.

    Raises:
        UserError: another baseline.
    """
    values = np.asarray(scores, float)
    lowest = values.min()
    if baseline == "none":
        above = values
    elif baseline == "min":
        above = values - lowest
    elif baseline == "mean":
        above = np.maximum(0, values - values.mean())
    elif baseline == "top":
        above = np.where(np.isclose(values, values.max()), values - lowest, 0)
    else:
        hint = did_you_mean(baseline, BASELINES)
        raise UserError(f"baseline {baseline!r}: choose one of {', '.join(BASELINES)}{hint}")
    return above.tolist()


def label_of(scores: Sequence[float], baseline: str = "mean") -> Label:
    """The label that the scores of a video's frames give."""
    above = above_baseline(scores, baseline)
    first, last, area = largest_rectangle(above)
    if not area:
        return Label(0, len(scores) - 1, None)
    outside = [0.0 if first <= place <= last else score for place, score in enumerate(above)]
    return Label(first, last, 1 - largest_rectangle(outside)[2] / area)


def ratios_of(first: int, last: int, length: int) -> Ratios:
    """The ratios of time that the intervals `first` to `last` of `length` cover."""
    return first / length, (last + 1) / length


def intervals_of(ratios: Ratios, length: int) -> tuple[int, int]:
    """First and last of `length` intervals that a span of ratios covers at least a part of; it
    undoes `ratios_of`. Of an empty span, the one that it lies in."""
    first = math.floor(round(ratios[0] * length, DIGITS))
    last = math.ceil(round(ratios[1] * length, DIGITS)) - 1
    first = min(max(first, 0), length - 1)
    return first, min(max(first, last), length - 1)


def tokens_of(ratios: Ratios, length: int) -> tuple[int, int]:
    """First and last of a video's `length` flow tokens that a span of ratios covers.

    Token i is the movement from picture i to picture i + 1 of length + 1, each of which is shown
    for an equal part of the video; the last token stands for the last picture too.
    """
    first, last = intervals_of(ratios, length + 1)
    return min(first, length - 1), min(last, length - 1)


def ratios_of_tokens(first: int, last: int, length: int) -> Ratios:
    """The ratios of time that the flow tokens `first` to `last` of `length` cover; it undoes
    `tokens_of`."""
    return ratios_of(first, last + (last == length - 1), length + 1)


def bounds_of(count: int, n: int | None) -> np.ndarray:
    """Where each of n equal parts of `count` tokens begins, and where the last one ends, (n + 1,);
    of fewer tokens, or where n is None, every token is a part."""
    parts = min(count, n or count)
    return np.arange(parts + 1) * count // parts


def decode(start_logits: Any, end_logits: Any, mask: Any, k: int = 1) -> list[list[Span]]:
    """The k best disjoint spans of each clip, fewer where a clip has fewer tokens.

    The best span is the pair start <= end with the largest log p(start) + log p(end); each next one
    is the best of those that overlap none before it. Of equal ones the first.

    Args:
        start_logits, end_logits: (B, L) tensors.
        mask: (B, L) true or 1 for a clip's tokens, which come first.
    """
    clips = zip(_log_p(start_logits), _log_p(end_logits), _lengths(mask), strict=True)
    return [_disjoint(start[:n], end[:n], k) for start, end, n in clips]


def _disjoint(start: np.ndarray, end: np.ndarray, k: int) -> list[Span]:
    """See `decode`; a span that overlaps none lies in one of the stretches between them."""
    spans: list[Span] = []
    stretches = [(0, len(start))]
    while stretches and len(spans) < k:
        candidates = [_best(start, end, *stretch) for stretch in stretches]
        span = max(candidates, key=lambda span: (span.log_p, -span.first))
        low, high = stretches.pop(candidates.index(span))
        spans.append(span)
        around = ((low, span.first), (span.last + 1, high))
        stretches += [(low, high) for low, high in around if low < high]
    return spans


def _best(start: np.ndarray, end: np.ndarray, low: int, high: int) -> Span:
    """The best span within the tokens low to high - 1."""
    best_start = np.maximum.accumulate(start[low:high])  # up to each token
    last = int(np.argmax(best_start + end[low:high]))
    first = int(np.argmax(start[low : low + last + 1]))
    return Span(low + first, low + last, float(start[low + first] + end[low + last]))


def decode_reference(
    start_logits: Any, end_logits: Any, mask: Any, seed: int = 0
) -> list[list[Span]]:
    """The spans of each clip as the released code draws them, for comparison.

    Twice a start and an end are drawn, each by itself. Both 0, or one beyond the clip: the whole
    clip; else the tokens from the start to before the end, none where the end is not behind it. The
    two are joined where they touch; where both are empty, the whole clip is taken.

    Args:
        start_logits, end_logits, mask: as of `decode`; logits beyond a clip count here.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    drawn = []
    clips = zip(_log_p(start_logits), _log_p(end_logits), _lengths(mask), strict=True)
    for start, end, length in clips:
        tokens = np.zeros(length, bool)
        for _ in range(2):
            first, after = (rng.choice(len(p), p=_probabilities(p)) for p in (start, end))
            whole = first == after == 0 or max(first, after) >= length
            tokens[slice(None) if whole else slice(first, after)] = True
        if not tokens.any():
            tokens[:] = True
        edges = np.flatnonzero(np.diff(np.concatenate([[False], tokens, [False]])))
        drawn.append(
            [
                Span(int(first), int(after - 1), float(start[first] + end[after - 1]))
                for first, after in edges.reshape(-1, 2)
            ]
        )
    return drawn


def _log_p(logits: Any) -> np.ndarray:
    """(B, L) natural logarithms, float64."""
    return logits.detach().double().log_softmax(-1).cpu().numpy()


def _lengths(mask: Any) -> list[int]:
    return mask.bool().sum(-1).tolist()


def _probabilities(log_p: np.ndarray) -> np.ndarray:
    p = np.exp(log_p)
    return p / p.sum()


def union_of(spans: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Spans in their order, of which those that touch have been joined."""
    merged: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            start, before = merged.pop()
            end = max(before, end)
        merged.append((start, end))
    return merged


def frame_times(spans: Sequence[tuple[float, float]], n: int) -> list[float]:
    """n rising times in the union of spans: the middles of n equal parts of it.

    Args:
        spans: (start, end) seconds each, in any order; an empty one counts only where all are.
    """
    merged = union_of(spans)
    lengths = np.array([end - start for start, end in merged])
    after = np.cumsum(lengths)
    wanted = (np.arange(n) + 0.5) / n * after[-1]
    which = np.searchsorted(after, wanted, "right").clip(max=len(merged) - 1)
    starts = np.array([start for start, _ in merged])
    return (starts[which] + wanted - (after - lengths)[which]).tolist()


def middles(total: int, n: int) -> list[int]:
    """n of `total` frames, in the middles of n equal intervals, as the method takes them.

    The bounds of the intervals are those of total doubled until it is at least n: few frames come
    several times each.
    """
    repeats = 1
    while total * repeats < n:
        repeats *= 2
    bounds = [total * repeats * place // n for place in range(n + 1)]
    return [(before + after - 1) // 2 // repeats for before, after in pairwise(bounds)]


def iou(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Intersection over union of two spans of times or ratios; of two empty ones 1 if they are
    equal. Spans of whole frames are (first, last + 1)."""
    intersection = min(a[1], b[1]) - max(a[0], b[0])
    union = max(a[1], b[1]) - min(a[0], b[0])
    if intersection < 0:
        return 0.0
    return intersection / union if union else 1.0


def iou_of_unions(
    spans: Sequence[tuple[float, float]], others: Sequence[tuple[float, float]]
) -> float:
    """Intersection over union of the time that some spans cover and that others cover; 1 where none
    covers any."""
    covered = [
        sum(end - start for start, end in union_of(all_spans))
        for all_spans in (spans, others, [*spans, *others])
    ]
    return (covered[0] + covered[1] - covered[2]) / covered[2] if covered[2] else 1.0
