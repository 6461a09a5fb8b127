"""Whether a listing still says what is in the folder: the usual case, and one that a million videos
must not take a million records in memory for."""

import os
import stat
from array import array
from collections import Counter
from itertools import zip_longest
from pathlib import Path

import numpy as np

from tools.store.dataset import Dataset
from tools.store.jsonl import dumps
from tools.video.listing import (
    OTHER_EXTENSIONS,
    Listing,
    extension_of,
    find_videos,
    skipped_line,
)

# What comes after a file's size in its line of files.jsonl: a digest of 16 digits.
DIGEST = len(b',"digest":"0123456789abcdef"}\n')


def is_unchanged(dataset: Dataset, folder: Path, listing: Listing) -> bool:
    """Whether the folder holds the files that init.jsonl lists and no others, each as large as
    files.jsonl has noted; prints what `list_videos` would then.

    No line is parsed: hashes of what the two lines of each file must be, byte for byte, are
    compared with those of the lines that are there. Wherever more has to be looked at, the answer
    is no: a video is gone or was renamed before, a name has failed, or there are links.
    """
    above = os.path.join(folder, "")
    if listing.find_copies or not (listed := _listed(dataset)):
        return False
    there: array[int] = array("q")
    skipped: Counter[str] = Counter()
    extensions = listing.extensions()
    real, parent, is_linked = os.path.realpath(folder), "", False
    for name in find_videos(folder, extensions | OTHER_EXTENSIONS):
        if (extension := extension_of(name)) not in extensions:
            skipped[extension] += 1
            continue
        inside, _, _ = name.rpartition("/")
        if inside != parent:
            parent = inside
            is_linked = os.path.realpath(above + inside) != os.path.join(real, inside)
        path = above + name
        info = os.lstat(path)
        if is_linked or info.st_nlink > 1 or not stat.S_ISREG(info.st_mode):
            return False
        record = {"video_path": path, "video_name": name, "filtered": False}
        try:
            there.append(hash(b'%b\n"bytes":%d' % (dumps(record)[1:], info.st_size)))
        except TypeError:  # the name is not UTF-8
            return False
    if not np.array_equal(np.sort(there), np.sort(listed)):
        return False
    print(f"init: {len(there)} videos, 0 of them new, in {folder}")
    if line := skipped_line(skipped):
        print(f"init: {line}")
    return True


def _listed(dataset: Dataset) -> "array[int]":
    """A hash for each video: of its line in init.jsonl without the id, and of its size's in
    files.jsonl; nothing where the two do not have the same ids, or are not one file each."""
    listed: array[int] = array("q")
    for shard in dataset.shards():
        init, files = shard.table("init"), shard.table("files")
        merged = init.path.exists() and files.path.exists()
        if not merged or init.failed.path.exists() or init.parts() or files.parts():
            return array("q")
        with open(init.path, "rb") as records, open(files.path, "rb") as contents:
            for record, content in zip_longest(records, contents, fillvalue=b""):
                key, _, path = record.partition(b",")
                same_key, _, size = content.partition(b",")
                if key != same_key:
                    return array("q")
                listed.append(hash(path + size[:-DIGEST]))
    return listed
