"""Files that are written whole or not at all, files that one writer appends lines to, and a disk's
refusal in one line."""

import errno
import fcntl
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import orjson

from tools.errors import StorageError, UserError

# How a full disk, a spent quota or a file-size limit refuses a write, and how a place does that
# must not be written to.
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
FORBIDDEN = {
    *(errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST),
}

SYNC_SECONDS = 1.0  # A machine that crashes loses about what was appended in this time.
_sync = getattr(os, "fdatasync", os.fsync)  # macOS has fsync alone


class CorruptLine(UserError):
    """A line that is not a record, and not the torn end of a part either."""


@contextmanager
def disk_errors_in_one_line(path: Path) -> Iterator[None]:
    """Turn an OSError of the disk itself into a StorageError that names `path`."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL | FORBIDDEN:
            raise storage_error(path, error) from error
        raise


def storage_error(path: Path | str, error: OSError) -> StorageError:
    """A refused write in one line."""
    what_to_do = "; nothing is torn, free some space and run the same command again"
    advice = what_to_do if error.errno in FULL else ""
    return StorageError(f"cannot write {path}: {error.strerror}{advice}")


@contextmanager
def replace_atomically(path: Path) -> Iterator[IO[bytes]]:
    """Open a stand-in for `path` that takes its place, synced to disk, only when the block ends
    well.

    What a kill leaves of a stand-in is overwritten by the next to write that file on this machine.
    """
    with disk_errors_in_one_line(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        stand_in, file = _open_stand_in(path)
        with file:
            try:
                yield file
                file.flush()
                os.fsync(file.fileno())
                os.replace(stand_in, path)
            except BaseException:
                stand_in.unlink(missing_ok=True)
                raise


def _open_stand_in(path: Path) -> tuple[Path, IO[bytes]]:
    """A stand-in that no other process writes: it is named after this machine, since two that share
    a disk may write one file, and after this process where another one here is at it, such as a
    worker that was given up and came back."""
    name = f".{path.name}.{os.uname().nodename}"
    stand_in = path.with_name(f"{name}.tmp")
    file = open(os.open(stand_in, os.O_WRONLY | os.O_CREAT, 0o666), "wb")  # noqa: SIM115
    # A refusal also comes from a file system without locks.
    with suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever held it before has made it the file itself, unless it is still there.
        if os.path.samestat(os.fstat(file.fileno()), os.stat(stand_in)):
            file.truncate(0)
            return stand_in, file
    file.close()
    stand_in = path.with_name(f"{name}-{os.getpid()}.tmp")
    return stand_in, open(stand_in, "wb")


def write_json(path: Path, value: Any) -> None:
    """Write a small JSON document for people to read, atomically."""
    with replace_atomically(path) as file:
        file.write(orjson.dumps(value, option=orjson.OPT_INDENT_2) + b"\n")


def read_json(path: Path) -> Any:
    """Read a small JSON document, None if there is none.

    Raises:
        CorruptLine: it is not JSON.
        UserError: it cannot be read.
    """
    try:
        return orjson.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except orjson.JSONDecodeError as error:
        raise CorruptLine(f"{path} is not JSON ({error}): fix or delete it") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None


def file_digest(path: Path) -> str:
    """16 hex digits of a file's content.

    Raises:
        UserError: it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None


@contextmanager
def json_array(path: Path) -> Iterator[Callable[[bytes], None]]:
    """A function that writes one value a line to a JSON array, which is at `path` once the block
    has ended well."""
    with replace_atomically(path) as file:
        before = b"[\n"

        def write(value: bytes) -> None:
            nonlocal before
            file.write(before + value)
            before = b",\n"

        yield write
        file.write(b"[]\n" if before == b"[\n" else b"\n]\n")


class Appender:
    """Append lines to a part or a log, one write each; a torn end is cut off first.

    Raises:
        StorageError: the disk refuses; the file then ends as it did before that line.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with disk_errors_in_one_line(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            self._size = _size_in_whole_lines(self._fd)
            os.ftruncate(self._fd, self._size)
        self._synced = time.monotonic()

    def append(self, line: bytes) -> None:
        """Write a line, given without its newline."""
        left = line + b"\n"
        with disk_errors_in_one_line(self.path):
            try:
                while left:
                    left = left[os.write(self._fd, left) :]
            except OSError:
                os.ftruncate(self._fd, self._size)
                raise
            self._size += len(line) + 1
            if time.monotonic() - self._synced > SYNC_SECONDS:
                _sync(self._fd)
                self._synced = time.monotonic()

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


def _size_in_whole_lines(fd: int) -> int:
    """The file's size in bytes up to and including its last newline."""
    size = os.fstat(fd).st_size
    while size and os.pread(fd, 1, size - 1) != b"\n":
        size -= 1
    return size


def names_behind(folder: Path, shape: re.Pattern[str]) -> list[str]:
    """The distinct first groups of the names in `folder` that have a shape, sorted."""
    matches = (shape.fullmatch(entry.name) for entry in folder.glob("*"))
    return sorted({match[1] for match in matches if match})
