"""Locks on what is being written; each goes with its process, however that ends."""

import os
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from pathlib import Path

from tools.errors import UserError
from tools.store.files import disk_errors_in_one_line

# A process that is killed while it starts a child leaves its lock to the child until that is a
# program of its own, some milliseconds later.
PATIENCE_SECONDS = 1.0


@contextmanager
def locked(path: Path, busy: str | None = None) -> Iterator[int | None]:
    """Hold the lock file `path`, which stays there and says who held it last.

    Gives its descriptor: a child process that keeps it open holds the lock after this one ends.

    Args:
        busy: what the UserError says where another process holds the lock, before it names that
            process; None: wait for it.
    """
    # Here, since every worker imports this module and none takes a lock.
    from filelock import FileLock, Timeout

    lock = FileLock(path, timeout=-1 if busy is None else PATIENCE_SECONDS)
    with disk_errors_in_one_line(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except Timeout:
            owner = path.read_text() or "unknown process"
            raise UserError(f"{busy} ({owner}): wait for it or stop it") from None
        now = f"{datetime.now():%Y-%m-%d %H:%M}"
        path.write_text(f"pid {os.getpid()} on {socket.gethostname()} since {now}")
    try:
        yield lock._context.lock_file_fd  # filelock has no public name for it
    finally:
        lock.release()


def sole_writer(path: Path) -> AbstractContextManager[int | None]:
    """Hold the lock on an output, `.<name>.lock` beside it; see `locked`."""
    return locked(path.with_name(f".{path.name}.lock"), f"another run is writing {path}")
