"""A stage's JSONL file with its parts: append, read, torn lines, atomic merging.

The only place that opens a stage's files. One table is `<name>.jsonl` plus its parts
`<name>.jsonl.<rank>-<world_size>`: a run appends to part 0-1 alone, and merges the parts of earlier
runs and of the reference too. No other file beside them is read. A record counts as written once
its newline is on disk: a line that a kill or a full disk cut off is as if it had never been begun.
Beside the table stand `<name>.jsonl.filtered` (the rejected records once more, for people) and
`<name>.failed.jsonl` (who failed, in which step, with which error).
"""

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from heapq import merge
from operator import itemgetter
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import orjson

from tools.errors import UserError
from tools.store.files import CorruptLine, read_json, replace_atomically

Record = dict[str, Any]

READ_AHEAD = 1 << 20  # bytes
# Of lines that a merge holds in memory until it is their turn; more go to a scratch file, sorted.
WAITING_BYTES = 1 << 25
NO_REASON = "no reason recorded"  # of a filtered record that does not say why
PART = re.compile(r"\d+-\d+")  # what the name of a part ends in
# A place is one integer, the number of a file and a byte offset in it: of a million records that
# is 30 MB, where a tuple of both takes 130.
OFFSET_BITS = 48


def dumps(record: Any) -> bytes:
    """The one way a record becomes bytes: compact JSON in UTF-8, keys in the order they were
    added."""
    return orjson.dumps(record, option=orjson.OPT_SERIALIZE_NUMPY)


def parse_line(line: bytes, path: Path, number: int) -> Record:
    """Parse one line of a table, whose number counts from 1; raise CorruptLine where it is not a
    JSON object with a `video_id`."""
    try:
        record = orjson.loads(line)
        record["video_id"]
    except (orjson.JSONDecodeError, TypeError, KeyError) as error:
        what = "no video_id"
        if isinstance(error, orjson.JSONDecodeError):
            what = f"{error.msg}, column {error.colno}"
        raise CorruptLine(
            f"{path} line {number} is not a record ({what}): fix or delete that line"
        ) from error
    return record


def lines_from(path: Path, *, merged: bool = False) -> Iterator[tuple[int, int, bytes]]:
    """Yield (line number, byte offset, line) of the lines of a file that were written to their end.

    Args:
        merged: the file is a merged one; else it is one that is appended to.
    """
    with _opened(path) as file:
        yield from _whole_lines(file, merged)


def _opened(path: Path) -> IO[bytes]:
    # Lines are many KB long: with Python's own buffer of 8 KB, reading them takes twice as long.
    return open(path, "rb", buffering=READ_AHEAD)


def _whole_lines(file: IO[bytes], merged: bool) -> Iterator[tuple[int, int, bytes]]:
    """See `lines_from`.

    In a file that is appended to, a last line without a newline is torn, and so is a line that
    holds NUL bytes: where a machine crashes, the file system may leave a hole before what was
    written later. A merged file may be somebody else's: its last line may lack the newline.
    """
    offset = 0
    for number, line in enumerate(file, 1):
        if line.endswith(b"\n"):
            whole = (merged or b"\0" not in line) and not line.isspace()
        else:
            whole = merged and _is_json(line)
        if whole:
            yield number, offset, line
        offset += len(line)


def _is_json(line: bytes) -> bool:
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return True


def line_at(path: Path, offset: int, length: int) -> bytes:
    """The bytes at an offset of a file: the line that an index has there, if the file has not
    changed since."""
    with open(path, "rb") as file:
        file.seek(offset)
        return file.read(length)


@dataclass
class Index:
    """What a table holds; a record that is there twice counts once."""

    files: list[Path] = field(default_factory=list)
    # video_id -> (position of its file in `files`) << OFFSET_BITS | byte offset of its line
    places: dict[str, int] = field(default_factory=dict)
    # video_id -> reason, of the records that the method rejected
    filtered: dict[str, str] = field(default_factory=dict)
    # Whether the merged file alone holds everything once, sorted by video_id.
    in_order: bool = True

    def __contains__(self, video_id: object) -> bool:
        return video_id in self.places

    def __len__(self) -> int:
        return len(self.places)

    def kept(self) -> list[str]:
        """The ids that the next step takes, sorted."""
        return sorted(self.places.keys() - self.filtered.keys())

    def lines(self, video_ids: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """Yield (video_id, line without its newline) for the given ids, in the given order.

        Raises:
            UserError: another run has merged the table since this index was made.
        """
        files: dict[int, IO[bytes]] = {}
        ends: dict[int, int] = {}  # of the line that was read last of each file
        with ExitStack() as stack:
            for video_id in video_ids:
                number, offset = divmod(self.places[video_id], 1 << OFFSET_BITS)
                if number not in files:
                    files[number] = stack.enter_context(open(self.files[number], "rb"))
                file = files[number]
                if ends.get(number) != offset:
                    file.seek(offset)
                line = file.readline()
                ends[number] = offset + len(line)
                if video_id.encode() not in line:
                    raise UserError(
                        f"{self.files[number]} has changed while it was being read: run the same"
                        " command again"
                    )
                yield video_id, line.rstrip(b"\n")

    def write(self, path: Path, video_ids: Iterable[str]) -> None:
        """Write the lines of the given ids to a file, sorted by video_id, atomically.

        Each file is read from its start to its end, since a network disk takes a millisecond for a
        seek. Runs hand records out in the order of their ids, so that few lines have to wait for
        their turn; of a table in any other order, WAITING_BYTES at a time are sorted into scratch
        files, and these are merged.
        """
        order = sorted(video_ids)
        in_files: dict[int, list[str]] = defaultdict(list)
        for video_id in sorted(order, key=self.places.__getitem__):
            in_files[self.places[video_id] >> OFFSET_BITS].append(video_id)
        streams = [self.lines(ids) for ids in in_files.values()]
        waiting: dict[str, bytes] = {}
        runs: list[Iterable[tuple[str, bytes]]] = []
        size = turn = 0
        with replace_atomically(path) as out:
            for video_id, line in merge(*streams, key=itemgetter(0)):
                waiting[video_id] = line + b"\n"
                size += len(line)
                while turn < len(order) and order[turn] in waiting:
                    whole = waiting.pop(order[turn])
                    size -= len(whole) - 1
                    turn += 1
                    out.write(whole)
                if size > WAITING_BYTES:
                    runs.append(_sorted_run(waiting, path.parent))
                    waiting, size = {}, 0
            left = merge(sorted(waiting.items()), *runs, key=itemgetter(0))
            out.writelines(line for _, line in left)


def _sorted_run(lines: dict[str, bytes], folder: Path) -> Iterable[tuple[str, bytes]]:
    """Put lines into a scratch file, which goes with the result: (video_id, line), sorted."""
    ids = sorted(lines)
    scratch = TemporaryFile(dir=folder)  # noqa: SIM115
    scratch.writelines(lines[video_id] for video_id in ids)
    scratch.seek(0)
    return zip(ids, scratch, strict=True)


@dataclass(frozen=True)
class Table:
    """One stage's file: `<name>.jsonl`, its parts, and the two lists beside it.

    Whatever reads it raises CorruptLine where a line in the middle of a file is not a record.
    """

    path: Path

    @property
    def name(self) -> str:
        """The file's name without `.jsonl`."""
        return self.path.name.removesuffix(".jsonl")

    @property
    def filtered_path(self) -> Path:
        """Where the rejected records are listed once more."""
        return self.path.with_name(self.path.name + ".filtered")

    @property
    def failed(self) -> "FailureList":
        """Who failed in making this table."""
        return FailureList(self.path.with_name(self.name + ".failed.jsonl"))

    @property
    def meta_path(self) -> Path:
        """Where the fingerprint of what made this table stands."""
        return self.path.with_name(self.name + ".meta.json")

    def meta(self) -> Record:
        """What stands there; nothing of a table that has none."""
        return read_json(self.meta_path) or {}

    def part(self, rank: int = 0, world_size: int = 1) -> Path:
        """The file that a run appends to; the reference has one for each rank."""
        return self.path.with_name(f"{self.path.name}.{rank}-{world_size}")

    def parts(self) -> list[Path]:
        """The parts there are, of whatever world sizes, sorted by name."""
        prefix = f"{self.path.name}."
        folder = self.path.parent
        names = os.listdir(folder) if folder.is_dir() else ()
        return sorted(
            folder / name
            for name in names
            if name.startswith(prefix) and PART.fullmatch(name, len(prefix))
        )

    def exists(self) -> bool:
        """Whether anything of the table is there."""
        return self.path.exists() or bool(self.parts())

    def index(self) -> Index:
        """Read the whole table once and say what it holds."""
        index, last = Index(in_order=self.path.exists() and not self.parts()), ""
        places, file, first = index.places, None, 0
        for path, offset, _, record in self._entries():
            if path is not file:  # to compare paths takes as long as to parse a line
                file, first = path, len(index.files) << OFFSET_BITS
                index.files.append(path)
            video_id = str(record["video_id"])
            if video_id <= last:
                index.in_order = False
            last, place = video_id, first | offset
            if places.setdefault(video_id, place) == place and record.get("filtered"):
                index.filtered[video_id] = str(record.get("filter_reason") or NO_REASON)
        return index

    def _entries(self) -> Iterator[tuple[Path, int, bytes, Record]]:
        """Yield (file, byte offset, line, record) of every whole line, the merged file first."""
        files: dict[Path, IO[bytes]] = {}
        with ExitStack() as stack:
            # Another run may be merging the parts at this moment. It removes one only once the
            # merged file holds its records, so that is opened last.
            for path in [*self.parts(), self.path]:
                with suppress(FileNotFoundError):
                    files[path] = stack.enter_context(_opened(path))
            for path in sorted(files):
                for number, offset, line in _whole_lines(files[path], merged=path == self.path):
                    yield path, offset, line, parse_line(line, path, number)

    def read(self) -> Iterator[Record]:
        """Yield every record once, filtered ones too, in the order of the files."""
        seen: set[str] = set()
        for *_, record in self._entries():
            if record["video_id"] not in seen:
                seen.add(record["video_id"])
                yield record

    def sorted_records(self) -> Iterator[Record]:
        """Yield every record once, filtered ones too, sorted by video_id."""
        index = self.index()
        lines: Iterator[tuple[Any, ...]] = index.lines(sorted(index.places))
        if index.in_order:  # A sorted file is streamed: its index would only take memory.
            lines = lines_from(self.path, merged=True)
        del index
        for *_, line in lines:
            yield orjson.loads(line)

    def write(self, records: Iterable[Record]) -> None:
        """Write the merged file in one go, sorted by video_id, atomically."""
        with replace_atomically(self.path) as file:
            for record in sorted(records, key=lambda record: record["video_id"]):
                file.write(dumps(record) + b"\n")

    def merge(self, index: Index) -> None:
        """Make the parts and the merged file one sorted file, atomically, and bring the two lists
        up to date; `index` is that of the table as it stands. A kill at any moment leaves either
        the old state or the new."""
        if index.filtered:
            index.write(self.filtered_path, index.filtered)
        else:
            self.filtered_path.unlink(missing_ok=True)
        failures = self.failed.read()
        self.failed.write(failures[video_id] for video_id in failures if video_id not in index)
        if not index.in_order:
            index.write(self.path, index.places)
            for path in self.parts():
                path.unlink()

    def clear(self) -> None:
        """Remove the records and the lists of the filtered and the failed."""
        for path in [*self.parts(), self.path, self.filtered_path, self.failed.path]:
            path.unlink(missing_ok=True)


@dataclass(frozen=True)
class FailureList:
    """`<name>.failed.jsonl`: {video_id, step, error, attempts}, the last line of an id counting."""

    path: Path

    def read(self) -> dict[str, Record]:
        """video_id -> its last failure."""
        if not self.path.exists():
            return {}
        records = (parse_line(line, self.path, n) for n, _, line in lines_from(self.path))
        return {record["video_id"]: record for record in records}

    def write(self, failures: Iterable[Record]) -> None:
        """Write the list in one go, sorted; without failures there is no file."""
        if records := list(failures):
            Table(self.path).write(records)
        else:
            self.path.unlink(missing_ok=True)
