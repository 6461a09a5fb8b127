"""Merging of visual tokens: by hand, against a plain loop, and what it cannot know."""

import math

import pytest
import torch

from distillation.teachers.merging import Merging, clusters, merge

SCALES = (8, 6, 4)
SMALL = Merging(SCALES)


def test_six_tokens_by_hand():
    # On a line, d = 1. k = 2: a token and its nearest neighbour; density exp(-d^2 / 2).
    # 0, 1 and 10, 11 are exp(-0.5) dense, 12 too (1 from 11), 5 is exp(-8).
    tokens = torch.tensor([0.0, 1.0, 5.0, 10.0, 11.0, 12.0])[None, :, None]
    # The first of the densest is 12 from the farthest, 1 is 1 from it, 10 is 9 from 1; 11 and 12
    # are 1 from denser ones, and 5 is alone and thin. Two centres: 0 and 10.
    assert clusters(tokens, 2, 2).tolist() == [[0, 0, 0, 1, 1, 1]]
    assert merge(tokens, 2, 2)[0, :, 0].tolist() == pytest.approx([2.0, 11.0], abs=1e-4)


def test_equally_dense_tokens_are_told_apart_by_their_place():
    tokens = torch.zeros(1, 64, 8)
    tokens[:, 32:] = 1
    tokens[:, 60:] = 5  # three kinds: 32, 28 and 4 tokens
    assert sorted(clusters(tokens, 3, 3)[0].bincount().tolist()) == [4, 28, 32]
    means = sorted(merge(tokens, 3, 3)[0, :, 0].tolist())
    assert means == pytest.approx([0, 1, 5], abs=1e-4)


def slow_clusters(points, count, k):
    """DPC-KNN of one row of tokens, (n, d), in plain loops."""
    n, width = points.shape
    k = min(3, max(count // 2, 1)) if k > count else k
    apart = ((points[:, None] - points[None]) ** 2).sum(-1).div(width).sqrt().tolist()
    density = [math.exp(-sum(d * d for d in sorted(row)[:k]) / k) for row in apart]
    rank = sorted(range(n), key=lambda i: (-density[i], i))  # the densest first
    farthest = max(map(max, apart))
    score = [0.0] * n
    for place, i in enumerate(rank):
        nearest = min((apart[i][j] for j in rank[:place]), default=farthest)
        score[i] = nearest * density[i]
    centres = sorted(range(n), key=lambda i: (-score[i], i))[:count]
    labels = [min(range(count), key=lambda c: apart[i][centres[c]]) for i in range(n)]
    for label, centre in enumerate(centres):
        labels[centre] = label
    return labels


@pytest.mark.parametrize("frames", [3, 8, 17, 40])
def test_events_and_tokens_are_those_of_a_plain_loop(frames):
    patches = torch.randn(frames, 12, 6, generator=torch.Generator().manual_seed(frames))
    labels = slow_clusters(patches.mean(1), math.ceil(frames / 16), 5)
    order = list(dict.fromkeys(labels))
    events = [[t for t in range(frames) if labels[t] == label] for label in order]
    assert SMALL.events(patches) == events
    expected = []
    scales = []
    for count, k in zip(SCALES, (5, 3, 3), strict=True):
        before = scales[-1] if scales else patches
        scales.append(torch.stack([means_of(row, slow_clusters(row, count, k)) for row in before]))
    for event in events:
        for scale, count, k in zip(scales, SCALES, (5, 3, 3), strict=True):
            every = scale[event].flatten(0, 1)
            expected.append(means_of(every, slow_clusters(every, count, k)))
    merged = SMALL.tokens(patches)
    assert merged.shape == (18 * math.ceil(frames / 16), 6)
    assert torch.allclose(merged, torch.cat(expected), atol=1e-5)


def means_of(tokens, labels):
    """The mean of each cluster."""
    labels = torch.tensor(labels)
    return torch.stack([tokens[labels == label].mean(0) for label in range(labels.max() + 1)])


def test_two_frames_are_pictures_and_three_a_video():
    patches = torch.randn(3, 12, 6, generator=torch.Generator().manual_seed(0))
    assert SMALL.tokens(patches[:2]).shape == (2 * 18, 6)
    assert SMALL.tokens(patches).shape == (18, 6)


def test_below_seventeen_frames_the_order_is_lost():
    patches = torch.randn(40, 12, 6, generator=torch.Generator().manual_seed(0))
    walk = patches.cumsum(0)
    eight = walk[:8]
    there, back = (SMALL.tokens(row).sort(0).values for row in (eight, eight.flip(0)))
    assert torch.allclose(there, back, atol=1e-5)
    assert not torch.allclose(SMALL.tokens(walk), SMALL.tokens(walk.flip(0)), atol=1e-2)


def scenes(seed):
    """Thirteen noisy frames of each of three scenes."""
    generator = torch.Generator().manual_seed(seed)
    centres = 2 * torch.randn(3, 1, 16, generator=generator)
    return centres.repeat_interleave(13, 0) + 0.5 * torch.randn(39, 1, 16, generator=generator)


def test_three_scenes_are_three_events():
    runs = [list(range(start, start + 13)) for start in (0, 13, 26)]
    assert sum(Merging().events(scenes(seed)) == runs for seed in range(20)) >= 18


def test_the_released_noise_decides_where_events_are_few():
    steps = torch.randn(40, 1, 16, generator=torch.Generator().manual_seed(0))
    walk = steps.cumsum(0)  # no scenes: every cut is as good

    def noisy(seed):
        return Merging().events(walk, torch.Generator().manual_seed(seed))

    assert len({str(noisy(seed)) for seed in range(6)}) > 3
    assert noisy(3) == noisy(3) and Merging().events(walk) == Merging().events(walk)
    first, second = (Merging(SCALES, noise=0).tokens(walk.repeat(1, 12, 1)) for _ in range(2))
    assert torch.equal(first, second)
