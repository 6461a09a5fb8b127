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
from tools.store.files import disk_errors_in_one_line, replace_atomically
from tools.store.jsonl import Record, Table, dumps
from tools.video.sampling import sample_by_time, sample_moments

MAX_PIXELS = 640 * 360  # of a still: what a video LLM sees of a frame, and a little more
JPEG_QUALITY = 90
TIME_LIMIT = 1800.0  # seconds a video


def stills_of(folder: Path, key: str, frames: int | Sequence[int]) -> list[Path]:
    """Where the stills of a video lie, in time order: frames that are given by their indices are
    named after these, so that other frames have other files; see `write_stills`."""
    if isinstance(frames, int):
        return [folder / key / f"{number:03}.jpg" for number in range(frames)]
    return [folder / key / f"{index:06}.jpg" for index in frames]


class StillsStep(Step):
    """Write frames of a video: those that its record names, or the middles of equal parts."""

    name = "stills"
    time_limit = TIME_LIMIT

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.writes = (Table(folder / "stills.jsonl"),)  # which nobody writes: the files are enough

    def process(self, record: Record) -> Record:
        """Give back the record; raises VideoError where the video cannot be read."""
        frames, video = record["frames"], Path(record["path"])
        if isinstance(frames, int):
            parts = (np.arange(frames) + 0.5) / frames
            sample = sample_moments(video, lambda seconds: (parts * seconds).tolist(), MAX_PIXELS)
        else:
            sample = sample_by_time(video, lambda *_: frames, MAX_PIXELS)
        files = stills_of(self.folder, record["video_id"], frames)
        for picture, file in zip(sample.pictures, files, strict=True):
            bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
            _, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
            with replace_atomically(file) as out:
                out.write(jpeg.tobytes())
        for stale in set(files[0].parent.iterdir()) - set(files):  # of a run with others
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

    Raises:
        StorageError: the folder cannot be written to.
    """
    with disk_errors_in_one_line(folder):
        folder.mkdir(parents=True, exist_ok=True)
    records: list[Record] = [
        {"video_id": key, "path": path, "frames": frames}
        for key, path, frames in videos
        if not _are_there(stills_of(folder, key, frames), path)
    ]
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


def _are_there(files: Sequence[Path], path: str) -> bool:
    """Whether these are all stills of the video, and the last, which is written last, is newer."""
    try:
        newer = files[-1].stat().st_mtime >= os.stat(path).st_mtime
        return newer and set(os.listdir(files[0].parent)) == {file.name for file in files}
    except FileNotFoundError:
        return False
