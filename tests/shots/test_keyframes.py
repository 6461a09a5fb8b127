"""Which frames of a clip are its key frames, and how sharp a frame is."""

import numpy as np
import pytest

from tools.shots.keyframes import key_frames, windows
from tools.video.sharpness import band_sharpness, sharpness

EVEN = np.ones(1000)


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        pytest.param((0, 90), [30, 60], id="a third and two thirds"),
        pytest.param((100, 190), [130, 160], id="of the span, not of the video"),
        pytest.param((0, 9), [3, 6], id="10 frames"),
        pytest.param((7, 7), [7, 7], id="1 frame"),
        pytest.param((7, 8), [7, 8], id="2 frames"),
        pytest.param((7, 10), [8, 9], id="4 frames"),
    ],
)
def test_equally_sharp_frames_are_taken_at_a_third_and_two_thirds(span, expected):
    assert key_frames(*span, EVEN) == expected


def test_a_sharper_frame_near_by_wins():
    values = EVEN.copy()
    values[35], values[70] = 2, 2
    assert key_frames(0, 90, values) == [35, 70]


def test_sharpness_counts_less_towards_the_edge_of_the_window():
    # 10 of 15 frames from the centre, the weight is cos(60 degrees) = 0.5.
    values = EVEN.copy()
    values[20] = 1.99
    assert key_frames(0, 90, values)[0] == 30
    values[20] = 2.01
    assert key_frames(0, 90, values)[0] == 20


def test_a_sharp_frame_outside_of_the_windows_is_not_taken():
    values = EVEN.copy()
    values[[0, 14, 15, 45, 75, 76, 90]] = 1000
    assert key_frames(0, 90, values) == [30, 60]


def test_where_all_is_black_the_centre_is_taken():
    assert key_frames(0, 90, np.zeros(100)) == [30, 60]


@pytest.mark.parametrize("frames", range(1, 51))
def test_windows_lie_in_the_span_and_mirror_each_other(frames):
    start, end = 1000, 1000 + frames - 1
    first, second = windows(start, end)
    for indices, weights in (first, second):
        assert len(indices) == len(weights) >= 1
        assert start <= indices[0] <= indices[-1] <= end
        assert np.array_equal(indices, np.arange(indices[0], indices[-1] + 1))
        assert weights.min() > 0
        assert weights.max() <= 1
    assert np.array_equal(first[0] - start, end - second[0][::-1])
    assert first[1] == pytest.approx(second[1][::-1])
    chosen = key_frames(start, end, np.random.default_rng(frames).random(end + 1))
    assert chosen[0] in first[0]
    assert chosen[1] in second[0]
    assert chosen[0] <= chosen[1]


@pytest.mark.parametrize("frames", range(8, 51))
def test_from_the_shortest_shot_on_the_key_frames_are_two(frames):
    for seed in range(20):
        first, second = key_frames(0, frames - 1, np.random.default_rng(seed).random(frames))
        assert first < second


# Sharpness


def test_a_flat_frame_has_no_sharpness():
    assert sharpness(np.full((48, 64), 130, np.uint8)) == 0


def test_the_sharpness_of_one_edge_by_hand():
    # Columns of 0 and 160; blurred by (1 2 1) / 4: 0 40 120 160; Laplacian across: 40 40 -40 -40,
    # which OpenCV's 3x3 kernel (2 0 2 / 0 -8 0 / 2 0 2) counts four times.
    frame = np.zeros((50, 10), np.uint8)
    frame[:, 5:] = 160
    assert sharpness(frame) == pytest.approx(4 * (40 + 40 + 40 + 40) / 10)


def test_blur_lowers_sharpness_and_contrast_raises_it():
    noise = np.random.default_rng(0).integers(0, 256, (60, 80), dtype=np.uint8)
    box = sum(np.roll(noise, shift, axis=1) // 3 for shift in (-1, 0, 1))
    assert sharpness(noise) > sharpness(noise // 2) > sharpness(noise // 4) > 0
    assert sharpness(noise) > 1.3 * sharpness(box.astype(np.uint8))


def test_bands_measure_what_the_whole_frame_does_where_it_looks_alike_everywhere():
    frame = np.random.default_rng(0).integers(0, 256, (720, 320), dtype=np.uint8)
    assert band_sharpness(frame) == pytest.approx(sharpness(frame), rel=0.03)


@pytest.mark.parametrize("height", [1, 2, 16, 127])
def test_a_low_frame_is_measured_whole(height):
    frame = np.random.default_rng(0).integers(0, 256, (height, 40), dtype=np.uint8)
    assert band_sharpness(frame) == sharpness(frame)


@pytest.mark.parametrize("height", [128, 187, 240, 719, 1080])
def test_bands_are_spread_over_the_whole_height(height):
    def seen(row):
        frame = np.zeros((height, 40), np.uint8)
        frame[row, ::2] = 255
        return band_sharpness(frame) > 0

    rows = [row for row in range(height) if seen(row)]
    assert 0.15 < len(rows) / height < 0.35
    assert rows[0] < 64
    assert rows[-1] >= height - 64
