"""Frames of a video, or an image, by their time."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from tools.video.decode import VideoError, open_video
from tools.video.sampling import STAMP_TOLERANCE, Sample, read_timeline, sample_frames


def sample_at(video: Path, choose: Callable[[float], Sequence[float]]) -> Sample:
    """Decode the frames that are on the screen at some moments, whatever the video's frame rate,
    variable or not.

    Args:
        video: or an image, which is a video of one frame.
        choose: the moments, rising, in seconds from the first frame, given the video's length; what
            lies beyond the ends becomes the first or last frame.

    Raises:
        VideoError: as `sample_frames`.
    """
    with open_video(video) as (container, stream):
        timeline = read_timeline(container, stream)
    if not len(timeline.stamps):
        raise VideoError("no frames: nothing in the video stream can be decoded")
    times = (timeline.stamps - timeline.stamps[0]) * timeline.unit
    moments = np.asarray(choose(float(times[-1]) + 1 / timeline.rate))
    places = np.searchsorted(times, moments + STAMP_TOLERANCE, "right") - 1
    indices = places.clip(min=0).tolist()
    return sample_frames(video, lambda total, rate: indices)
