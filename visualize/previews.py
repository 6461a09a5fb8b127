"""Pictures and short films of a video for the browser, made once and kept in the cache.

A browser plays neither mkv nor ts nor 10-bit, and a whole file costs memory: a clip is decoded and
cut as a small H.264 film of its own, whatever the video is. No byte of a file itself is served,
and only files are opened that lie in the data folder or in a video folder that the records name.
"""

import io
import os
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.frame import VideoFrame
from PIL import Image

from tools.store.dataset import Dataset
from tools.store.files import replace_atomically
from tools.store.jsonl import Record
from tools.store.locks import locked
from tools.video.decode import Display, VideoError, decode, open_video
from tools.video.frames import read_frames
from tools.video.sampling import frames_between, sample_by_time
from tools.video.scan import Scan, kept_scan
from visualize.cache import cache_folder, digest

# Goes up when pictures or films come to be made in another way.
PREVIEW_VERSION = 2
THUMBNAIL_PIXELS = 320 * 180
PREVIEW_PIXELS = 640 * 360
PREVIEW_SECONDS = 60.0  # a longer clip is shown up to there
WHOLE_SECONDS = 600.0  # the same of a whole video
PREVIEW_RATE = 30.0  # frames a second at most
# x264's constant rate factor and preset: about 100 KB a second at most, cut faster than it plays.
PREVIEW_CODING = {"crf": "25", "preset": "veryfast", "tune": "fastdecode"}
TIME_BASE = Fraction(1, 90_000)


class Outside(VideoError):
    """A path that is in no folder that may be looked into."""


def video_path(dataset: Dataset, record: Record) -> Path:
    """The file of a record of stage 1.

    Raises:
        Outside: it lies neither in the data folder nor in a video folder that the records name.
    """
    path = os.path.abspath(record["video_path"])
    if not os.path.exists(path):  # only init.jsonl is kept up to date when videos move
        path = os.path.abspath(dataset.video_path(record))
    folders = [dataset.home.parent, dataset.video_dir()]
    name = os.path.normpath(str(record.get("video_name") or ""))
    if not name.startswith((os.pardir, os.curdir)) and path.endswith(f"/{name}"):
        folders.append(Path(path.removesuffix(name)))
    for folder in folders:
        if folder and Path(path).is_relative_to(os.path.abspath(folder)):
            return Path(path)
    raise Outside(f"outside: {path} is in no video folder of {dataset.name}")


def pictures(dataset: Dataset, record: Record, indices: Iterable[int]) -> dict[int, bytes]:
    """Frames of a video by index, as small JPEGs.

    Raises:
        VideoError: the video is not there or cannot be read.
    """
    video = video_path(dataset, record)
    folder = _folder(video)
    paths = {index: folder / f"{index}.jpg" for index in set(indices)}
    if not all(path.exists() for path in paths.values()):
        with locked(folder / ".lock"):
            if missing := [index for index, path in paths.items() if not path.exists()]:
                scan = kept_scan(dataset, record["video_id"], video)
                if scan:
                    frames = read_frames(video, missing, scan, max_pixels=THUMBNAIL_PIXELS)
                else:
                    frames = _sampled(video, sorted(missing))
                for index, image in frames.items():
                    with replace_atomically(paths[index]) as file:
                        Image.fromarray(image).save(file, "jpeg", quality=82)
    return {index: path.read_bytes() for index, path in paths.items()}


def _sampled(video: Path, indices: list[int]) -> dict[int, np.ndarray]:
    """Frames of a video that stage 1 has not scanned, found by their times."""

    def choose(times: np.ndarray, rate: float) -> list[int]:
        if indices[-1] >= len(times):
            raise VideoError(f"no such frame: index {indices[-1]}")
        return indices

    sample = sample_by_time(video, choose, THUMBNAIL_PIXELS)
    return dict(zip(indices, sample.pictures, strict=True))


def film(
    dataset: Dataset, record: Record, start: int, end: int, seconds: float = PREVIEW_SECONDS
) -> bytes:
    """The frames from `start` to `end`, inclusive, as H.264 in MP4.

    Args:
        seconds: how long it is at most.

    Raises:
        VideoError: the video is not there or cannot be read.
    """
    video = video_path(dataset, record)
    path = _folder(video) / f"{start}-{end}-{seconds:g}.mp4"
    if not path.exists():
        with locked(path.with_name(".lock")):
            if not path.exists():
                scan = kept_scan(dataset, record["video_id"], video)
                data = _cut(video, start, end, scan, seconds)
                with replace_atomically(path) as file:
                    file.write(data)
    return path.read_bytes()


def _folder(video: Path) -> Path:
    """The cache's folder of a file as it is now."""
    try:
        stat = video.stat()
    except OSError:
        raise VideoError("no such file: the video has been moved or deleted") from None
    name = digest(PREVIEW_VERSION, video, stat.st_size, stat.st_mtime_ns)
    return cache_folder() / "previews" / name


def _cut(video: Path, start: int, end: int, scan: Scan | None, longest: float) -> bytes:
    """Decode some frames and encode them again."""
    target = io.BytesIO()
    frames = _frames(video, start, end, scan)
    first = next(frames, None)
    if first is None:
        raise VideoError(f"no such frame: index {start}")
    begin, last = first[0], -1.0
    with av.open(target, "w", format="mp4") as out:
        stream: Any = out.add_stream("libx264", rate=round(PREVIEW_RATE), options=PREVIEW_CODING)
        height, width = first[2].picture(first[1], PREVIEW_PIXELS).shape[:2]
        stream.width, stream.height = width - width % 2, height - height % 2  # 4:2:0 halves both
        stream.pix_fmt, stream.thread_count = "yuv420p", 1
        stream.codec_context.time_base = TIME_BASE
        for seconds, frame, display in chain([first], frames):
            if seconds - begin > longest:
                break
            if seconds - last < 0.9 / PREVIEW_RATE:
                continue
            last = seconds
            image = display.picture(frame, PREVIEW_PIXELS)[: stream.height, : stream.width]
            new = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            new.pts, new.time_base = round((seconds - begin) / TIME_BASE), TIME_BASE
            out.mux(stream.encode(new))
        out.mux(stream.encode(None))
    return target.getvalue()


def _frames(
    video: Path, start: int, end: int, scan: Scan | None
) -> Iterator[tuple[float, VideoFrame, Display]]:
    """Yield (seconds, frame, how it is shown) from `start` to `end`, inclusive."""
    if scan and scan.seekable and end < len(scan):
        key = np.flatnonzero(scan.key[: start + 1]).max(initial=0)
        with open_video(video) as (container, stream):
            container.seek(int(scan.pts[key]), stream=stream)
            first, display = True, Display(stream)
            for frame in decode(container, stream):
                place = end + 1
                if frame.pts is not None:
                    place = int(np.searchsorted(scan.pts, frame.pts))
                # Some seeks land behind what they were asked for (MPEG-TS): then count.
                if place > end or (first and place > start):
                    break
                first = False
                if place >= start:
                    yield float(scan.times[place]), frame, display
            if not first:
                return
    yield from frames_between(video, start, end)
