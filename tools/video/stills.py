"""Frames of videos as JPEG files, for trainers that take pictures and no video."""

import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from tools.runner.pool import Pool
from tools.runner.processes import Processes
from tools.runner.step import Step
from tools.runner.worker import Item
from tools.store.files import replace_atomically
from tools.store.jsonl import Record, Table, dumps
from tools.video.sampling import sample_by_time, sample_moments

MAX_PIXELS = 640 * 360  # of a still: what a video LLM sees of a frame, and a little more
JPEG_QUALITY = 90
TIME_LIMIT = 1800.0  # seconds a video


def stills_of(folder: Path, key: str, count: int) -> list[Path]:
    """Where the stills of a video lie, in time order."""
    return [folder / key / f"{number:03}.jpg" for number in range(count)]


class StillsStep(Step):
    """Write frames of a video: those that its record names, or the middles of equal parts."""

    name = "stills"
    time_limit = TIME_LIMIT

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.writes = (Table(folder / "stills.jsonl"),)  # which nobody writes: the files are enough

    def process(self, record: Record) -> Record:
        """Give back the record; raises VideoError where the video cannot be read."""
        count, video = record["count"], Path(record["path"])
        if indices := record["indices"]:
            sample = sample_by_time(video, lambda *_: indices, MAX_PIXELS)
        else:
            parts = (np.arange(count) + 0.5) / count
            sample = sample_moments(video, lambda seconds: (parts * seconds).tolist(), MAX_PIXELS)
        files = stills_of(self.folder, record["video_id"], count)
        for picture, file in zip(sample.pictures, files, strict=True):
            bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
            _, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
            with replace_atomically(file) as out:
                out.write(jpeg.tobytes())
        for stale in set(files[0].parent.iterdir()) - set(files):  # of a run with more of them
            stale.unlink()
        return record


def write_stills(
    videos: Iterable[tuple[str, str, int | Sequence[int]]], folder: Path
) -> dict[str, str]:
    """Write frames of videos where they are missing or older than the video, a process a core.

    Args:
        videos: (key, path, frames) each: the key names the video's folder in `folder`; frames are
            their rising indices, or how many there are to be, in the middles of equal parts.

    Returns:
        By path, why a video cannot be read.
    """
    records: list[Record] = []
    for key, path, frames in videos:
        indices, count = ([], frames) if isinstance(frames, int) else (frames, len(frames))
        if not _are_there(folder, key, path, count):
            records.append({"video_id": key, "path": path, "indices": indices, "count": count})
    errors: dict[str, str] = {}
    if not records:
        return errors
    step, quiet = StillsStep(folder), not sys.stderr.isatty()
    items = (Item(row["video_id"], dumps(row), (step.writes[0].name,)) for row in records)
    paths = {row["video_id"]: row["path"] for row in records}
    bar = tqdm(desc=step.name, unit="video", total=len(records), disable=quiet)
    with bar, Pool(Processes(), min(os.cpu_count() or 1, len(records))) as pool:
        for outcome in pool.run(step, items, len(records)):
            if outcome.kind != "done":
                errors[paths[outcome.video_id]] = outcome.error
            bar.update()
    return errors


def _are_there(folder: Path, key: str, path: str, count: int) -> bool:
    """Whether the last still, which is written last, is newer than the video, and none follows."""
    *_, last, beyond = stills_of(folder, key, count + 1)
    try:
        return last.stat().st_mtime >= os.stat(path).st_mtime and not beyond.exists()
    except FileNotFoundError:
        return False
