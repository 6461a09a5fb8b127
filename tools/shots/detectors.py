"""Shots: runs of frames between transitions, found from a scan's thumbnails.

A shot is [start, end], frame indices, end inclusive. Frames inside a dissolve or a fade belong to
no shot.
"""

from fractions import Fraction

import numpy as np

from tools.video.scan import Scan

# A shot is at least this many frames (TEMPLE); what is shorter is a flash or part of a transition.
MIN_SHOT_FRAMES = 8
# The best published sweep of PySceneDetect's adaptive detector: neighbours on each side of a frame,
# and the shortest scene in seconds.
ADAPTIVE_WINDOW = 3
ADAPTIVE_MIN_SECONDS = 0.6

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
    return _long_enough([0, *edges[1::2]], [*edges[::2], len(probabilities) - 1])


def adaptive_shots(scan: Scan, threshold: float) -> Shots:
    """Shots by PySceneDetect's adaptive detector on the scan's thumbnails: light, hard cuts
    only."""
    from scenedetect import AdaptiveDetector, FrameTimecode
    from scenedetect.common import Timecode

    tick = Fraction(1, 90000)
    detector = AdaptiveDetector(
        adaptive_threshold=threshold,
        window_width=ADAPTIVE_WINDOW,
        min_scene_len=ADAPTIVE_MIN_SECONDS,
    )
    cuts: list[int] = []
    thumbnails = (thumbnail for chunk in scan.thumbnails() for thumbnail in chunk[..., ::-1])
    for index, (time, thumbnail) in enumerate(zip(scan.times, thumbnails, strict=True)):
        # The detector measures time by the frames' time stamps, since frame rates may vary.
        now = FrameTimecode(Timecode(round(time / tick), tick), 1 / tick)
        if detector.process_frame(now, np.ascontiguousarray(thumbnail)):
            # The detector decides on a frame once it has seen the frames behind it.
            cuts.append(index - ADAPTIVE_WINDOW)
    return _long_enough([0, *cuts], [cut - 1 for cut in [*cuts, len(scan)]])


def _long_enough(starts: list[int], ends: list[int]) -> Shots:
    shots = zip(starts, ends, strict=True)
    return [(start, end) for start, end in shots if end - start + 1 >= MIN_SHOT_FRAMES]


def kept_shots(
    shots: Shots, scan: Scan, min_seconds: float, min_gray_range: int
) -> list[tuple[int, int, int]]:
    """(position, start, end) of the shots that last long enough and are not blank.

    Args:
        min_seconds: the shortest shot kept, in seconds of presentation time.
        min_gray_range: the least difference between the brightest and the darkest gray level that
            occur in any of a shot's frames, 0..255.
    """
    kept = []
    for position, (start, end) in enumerate(shots):
        begin, after = scan.span_times(start, end)
        low = int(scan.gray_min[start : end + 1].min())
        high = int(scan.gray_max[start : end + 1].max())
        # To the microsecond: 8 frames at 40 a second last 0.2 s, whatever binary fractions say.
        if round(after - begin, 6) >= min_seconds and high - low >= min_gray_range:
            kept.append((position, start, end))
    return kept
