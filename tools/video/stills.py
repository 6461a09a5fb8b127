"""Frames of videos as JPEG files, for trainers that take pictures and no video."""

import os
import sys
from collections.abc import Iterable
from pathlib import Path

import cv2
from tqdm import tqdm

from tools.runner.pool import Pool
from tools.runner.processes import Processes
from tools.runner.step import Step
from tools.runner.worker import Item
from tools.store.files import replace_atomically
from tools.store.jsonl import Record, Table, dumps
from tools.video.sampling import sample_moments

MAX_PIXELS = 640 * 360  # of a still: what a video LLM sees of a frame, and a little more
JPEG_QUALITY = 90
TIME_LIMIT = 1800.0  # seconds a video


def stills_of(folder: Path, key: str, count: int) -> list[Path]:
    """Where the stills of a video lie, in time order."""
    return [folder / key / f"{number:03}.jpg" for number in range(count)]


class StillsStep(Step):
    """Write the middles of equal parts of a video."""

    name = "stills"
    time_limit = TIME_LIMIT

    def __init__(self, folder: Path, count: int) -> None:
        self.folder, self.count = folder, count
        self.writes = (Table(folder / "stills.jsonl"),)  # which nobody writes: the files are enough

    def process(self, record: Record) -> Record:
        """Give back the record; raises VideoError where the video cannot be read."""

        def middles(seconds: float) -> list[float]:
            return [(place + 0.5) / self.count * seconds for place in range(self.count)]

        sample = sample_moments(Path(record["path"]), middles, MAX_PIXELS)
        files = stills_of(self.folder, record["video_id"], self.count)
        for picture, file in zip(sample.pictures, files, strict=True):
            bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
            _, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
            with replace_atomically(file) as out:
                out.write(jpeg.tobytes())
        return record


def write_stills(videos: Iterable[tuple[str, str]], folder: Path, count: int) -> dict[str, str]:
    """Write `count` stills a video where they are missing or older than it, a process a core.

    Args:
        videos: (key, path) each; the key names the video's folder in `folder`.

    Returns:
        By path, why a video cannot be read.
    """
    records = {key: path for key, path in videos if not _are_there(folder, key, path, count)}
    errors: dict[str, str] = {}
    if not records:
        return errors
    step, quiet = StillsStep(folder, count), not sys.stderr.isatty()
    name = step.writes[0].name
    items = (
        Item(key, dumps({"video_id": key, "path": path}), (name,)) for key, path in records.items()
    )
    bar = tqdm(desc=step.name, unit="video", total=len(records), disable=quiet)
    with bar, Pool(Processes(), min(os.cpu_count() or 1, len(records))) as pool:
        for outcome in pool.run(step, items, len(records)):
            if outcome.kind != "done":
                errors[records[outcome.video_id]] = outcome.error
            bar.update()
    return errors


def _are_there(folder: Path, key: str, path: str, count: int) -> bool:
    """Whether the last still, which is written last, is newer than the video, and none follows."""
    last = stills_of(folder, key, count)[-1]
    beyond = stills_of(folder, key, count + 1)[-1]
    try:
        return last.stat().st_mtime >= os.stat(path).st_mtime and not beyond.exists()
    except FileNotFoundError:
        return False
