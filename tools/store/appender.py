"""Files that lines are appended to, by one writer: parts, lists of failures, judgements."""

import os
import time
from pathlib import Path

from tools.store.files import disk_errors_in_one_line

SYNC_SECONDS = 1.0  # A machine that crashes loses about what was appended in this time.


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
        line += b"\n"
        with disk_errors_in_one_line(self.path):
            try:
                written = 0
                while written < len(line):
                    written += os.write(self._fd, line[written:])
            except OSError:
                os.ftruncate(self._fd, self._size)
                raise
            self._size += len(line)
            if time.monotonic() - self._synced > SYNC_SECONDS:
                os.fsync(self._fd)
                self._synced = time.monotonic()

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
