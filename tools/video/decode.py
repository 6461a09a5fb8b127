"""Decoding: opening a file, the frames in it, and a frame as people see it.

All decoding goes through here: `tools.video.scan` reads every frame once, `tools.video.frames`
single ones by index. Frames are named by their index in decode order (the order in which a decoder
shows them), and by their time in seconds from the first frame.
"""

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.frame import VideoFrame


class VideoError(ValueError):
    """A file that cannot be used as a video; the text is `what: detail`, without the path."""


@contextmanager
def readable(video: Path) -> Iterator[None]:
    """Turn whatever opening or reading a file can raise into a VideoError without the path."""
    try:
        yield
    except FileNotFoundError:
        what = "a symlink that leads nowhere" if video.is_symlink() else "it was there when listed"
        raise VideoError(f"no such file: {what}") from None
    except PermissionError:
        raise VideoError("permission denied: the file cannot be read") from None
    except av.error.InvalidDataError:
        raise VideoError("not a video: its header is missing, damaged or unknown") from None
    except (av.error.FFmpegError, OSError) as error:
        raise VideoError(f"cannot be read: {error.strerror}") from error


@contextmanager
def open_video(
    video: Path, threads: int = 1
) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    """Open a file and its best video stream; raise VideoError where it is not there, cannot be read
    or is not a video."""
    with readable(video):
        status = video.stat()
        if not stat.S_ISREG(status.st_mode):
            raise VideoError("not a file: a folder, a pipe or a device")
        if status.st_size == 0:
            raise VideoError("empty file: 0 bytes")
        # A leading "file:" keeps names that look like another protocol's, such as `a:b.mp4`, files.
        container = av.open(f"file:{video}", metadata_errors="ignore")
    with container:
        stream: Any = container.streams.best("video")
        if stream is None:
            raise VideoError("no video stream: sound or data only")
        if stream.codec_context is None:
            raise VideoError("no decoder: the codec is unknown")
        stream.codec_context.thread_count = threads
        yield container, stream


def decode_packets(
    container: av.container.InputContainer, stream: av.VideoStream
) -> Iterator[list[VideoFrame] | None]:
    """Yield the frames that each packet completes, from the container's position; None for a
    broken packet. A file that breaks off raises VideoError."""
    try:
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                frames = None
            yield frames
    except (av.error.FFmpegError, OSError) as error:
        raise VideoError(f"breaks off: {error.strerror}") from error


def decode(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[VideoFrame]:
    """Yield the frames from the container's position; broken packets are skipped."""
    for frames in decode_packets(container, stream):
        yield from frames or ()


def luma_plane(frame: VideoFrame) -> np.ndarray:
    """The first plane of an 8-bit frame without a copy, (height, width) uint8."""
    plane = frame.planes[0]
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)  # type: ignore[call-overload]
    return rows[: frame.height, : frame.width]


def quarter_turns(frame: VideoFrame) -> int:
    """How many quarter turns counter-clockwise set the frame upright (rotation metadata)."""
    return round(frame.rotation / 90) % 4


def upright(frame: VideoFrame, max_pixels: int | None = None) -> np.ndarray:
    """The frame as people see it, (height, width, 3) uint8 RGB, of at most `max_pixels`."""
    size: dict[str, Any] = {}
    if max_pixels and frame.width * frame.height > max_pixels:
        shrink = (max_pixels / frame.width / frame.height) ** 0.5
        size = {"width": int(frame.width * shrink), "height": int(frame.height * shrink)}
        size["interpolation"] = "AREA"
    pixels = frame.to_ndarray(format="rgb24", threads=1, **size)
    return np.ascontiguousarray(np.rot90(pixels, quarter_turns(frame)))
