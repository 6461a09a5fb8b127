"""Exact frames of a video by their index."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import av
import numpy as np
from av.video.frame import VideoFrame

from tools.video.decode import Display, VideoError, decode, open_video
from tools.video.scan import FrameMeter, Scan


def read_frames(
    video: Path,
    indices: Iterable[int],
    scan: Scan | None = None,
    threads: int = 1,
    max_pixels: int | None = None,
) -> dict[int, np.ndarray]:
    """Decode exactly the frames of the given indices, as people see them.

    With a scan, a frame is found by its time stamp from the nearest frame that a decoder can start
    at, and proved by its thumbnail; where that fails, and without a scan, by counting from the
    start.

    Args:
        max_pixels: scale larger frames down to at most this many pixels; None: as they are.

    Returns:
        (height, width, 3) uint8 RGB by index.

    Raises:
        VideoError: the file cannot be read, or has no such frame.
    """
    wanted = sorted(set(indices))
    pictures: dict[int, np.ndarray] = {}
    if scan and scan.seekable and wanted[-1] < len(scan):
        pictures = _seek_frames(video, wanted, scan, threads, max_pixels)
    if left := set(wanted) - pictures.keys():
        pictures |= _count_frames(video, left, threads, max_pixels)
    if left := set(wanted) - pictures.keys():
        raise VideoError(f"no such frame: index {min(left)}")
    return pictures


def _count_frames(
    video: Path, wanted: set[int], threads: int, max_pixels: int | None
) -> dict[int, np.ndarray]:
    """Find frames by counting from the start of the file."""
    with open_video(video, threads) as (container, stream):
        frames = enumerate(islice(decode(container, stream), max(wanted) + 1))
        display = Display(stream)
        return {i: display.picture(frame, max_pixels) for i, frame in frames if i in wanted}


def _seek_frames(
    video: Path, wanted: list[int], scan: Scan, threads: int, max_pixels: int | None
) -> dict[int, np.ndarray]:
    """Find frames by time stamp, up to the first that its thumbnail does not prove.

    In some files seeking lands behind the requested frame (MPEG-TS with B-frames); counting is
    cheaper there than one attempt after the other.
    """
    starts = np.flatnonzero(scan.key)
    pictures: dict[int, np.ndarray] = {}
    with open_video(video, threads) as (container, stream):
        display = Display(stream)
        meter = FrameMeter(display)
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
            pictures[index] = display.picture(frame, max_pixels)
            position = index
    return pictures
