"""Shots from transition probabilities and from thumbnails, and which of them are kept."""

import numpy as np
import pytest

from tests.video.damage import overwrite_packets
from tools.shots.detectors import (
    adaptive_shots,
    fixed_shots,
    kept_shots,
    long_enough,
    shots_from_probabilities,
)
from tools.shots.settings import Settings
from tools.shots.steps import SceneStep
from tools.video.scan import Scan, scan_file

PLACES = ("beach", "forest", "night", "fire", "snow", "party")


def probabilities(length, *runs):
    """`length` zeros, with ones in the given runs of frames [first, last]."""
    values = np.zeros(length)
    for first, last in runs:
        values[first : last + 1] = 1
    return values


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        pytest.param([], [(0, 99)], id="no transition"),
        pytest.param([(39, 39)], [(0, 39), (40, 99)], id="hard cut: the old shot's last frame"),
        pytest.param([(39, 40)], [(0, 39), (41, 99)], id="hard cut marked on both sides"),
        pytest.param([(30, 49)], [(0, 30), (50, 99)], id="dissolve: in no shot but its first"),
        pytest.param([(39, 39), (46, 46)], [(0, 39), (47, 99)], id="7 frames are no shot"),
        pytest.param([(39, 39), (47, 47)], [(0, 39), (40, 47), (48, 99)], id="8 frames are one"),
        pytest.param([(0, 9)], [(10, 99)], id="begins in a fade"),
        pytest.param([(90, 99)], [(0, 90)], id="ends in a fade"),
        pytest.param([(0, 99)], [], id="nothing but transition"),
    ],
)
def test_shots_lie_between_transitions(runs, expected):
    found = shots_from_probabilities(probabilities(100, *runs), 0.5)
    assert long_enough(found, 25.0, 8) == expected


def test_the_threshold_itself_is_not_above_it():
    values = np.full(40, 0.1)
    values[19] = 0.5
    assert shots_from_probabilities(values, 0.5) == [(0, 39)]
    assert shots_from_probabilities(values, 0.49) == [(0, 19), (20, 39)]


# The adaptive detector


@pytest.fixture
def adaptive(make_video, tmp_path):
    """Make a video of shots, and find them again."""

    def find(*shots, name="a.mp4", **how):
        scan = scan_file(make_video(tmp_path / name, shots, **how), tmp_path / f"{name}.npz")
        return adaptive_shots(scan, 3.5)

    return find


def test_hard_cuts_are_found_at_the_exact_frame(adaptive):
    lengths = (12, 17, 40, 9, 23, 31)
    found = adaptive(*zip(PLACES, lengths, strict=True))
    assert found == [(0, 11), (12, 28), (29, 68), (69, 77), (78, 100), (101, 131)]


def test_cuts_are_found_across_the_chunks_of_a_scan(adaptive):
    found = adaptive(("beach", 255), ("fire", 257), ("snow", 60), size=(48, 32))
    assert found == [(0, 254), (255, 511), (512, 571)]


def test_a_video_without_a_cut_is_one_shot(adaptive):
    assert adaptive(("beach", 40)) == [(0, 39)]


def test_shots_that_are_too_short_are_left_out_and_not_joined(adaptive):
    lengths = (25, 6, 5, 10, 10, 25)
    found = adaptive(*zip(PLACES, lengths, strict=True), rate=25)
    assert found == [(0, 24), (25, 30), (31, 35), (36, 45), (46, 55), (56, 80)]
    assert long_enough(found, 25.0, 8) == [(0, 24), (36, 45), (46, 55), (56, 80)]


@pytest.mark.parametrize(
    ("rate", "frames", "long"),
    [(60, 7, False), (24, 7, False), (24, 8, True), (12, 3, False), (12, 4, True), (1, 1, True)],
)
def test_a_shot_of_a_slow_video_needs_the_time_of_eight_frames_of_a_film(rate, frames, long):
    assert bool(long_enough([(5, 4 + frames)], rate, 8)) == long


COLOURS = (((230, 60, 40), (250, 220, 90)), ((20, 60, 160), (90, 200, 240)))
COLOURS += (((20, 110, 40), (190, 230, 120)), ((90, 20, 120), (240, 120, 220)))


def bars(shot, moment):
    """Large moving bars, each shot in two colours of its own, (54, 96, 3) uint8 RGB."""
    down, right = np.mgrid[0:54, 0:96]
    stripes = (right + (down if shot % 2 else -down) + 5 * moment) // 24 % 2
    return np.array(COLOURS[shot])[stripes].astype(np.uint8)


@pytest.mark.parametrize("hold", [1, 2, 6])
def test_held_frames_are_no_cuts(hold, adaptive):
    frames = [bars(shot, moment) for shot in range(4) for moment in range(12) for _ in range(hold)]
    found = adaptive(frames=frames, rate=10 * hold)
    assert found == [(12 * hold * shot, 12 * hold * (shot + 1) - 1) for shot in range(4)]


def test_slides_that_stand_still_have_cuts(adaptive):
    frames = [bars(slide, 0) for slide in range(4) for _ in range(20)]
    assert adaptive(frames=frames, rate=10) == [(0, 19), (20, 39), (40, 59), (60, 79)]


def test_a_leap_of_a_day_in_the_time_stamps_harms_no_cut(adaptive):
    day = 24 * 3600 * 12
    stamps = [*range(24), *range(day, day + 12)]
    shots = (("beach", 12), ("fire", 12), ("snow", 12))
    assert adaptive(*shots, pts=stamps, name="a.mkv") == [(0, 11), (12, 23), (24, 35)]


# Which shots are kept


def scan_of(times, end_time, low, high):
    """A scan with these times and gray levels, and no thumbnails."""
    n = len(times)
    return Scan(
        path=None,
        pts=np.arange(n),
        times=np.array(times, float),
        end_time=end_time,
        gray_min=np.array(low, np.uint8),
        gray_max=np.array(high, np.uint8),
        sharpness=np.ones(n, np.float32),
        key=np.ones(n, bool),
        seekable=True,
        average_rate=n / end_time,
    )


def test_a_shot_is_kept_if_it_lasts_long_enough_by_the_clock():
    # 10 frames in 0.19 s, 10 in 0.2 s, 10 in 3 s, of which the last is shown for 2 s.
    times = [
        *np.linspace(0, 0.19, 10, endpoint=False),
        *np.linspace(0.19, 0.39, 10, endpoint=False),
        *np.linspace(0.39, 1.39, 10),
    ]
    scan = scan_of(times, 3.39, [0] * 30, [255] * 30)
    shots = [(0, 9), (10, 19), (20, 29)]
    assert kept_shots(shots, scan, 0.2, 10) == (
        [(1, 10, 19), (2, 20, 29)],
        {"min_shot_seconds": 1},
    )
    assert kept_shots(shots, scan, 2.9, 10) == ([(2, 20, 29)], {"min_shot_seconds": 2})


def test_a_shot_is_blank_by_the_levels_of_all_its_frames_together():
    scan = scan_of(np.arange(20), 20, [50] * 10 + [50] * 9 + [40], [59] * 10 + [60] * 10)
    assert kept_shots([(0, 9), (10, 19)], scan, 0.2, 10) == ([(1, 10, 19)], {"min_gray_range": 1})
    assert kept_shots([(0, 9), (10, 19)], scan, 0.2, 9) == ([(0, 0, 9), (1, 10, 19)], {})
    assert kept_shots([(10, 19)], scan, 0.2, 21) == ([], {"min_gray_range": 1})


@pytest.mark.parametrize(
    ("seconds", "pieces"),
    [
        (4, [(0, 3), (4, 7), (8, 11)]),
        (5, [(0, 5), (6, 11)]),  # 12 s are two pieces of 6 s, not two of 5 s and a rest
        (100, [(0, 11)]),
        (0.5, [(n, n) for n in range(12)]),  # no piece is empty
    ],
)
def test_one_take_is_cut_into_equal_pieces(seconds, pieces):
    scan = scan_of(np.arange(12), 12, [0] * 12, [255] * 12)
    assert fixed_shots(scan, seconds) == pieces


def test_pieces_are_equal_by_the_clock():
    # 6 frames in the first second, 3 in the next three
    scan = scan_of([*np.arange(6) / 6, 1, 2, 3], 4, [0] * 9, [255] * 9)
    assert fixed_shots(scan, 2) == [(0, 6), (7, 8)]


def test_a_shot_keeps_its_number_among_all_shots():
    scan = scan_of(np.arange(30), 30, [0] * 30, [255] * 10 + [5] * 10 + [255] * 10)
    assert kept_shots([(0, 9), (10, 19), (20, 29)], scan, 0.2, 10)[0] == [(0, 0, 9), (2, 20, 29)]


def test_damage_is_counted_though_a_scan_is_kept_from_before_that_was_done(
    dataset, make_video, tmp_path
):
    video, kept = make_video(tmp_path / "v.mp4", options={"g": "12"}), dataset.scan_path("v")
    overwrite_packets(video, [20])
    scan_file(video, kept)
    with np.load(kept) as archive:
        np.savez(kept, **{**archive, "one": archive["one"][:4]})
    step = SceneStep(dataset, Settings(shot_detector="fixed"))
    step.setup("cpu", threads=1)
    assert step.process({"video_id": "v", "video_path": str(video)})["damaged"] == 1
