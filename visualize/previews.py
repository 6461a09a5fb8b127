"""Pictures and short films of a video for the browser, made once and kept in the cache.

A browser plays neither mkv nor ts nor 10-bit, and a whole file costs memory: a clip is decoded and
cut as a small H.264 film of its own, whatever the video is. No byte of a file itself is served,
and only files are opened that lie in the data folder or in a video folder that the records name.
"""

import io
import os
from collections.abc import Iterable, Iterator
from fractions import Fraction
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
from tools.video.decode import VideoError, decode, open_video, upright
from tools.video.frames import read_frames
from tools.video.scan import Scan, kept_scan
from visualize.cache import cache_folder, digest

# Goes up when pictures or films come to be made in another way.
PREVIEW_VERSION = 1
THUMBNAIL_PIXELS = 320 * 180
PREVIEW_PIXELS = 640 * 360
PREVIEW_SECONDS = 60.0  # a longer clip is shown up to there
PREVIEW_RATE = 30.0  # frames a second at most
# x264's constant rate factor and preset: about 100 KB a second at most, cut faster than it plays.
PREVIEW_CODING = {"crf": "25", "preset": "veryfast", "tune": "fastdecode"}
TIME_BASE = Fraction(1, 90_000)


class Outside(VideoError):
    """A path that is in no folder that may be looked into."""


class Previews:
    """Pictures and films of one dataset's videos."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._folder = cache_folder() / "previews"

    def path(self, record: Record) -> Path:
        """The file of a record of stage 1.

        Raises:
            Outside: it lies neither in the data folder nor in a video folder that the records name.
        """
        path = os.path.abspath(record["video_path"])
        folders = [self._dataset.root.parent, self._dataset.video_dir()]
        name = os.path.normpath(str(record.get("video_name") or ""))
        if not name.startswith((os.pardir, os.curdir)) and path.endswith(f"/{name}"):
            folders.append(Path(path.removesuffix(name)))
        for folder in folders:
            if folder and Path(path).is_relative_to(os.path.abspath(folder)):
                return Path(path)
        raise Outside(f"outside: {path} is in no video folder of {self._dataset.name}")

    def pictures(self, record: Record, indices: Iterable[int]) -> dict[int, bytes]:
        """Frames of a video by index, as small JPEGs.

        Raises:
            VideoError: the video is not there or cannot be read.
        """
        video = self.path(record)
        folder = self._of(video)
        paths = {index: folder / f"{index}.jpg" for index in set(indices)}
        if not all(path.exists() for path in paths.values()):
            with locked(folder / ".lock"):
                missing = [index for index, path in paths.items() if not path.exists()]
                scan = self._scan(record, video)
                frames = (
                    read_frames(video, missing, scan, max_pixels=THUMBNAIL_PIXELS)
                    if missing
                    else {}
                )
                for index, image in frames.items():
                    with replace_atomically(paths[index]) as file:
                        file.write(_jpeg(image))
        return {index: path.read_bytes() for index, path in paths.items()}

    def film(self, record: Record, start: int, end: int) -> bytes:
        """The frames from `start` to `end`, inclusive, as H.264 in MP4.

        Raises:
            VideoError: the video is not there or cannot be read.
        """
        video = self.path(record)
        path = self._of(video) / f"{start}-{end}.mp4"
        if not path.exists():
            with locked(path.with_name(".lock")):
                if not path.exists():
                    film = _cut(video, start, end, self._scan(record, video))
                    with replace_atomically(path) as file:
                        file.write(film)
        return path.read_bytes()

    def _of(self, video: Path) -> Path:
        """The cache's folder of a file as it is now."""
        try:
            stat = video.stat()
        except OSError:
            raise VideoError("no such file: the video has been moved or deleted") from None
        return self._folder / digest(PREVIEW_VERSION, video, stat.st_size, stat.st_mtime_ns)

    def _scan(self, record: Record, video: Path) -> Scan | None:
        return kept_scan(video, self._dataset.scan_path(record["video_id"]))


def _jpeg(image: np.ndarray) -> bytes:
    target = io.BytesIO()
    Image.fromarray(image).save(target, "jpeg", quality=82)
    return target.getvalue()


def _cut(video: Path, start: int, end: int, scan: Scan | None) -> bytes:
    """Decode some frames and encode them again."""
    target = io.BytesIO()
    with av.open(target, "w", format="mp4") as out:
        stream: Any = None
        first = last = -1.0
        for seconds, frame in _frames(video, start, end, scan):
            first = seconds if stream is None else first
            if seconds - first > PREVIEW_SECONDS:
                break
            if stream is not None and seconds - last < 0.9 / PREVIEW_RATE:
                continue
            last = seconds
            image = upright(frame, PREVIEW_PIXELS)
            height, width = (size - size % 2 for size in image.shape[:2])  # 4:2:0 halves both
            if stream is None:
                stream = out.add_stream("libx264", rate=round(PREVIEW_RATE), options=PREVIEW_CODING)
                stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
                stream.thread_count = 1
                stream.codec_context.time_base = TIME_BASE
            new = av.VideoFrame.from_ndarray(
                np.ascontiguousarray(image[: stream.height, : stream.width]), format="rgb24"
            )
            new.pts, new.time_base = round((seconds - first) / TIME_BASE), TIME_BASE
            out.mux(stream.encode(new))
        if stream is None:
            raise VideoError(f"no such frame: index {start}")
        out.mux(stream.encode(None))
    return target.getvalue()


def _frames(
    video: Path, start: int, end: int, scan: Scan | None
) -> Iterator[tuple[float, VideoFrame]]:
    """Yield (seconds, frame) from `start` to `end`, inclusive."""
    if scan and scan.seekable and end < len(scan):
        places = {int(pts): place for place, pts in enumerate(scan.pts)}
        starts = np.flatnonzero(scan.key)
        key = int(scan.pts[starts[starts <= start].max(initial=0)])
        with open_video(video) as (container, stream):
            container.seek(key, stream=stream)
            first = True
            for frame in decode(container, stream):
                place = places.get(-1 if frame.pts is None else frame.pts, end + 1)
                # Some seeks land behind what they were asked for (MPEG-TS): then count.
                if place > end or (first and place > start):
                    break
                first = False
                if place >= start:
                    yield float(scan.times[place]), frame
            if not first:
                return
    with open_video(video) as (container, stream):
        rate = float(stream.average_rate or 25)
        for place, frame in enumerate(decode(container, stream)):
            if place > end:
                return
            if place >= start:
                yield place / rate, frame
