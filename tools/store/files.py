"""Files that are written whole or not at all, and a disk's refusal in one line."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import orjson

from tools.errors import StorageError, UserError

# How a full disk, a spent quota or a file-size limit refuses a write, and how a place does that
# must not be written to.
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
FORBIDDEN = {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST}


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
    what_to_do = (
        "; nothing is torn, free some space and run the same command again"
        if error.errno in FULL
        else ""
    )
    return StorageError(f"cannot write {path}: {error.strerror}{what_to_do}")


@contextmanager
def replace_atomically(path: Path) -> Iterator[IO[bytes]]:
    """Open a stand-in for `path` that takes its place, synced to disk, only when the block ends
    well.

    The stand-in is named after this machine, since two that share a disk may write one file; what a
    kill leaves of it is overwritten by the next to write that file here.
    """
    stand_in = path.with_name(f".{path.name}.{os.uname().nodename}.tmp")
    with disk_errors_in_one_line(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(stand_in, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(stand_in, path)
        except BaseException:
            stand_in.unlink(missing_ok=True)
            raise


def write_json(path: Path, value: Any) -> None:
    """Write a small JSON document for people to read, atomically."""
    with replace_atomically(path) as file:
        file.write(orjson.dumps(value, option=orjson.OPT_INDENT_2) + b"\n")


def read_json(path: Path) -> Any:
    """Read a small JSON document; None if there is none.

    Raises:
        CorruptLine: the file is not JSON.
    """
    try:
        return orjson.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except orjson.JSONDecodeError as error:
        raise CorruptLine(f"{path} is not JSON ({error}): fix or delete it") from error


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
