"""Where the viewer keeps what it can make again: the index, thumbnails, previews.

Never beside the data, which may be read-only or somebody else's: each user has a cache, the folder
`temple-toolkit/viewer` in XDG_CACHE_HOME or ~/.cache. All of it may be deleted at any time.
"""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.store.jsonl import disk_errors_in_one_line


def cache_folder() -> Path:
    """The viewer's cache; it need not exist."""
    above = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(above, "temple-toolkit", "viewer")


def digest(*parts: object) -> str:
    """A name for something in the cache, 16 hex digits, from whatever it depends on."""
    text = "\0".join(map(str, parts)).encode("utf-8", "surrogateescape")
    return hashlib.sha256(text).hexdigest()[:16]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Wait for the lock on `path` and hold it; it goes with the process, however that ends."""
    with disk_errors_in_one_line(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "ab")  # noqa: SIM115 (closed below)
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
