"""Frames of a video spread over its length, as training wants them, or some a second; no scan.

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
READER_VERSION = 2
# A header's frames a second are taken as they are where the frames' times differ by less.
RATE_TOLERANCE = 0.01
# Stamps of Matroska are rounded to thousandths of a second.
STAMP_TOLERANCE = 0.0005

# Which frames to take, given their number and how many come a second.
Choice = Callable[[int, float], Sequence[int]]
# Which frames to take, given their times: (n,) seconds from the first frame; and the frame rate.
TimedChoice = Callable[[np.ndarray, float], Sequence[int]]
# Which moments to take, rising, in seconds from the first frame, given the length in seconds.
Moments = Callable[[float], Sequence[float]]


@dataclass(frozen=True)
class Timeline:
    """When the frames of a file are shown.

    Attributes:
        stamps: (n,) int64, rising, in the stream's time base; from the first frame at which a
            decoder can start.
        keys: (k,) int64, those of them at which a decoder can start.
        rate: frames a second.
        unit: seconds of the stamps' unit.
        seekable: every frame has a stamp of its own, so that it can be found by it; else the stamps
            count the frames.
    """

    stamps: np.ndarray
    keys: np.ndarray
    rate: float
    unit: float
    seekable: bool

    @property
    def times(self) -> np.ndarray:
        """(n,) seconds from the first frame."""
        return (self.stamps - self.stamps[:1]) * self.unit


@dataclass(frozen=True)
class Sample:
    """Some frames of a video.

    Attributes:
        pictures: (k, height, width, 3) uint8 RGB, as people see them.
        indices: which frames they are, k of the video's `total`.
        times: seconds from the first frame at which each begins to be shown.
        total: frames of the video.
        rate: its frames a second.
        seconds: how long the video is.
    """

    pictures: np.ndarray
    indices: list[int]
    times: list[float]
    total: int
    rate: float
    seconds: float


def sample_frames(video: Path, choose: Choice) -> Sample:
    """Decode some frames of a video.

    A frame that is damaged is replaced by the next one that is decoded, at the very end by the
    last.

    Args:
        choose: the indices to decode, rising.

    Raises:
        VideoError: the file is not there, is no video, holds less than its header says, or nothing
            in it can be decoded.
    """
    return sample_by_time(video, lambda times, rate: choose(len(times), rate))


def sample_by_time(video: Path, choose: TimedChoice, max_pixels: int | None = None) -> Sample:
    """`sample_frames` for a choice that looks at the frames' times.

    Args:
        max_pixels: scale larger frames down to at most this many pixels; None: as they are.
    """
    with open_video(video) as (container, stream):
        timeline = read_timeline(container, stream)
    if not len(timeline.stamps):
        raise VideoError("no frames: nothing in the video stream can be decoded")
    times = timeline.times
    indices = list(choose(times, timeline.rate))
    with open_video(video) as (container, stream):
        display = Display(stream)
        pictures: np.ndarray | None = None
        last: VideoFrame | None = None
        for place, frame in enumerate(_frames(container, stream, timeline, indices)):
            if frame is not last:
                picture, last = display.picture(frame, max_pixels), frame
            if pictures is None:
                pictures = np.empty((len(indices), *picture.shape), np.uint8)
            if picture.shape != pictures.shape[1:]:  # a stream may change its size
                picture = cv2.resize(picture, pictures.shape[2:0:-1], interpolation=cv2.INTER_AREA)
            pictures[place] = picture
    assert pictures is not None
    pictures[place + 1 :] = picture
    return Sample(
        pictures,
        indices,
        [float(times[index]) for index in indices],
        len(times),
        timeline.rate,
        float(times[-1]) + 1 / timeline.rate,
    )


def sample_moments(video: Path, choose: Moments, max_pixels: int | None = None) -> Sample:
    """Decode the frames that are on the screen at some moments, whatever the video's frame rate,
    variable or not; what lies beyond the ends becomes the first or the last frame.

    Args:
        video: or an image, which is a video of one frame.
        max_pixels: as for `sample_by_time`.

    Raises:
        VideoError: as `sample_frames`.
    """

    def on_screen(times: np.ndarray, rate: float) -> list[int]:
        moments = np.asarray(choose(float(times[-1]) + 1 / rate))
        return shown_at(times, moments).clip(min=0).tolist()  # type: ignore[no-any-return]

    return sample_by_time(video, on_screen, max_pixels)


def shown_at(times: np.ndarray, moments: np.ndarray) -> np.ndarray:
    """The index of the frame that is on the screen at each moment; -1 before the first."""
    return np.searchsorted(times, moments + STAMP_TOLERANCE, "right") - 1


def squares_at_rate(
    video: Path, fps: float, side: int, threads: int = 1
) -> Iterator[tuple[float, np.ndarray]]:
    """Yield (time, picture) of the frames that are on the screen at 0, 1 / fps, 2 / fps ... seconds
    after the first, up to the last; memory does not grow with the video's length.

    The time is the frame's own, seconds from the first frame: a frame that stays on the screen for
    longer comes again. A damaged frame is replaced as in `sample_frames`.

    Args:
        fps: pictures a second of the video's time, whatever its frame rate, variable or not.
        side: every frame is squashed to (side, side, 3) uint8 RGB.

    Raises:
        VideoError: as `sample_frames`.
    """
    with open_video(video) as (container, stream):
        timeline = read_timeline(container, stream)
    times = timeline.times
    length = times[-1] if len(times) else 0.0
    moments = np.arange(int(length * fps + STAMP_TOLERANCE * fps) + 1) / fps
    indices = shown_at(times, moments)
    with open_video(video, threads) as (container, stream):
        display = Display(stream)
        last: VideoFrame | None = None
        for index, frame in zip(
            indices, _frames(container, stream, timeline, indices), strict=False
        ):
            if frame is not last:
                picture, last = display.square(frame, side), frame
            yield float(times[index]), picture


def frames_between(
    video: Path, first: int, last: int
) -> Iterator[tuple[float, VideoFrame, Display]]:
    """Yield (seconds from the first frame, frame, how it is shown) of the frames from one index to
    another, inclusive, without decoding the video up to there.

    Raises:
        VideoError: as `sample_frames`.
    """
    with open_video(video) as (container, stream):
        timeline = read_timeline(container, stream)
    indices = range(first, min(last + 1, len(timeline.stamps)))
    with open_video(video) as (container, stream):
        display = Display(stream)
        frames = _frames(container, stream, timeline, indices)
        for time, frame in zip(timeline.times[first : last + 1], frames, strict=False):
            yield float(time), frame, display


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
        return Timeline(np.arange(len(packets) - first), keys, rate, 1 / rate, seekable=False)
    measured = len(steps) / float(steps.sum())
    # Stamps in thousandths of a second (Matroska) are less exact than a rate in the header.
    if abs(rate / measured - 1) > RATE_TOLERANCE:
        rate = measured
    length, declared = len(stamps) / rate, declared_seconds(stream, int(stamps[0]))
    if length < TRUNCATED_SHARE * declared:
        raise VideoError(f"truncated: {length:.1f} s of {declared:.1f} s are in the file")
    return Timeline(stamps[stamps >= keys[0]], keys, rate, base, seekable=True)


def _frames(
    container: av.container.InputContainer,
    stream: av.VideoStream,
    timeline: Timeline,
    indices: Sequence[int] | np.ndarray,
) -> Iterator[VideoFrame]:
    """Yield the frames of the indices, rising; fewer, where what is damaged is the very end.

    Raises:
        VideoError: nothing can be decoded, or nothing after a place before the end.
    """
    total, count = len(timeline.stamps), 0
    if timeline.seekable:
        frames = _seek(container, stream, timeline, indices)
    else:
        wanted = Counter(indices)
        counted = enumerate(decode(container, stream))
        frames = (frame for index, frame in counted for _ in range(wanted[index]))
    for frame in frames:
        yield frame
        count += 1
    if not count:
        raise VideoError("no frames: nothing in the video stream can be decoded")
    if count < len(indices) and indices[count] < TRUNCATED_SHARE * total:
        raise VideoError(
            f"truncated: nothing can be decoded from frame {indices[count]} on, of {total}"
        )


def _seek(
    container: av.container.InputContainer,
    stream: av.VideoStream,
    timeline: Timeline,
    indices: Sequence[int] | np.ndarray,
) -> Iterator[VideoFrame]:
    """Find frames by their stamps, each from the nearest frame at which a decoder can start."""
    decoded: Iterator[VideoFrame] = iter(())
    frame: VideoFrame | None = None
    stamps = timeline.stamps[list(indices)].tolist()
    wanted = set(stamps)
    for stamp in stamps:
        place = int(np.searchsorted(timeline.keys, stamp, "right")) - 1
        if frame is None or frame.pts < timeline.keys[place]:
            # In some files a seek lands behind its key frame (MPEG-TS): then begin at the one
            # before, at last at the start of the file. A seek that fails leaves the place as it is.
            for key in (*timeline.keys[place::-1][:2], min(0, timeline.keys[0])):
                with suppress(av.error.FFmpegError):
                    container.seek(int(key), stream=stream)
                frames = decode(container, stream, wanted)
                decoded = (frame for frame in frames if frame.pts is not None)
                frame = next(decoded, None)
                if frame is not None and frame.pts <= stamp:
                    break
        while frame is not None and frame.pts < stamp:
            frame = next(decoded, None)
        if frame is None:
            return
        yield frame
