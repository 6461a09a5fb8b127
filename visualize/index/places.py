"""Where the lines of a dataset lie: which tables it has, and a plain scan of their files."""

import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, product
from pathlib import Path

import pyarrow as pa

from tools.errors import UserError
from tools.pairs.perturbation import Config
from tools.store.dataset import Dataset
from tools.store.files import CorruptLine
from tools.store.jsonl import Record, Table, lines_from, parse_line

# The tables of stage 1, and those of them that say something about a video that no other does.
STAGE_ONE = (
    *("init", "scene", "filter_scene", "similarity", "group", "filter_group", "extract_frame"),
    "videos",
)
VIDEO_TABLES = ("init", "scene", "filter_scene", "filter_group", "videos")

PLACES = pa.schema(
    [
        ("source", pa.int32()),
        ("file", pa.int32()),
        ("video_id", pa.string()),
        ("start", pa.int64()),
        ("size", pa.int32()),
        ("checksum", pa.uint32()),
    ]
)
"""A row a record: its table and file, as positions in a `Survey`, and where in it
the line starts and its size, in bytes."""

_VIDEO_ID = re.compile(rb'"video_id"\s*:\s*"([ !#-\[\]-~]*)"')

BadLine = tuple[str, str]
"""A line that is not a record: its file, and what is wrong with it."""


@dataclass(frozen=True)
class Source:
    """A table that is indexed.

    Attributes:
        table: its path relative to the dataset's folder, such as anno/videos.jsonl.
        model, iteration: of captions and responses; "" and 0 for the tables of stage 1.
        config: of responses; "" for other tables.
    """

    table: str
    model: str
    iteration: int
    config: str


@dataclass(frozen=True)
class Survey:
    """The files of a dataset at one moment.

    Attributes:
        sources: the tables.
        files: path relative to the dataset's folder -> [position in `sources`, inode, size in
            bytes, time of change in ns], the merged file of a table before its parts.
        failures: the same of the lists of failures, with 0 as position.
    """

    sources: list[Source]
    files: dict[str, list[int]]
    failures: dict[str, list[int]]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(size for _, _, size, _ in self.files.values())


def _tables(dataset: Dataset) -> Iterator[tuple[Table, str, int, str]]:
    """Yield (table, model, iteration, config) of all that is indexed."""
    for step in VIDEO_TABLES:
        yield dataset.videos() if step == "videos" else dataset.table(step), "", 0, ""
    for model in dataset.caption_models():
        yield dataset.table(f"clip_captions_{model}"), model, 0, ""
    for model, iteration in dataset.response_runs():
        for config in dataset.response_configs(model, iteration):
            with suppress(UserError):  # Other files may lie there, too.
                Config.parse(config)
                yield dataset.responses(model, config, iteration), model, iteration, config


def survey(dataset: Dataset) -> Survey:
    """Look at the files of a dataset, those of all its shards, without reading any."""
    root, now = dataset.root, Survey([], {}, {})
    shards = dataset.shards()
    tables = chain.from_iterable(map(_tables, shards))
    for number, (table, model, iteration, config) in enumerate(tables):
        now.sources.append(Source(str(table.path.relative_to(root)), model, iteration, config))
        for path in (table.path, *table.parts()):
            _look(path, number, root, now.files)
        _look(table.failed.path, 0, root, now.failures)
    for shard, step in product(shards, STAGE_ONE):
        _look(shard.table(step).failed.path, 0, root, now.failures)
    return now


def _look(path: Path, number: int, root: Path, files: dict[str, list[int]]) -> None:
    with suppress(FileNotFoundError):  # It was never there, or has just been merged.
        stat = path.stat()
        files[str(path.relative_to(root))] = [number, stat.st_ino, stat.st_size, stat.st_mtime_ns]


def scan(root: Path, source: int, files: Mapping[str, int]) -> tuple[pa.Table, list[BadLine]]:
    """Read the files of one table: a row of PLACES for each video, and the lines without one.

    Args:
        source: the table's position in the survey.
        files: path relative to `root` -> position in the survey; of a video that several files
            hold, the first one's record counts.
    """
    rows: dict[str, tuple[int, int, str, int, int, int]] = {}
    bad: list[BadLine] = []
    for name, number in files.items():
        path = root / name
        with suppress(FileNotFoundError):  # It has just been merged: the next renewal sees that.
            for _, start, line in lines_from(path, merged=path.suffix == ".jsonl"):
                plain = _VIDEO_ID.search(line)  # Most lines need no parsing.
                try:
                    video_id = (
                        plain[1].decode() if plain else str(parse_at(start, line, path)["video_id"])
                    )
                except CorruptLine as error:
                    bad.append((name, str(error)))
                    continue
                if video_id not in rows:
                    checksum = zlib.crc32(line)
                    rows[video_id] = source, number, video_id, start, len(line), checksum
    columns = zip(*rows.values(), strict=True) if rows else [()] * len(PLACES)
    return pa.table(list(map(pa.array, columns, PLACES.types)), schema=PLACES), bad


def parse_at(start: int, line: bytes, path: Path) -> Record:
    """`parse_line`, whose error names the byte of the file at which the line starts."""
    try:
        return parse_line(line, path, 0)
    except CorruptLine as error:
        raise CorruptLine(str(error).replace("line 0", f"byte {start}")) from None
