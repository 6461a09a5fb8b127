"""One scan of a whole video: what the later steps need of every frame, in one small file.

A scan reads every frame once, in constant memory, and keeps of each its time, a 48x27 thumbnail,
its range of gray and its sharpness.
"""

import re
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from tools.store.dataset import Dataset
from tools.store.files import replace_atomically
from tools.store.jsonl import Table
from tools.video.decode import (
    Display,
    VideoError,
    clock_jumps,
    decode_packets,
    luma_plane,
    open_video,
    readable,
)
from tools.video.sharpness import band_sharpness

# Width and height of a thumbnail in pixels: what TransNetV2 was trained on.
THUMBNAIL = (48, 27)
# Thumbnails stored or yielded at once.
CHUNK_FRAMES = 256
SCAN_VERSION = 1
# Files whose clock may jump, and whose earlier scans may have wrong times.
TRANSPORT_STREAMS = {".ts", ".mts", ".m2ts", ".mpg", ".mpeg", ".vob"}

# Pixel formats whose first plane is 8-bit luma; all others are converted first.
LIMITED_PLANES = {"yuv420p", "yuv422p", "yuv444p", "nv12"}  # unless the frame says otherwise
FULL_PLANES = {"yuvj420p", "yuvj422p", "yuvj444p", "gray"}
# Limited-range luma runs from 16 to 235 (ITU-R BT.601 and BT.709).
LIMITED_BLACK, LIMITED_LEVELS = 16, 219
FULL_RANGE = 2  # AVCOL_RANGE_JPEG
# A track whose frames end before this share of its declared duration has lost its end.
TRUNCATED_SHARE = 0.9
# More broken packets than this share, and what was decoded is not the video.
BROKEN_SHARE = 0.05


@dataclass(frozen=True)
class Scan:
    """What one scan of a video measured; n frames."""

    path: Path  # the file the scan is kept in; holds the thumbnails
    pts: np.ndarray  # (n,) int64, presentation time stamps in units of the stream's time base
    times: np.ndarray  # (n,) float64, seconds from the first frame
    gray_min: np.ndarray  # (n,) uint8, the darkest gray level, full range
    gray_max: np.ndarray  # (n,) uint8, the brightest
    sharpness: np.ndarray  # (n,) float32, see `tools.video.sharpness`
    key: np.ndarray  # (n,) bool, whether a decoder can start at this frame
    end_time: float  # when the last frame stops being shown, seconds from the first frame
    seekable: bool  # whether time stamps are there and rise: a frame can be found by its own
    average_rate: float  # frames a second
    # Version of the scan, size and time of change (ns) of the file that was scanned.
    source: list[int] = field(default_factory=list)
    # How often the file's clock jumps, where the times go on evenly; None: a scan from before this
    # was looked at.
    clock_jumps: int | None = None
    # Packets that cannot be decoded and frames that were decoded with errors; None as above.
    damaged: int | None = None

    def __len__(self) -> int:
        return len(self.pts)

    def thumbnails(self) -> Iterator[np.ndarray]:
        """Yield the thumbnails in order, (k, 27, 48, 3) uint8 RGB each, k <= CHUNK_FRAMES."""
        with np.load(self.path) as archive:
            for chunk in range(-(-len(self) // CHUNK_FRAMES)):
                yield _thumbnail_chunk(archive, chunk)

    def thumbnails_at(self, indices: Iterable[int]) -> np.ndarray:
        """The thumbnails of some frames, (len(indices), 27, 48, 3) uint8 RGB."""
        with np.load(self.path) as archive:
            chunk = lru_cache(1)(partial(_thumbnail_chunk, archive))  # of neighbours, read once
            return np.stack([chunk(i // CHUNK_FRAMES)[i % CHUNK_FRAMES] for i in indices])

    def span_times(self, start: int, end: int) -> tuple[float, float]:
        """From when to when the frames start..end (inclusive) are shown, in seconds."""
        after = self.times[end + 1] if end + 1 < len(self) else self.end_time
        return float(self.times[start]), float(after)


def _thumbnail_chunk(archive: Any, chunk: int) -> np.ndarray:
    return np.add.accumulate(archive[f"thumbnails_{chunk:05d}"], axis=0, dtype=np.uint8)


def scan_file(video: Path, kept: Path, threads: int = 1, *, counts_damage: bool = False) -> Scan:
    """The scan of a video: the one kept in `kept` if the file has not changed since, else a new
    one. Raises VideoError where the file cannot be used as a video.

    Args:
        counts_damage: a kept one from before damaged packets and frames were counted will not do.
    """
    with readable(video):
        now = video.stat()
    source = [SCAN_VERSION, now.st_size, now.st_mtime_ns]
    scan = load_scan(kept)
    unaware = scan and (
        (scan.damaged is None and counts_damage)
        or (scan.clock_jumps is None and video.suffix.lower() in TRANSPORT_STREAMS)
    )
    if scan is None or scan.source != source or unaware:
        with replace_atomically(kept) as file, zipfile.ZipFile(file, "w") as archive:
            _scan(video, archive, np.array(source), threads)
        scan = load_scan(kept)
        assert scan is not None
    return scan


def kept_scan(dataset: Dataset, video_id: str, video: Path) -> Scan | None:
    """The scan that is kept of a video, None if none is; raises VideoError where the file is not
    there, or is not as large as the one that was scanned, or was listed where no scan is kept."""
    with readable(video):
        size = video.stat().st_size
    if scan := load_scan(dataset.scan_path(video_id)):
        known, by = scan.source[1], "scanned"
    else:
        files = dataset.shard_of(video_id).table("files").path
        sizes = _listed_sizes(files, files.stat().st_mtime_ns) if files.exists() else {}
        known, by = sizes.get(video_id, size), "listed"
    if known != size:
        raise VideoError(f"changed: the file is not the one that stage 1 {by}")
    return scan


@lru_cache(1)  # a worker and a viewer ask about many videos of one data set
def _listed_sizes(files: Path, _changed: int) -> dict[str, int]:
    """video_id -> size in bytes, out of files.jsonl as it is since a time of change."""
    return {record["video_id"]: record["bytes"] for record in Table(files).read()}


def load_scan(kept: Path) -> Scan | None:
    """Read a kept scan, whose thumbnails stay on disk; None without a whole one."""
    names = ("pts", "times", "gray_min", "gray_max", "sharpness", "key")
    try:
        with np.load(kept) as archive:
            end_time, seekable, rate, *counts = archive["one"].tolist()
            source = archive["source"].tolist()
            values = [end_time, bool(seekable), rate, source, *map(int, counts)]
            return Scan(kept, *(archive[name] for name in names), *values)
    except (FileNotFoundError, EOFError, KeyError, ValueError, zipfile.BadZipFile):
        return None


def _scan(video: Path, archive: zipfile.ZipFile, source: np.ndarray, threads: int) -> None:
    cv2.setNumThreads(threads)
    pts: list[int | None] = []
    rows: list[tuple[int, int, float, bool]] = []
    waiting: list[np.ndarray] = []
    chunks = packets = broken = faulty = last_duration = 0
    with open_video(video, threads) as (container, stream):
        measure = FrameMeter(Display(stream))
        for frames in decode_packets(container, stream):
            packets += 1
            broken += frames is None
            for frame in frames or ():
                pts.append(frame.pts)
                rows.append((*measure.gray(frame), bool(frame.key_frame)))
                faulty += frame.is_corrupt
                last_duration = frame.duration
                waiting.append(measure.thumbnail(frame))
                if len(waiting) == CHUNK_FRAMES:
                    _keep_thumbnails(archive, chunks, waiting)
                    waiting, chunks = [], chunks + 1
        first = (pts[0] if pts else 0) or 0
        times, end_time, rate, seekable, jumps = _timeline(pts, last_duration, container, stream)
        # A clock that jumps says nothing of the length.
        declared = 0.0 if jumps else declared_seconds(stream, first)
    if not rows:
        raise VideoError("no frames: nothing in the video stream can be decoded")
    if broken > BROKEN_SHARE * packets:
        raise VideoError(f"broken: {broken} of {packets} packets cannot be decoded")
    if end_time < TRUNCATED_SHARE * declared:
        raise VideoError(f"truncated: {end_time:.1f} s of {declared:.1f} s can be decoded")
    if waiting:
        _keep_thumbnails(archive, chunks, waiting)
    gray_min, gray_max, sharpness, key = zip(*rows, strict=True)
    _keep(archive, "pts", np.array([p if p is not None else -1 for p in pts], np.int64))
    _keep(archive, "times", times)
    _keep(archive, "gray_min", np.array(gray_min, np.uint8))
    _keep(archive, "gray_max", np.array(gray_max, np.uint8))
    _keep(archive, "sharpness", np.array(sharpness, np.float32))
    _keep(archive, "key", np.array(key, bool))
    _keep(archive, "one", np.array([end_time, seekable, rate, jumps, broken + faulty], np.float64))
    _keep(archive, "source", source)


def declared_seconds(stream: av.VideoStream, first: int) -> float:
    """How long the track says it is from a frame on, seconds; 0 where it does not say.

    A recording that starts within a group of pictures lacks its beginning, and not its end.

    Args:
        first: time stamp of the first frame, in the stream's time base.
    """
    if stream.duration:
        before = max(0, first - (first if stream.start_time is None else stream.start_time))
        return float((stream.duration - before) * (stream.time_base or 0))
    # Matroska and WebM keep the time of its end in a tag, hours:minutes:seconds.
    clock = re.fullmatch(r"(\d+):(\d+):(\d+\.?\d*)", stream.metadata.get("DURATION", ""))
    if not clock:
        return 0.0
    end = sum(60**k * float(part) for k, part in enumerate(clock.groups()[::-1]))
    return end - float(first * (stream.time_base or 0))


def _keep_thumbnails(archive: zipfile.ZipFile, chunk: int, thumbnails: list[np.ndarray]) -> None:
    # As differences from frame to frame, modulo 256: a third smaller, and faster to pack.
    differences = np.diff(np.stack(thumbnails), axis=0, prepend=np.uint8(0))
    _keep(archive, f"thumbnails_{chunk:05d}", differences)


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
    """Measures a stream's frames, on one thread; keeps the scaler's tables from frame to frame."""

    def __init__(self, display: Display) -> None:
        self._display = display
        self._to_thumbnail = VideoReformatter()
        self._to_gray = VideoReformatter()

    def thumbnail(self, frame: VideoFrame) -> np.ndarray:
        """The frame upright at 48x27, (27, 48, 3) uint8 RGB, area-averaged."""
        self._display.look_at(frame)
        width, height = THUMBNAIL if self._display.turns % 2 == 0 else THUMBNAIL[::-1]
        small = self._to_thumbnail.reformat(
            frame, width, height, "rgb24", interpolation="AREA", threads=1
        )
        return self._display.turned(small.to_ndarray())

    def gray(self, frame: VideoFrame) -> tuple[int, int, float]:
        """(darkest level, brightest level, sharpness) of the frame's luma, levels 0..255."""
        limited = frame.format.name in LIMITED_PLANES and frame.color_range != FULL_RANGE
        if frame.format.name not in LIMITED_PLANES | FULL_PLANES:
            frame = self._to_gray.reformat(frame, format="gray", threads=1)
        luma = luma_plane(frame)
        low, high = map(int, cv2.minMaxLoc(luma)[:2])
        scale = 1.0
        if limited:
            scale = 255 / LIMITED_LEVELS
            low, high = (
                min(255, max(0, round((level - LIMITED_BLACK) * scale))) for level in (low, high)
            )
        return low, high, band_sharpness(luma) * scale
