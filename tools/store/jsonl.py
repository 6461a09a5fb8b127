"""A stage's JSONL file with its parts: append, read, torn last lines, atomic merging.

The only place that opens a stage's files. One table is `<name>.jsonl` plus the parts
`<name>.jsonl.<rank>-<world_size>` that workers append to; whatever else lies beside them is not
read. A record counts as written once its newline is on disk: a line that a kill or a full disk tore
off is as if it had never been begun. Beside the table stand `<name>.jsonl.filtered` (the rejected
records once more, for people) and `<name>.failed.jsonl` (who failed, in which step, with which
error).
"""

import itertools
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import orjson

from tools.errors import UserError
from tools.store.files import CorruptLine, disk_errors_in_one_line, replace_atomically

Record = dict[str, Any]

READ_AHEAD = 1 << 20  # bytes


def dumps(record: Any) -> bytes:
    """The one way a record becomes bytes: compact JSON in UTF-8, keys in the order they were
    added."""
    return orjson.dumps(record, option=orjson.OPT_SERIALIZE_NUMPY)


def parse_line(line: bytes, path: Path, number: int) -> Record:
    """Parse one line of a table; `number` counts from 1.

    Raises:
        CorruptLine: the line is not a JSON object with a `video_id`.
    """
    try:
        record = orjson.loads(line)
        record["video_id"]
    except (orjson.JSONDecodeError, TypeError, KeyError) as error:
        what = "no video_id"
        if isinstance(error, orjson.JSONDecodeError):
            what = f"{error.msg}, column {error.colno}"
        raise CorruptLine(
            f"{path} line {number} is not a record ({what}): mend or delete that line"
        ) from error
    return record


def _reader(path: Path) -> IO[bytes]:
    # Lines are many KB long: with Python's own buffer of 8 KB, reading them takes twice as long.
    return open(path, "rb", buffering=READ_AHEAD)


def _whole_lines(file: IO[bytes], torn_end: bool) -> Iterator[tuple[int, int, bytes]]:
    """Yield (line number, byte offset, line) of the lines that end in a newline.

    A last line without one is left out in a part (`torn_end`), where it is a torn write; in a
    merged file, which may be somebody else's, it is left out only if it is not whole.
    """
    offset = 0
    for number, line in enumerate(file, 1):
        if not line.endswith(b"\n") and (torn_end or not _is_json(line)):
            return
        if not line.isspace():
            yield number, offset, line
        offset += len(line)


def lines_from(path: Path, start: int = 0, *, merged: bool = False) -> Iterator[tuple[int, bytes]]:
    """Yield (byte offset, line) of the whole lines of one file, from the offset `start` on.

    Args:
        merged: the file is a merged one, whose last line may lack its newline; else a part or a
            log, where such a line is a torn write.
    """
    with _reader(path) as file:
        file.seek(start)
        for _, offset, line in _whole_lines(file, torn_end=not merged):
            yield start + offset, line


def line_at(path: Path, offset: int, length: int) -> bytes:
    """What stands at a byte offset of a file: the line that an index has found there, if the file
    has not changed since."""
    with open(path, "rb") as file:
        file.seek(offset)
        return file.read(length)


def _is_json(line: bytes) -> bool:
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return True


@dataclass
class Index:
    """What a table holds: where each record lies, and which are filtered.

    Attributes:
        files: the files behind the table, the merged one first.
        places: video_id -> (position in `files`, byte offset, length in bytes); a record found
            twice counts once.
        filtered: video_id -> reason, of the records that the method rejected.
        in_order: whether the first file alone holds everything, sorted by video_id.
    """

    files: list[Path]
    places: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    filtered: dict[str, str] = field(default_factory=dict)
    in_order: bool = True

    def __contains__(self, video_id: object) -> bool:
        return video_id in self.places

    def __len__(self) -> int:
        return len(self.places)

    def kept(self) -> list[str]:
        """The ids that the next step takes, sorted."""
        return sorted(video_id for video_id in self.places if video_id not in self.filtered)

    def lines(self, video_ids: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """Yield (video_id, line without its newline) for the given ids, in the given order.

        Raises:
            UserError: another run has merged the table since this index was made.
        """
        with ExitStack() as stack:
            handles = [stack.enter_context(open(path, "rb")) for path in self.files]
            for video_id in video_ids:
                source, offset, length = self.places[video_id]
                handles[source].seek(offset)
                line = handles[source].read(length).rstrip(b"\n")
                if video_id.encode() not in line:
                    raise UserError(
                        f"{self.files[source]} has changed while it was being read:"
                        " run the same command again"
                    )
                yield video_id, line

    def records(self) -> Iterator[Record]:
        """Yield the kept records, sorted by video_id."""
        for _, line in self.lines(self.kept()):
            yield orjson.loads(line)


@dataclass(frozen=True)
class Table:
    """One stage's file: `<name>.jsonl`, its parts, and the two lists beside it."""

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

    def part(self, rank: int, world_size: int) -> Path:
        """The file that worker `rank` of `world_size` appends to."""
        return self.path.with_name(f"{self.path.name}.{rank}-{world_size}")

    def parts(self) -> list[Path]:
        """The parts there are, of whatever world sizes, sorted by name."""
        shape = re.compile(re.escape(self.path.name) + r"\.\d+-\d+")
        if not self.path.parent.is_dir():
            return []
        return sorted(entry for entry in self.path.parent.iterdir() if shape.fullmatch(entry.name))

    def exists(self) -> bool:
        """Whether anything of the table is there."""
        return self.path.exists() or bool(self.parts())

    def index(self) -> Index:
        """Read the whole table once and say what it holds.

        Raises:
            CorruptLine: a line in the middle of a file is not a record.
        """
        with ExitStack() as stack:
            files = self._open(stack)
            index = Index(list(files), in_order=list(files) == [self.path])
            last = ""
            for source, (path, file) in enumerate(files.items()):
                for number, offset, line in _whole_lines(file, torn_end=path != self.path):
                    record = parse_line(line, path, number)
                    video_id = str(record["video_id"])
                    if video_id in index.places:
                        continue
                    index.in_order = index.in_order and video_id > last
                    last = video_id
                    index.places[video_id] = (source, offset, len(line))
                    if record.get("filtered"):
                        reason = record.get("filter_reason") or "no reason recorded"
                        index.filtered[video_id] = str(reason)
        return index

    def _open(self, stack: ExitStack) -> dict[Path, IO[bytes]]:
        """The files behind the table, open, the merged one first.

        Another run may be merging them at this moment: the parts are opened before the merged file,
        so that whatever has left them is found there.
        """
        while True:
            with ExitStack() as attempt, suppress(FileNotFoundError):
                parts = [(path, attempt.enter_context(_reader(path))) for path in self.parts()]
                merged = [self.path] if self.path.exists() else []
                files = [(path, attempt.enter_context(_reader(path))) for path in merged]
                stack.enter_context(attempt.pop_all())
                return dict(files + parts)

    def read(self) -> Iterator[Record]:
        """Yield every record once, filtered ones too, in the order of the files.

        Raises:
            CorruptLine: a line in the middle of a file is not a record.
        """
        seen: set[str] = set()
        with ExitStack() as stack:
            for path, file in self._open(stack).items():
                for number, _, line in _whole_lines(file, torn_end=path != self.path):
                    record = parse_line(line, path, number)
                    if record["video_id"] not in seen:
                        seen.add(record["video_id"])
                        yield record

    def sorted_records(self) -> Iterator[Record]:
        """Yield every record once, filtered ones too, sorted by video_id.

        A sorted file without parts is streamed, twice, in constant memory; anything else goes
        through an index.

        Raises:
            CorruptLine: a line in the middle of a file is not a record.
        """
        alone = self.path.exists() and not self.parts()
        ids = (record["video_id"] for record in self._merged_records())
        if alone and all(before < after for before, after in itertools.pairwise(ids)):
            yield from self._merged_records()
        else:
            index = self.index()
            for _, line in index.lines(sorted(index.places)):
                yield orjson.loads(line)

    def _merged_records(self) -> Iterator[Record]:
        with _reader(self.path) as file:
            for number, _, line in _whole_lines(file, torn_end=False):
                yield parse_line(line, self.path, number)

    def write(self, records: Iterable[Record]) -> None:
        """Write the merged file in one go, sorted by video_id, atomically."""
        with replace_atomically(self.path) as file:
            for record in sorted(records, key=lambda record: record["video_id"]):
                file.write(dumps(record) + b"\n")

    def merge(self, index: Index) -> Index:
        """Make the parts and the merged file one sorted file, atomically, and list its filtered
        records.

        Takes the index of what stands there before, returns that of what does afterwards. A kill at
        any moment leaves either the old state or the new.
        """
        rejected = sorted(index.filtered)
        if rejected:
            with replace_atomically(self.filtered_path) as file:
                file.writelines(line + b"\n" for _, line in index.lines(rejected))
        else:
            self.filtered_path.unlink(missing_ok=True)
        self.failed.settle(done=index)
        if index.in_order:
            return index
        merged = Index([self.path])
        with replace_atomically(self.path) as file:
            offset = 0
            for video_id, line in index.lines(sorted(index.places)):
                merged.places[video_id] = (0, offset, len(line) + 1)
                offset += file.write(line + b"\n")
        merged.filtered = index.filtered
        for path in self.parts():
            path.unlink()
        return merged

    def clear(self) -> None:
        """Remove the records and the lists of the filtered and the failed."""
        beside = [self.path, self.filtered_path, self.failed.path]
        for path in [*self.parts(), *beside]:
            path.unlink(missing_ok=True)


class Appender:
    """Append records to a part, one write each; a torn end left by a dead worker is cut off first.

    Raises:
        StorageError: the disk refuses; the part then ends as it did before that record.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with disk_errors_in_one_line(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            self._size = _size_in_whole_lines(self._fd)
            os.ftruncate(self._fd, self._size)

    def append(self, record: Record) -> None:
        """Write one record and its newline."""
        line = dumps(record) + b"\n"
        with disk_errors_in_one_line(self.path):
            try:
                written = 0
                while written < len(line):
                    written += os.write(self._fd, line[written:])
            except OSError:
                os.ftruncate(self._fd, self._size)
                raise
        self._size += len(line)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


def _size_in_whole_lines(fd: int, block: int = 1 << 16) -> int:
    """The file's size in bytes up to and including its last newline."""
    end = os.fstat(fd).st_size
    while end > 0:
        start = max(0, end - block)
        newline = os.pread(fd, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


@dataclass(frozen=True)
class FailureList:
    """`<name>.failed.jsonl`: {video_id, step, error, attempts}, the last line of an id counting."""

    path: Path

    def read(self) -> dict[str, Record]:
        """video_id -> its last failure."""
        if not self.path.exists():
            return {}
        with open(self.path, "rb") as file:
            lines = _whole_lines(file, torn_end=True)
            records = (parse_line(line, self.path, number) for number, _, line in lines)
            return {record["video_id"]: record for record in records}

    def settle(self, done: Index) -> None:
        """Rewrite the list sorted, without the records that have been done since."""
        failures = self.read()
        left = [failures[video_id] for video_id in sorted(failures) if video_id not in done]
        if left:
            Table(self.path).write(left)
        else:
            self.path.unlink(missing_ok=True)
