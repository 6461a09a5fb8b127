"""One scan of a whole video: what the later steps need of every frame, in one small file.

A scan reads every frame once, in constant memory, and keeps beside the annotations, per frame, its
time, a 48x27 thumbnail, its range of gray and its sharpness.
"""

import re
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from tools.store.files import replace_atomically
from tools.video.decode import (
    VideoError,
    clock_jumps,
    decode_packets,
    luma_plane,
    open_video,
    orientation,
    readable,
)
from tools.video.sharpness import band_sharpness

# Width and height of a thumbnail in pixels: what TransNetV2 was trained on.
THUMBNAIL = (48, 27)
# Thumbnails stored or yielded at once.
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


@dataclass(frozen=True)
class Scan:
    """What one scan of a video found; n frames.

    Attributes:
        path: the file the scan is kept in; holds the thumbnails.
        pts: (n,) int64, presentation time stamps in units of the stream's time base.
        times: (n,) float64, seconds from the first frame.
        end_time: float, the time at which the last frame stops being shown.
        gray_min, gray_max: (n,) uint8, the darkest and the brightest gray level, full range.
        sharpness: (n,) float32, see `tools.video.sharpness`.
        key: (n,) bool, whether a decoder can start at this frame.
        seekable: whether time stamps are there and rise, so that a frame can be found by its own.
        average_rate: frames a second.
        clock_jumps: how often the file's clock jumps; the times go on evenly there.
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
    clock_jumps: int = 0

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
    with readable(video):
        now = video.stat()
    source = [SCAN_VERSION, now.st_size, now.st_mtime_ns]
    if _source(kept) == source:
        return load_scan(kept)
    with replace_atomically(kept) as file, zipfile.ZipFile(file, "w") as archive:
        _scan(video, archive, np.array(source), threads)
    return load_scan(kept)


def kept_scan(video: Path, kept: Path) -> Scan | None:
    """The scan that is kept of a video; None if none is.

    Raises:
        VideoError: the file is not there, or is not the one that was scanned.
    """
    with readable(video):
        size = video.stat().st_size
    source = _source(kept)
    if source and source[1] != size:
        raise VideoError("changed: the file is not the one that stage 1 scanned")
    return load_scan(kept) if source else None


def _source(kept: Path) -> list[int] | None:
    """[version, size, time of change] of the file that was scanned; None without a whole scan."""
    try:
        with np.load(kept) as archive:
            return list(archive["source"].tolist())
    except (FileNotFoundError, EOFError, ValueError, zipfile.BadZipFile):
        return None


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
            int(one[3]) if len(one) > 3 else 0,  # scans made before jumps were looked for
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
        first = (pts[0] if pts else 0) or 0
        times, end_time, rate, seekable, jumps = _timeline(pts, last_duration, container, stream)
        # Without its beginning (a recording that starts within a group of pictures) a file has
        # not lost its end. A clock that jumps says nothing of the length.
        missing = (first - (stream.start_time or first)) * float(stream.time_base or 0)
        declared = 0.0 if jumps else declared_seconds(stream, first) - missing
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
    _keep(archive, "one", np.array([end_time, seekable, rate, jumps], np.float64))
    _keep(archive, "source", source)


def declared_seconds(stream: av.VideoStream, first: int) -> float:
    """How long the track says it is, seconds; 0 where it does not say.

    Args:
        first: time stamp of the first frame, in the stream's time base.
    """
    if stream.duration:
        return float(stream.duration * (stream.time_base or 0))
    # Matroska and WebM keep the time of its end in a tag, hours:minutes:seconds.
    clock = re.fullmatch(r"(\d+):(\d+):(\d+\.?\d*)", stream.metadata.get("DURATION", ""))
    if not clock:
        return 0.0
    end = sum(60**k * float(part) for k, part in enumerate(clock.groups()[::-1]))
    return end - float(first * (stream.time_base or 0))


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
    pts: list[int | None],
    last_duration: int,
    container: av.container.InputContainer,
    stream: av.VideoStream,
) -> tuple[np.ndarray, float, float, bool, int]:
    """Times in seconds from the first frame, the end, frames a second, whether pts rise, and how
    often the clock jumps.

    Where the clock jumps, the next frame is taken to follow as frames do on average. Without time
    stamps that are in order, frames are taken to come evenly.
    """
    rate = float(stream.average_rate or stream.guessed_rate or 25)
    base = float(stream.time_base or 0)
    stamps = np.array([p for p in pts if p is not None], np.int64)
    complete = len(stamps) == len(pts)
    steps = np.diff(stamps)
    seekable = complete and bool((steps > 0).all())
    jumps = clock_jumps(container, steps * base)
    if jumps.any() and not jumps.all():
        steps = np.where(jumps, round(steps[~jumps].mean()), steps)
    if complete and len(pts) > 1 and steps.min() >= 0 and steps.sum() > 0:
        times = np.concatenate([[0], np.cumsum(steps)]) * base
        rate = (len(pts) - 1) / float(times[-1])
    else:
        times = np.arange(len(pts)) / rate
    end = float(times[-1]) + (last_duration * base or 1 / rate) if len(times) else 0.0
    return times.astype(np.float64), end, rate, seekable, int(jumps.sum())


class FrameMeter:
    """Measures frames, on one thread; keeps the scaler's tables from frame to frame."""

    def __init__(self) -> None:
        self._to_thumbnail = VideoReformatter()
        self._to_gray = VideoReformatter()

    def thumbnail(self, frame: VideoFrame) -> np.ndarray:
        """The frame upright at 48x27, (27, 48, 3) uint8 RGB, area-averaged."""
        shown = orientation(frame)
        width, height = THUMBNAIL if shown.turns % 2 == 0 else THUMBNAIL[::-1]
        small = self._to_thumbnail.reformat(
            frame, width, height, "rgb24", interpolation="AREA", threads=1
        )
        return shown.apply(small.to_ndarray())

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
