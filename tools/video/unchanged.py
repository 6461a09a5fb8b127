"""Whether a listing still says what is in the folder: the usual case, and one that a million videos
must not take a million records in memory for."""

import os
import stat
from array import array
from collections import Counter
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

import numpy as np

from tools.store.dataset import Dataset
from tools.store.jsonl import Record, Table, lines_from, parse_line
from tools.video.listing import (
    OTHER_EXTENSIONS,
    Listing,
    extension_of,
    find_videos,
    hash_of_name,
    skipped_line,
)


def is_unchanged(dataset: Dataset, folder: Path, listing: Listing) -> bool:
    """Whether the folder holds the files that init.jsonl lists and no others, each as large as
    files.jsonl has noted; prints what `list_videos` would then.

    The two are compared as arrays of (hash of the name, size). Wherever more has to be looked at,
    the answer is no: a video is gone or was renamed before, a name has failed, or there are links.
    """
    above = os.path.join(folder, "")
    if listing.find_copies or not (listed := _listed(dataset, above)):
        return False
    files: array[int] = array("Q")
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
        info = os.lstat(above + name)
        if is_linked or info.st_nlink > 1 or not stat.S_ISREG(info.st_mode):
            return False
        files.append(int(hash_of_name(name), 16))
        files.append(info.st_size)
    there = _rows(files)
    if not np.array_equal(there[there[:, 0].argsort()], _rows(listed)):
        return False
    print(f"init: {len(there)} videos, 0 of them new, in {folder}")
    if line := skipped_line(skipped):
        print(f"init: {line}")
    return True


def _rows(numbers: "array[int]") -> np.ndarray:
    return np.frombuffer(numbers, np.uint64).reshape(-1, 2)


def _listed(dataset: Dataset, above: str) -> "array[int]":
    """The hash of the name and the size of each video that is listed and noted, sorted; nothing
    where a record is not as a file in the folder `above` has made it."""
    listed: array[int] = array("Q")
    ids = dataset.ids
    for shard in dataset.shards():
        init, files = shard.table("init"), shard.table("files")
        if init.failed.path.exists() or init.parts() or files.parts():
            return array("Q")
        nothing: Record = {}
        for record, noted in zip_longest(_lines(init), _lines(files), fillvalue=nothing):
            name = str(record.get("video_name"))
            digits = hash_of_name(name)
            key = f"{ids}_{digits}"
            made = {"video_id": key, "video_path": above + name, "video_name": name}
            if record != {**made, "filtered": False} or noted.get("video_id") != key:
                return array("Q")
            listed.append(int(digits, 16))
            listed.append(noted["bytes"])
    return listed


def _lines(table: Table) -> Iterator[Record]:
    """The records of a table that is one sorted file, without an index of them."""
    for number, _, line in lines_from(table.path, merged=True) if table.path.exists() else ():
        yield parse_line(line, table.path, number)
