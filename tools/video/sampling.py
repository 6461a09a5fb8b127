"""Frames of a video spread over its length, as training wants them, without a scan.

The file is read once without decoding, for the times of its frames; then only what leads up to the
wanted frames is decoded. Whatever FFmpeg decodes is read: AV1, VP9 with hidden frames, a WebM
without a duration, a transport stream whose clock jumps.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.frame import VideoFrame

from tools.video.decode import Display, VideoError, clock_jumps, decode, open_video
from tools.video.scan import TRUNCATED_SHARE, declared_seconds

# Goes up when the same file may be read in another way, or refused for another reason.
READER_VERSION = 1
# A header's frames a second are taken as they are where the frames' times differ by less.
RATE_TOLERANCE = 0.01
# Stamps of Matroska are rounded to thousandths of a second.
STAMP_TOLERANCE = 0.0005

# Which frames to take, given their number and how many come a second.
Choice = Callable[[int, float], Sequence[int]]


@dataclass(frozen=True)
class Timeline:
    """When the frames of a file are shown.

    Attributes:
        stamps: (n,) int64, rising, in the stream's time base; from the first frame at which a
            decoder can start.
        keys: (k,) int64, those of them at which a decoder can start.
        rate: frames a second.
        seekable: every frame has a stamp of its own, so that it can be found by it.
    """

    stamps: np.ndarray
    keys: np.ndarray
    rate: float
    seekable: bool


@dataclass(frozen=True)
class Sample:
    """Some frames of a video.

    Attributes:
        pictures: (k, height, width, 3) uint8 RGB, as people see them.
        indices: which frames they are, k of the video's `total`.
        total: frames of the video.
        rate: its frames a second.
    """

    pictures: np.ndarray
    indices: list[int]
    total: int
    rate: float


def sample_frames(video: Path, choose: Choice) -> Sample:
    """Decode some frames of a video.

    A frame that is damaged is replaced by the next one that is not, at the very end by the last.

    Args:
        choose: the indices to decode, rising.

    Raises:
        VideoError: the file is not there, is no video, holds less than its header says, or nothing
            in it can be decoded.
    """
    with open_video(video) as (container, stream):
        timeline = read_timeline(container, stream)
    indices = list(choose(len(timeline.stamps), timeline.rate))
    with open_video(video) as (container, stream):
        if timeline.seekable:
            frames = _seek(container, stream, timeline, indices)
        else:
            wanted = Counter(indices)
            counted = enumerate(decode(container, stream))
            frames = (frame for index, frame in counted for _ in range(wanted[index]))
        display = Display(stream)
        pictures: np.ndarray | None = None
        last: VideoFrame | None = None
        for place, frame in enumerate(frames):
            if frame is not last:
                picture, last = display.picture(frame), frame
            if pictures is None:
                pictures = np.empty((len(indices), *picture.shape), np.uint8)
            if picture.shape != pictures.shape[1:]:  # a stream may change its size
                picture = cv2.resize(picture, pictures.shape[2:0:-1], interpolation=cv2.INTER_AREA)
            pictures[place] = picture
    if pictures is None:
        raise VideoError("no frames: nothing in the video stream can be decoded")
    if place + 1 < len(indices) and indices[place + 1] < TRUNCATED_SHARE * len(timeline.stamps):
        raise VideoError(
            f"truncated: nothing can be decoded from frame {indices[place + 1]} on, of"
            f" {len(timeline.stamps)}"
        )
    pictures[place + 1 :] = picture
    return Sample(pictures, indices, len(timeline.stamps), timeline.rate)


def sample_moments(
    video: Path, choose: Callable[[float], Sequence[float]]
) -> tuple[Sample, list[float], float]:
    """Decode the frames that are on the screen at some moments, whatever the frame rate, variable
    or not.

    Args:
        choose: gives the moments, rising, in seconds from the first frame, of a video's length in
            seconds.

    Returns:
        The frames, the seconds at which each begins to be shown, and the video's length in seconds.

    Raises:
        VideoError: as `sample_frames`.
    """
    with open_video(video) as (container, stream):
        timeline = read_timeline(container, stream)
        unit = float(stream.time_base or 0) if timeline.seekable else 1 / timeline.rate
    if not len(timeline.stamps):
        raise VideoError("no frames: nothing in the video stream can be decoded")
    times = (timeline.stamps - timeline.stamps[0]) * unit
    seconds = float(times[-1]) + 1 / timeline.rate
    moments = np.asarray(choose(seconds)) + STAMP_TOLERANCE
    indices = (np.searchsorted(times, moments, "right") - 1).clip(min=0)
    sample = sample_frames(video, lambda total, rate: indices.tolist())
    return sample, times[indices].tolist(), seconds


def read_timeline(container: av.container.InputContainer, stream: av.VideoStream) -> Timeline:
    """The times of all frames, from the packets alone.

    Raises:
        VideoError: the file breaks off, or holds less than its header says.
    """
    try:
        packets = [
            (packet.pts, packet.dts, packet.is_keyframe)
            for packet in container.demux(stream)
            if packet.size and not packet.is_discard
        ]
    except (av.error.FFmpegError, OSError) as error:
        raise VideoError(f"breaks off: {error.strerror}") from error
    first = next((place for place, (*_, key) in enumerate(packets) if key), 0)
    stamps = np.unique(np.array([pts for pts, *_ in packets if pts is not None], np.int64))
    keys = np.unique(
        np.array([pts for pts, _, key in packets if key and pts is not None], np.int64)
    )
    # In the order of the file: sorted stamps do not show that the clock has gone back.
    written = np.array([dts for _, dts, _ in packets if dts is not None], np.int64)
    rate = float(stream.average_rate or stream.guessed_rate or 25)
    base = float(stream.time_base or 0)
    steps = np.diff(stamps) * base
    distinct = len(stamps) == len(packets) > 1 and len(keys) > 0
    if not distinct or clock_jumps(container, np.diff(written) * base).any():
        return Timeline(np.arange(len(packets) - first), keys, rate, seekable=False)
    measured = len(steps) / float(steps.sum())
    # Stamps in thousandths of a second (Matroska) are less exact than a rate in the header.
    if abs(rate / measured - 1) > RATE_TOLERANCE:
        rate = measured
    length, declared = len(stamps) / rate, declared_seconds(stream, int(stamps[0]))
    if length < TRUNCATED_SHARE * declared:
        raise VideoError(f"truncated: {length:.1f} s of {declared:.1f} s are in the file")
    return Timeline(stamps[stamps >= keys[0]], keys, rate, seekable=True)


def _seek(
    container: av.container.InputContainer,
    stream: av.VideoStream,
    timeline: Timeline,
    indices: Sequence[int],
) -> Iterator[VideoFrame]:
    """Find frames by their stamps, each from the nearest frame at which a decoder can start."""
    decoded: Iterator[VideoFrame] = iter(())
    frame: VideoFrame | None = None
    for stamp in timeline.stamps[list(indices)]:
        place = int(np.searchsorted(timeline.keys, stamp, "right")) - 1
        if frame is None or frame.pts < timeline.keys[place]:
            # In some files a seek lands behind its key frame (MPEG-TS): then begin at the one
            # before, at last at the start of the file. A seek that fails leaves the place as it is.
            for key in (*timeline.keys[place::-1][:2], min(0, timeline.keys[0])):
                with suppress(av.error.FFmpegError):
                    container.seek(int(key), stream=stream)
                decoded = (frame for frame in decode(container, stream) if frame.pts is not None)
                frame = next(decoded, None)
                if frame is not None and frame.pts <= stamp:
                    break
        while frame is not None and frame.pts < stamp:
            frame = next(decoded, None)
        if frame is None:
            return
        yield frame
