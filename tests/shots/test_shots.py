"""Shots from transition probabilities and from thumbnails, and which of them are kept."""

from fractions import Fraction

import numpy as np
import pytest

from tools.shots.detectors import adaptive_shots, kept_shots, shots_from_probabilities
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
    assert shots_from_probabilities(probabilities(100, *runs), 0.5) == expected


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


@pytest.mark.parametrize("length", [1, 2, 7])
def test_a_video_shorter_than_a_shot_has_none(adaptive, length):
    assert adaptive(("beach", length)) == []


def test_a_shot_of_six_tenths_of_a_second_is_the_shortest(adaptive):
    # At 20 frames a second: 12 frames are 0.6 s, 11 are less.
    cuts = (("beach", 40), ("fire", 12), ("snow", 40))
    assert adaptive(*cuts, rate=20) == [(0, 39), (40, 51), (52, 91)]
    cuts = (("beach", 40), ("fire", 11), ("snow", 40))
    assert adaptive(*cuts, rate=20, name="b.mp4") == [(0, 39), (40, 90)]


def test_the_shortest_shot_is_measured_by_the_clock(adaptive):
    # 12 frames in the middle, which 40 fast ones bring to an average of 0.4 s.
    shots = (("beach", 40), ("fire", 12), ("snow", 40))
    slow = [*range(40), *range(40, 100, 5), *range(100, 140)]
    fast = [*range(0, 200, 5), *range(200, 212), *range(212, 412, 5)]
    clock = {"time_base": Fraction(1, 60), "rate": 60}
    assert adaptive(*shots, pts=slow, **clock) == [(0, 39), (40, 51), (52, 91)]
    assert adaptive(*shots, pts=fast, **clock, name="b.mp4") == [(0, 39), (40, 91)]


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
    assert kept_shots(shots, scan, 0.2, 10) == [(1, 10, 19), (2, 20, 29)]
    assert kept_shots(shots, scan, 2.9, 10) == [(2, 20, 29)]


def test_a_shot_is_blank_by_the_levels_of_all_its_frames_together():
    scan = scan_of(np.arange(20), 20, [50] * 10 + [50] * 9 + [40], [59] * 10 + [60] * 10)
    assert kept_shots([(0, 9), (10, 19)], scan, 0.2, 10) == [(1, 10, 19)]
    assert kept_shots([(0, 9), (10, 19)], scan, 0.2, 9) == [(0, 0, 9), (1, 10, 19)]
    assert kept_shots([(10, 19)], scan, 0.2, 21) == []


def test_a_shot_keeps_its_number_among_all_shots():
    scan = scan_of(np.arange(30), 30, [0] * 30, [255] * 10 + [5] * 10 + [255] * 10)
    assert kept_shots([(0, 9), (10, 19), (20, 29)], scan, 0.2, 10) == [(0, 0, 9), (2, 20, 29)]
