"""One JSONL file of a stage, read for the index: where each record lies, and what is asked of it.

A segment is a Parquet file, one row a record, made from one JSONL file. What costs time, cleaning a
response and comparing it with the chosen one, is done once a record: a file that has grown is read
from where it ended, and a file that has been written anew (as when parts become one sorted file)
takes over what is known of every line that has stayed the same.
"""

import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from rapidfuzz.distance import Indel

from tools.errors import UserError
from tools.pairs.perturbation import CLEAN, Config
from tools.pairs.rules import Side, drop_reason, read_side
from tools.store.jsonl import Record, lines_from, parse_line
from tools.text.answers import cleaner, media_or_special_tag

# Lines read at a time, few enough to stay in a processor's cache, and rows in a row group.
BATCH_LINES, GROUP_ROWS = 256, 8192

_PLACE = [
    ("video_id", pa.string()),
    ("offset", pa.int64()),
    ("length", pa.int32()),
    ("crc", pa.uint32()),
]
RECORDS = pa.schema(
    [
        *_PLACE,
        ("name", pa.string()),
        ("filtered", pa.bool_()),
        ("reason", pa.string()),
        ("shots", pa.int32()),
        ("clip_seconds", pa.list_(pa.float32())),
    ]
)
"""Annotations: `shots` are those kept; `clip_seconds` is how long each clip lasts."""
CHOSEN = pa.schema(
    [
        *_PLACE,
        ("fault", pa.string()),
        ("indices", pa.list_(pa.int32())),
        ("side", pa.string()),
        ("text", pa.string()),
    ]
)
"""Responses to the clean order: a `tools.pairs.rules.Side`, and its text in lower case."""
REJECTED = pa.schema(
    [
        *_PLACE,
        ("chosen_crc", pa.uint32()),
        ("reason", pa.string()),
        ("chosen_length", pa.int32()),
        ("rejected_length", pa.int32()),
        ("similarity", pa.float32()),
        ("clips", pa.int32()),
        ("told", pa.int32()),
        ("same_order", pa.int64()),
        ("text", pa.string()),
    ]
)
"""Responses to a perturbed order: `reason` why convert drops the pair ('' if it does not), lengths
in characters, `clips` of the video and `told` of them in this response, `same_order` equal for
equal selections (0 where the row does not say), `text` in lower case."""

Describe = Callable[[list[str], list[Record]], Iterator[tuple[Any, ...]]]
"""From records, and the videos they are of, to the columns behind their places."""

# A search reads all texts: it takes half the time if they are stored as they are.
_STORAGE: dict[str, Any] = {
    "compression": "none",
    "use_dictionary": False,
    "write_statistics": ["video_id"],
}
_VIDEO_ID = re.compile(rb'"video_id"\s*:\s*"((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True)
class Job:
    """One file to be read.

    Attributes:
        path: the JSONL file.
        merged: whether it is the merged file of its table.
        segment: the Parquet file to write.
        start, end: bytes to read; before `start` lies what `own` knows already.
        own: the segment of the first `start` bytes; None with `start` 0.
        known: segments that may hold lines of this file.
        model, config: of responses; config None: annotations.
        chosen: of a perturbed response, the segments of the responses to the clean order.
    """

    path: Path
    merged: bool
    segment: Path
    start: int
    end: int
    own: Path | None = None
    known: tuple[Path, ...] = ()
    model: str = ""
    config: Config | None = None
    chosen: tuple[Path, ...] = ()

    @property
    def schema(self) -> pa.Schema:
        """What the segment's rows hold."""
        if self.config is None:
            return RECORDS
        return CHOSEN if self.config == CLEAN else REJECTED


@dataclass
class Made:
    """What came of a job: up to which byte the file was read, rows in the segment, how many lines
    were no records, and the first of them in words."""

    consumed: int
    rows: int = 0
    bad: int = 0
    first_bad: str = ""


def similarity(chosen: str, rejected: str) -> float:
    """How alike two texts are, 0 to 1: twice the words of their longest common subsequence over the
    words of both. 1 is the same words in the same order.

    Never less than `tools.pairs.rules.similarity`, which takes hundreds of times as long.
    """
    return float(Indel.normalized_similarity(chosen.split(), rejected.split()))


def write_segment(job: Job) -> Made:
    """Read a file and write its segment."""
    made = Made(job.start)
    known = _Known(job)
    describe = _describer(job)
    waiting = [job.schema.empty_table()]
    with pq.ParquetWriter(job.segment, job.schema, **_STORAGE) as writer:
        if job.own:
            own = _Rows([job.own])
            for group in own.groups():
                writer.write_table(group)
                made.rows += len(group)
        for batch in _batches(job):
            records: list[Record] = []
            places: list[tuple[int, int, int]] = []
            reused: dict[int, int] = {}
            for offset, line in batch:
                made.consumed = offset + len(line)
                crc = zlib.crc32(line)
                row = known.find(line, crc)
                if row is not None:
                    reused[row] = offset
                    continue
                try:
                    records.append(parse_line(line, job.path, 0))
                    places.append((offset, len(line), crc))
                except UserError as error:
                    made.bad += 1
                    made.first_bad = made.first_bad or str(error).replace("line 0", f"at {offset}")
            ids = [str(record["video_id"]) for record in records]
            rows = [
                (video_id, *place, *described)
                for video_id, place, described in zip(
                    ids, places, describe(ids, records), strict=True
                )
            ]
            waiting += [known.take(reused), _table(rows, job.schema)]
            if sum(map(len, waiting)) >= GROUP_ROWS:
                made.rows += _flush(writer, waiting)
        made.rows += _flush(writer, waiting)
    return made


def _flush(writer: pq.ParquetWriter, waiting: list[pa.Table]) -> int:
    """Write tables as one row group, and forget them."""
    table = pa.concat_tables(waiting)
    if len(table):
        writer.write_table(table)
    waiting[:] = [table.schema.empty_table()]
    return len(table)


def _batches(job: Job) -> Iterator[list[tuple[int, bytes]]]:
    """The lines of the file, some thousands at a time."""
    batch: list[tuple[int, bytes]] = []
    for offset, line in lines_from(job.path, job.start, merged=job.merged):
        if offset >= job.end:
            break
        batch.append((offset, line))
        if len(batch) == BATCH_LINES:
            yield batch
            batch = []
    yield batch


def _table(rows: list[tuple[Any, ...]], schema: pa.Schema) -> pa.Table:
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(schema)
    return pa.table(
        [pa.array(column, kind.type) for column, kind in zip(columns, schema, strict=True)],
        schema=schema,
    )


class _Rows:
    """The rows of some segments, counted through, read a row group at a time."""

    def __init__(self, paths: Sequence[Path], columns: Sequence[str] | None = None) -> None:
        self._columns = columns
        # Records mostly come in the order of the ids, here and there.
        self._group = lru_cache(2)(self._read)
        files = [pq.ParquetFile(path) for path in paths]
        self._groups = [(file, number) for file in files for number in range(file.num_row_groups)]
        sizes = [file.metadata.row_group(number).num_rows for file, number in self._groups]
        self._ends = np.cumsum(sizes, dtype=np.int64)

    def _read(self, group: int) -> pa.Table:
        file, number = self._groups[group]
        return file.read_row_group(number, self._columns)

    def groups(self) -> Iterator[pa.Table]:
        """All rows."""
        yield from map(self._read, range(len(self._groups)))

    def take(self, rows: Sequence[int]) -> Iterator[pa.Table]:
        """Some rows, which must rise."""
        wanted = np.array(rows, np.int64)
        of = np.searchsorted(self._ends, wanted, side="right")
        for group in np.unique(of):
            table = self._group(int(group))
            yield table.take(wanted[of == group] - (self._ends[group] - len(table)))


class _Known:
    """The rows of earlier segments, by video, line and chosen line."""

    def __init__(self, job: Job) -> None:
        self._schema = job.schema
        self._rows = _Rows(job.known)
        self._places: dict[bytes, tuple[int, int]] = {}
        if not job.known:
            return
        compared = job.schema is REJECTED
        now = chosen_lines(job.chosen) if compared else {}
        columns = ["video_id", "crc", *(["chosen_crc"] if compared else [])]
        row = 0
        for table in _Rows(job.known, columns).groups():
            ids, crcs, *then = (column.to_pylist() for column in table.columns)
            for k, (video_id, crc) in enumerate(zip(ids, crcs, strict=True), row):
                if not compared or now.get(video_id) == then[0][k - row]:
                    self._places[video_id.encode()] = crc, k
            row += len(table)

    def find(self, line: bytes, crc: int) -> int | None:
        """The row of a line that is known, also where it stood in another place or file."""
        if not self._places:
            return None
        name = _VIDEO_ID.search(line)
        there, row = self._places.get(name[1], (None, -1)) if name else (None, -1)
        return row if there == crc else None

    def take(self, rows: Mapping[int, int]) -> pa.Table:
        """Some of them, given with their new offsets."""
        numbers = sorted(rows)
        table = pa.concat_tables([self._schema.empty_table(), *self._rows.take(numbers)])
        offsets = pa.array([rows[number] for number in numbers], pa.int64())
        return table.set_column(1, "offset", offsets)


def chosen_lines(segments: tuple[Path, ...]) -> dict[str, int]:
    """video_id -> checksum of its response to the clean order; the first segment that has it
    counts."""
    found: dict[str, int] = {}
    for path in segments:
        table = pq.read_table(path, columns=["video_id", "crc"])
        ids, crcs = table["video_id"].to_pylist(), table["crc"].to_pylist()
        found = dict(zip(ids, crcs, strict=True)) | found
    return found


def _describer(job: Job) -> Describe:
    if job.config is None:
        return _records
    return _chosen(job) if job.config == CLEAN else _rejected(job)


def _records(ids: list[str], records: list[Record]) -> Iterator[tuple[Any, ...]]:
    for record in records:
        filtered = bool(record.get("filtered"))
        shots = record.get("filtered_cuts")
        yield (
            record.get("video_name"),
            filtered,
            (record.get("filter_reason") or "no reason recorded") if filtered else None,
            len(shots) if shots is not None else None,
            clip_seconds(record),
        )


def _chosen(job: Job) -> Describe:
    clean = cleaner(job.model)

    def describe(ids: list[str], records: list[Record]) -> Iterator[tuple[Any, ...]]:
        for record in records:
            side = read_side(record, clean, media_or_special_tag)
            yield side.fault, side.indices, side.text, shown(side, record).lower()

    return describe


def _rejected(job: Job) -> Describe:
    clean = cleaner(job.model)
    sides = _Chosen(job.chosen)
    assert job.config
    noise = job.config.noise

    def describe(ids: list[str], records: list[Record]) -> Iterator[tuple[Any, ...]]:
        chosen = sides.of(ids)
        for video_id, record in zip(ids, records, strict=True):
            crc, good = chosen.get(video_id, (None, None))
            bad = read_side(record, clean, media_or_special_tag)
            text = shown(bad, record)
            both = good and good.text and bad.text
            clips = good.indices if good and good.indices else record.get("frame_indices") or ()
            yield (
                crc,
                drop_reason(noise, good, bad) or "",
                len(good.text) if good else None,
                len(text),
                similarity(good.text, bad.text) if good and both else None,
                len(clips),
                len(bad.indices),
                zlib.crc32(str(bad.indices).encode()) if bad.indices else 0,
                text.lower(),
            )

    return describe


class _Chosen:
    """The responses to the clean order, by video."""

    def __init__(self, segments: Sequence[Path]) -> None:
        columns = ["video_id", "crc", "fault", "indices", "side"]
        self._rows = _Rows(segments, columns)
        self._places: dict[str, int] = {}
        ids = (table["video_id"] for table in _Rows(segments, ["video_id"]).groups())
        for row, video_id in enumerate(name for group in ids for name in group.to_pylist()):
            self._places.setdefault(video_id, row)

    def of(self, ids: list[str]) -> dict[str, tuple[int, Side]]:
        """video_id -> (checksum of the line, the side), of those that have one."""
        rows = sorted({self._places[name] for name in ids if name in self._places})
        found: dict[str, tuple[int, Side]] = {}
        for table in self._rows.take(rows):
            columns = (column.to_pylist() for column in table.columns)
            for video_id, crc, fault, indices, text in zip(*columns, strict=True):
                found[video_id] = crc, Side(text, tuple(indices), fault)
        return found


def shown(side: Side, record: Record) -> str:
    """The text of a side for people: what counts of the response, or all of it where nothing
    does."""
    return side.text or str(record.get("response") or "")


def shot_spans(record: Record) -> list[tuple[float, float]]:
    """(start, end) of the shots that stage 1 has kept, seconds from the first frame.

    Records of the reference scripts have no times: there frames are taken to come evenly.
    """
    times = record.get("cut_times")
    if times:
        return [tuple(times[position]) for position, _, _ in record["filtered_cuts"]]
    rate = record["fps"]
    return [(start / rate, (end + 1) / rate) for _, start, end in record["filtered_cuts"]]


def clip_spans(record: Record) -> list[tuple[float, float]]:
    """(start, end) of the clips, seconds from the first frame."""
    shots = shot_spans(record)
    return [(shots[members[0]][0], shots[members[-1]][1]) for _, members in record["merged_groups"]]


def clip_seconds(record: Record) -> list[float] | None:
    """How long the clips last; None for a video without clips yet."""
    if "merged_groups" not in record:
        return None
    return [end - start for start, end in clip_spans(record)]
