"""Shots: runs of frames between transitions, found from a scan's thumbnails.

A shot is [start, end], frame indices, end inclusive. Frames inside a dissolve or a fade belong to
no shot.
"""

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

import cv2
import numpy as np

from tools.video.scan import Scan

# A film's frames a second: where there are fewer, a shot must last as long as it must here.
FILM_RATE = 24.0
# Neighbours on each side of a frame: the best published sweep of PySceneDetect's adaptive detector.
ADAPTIVE_WINDOW = 3
# A picture that is shown again for less than HELD_SECONDS is a held frame (animation, a game or a
# capture in a faster file), a longer one stands still. The same picture: thumbnails that differ by
# SAME_PICTURE gray levels on average at most, which encoding alone may change.
HELD_SECONDS = 0.25
SAME_PICTURE = 0.5

Shots = list[tuple[int, int]]


def shots_from_probabilities(probabilities: np.ndarray, threshold: float) -> Shots:
    """Shots between the runs of frames whose transition probability is above the threshold.

    A run's first frame still belongs to the shot before it, and the next shot starts behind its
    last frame: at a hard cut the run is the old shot's last frame (TransNetV2's convention).

    Args:
        probabilities: (n,) float, one a frame.
    """
    inside = probabilities > threshold
    # In turn: where a run begins, and where it has ended.
    edges = np.flatnonzero(np.diff(inside, prepend=False, append=False)).tolist()
    starts, ends = [0, *edges[1::2]], [*edges[::2], len(probabilities) - 1]
    return [(start, end) for start, end in zip(starts, ends, strict=True) if start <= end]


def long_enough(shots: Shots, rate: float, min_frames: int) -> Shots:
    """The shots of at least `min_frames` frames; at fewer than FILM_RATE frames a second, of as
    many as are shown in that time.

    Args:
        rate: frames a second of the video.
    """
    least = min_frames * min(1.0, rate / FILM_RATE)
    return [(start, end) for start, end in shots if end - start + 1 >= least]


def adaptive_shots(scan: Scan, threshold: float) -> Shots:
    """Shots by PySceneDetect's adaptive detector on the scan's thumbnails: light, hard cuts
    only."""
    from scenedetect import AdaptiveDetector, FrameTimecode

    # Short shots are left out later, where the settings say how short: the detector itself would
    # join them to their neighbours.
    detector = AdaptiveDetector(
        adaptive_threshold=threshold, window_width=ADAPTIVE_WINDOW, min_scene_len=0
    )
    shown: list[int] = []  # the index of each picture that the detector has seen
    cuts: list[int] = []
    for index, picture in new_pictures(scan):
        time = FrameTimecode(len(shown), 25.0)
        shown.append(index)
        # The detector decides on a frame once it has seen the frames behind it.
        cuts += [cut.frame_num for cut in detector.process_frame(time, picture)]
    starts = [0, *(shown[cut] for cut in cuts)]
    ends = [start - 1 for start in starts[1:]] + [len(scan) - 1]
    return list(zip(starts, ends, strict=True))


def fixed_shots(scan: Scan, seconds: float) -> Shots:
    """Equal pieces of about this length each, whatever is in them."""
    length = scan.span_times(0, len(scan) - 1)[1]
    pieces = max(1, round(length / seconds))
    bounds = np.searchsorted(scan.times, length * np.arange(pieces) / pieces).tolist()
    return [(start, end - 1) for start, end in pairwise([*bounds, len(scan)]) if start < end]


def new_pictures(scan: Scan) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (index, thumbnail (27, 48, 3) uint8 BGR) of all frames but those that hold a picture.

    A detector that compares a frame's change with its neighbours' would take each new picture
    between held ones for a cut.
    """
    held: list[tuple[int, np.ndarray]] = []
    begun, last = 0.0, None  # of the picture that is shown: when, and its latest frame
    thumbnails = (thumbnail for chunk in scan.thumbnails() for thumbnail in chunk[..., ::-1])
    for index, thumbnail in enumerate(map(np.ascontiguousarray, thumbnails)):
        stands_still = scan.times[index] - begun >= HELD_SECONDS
        if stands_still:
            yield from held
            held = []
        if last is None or cv2.norm(thumbnail, last, cv2.NORM_L1) > SAME_PICTURE * last.size:
            held, begun = [], scan.times[index]
            yield index, thumbnail
        elif stands_still:
            yield index, thumbnail
        else:
            held.append((index, thumbnail))
        last = thumbnail
    yield from held


def kept_shots(
    shots: Shots, scan: Scan, min_seconds: float, min_gray_range: int
) -> tuple[list[tuple[int, int, int]], Counter[str]]:
    """The shots that last long enough and are not blank, and how many are not.

    Args:
        min_seconds: the shortest shot kept, in seconds of presentation time.
        min_gray_range: the least difference between the brightest and the darkest gray level that
            occur in any of a shot's frames, 0..255.

    Returns:
        (position, start, end) of those that are kept; the number of others by the limit that they
        miss, a parameter's name.
    """
    kept = []
    missed: Counter[str] = Counter()
    for position, (start, end) in enumerate(shots):
        begin, after = scan.span_times(start, end)
        low = int(scan.gray_min[start : end + 1].min())
        high = int(scan.gray_max[start : end + 1].max())
        # To the microsecond: 8 frames at 40 a second last 0.2 s, whatever binary fractions say.
        if round(after - begin, 6) < min_seconds:
            missed["min_shot_seconds"] += 1
        elif high - low < min_gray_range:
            missed["min_gray_range"] += 1
        else:
            kept.append((position, start, end))
    return kept, missed
