"""Decoding: one scan of the whole file, and exact frames by index later.

The only place that decodes. A scan reads every frame once, in constant memory, and keeps what the
later steps need in one small file beside the annotations: per frame its time, a 48x27 thumbnail,
its range of gray and its sharpness. Frames are named by their index in decode order (the order in
which a decoder shows them), and by their time in seconds from the first frame.
"""

import re
import stat
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from tools.jsonl import replace_atomically
from tools.sharpness import band_sharpness

# Width and height of a thumbnail in pixels: what TransNetV2 was trained on.
THUMBNAIL = (48, 27)
# Thumbnails kept or handed on at once.
CHUNK_FRAMES = 256
SCAN_VERSION = 1

# Pixel formats whose first plane is 8-bit luma; all others are converted first.
LUMA_PLANES = {
    *("yuv420p", "yuv422p", "yuv444p", "yuvj420p", "yuvj422p", "yuvj444p", "nv12", "gray"),
}
# Limited-range luma runs from 16 to 235 (ITU-R BT.601 and BT.709).
LIMITED_BLACK, LIMITED_LEVELS = 16, 219
FULL_RANGE = 2  # AVCOL_RANGE_JPEG
# A track whose frames end before this share of its declared duration has lost its end.
TRUNCATED_SHARE = 0.9
# More broken packets than this share, and what was decoded is not the video.
BROKEN_SHARE = 0.05


class VideoError(ValueError):
    """A file that cannot be used as a video; the text is `what: detail`, without the path."""


@dataclass(frozen=True)
class Scan:
    """What one scan of a video found; n frames.

    Attributes:
        path: the file the scan is kept in; holds the thumbnails.
        pts: (n,) int64, presentation time stamps in units of the stream's time base.
        times: (n,) float64, seconds from the first frame.
        end_time: float, the time at which the last frame stops being shown.
        gray_min, gray_max: (n,) uint8, the darkest and the brightest gray level, full range.
        sharpness: (n,) float32, see `tools.sharpness`.
        key: (n,) bool, whether a decoder can start at this frame.
        seekable: whether time stamps are there and rise, so that a frame can be found by its own.
        average_rate: frames a second.
    """

    path: Path
    pts: np.ndarray
    times: np.ndarray
    end_time: float
    gray_min: np.ndarray
    gray_max: np.ndarray
    sharpness: np.ndarray
    key: np.ndarray
    seekable: bool
    average_rate: float

    def __len__(self) -> int:
        return len(self.pts)

    def thumbnails(self) -> Iterator[np.ndarray]:
        """Yield the thumbnails in order, (k, 27, 48, 3) uint8 RGB each, k <= CHUNK_FRAMES."""
        with np.load(self.path) as archive:
            for chunk in range(-(-len(self) // CHUNK_FRAMES)):
                yield _thumbnail_chunk(archive, chunk)

    def thumbnails_at(self, indices: Iterable[int]) -> np.ndarray:
        """The thumbnails of some frames, (len(indices), 27, 48, 3) uint8 RGB."""
        chunks: dict[int, np.ndarray] = {}
        with np.load(self.path) as archive:
            found = []
            for index in indices:
                chunk, place = divmod(index, CHUNK_FRAMES)
                if chunk not in chunks:
                    chunks = {chunk: _thumbnail_chunk(archive, chunk)}
                found.append(chunks[chunk][place])
        return np.stack(found)

    def span_times(self, start: int, end: int) -> tuple[float, float]:
        """From when to when the frames start..end (inclusive) are shown, in seconds."""
        after = self.times[end + 1] if end + 1 < len(self) else self.end_time
        return float(self.times[start]), float(after)


def _thumbnail_chunk(archive: Any, chunk: int) -> np.ndarray:
    # Stored as differences from frame to frame, modulo 256: a third smaller, and faster to pack.
    differences = archive[f"thumbnails_{chunk:05d}"]
    return np.add.accumulate(differences, axis=0, dtype=np.uint8)


def scan_file(video: Path, kept: Path, threads: int = 1) -> Scan:
    """The scan of a video: the one kept in `kept` if the file has not changed since, else a new
    one.

    Raises:
        VideoError: the file cannot be used as a video.
        StorageError: the disk refuses.
    """
    with _readable(video):
        now = video.stat()
    source = [SCAN_VERSION, now.st_size, now.st_mtime_ns]
    if kept.exists():
        with np.load(kept) as archive:
            if archive["source"].tolist() == source:
                return load_scan(kept)
    with replace_atomically(kept) as file, zipfile.ZipFile(file, "w") as archive:
        _scan(video, archive, np.array(source), threads)
    return load_scan(kept)


def kept_scan(video: Path, kept: Path) -> Scan | None:
    """The scan that is kept of a video; None if none is.

    Raises:
        VideoError: the file is not there, or is not the one that was scanned.
    """
    with _readable(video):
        size = video.stat().st_size
    if not kept.exists():
        return None
    with np.load(kept) as archive:
        if archive["source"][1] != size:
            raise VideoError("changed: the file is not the one that stage 1 scanned")
    return load_scan(kept)


def load_scan(kept: Path) -> Scan:
    """Read a kept scan; its thumbnails stay on disk."""
    with np.load(kept) as archive:
        one = archive["one"]
        return Scan(
            kept,
            archive["pts"],
            archive["times"],
            float(one[0]),
            archive["gray_min"],
            archive["gray_max"],
            archive["sharpness"],
            archive["key"],
            bool(one[1]),
            float(one[2]),
        )


def _scan(video: Path, archive: zipfile.ZipFile, source: np.ndarray, threads: int) -> None:
    cv2.setNumThreads(threads)
    measure = FrameMeter()
    pts: list[int | None] = []
    rows: list[tuple[int, int, float, bool]] = []
    waiting: list[np.ndarray] = []
    chunks = packets = broken = last_duration = 0
    with open_video(video, threads) as (container, stream):
        for frames in decode_packets(container, stream):
            packets += 1
            broken += frames is None
            for frame in frames or ():
                pts.append(frame.pts)
                rows.append((*measure.gray(frame), bool(frame.key_frame)))
                last_duration = frame.duration
                waiting.append(measure.thumbnail(frame))
                if len(waiting) == CHUNK_FRAMES:
                    _keep(archive, f"thumbnails_{chunks:05d}", _differences(waiting))
                    waiting, chunks = [], chunks + 1
        times, end_time, rate, seekable = _timeline(pts, last_duration, stream)
        declared = _declared_seconds(stream, pts)
    if not rows:
        raise VideoError("no frames: nothing in the video stream can be decoded")
    if broken > BROKEN_SHARE * packets:
        raise VideoError(f"broken: {broken} of {packets} packets cannot be decoded")
    if end_time < TRUNCATED_SHARE * declared:
        raise VideoError(f"truncated: {end_time:.1f} s of {declared:.1f} s can be decoded")
    if waiting:
        _keep(archive, f"thumbnails_{chunks:05d}", _differences(waiting))
    gray_min, gray_max, sharpness, key = zip(*rows, strict=True)
    _keep(archive, "pts", np.array([p if p is not None else -1 for p in pts], np.int64))
    _keep(archive, "times", times)
    _keep(archive, "gray_min", np.array(gray_min, np.uint8))
    _keep(archive, "gray_max", np.array(gray_max, np.uint8))
    _keep(archive, "sharpness", np.array(sharpness, np.float32))
    _keep(archive, "key", np.array(key, bool))
    _keep(archive, "one", np.array([end_time, seekable, rate], np.float64))
    _keep(archive, "source", source)


def _declared_seconds(stream: av.VideoStream, pts: list[int | None]) -> float:
    """How long the track says it is, seconds; 0 where it does not say."""
    if stream.duration:
        return float(stream.duration * (stream.time_base or 0))
    # Matroska and WebM keep the time of its end in a tag, hours:minutes:seconds.
    clock = re.fullmatch(r"(\d+):(\d+):(\d+\.?\d*)", stream.metadata.get("DURATION", ""))
    if not clock:
        return 0.0
    end = sum(60**k * float(part) for k, part in enumerate(clock.groups()[::-1]))
    return end - float((pts[0] or 0 if pts else 0) * (stream.time_base or 0))


def _differences(thumbnails: list[np.ndarray]) -> np.ndarray:
    stacked = np.stack(thumbnails)
    stacked[1:] -= stacked[:-1].copy()
    return stacked


def _keep(archive: zipfile.ZipFile, name: str, array: np.ndarray) -> None:
    """Add an array to an .npz under way; without the date of the day, so that bytes repeat."""
    entry = zipfile.ZipInfo(f"{name}.npy")
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry._compresslevel = 1  # type: ignore[attr-defined]
    with archive.open(entry, "w") as file:
        np.lib.format.write_array(file, array)


def _timeline(
    pts: list[int | None], last_duration: int, stream: av.VideoStream
) -> tuple[np.ndarray, float, float, bool]:
    """Times in seconds from the first frame, the end, frames a second, and whether pts rise.

    Without time stamps that are in order, frames are taken to come evenly.
    """
    rate = float(stream.average_rate or stream.guessed_rate or 25)
    base = float(stream.time_base or 0)
    stamps = np.array([p for p in pts if p is not None], np.int64)
    steps = np.diff(stamps)
    complete = len(stamps) == len(pts)
    if complete and len(pts) > 1 and steps.min() >= 0 and stamps[-1] > stamps[0]:
        times = (stamps - stamps[0]) * base
        rate = (len(pts) - 1) / float(times[-1])
    else:
        times = np.arange(len(pts)) / rate
    end = float(times[-1]) + (last_duration * base or 1 / rate) if len(times) else 0.0
    return times.astype(np.float64), end, rate, complete and bool((steps > 0).all())


class FrameMeter:
    """Measures frames, on one thread; keeps the scaler's tables from frame to frame."""

    def __init__(self) -> None:
        self._to_thumbnail = VideoReformatter()
        self._to_gray = VideoReformatter()

    def thumbnail(self, frame: VideoFrame) -> np.ndarray:
        """The frame upright at 48x27, (27, 48, 3) uint8 RGB, area-averaged."""
        turns = quarter_turns(frame)
        width, height = THUMBNAIL if turns % 2 == 0 else THUMBNAIL[::-1]
        small = self._to_thumbnail.reformat(
            frame, width, height, "rgb24", interpolation="AREA", threads=1
        )
        return np.rot90(small.to_ndarray(), turns)

    def gray(self, frame: VideoFrame) -> tuple[int, int, float]:
        """(darkest level, brightest level, sharpness) of the frame's luma, levels 0..255."""
        limited = frame.format.name in LUMA_PLANES and not (
            frame.format.name.startswith(("yuvj", "gray")) or frame.color_range == FULL_RANGE
        )
        if frame.format.name not in LUMA_PLANES:
            frame = self._to_gray.reformat(frame, format="gray", threads=1)
        luma = luma_plane(frame)
        low, high, scale = int(luma.min()), int(luma.max()), 1.0
        if limited:
            scale = 255 / LIMITED_LEVELS
            low, high = (
                min(255, max(0, round((level - LIMITED_BLACK) * scale))) for level in (low, high)
            )
        return low, high, band_sharpness(luma) * scale


def luma_plane(frame: VideoFrame) -> np.ndarray:
    """The first plane of an 8-bit frame without a copy, (height, width) uint8."""
    plane = frame.planes[0]
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)  # type: ignore[call-overload]
    return rows[: frame.height, : frame.width]


def quarter_turns(frame: VideoFrame) -> int:
    """How many quarter turns counter-clockwise set the frame upright (rotation metadata)."""
    return round(frame.rotation / 90) % 4


@contextmanager
def _readable(video: Path) -> Iterator[None]:
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
    """Open a file and its best video stream.

    Raises:
        VideoError: it is not there, cannot be read, or is not a video.
    """
    with _readable(video):
        found = video.stat()
        if not stat.S_ISREG(found.st_mode):
            raise VideoError("not a file: a folder, a pipe or a device")
        if found.st_size == 0:
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
    """Yield the frames that each packet completes, from where the container stands; None for a
    packet that is broken.

    Raises:
        VideoError: the file breaks off.
    """
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
    """Yield the frames from where the container stands; broken packets are passed over.

    Raises:
        VideoError: the file breaks off.
    """
    for frames in decode_packets(container, stream):
        yield from frames or ()


def read_frames(
    video: Path,
    indices: Iterable[int],
    scan: Scan | None = None,
    threads: int = 1,
    max_pixels: int | None = None,
) -> dict[int, np.ndarray]:
    """Decode exactly the frames of the given indices, upright, (height, width, 3) uint8 RGB each.

    With a scan, a frame is found by its time stamp from the nearest frame that a decoder can start
    at, and proved by its thumbnail; where that fails, and without a scan, by counting from the
    start.

    Args:
        max_pixels: scale larger frames down to at most this many pixels; None: as they are.

    Raises:
        VideoError: the file cannot be read, or has no such frame.
    """
    wanted = sorted(set(indices))
    found: dict[int, np.ndarray] = {}
    if scan and scan.seekable and wanted[-1] < len(scan):
        found = _seek_frames(video, wanted, scan, threads, max_pixels)
    left = set(wanted) - found.keys()
    if left:
        found |= _count_frames(video, left, threads, max_pixels)
    missing = [index for index in wanted if index not in found]
    if missing:
        raise VideoError(f"no such frame: index {missing[0]}")
    return found


def _count_frames(
    video: Path, wanted: set[int], threads: int, max_pixels: int | None
) -> dict[int, np.ndarray]:
    """Find frames by counting from the start of the file."""
    found: dict[int, np.ndarray] = {}
    with open_video(video, threads) as (container, stream):
        for index, frame in enumerate(decode(container, stream)):
            if index in wanted:
                found[index] = upright(frame, max_pixels)
            if len(found) == len(wanted):
                break
    return found


def _seek_frames(
    video: Path, wanted: list[int], scan: Scan, threads: int, max_pixels: int | None
) -> dict[int, np.ndarray]:
    """Find frames by time stamp, up to the first that its thumbnail does not prove.

    In some files seeking lands behind the frame it was asked for (MPEG-TS with B-frames); counting
    is cheaper there than one attempt after the other.
    """
    meter = FrameMeter()
    starts = np.flatnonzero(scan.key)
    found: dict[int, np.ndarray] = {}
    with open_video(video, threads) as (container, stream):
        frames: Iterator[VideoFrame] = iter(())
        position = -1
        for index, proof in zip(wanted, scan.thumbnails_at(wanted), strict=True):
            start = int(starts[starts <= index].max(initial=0))
            if position < start:
                try:
                    container.seek(int(scan.pts[start]), stream=stream)
                except av.error.FFmpegError:
                    break
                frames = decode(container, stream)
            at_or_after = (f for f in frames if f.pts is not None and f.pts >= scan.pts[index])
            frame = next(at_or_after, None)
            if (
                frame is None
                or frame.pts != scan.pts[index]
                or not np.array_equal(meter.thumbnail(frame), proof)
            ):
                break
            found[index] = upright(frame, max_pixels)
            position = index
    return found


def upright(frame: VideoFrame, max_pixels: int | None = None) -> np.ndarray:
    """The frame as people see it, (height, width, 3) uint8 RGB, of at most `max_pixels`."""
    size: dict[str, Any] = {}
    if max_pixels and frame.width * frame.height > max_pixels:
        shrink = (max_pixels / frame.width / frame.height) ** 0.5
        size = {"width": int(frame.width * shrink), "height": int(frame.height * shrink)}
        size["interpolation"] = "AREA"
    pixels = frame.to_ndarray(format="rgb24", threads=1, **size)
    return np.ascontiguousarray(np.rot90(pixels, quarter_turns(frame)))
