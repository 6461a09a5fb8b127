"""Which videos training cannot read: asked of the reader that it uses, and remembered.

Beside the rows, `video_checks.jsonl` keeps a line a video, its path as the `video_id`: its size and
time of change, the reader and its version, and what is wrong with it (`error`) or how it is seen
(`width`, `height`, `frames`, `rate`).
"""

import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from importlib.metadata import version
from pathlib import Path

import orjson
from tqdm import tqdm

from tools.runner.pool import Pool
from tools.runner.processes import Processes
from tools.runner.step import Step
from tools.runner.worker import Item
from tools.store.files import CorruptLine
from tools.store.jsonl import Record, Table, dumps
from tools.store.locks import locked
from tools.video.decode import VideoError
from tools.video.sampling import READER_VERSION, Choice, Sample, sample_frames

LOOKED_AT = 4  # frames, spread over the video: those that qwen-vl-utils takes at least
LEAST_FRAMES = 2  # qwen-vl-utils refuses a video of fewer
TIME_LIMIT = 1800.0  # seconds a video
# Faults of a disk, a right or a machine, which may be gone while the file stays the same.
PASSING = re.compile("no such file|permission denied|cannot be read|breaks off")


class ReadingStep(Step):
    """Read some frames of a video as training does."""

    name = "video checks"
    time_limit = TIME_LIMIT

    def __init__(self, table: Table, reader: str) -> None:
        self.writes = (table,)
        self.reader = reader

    def process(self, record: Record) -> Record:
        """Add width, height, frames and rate, or the error."""
        read = read_with_decord if self.reader == "decord" else sample_frames
        try:
            sample = read(Path(record["video_id"]), spread)
        except VideoError as error:
            if PASSING.match(str(error)):
                raise  # fails now, and is tried again the next time
            return {**record, "error": str(error)}
        if sample.total < LEAST_FRAMES:
            return {**record, "error": f"too short: {sample.total} frame, training needs two"}
        height, width = sample.pictures.shape[1:3]
        seen = {"width": width, "height": height, "frames": sample.total, "rate": sample.rate}
        return {**record, **seen}


def spread(total: int, rate: float) -> list[int]:
    """Which frames are looked at."""
    del rate
    return [place * (total - 1) // (LOOKED_AT - 1) for place in range(LOOKED_AT)]


def read_with_decord(video: Path, choose: Choice) -> Sample:
    """`sample_frames` by decord, which qwen-vl-utils takes where nothing else is registered."""
    import decord

    try:
        reader = decord.VideoReader(str(video))
        total, rate = len(reader), reader.get_avg_fps()
        indices = list(choose(total, rate))
        pictures = reader.get_batch(indices).asnumpy()
        times = [index / rate for index in indices]
        return Sample(pictures, indices, times, total, rate, total / rate)
    except Exception as error:  # decord raises errors of its own, RuntimeError and IndexError
        raise VideoError(f"decord cannot read it: {str(error).splitlines()[0]:.100}") from None


def check_videos(paths: Iterable[str], folder: Path, reader: str = "toolkit") -> dict[str, Record]:
    """How training sees each of these videos.

    Args:
        folder: where the results of earlier calls are kept, if it can be written to: that of the
            rows.
        reader: toolkit (`tools.training.reader`) or decord.

    Returns:
        By path, a record with width, height, frames and rate, or with an error.
    """
    versions = {"toolkit": str(READER_VERSION), "decord": version("decord")}
    table = Table(folder / "video_checks.jsonl")
    files = {
        path: file_version(path, f"{reader} {versions[reader]}") for path in sorted(set(paths))
    }
    may_write = os.access(folder, os.W_OK)
    with locked(folder / ".video_checks.jsonl.lock") if may_write else nullcontext():
        try:
            kept = {record["video_id"]: record for record in table.read()}
        except CorruptLine:
            kept = {}
        known = {
            path: kept[path]
            for path, file in files.items()
            if path in kept and file.items() <= kept[path].items()
        }
        unknown = {p: file for p, file in files.items() if p not in known and "error" not in file}
        read: dict[str, Record] = {}
        try:
            for path, check, lasts in _read(table, unknown, reader):
                known[path] = check
                if lasts:
                    read[path] = check
        finally:  # what was read before a Ctrl-C is kept too
            if read and may_write:
                table.write((kept | read).values())
    return files | known


def _read(
    table: Table, files: dict[str, Record], reader: str
) -> Iterator[tuple[str, Record, bool]]:
    """Yield (path, what is found, whether that lasts as long as the file) for each file."""
    if not files:
        return
    step = ReadingStep(table, reader)
    items = (Item(path, dumps(file), (table.name,)) for path, file in files.items())
    quiet = not sys.stderr.isatty()
    bar = tqdm(desc=step.name, unit="video", total=len(files), disable=quiet)
    with bar, Pool(Processes(), min(os.cpu_count() or 1, len(files))) as pool:
        for outcome in pool.run(step, items, len(files)):
            path, lasts = outcome.video_id, outcome.kind == "done"
            failed = {**files[path], "error": outcome.error.removeprefix("VideoError: ")}
            yield path, orjson.loads(outcome.line) if lasts else failed, lasts
            bar.update()


def file_version(path: str, reader: str) -> Record:
    """What says that a file is the one that was checked; or that it is not there."""
    try:
        stat = os.stat(path)
    except OSError as error:
        return {"video_id": path, "error": f"no such file: {error.strerror}"}
    times = {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
    return {"video_id": path, **times, "reader": reader}
