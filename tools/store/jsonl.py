"""A stage's JSONL file with its parts: append, read, torn lines, atomic merging.

The only place, beside `tools.store.index`, that opens a stage's files. One table is `<name>.jsonl`
plus its parts `<name>.jsonl.<rank>-<world_size>`: a run appends to part 0-1 alone, and merges the
parts of earlier runs and of the reference too. No other file beside them is read. A record counts
as written once its newline is on disk: a line that a kill or a full disk cut off is as if it had
never been begun.
Beside the table stand `<name>.jsonl.filtered` (the rejected records once more, for people) and
`<name>.failed.jsonl` (who failed, in which step, with which error).
"""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import msgspec
import orjson

from tools.store.files import CorruptLine, read_json, replace_atomically
from tools.store.index import OFFSET_BITS, Index

Record = dict[str, Any]

READ_AHEAD = 1 << 20  # bytes
NO_REASON = "no reason recorded"  # of a filtered record that does not say why
PART = re.compile(r"\d+-\d+")  # what the name of a part ends in


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


class _Entry(msgspec.Struct, gc=False):
    """What an index needs of a record."""

    video_id: Any
    filtered: Any = False
    filter_reason: Any = None


_decoder = msgspec.json.Decoder(_Entry)


def _entry(line: bytes, path: Path, number: int) -> _Entry:
    """See `parse_line`; it takes half as long, since the other values are checked and not built."""
    try:
        if line.isascii():  # Else the text in them would not be checked.
            return _decoder.decode(line)
    except msgspec.DecodeError:
        pass
    return msgspec.convert(parse_line(line, path, number), _Entry)


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
        places = index.places
        for path, lines in self._files():
            first = len(index.files) << OFFSET_BITS
            index.files.append(path)
            for number, offset, line in lines:
                entry = _entry(line, path, number)
                video_id = str(entry.video_id)
                if index.in_order:
                    index.in_order = last < video_id
                    last = video_id
                place = first | offset
                if places.setdefault(video_id, place) == place and entry.filtered:
                    index.filtered[video_id] = str(entry.filter_reason or NO_REASON)
        return index

    def _files(self) -> Iterator[tuple[Path, Iterator[tuple[int, int, bytes]]]]:
        """Yield (file, its lines) of the merged file first, then of the parts; see `lines_from`."""
        files: dict[Path, IO[bytes]] = {}
        with ExitStack() as stack:
            # Another run may be merging the parts at this moment. It removes one only once the
            # merged file holds its records, so that is opened last.
            for path in [*self.parts(), self.path]:
                with suppress(FileNotFoundError):
                    files[path] = stack.enter_context(_opened(path))
            for path in sorted(files):
                yield path, _whole_lines(files[path], merged=path == self.path)

    def read(self) -> Iterator[Record]:
        """Yield every record once, filtered ones too, in the order of the files."""
        seen: set[str] = set()
        for path, lines in self._files():
            for number, _, line in lines:
                record = parse_line(line, path, number)
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
