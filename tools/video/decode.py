"""Decoding: opening a file, the frames in it, and a frame as people see it.

All decoding goes through here: `tools.video.scan` reads every frame once, `tools.video.frames`
single ones by index. Frames are named by their index in decode order (the order in which a decoder
shows them), and by their time in seconds from the first frame.
"""

import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.frame import VideoFrame

# A step of the clock that is longer, seconds, or backwards, is a jump and no pause, in containers
# whose clock may jump: ffmpeg's -dts_delta_threshold, which it applies to the same ones.
CLOCK_JUMP = 10.0
CLOCK_MAY_JUMP = 0x0200  # AVFMT_TS_DISCONT
PROGRESSIVE = 1  # AV_FIELD_PROGRESSIVE, as the header or the first frames say
MAX_PIXEL_ASPECT = 8.0  # anamorphic film has 2


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


def length_in_header(video: Path) -> float | None:
    """Seconds that a video lasts by its header, None where that does not say; nothing is decoded.
    Raises VideoError where it cannot be opened."""
    with open_video(video) as (container, stream):
        if stream.duration is not None and stream.time_base is not None:
            return float(stream.duration * stream.time_base)
        return container.duration / av.time_base if container.duration else None


def decode_packets(
    container: av.container.InputContainer,
    stream: av.VideoStream,
    stamps: Collection[int] | None = None,
) -> Iterator[list[VideoFrame] | None]:
    """Yield the frames that each packet completes, from the container's position; None for a
    broken packet. A file that breaks off raises VideoError.

    Args:
        stamps: of the frames that are wanted; None: all are. Of the others in H.264, those that no
            frame refers to are skipped: most B-frames, a third or more of a common file.
    """
    # Of other codecs a decoder may take that choice once for all, or a frame may be referred to
    # after all (HEVC calls so what no frame of the same temporal layer refers to). Of an interlaced
    # file, a packet may be half a frame.
    context = stream.codec_context
    kept = stamps if context.name == "h264" and context.field_order == PROGRESSIVE else None
    try:
        for packet in container.demux(stream):
            if kept is not None:
                wanted = packet.pts is None or packet.pts in kept
                context.skip_frame = "DEFAULT" if wanted else "NONREF"
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                frames = None
            yield frames
    except (av.error.FFmpegError, OSError) as error:
        raise VideoError(f"breaks off: {error.strerror}") from error


def decode(
    container: av.container.InputContainer,
    stream: av.VideoStream,
    stamps: Collection[int] | None = None,
) -> Iterator[VideoFrame]:
    """Yield the frames from the container's position, those of some stamps and others, or all (see
    `decode_packets`); broken packets are skipped."""
    for frames in decode_packets(container, stream, stamps):
        yield from frames or ()


def clock_jumps(container: av.container.InputContainer, steps: np.ndarray) -> np.ndarray:
    """Which of the steps from frame to frame are jumps of the file's clock.

    A transport stream's clock starts anew where streams were joined or an encoder was restarted.

    Args:
        steps: (n,) seconds, of frames in the order in which they are shown.
    """
    if not container.format.flags & CLOCK_MAY_JUMP:
        return np.zeros(len(steps), bool)
    return (steps < 0) | (steps > CLOCK_JUMP)


def luma_plane(frame: VideoFrame) -> np.ndarray:
    """The first plane of an 8-bit frame without a copy, (height, width) uint8."""
    plane = frame.planes[0]
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)  # type: ignore[call-overload]
    return rows[: frame.height, : frame.width]


class Display:
    """How people see the frames of one stream: mirrored sideways or not, then turned, in square
    pixels.

    The first frame says how for all: PyAV's frame and its side data hold each other, so that frames
    of which each is asked would stay in memory until Python looks for such cycles.

    Attributes:
        aspect: width of a stored pixel over its height: 1 but for DVDs, HDV and their like; 1 too
            where a header says what no camera or disc has.
        mirrored: left and right change places before the turn.
        turns: quarter turns counter-clockwise.
    """

    def __init__(self, stream: av.VideoStream) -> None:
        aspect = float(stream.sample_aspect_ratio or 1)
        self.aspect = aspect if 1 / MAX_PIXEL_ASPECT <= aspect <= MAX_PIXEL_ASPECT else 1.0
        self.mirrored, self.turns = False, 0
        self._asked = False

    def look_at(self, frame: VideoFrame) -> None:
        """Take the orientation from the stream's first frame: one of eight, the nearest.

        A display matrix has nine numbers, of which a, b, c, d at 0, 1, 3, 4 count here: a stored
        point (p, q) is shown at (a p + c q, b p + d q), moved into the picture (ISO/IEC 14496-12,
        track header).
        """
        if self._asked:
            return
        self._asked = True
        data: Any = frame.side_data.get("DISPLAYMATRIX")
        if data is not None:
            a, b, _, c, d = np.frombuffer(data, np.int32)[:5].astype(float)
            self.mirrored = bool(a * d - b * c < 0)
            # Without the mirror what is left is a turn by an angle whose tangent is b / a.
            clockwise = np.arctan2(-b, -a) if self.mirrored else np.arctan2(b, a)
            self.turns = round(-clockwise / (np.pi / 2)) % 4

    def turned(self, pixels: np.ndarray) -> np.ndarray:
        """A view of (height, width, ...) stored pixels as they are shown."""
        return np.rot90(pixels[:, ::-1] if self.mirrored else pixels, self.turns)

    def picture(self, frame: VideoFrame, max_pixels: int | None = None) -> np.ndarray:
        """A frame as people see it, (height, width, 3) uint8 RGB.

        Args:
            max_pixels: scale a larger frame down to at most this many pixels; None: as it is.
        """
        self.look_at(frame)
        width, height = max(1, round(frame.width * self.aspect)), frame.height
        scale = min(1.0, (max_pixels / width / height) ** 0.5) if max_pixels else 1.0
        size: dict[str, Any] = {}
        if scale < 1 or width != frame.width:
            size = {"width": max(1, int(width * scale)), "height": max(1, int(height * scale))}
            size["interpolation"] = "AREA" if scale < 1 else "BICUBIC"
        pixels = frame.to_ndarray(format="rgb24", threads=1, **size)
        return np.ascontiguousarray(self.turned(pixels))

    def square(self, frame: VideoFrame, side: int) -> np.ndarray:
        """A frame as people see it, squashed to (side, side, 3) uint8 RGB whatever its shape."""
        self.look_at(frame)
        size: dict[str, Any] = {"width": side, "height": side, "interpolation": "AREA"}
        pixels = frame.to_ndarray(format="rgb24", threads=1, **size)
        return np.ascontiguousarray(self.turned(pixels))
