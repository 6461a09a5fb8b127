"""Where the viewer keeps what it can make again: the index, thumbnails, previews.

Never beside the data, which may be read-only or somebody else's: each user has a cache, the folder
`temple-toolkit/viewer` in XDG_CACHE_HOME or ~/.cache. All of it may be deleted at any time.
"""

import hashlib
import os
from pathlib import Path


def cache_folder() -> Path:
    """The viewer's cache; it need not exist."""
    above = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(above, "temple-toolkit", "viewer")


def digest(*parts: object) -> str:
    """A name for something in the cache, 16 hex digits, from whatever it depends on."""
    text = "\0".join(map(str, parts)).encode("utf-8", "surrogateescape")
    return hashlib.sha256(text).hexdigest()[:16]
