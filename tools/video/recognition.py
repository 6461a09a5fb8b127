"""Which listed videos are gone, and which new file each of them may be: by size and content."""

import errno
import hashlib
import os
import stat
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress

from tools.store.jsonl import Record, Table

GONE = "gone"  # why init.jsonl has a video filtered
ENDS = 1 << 16  # bytes of a file's head, and of its tail, that its digest is made of


def content(path: str) -> dict[str, int | str]:
    """What a file is recognised by: its size in `bytes`, and a `digest` of its head and tail.

    A container's head or tail holds the index of the whole stream, so that two videos of one size
    differ there; to read all of a million videos would take days.

    Raises:
        OSError: it cannot be read, or is no file.
    """
    info = os.stat(path)
    if not stat.S_ISREG(info.st_mode):
        raise OSError(errno.EINVAL, "no regular file")  # to open a pipe would wait for its writer
    size = info.st_size
    with open(path, "rb") as file:
        digest = hashlib.sha256(file.read(ENDS))
        if size > ENDS:
            file.seek(max(ENDS, size - ENDS))
            digest.update(file.read())
    return {"bytes": size, "digest": digest.hexdigest()[:16]}


def note_contents(files: Table, records: Iterable[Record]) -> None:
    """Keep what the videos are recognised by: {video_id, bytes, digest} of each that is new."""
    kept = {record["video_id"]: record for record in files.read()}
    before = len(kept)
    for record in records:
        if record["video_id"] not in kept:
            with suppress(OSError):  # such as a link that leads nowhere
                kept[record["video_id"]] = {
                    "video_id": record["video_id"],
                    **content(record["video_path"]),
                }
    if len(kept) > before:
        files.write(kept.values())


def recognised(
    files: Table, gone: Mapping[str, Record], paths: Iterable[str]
) -> Iterator[tuple[str, Record]]:
    """Yield (path, record) of each new file that has the content of one video that is gone; where
    two have it, nobody knows which is which.

    Args:
        gone: video_id -> its record.
        paths: of new files.
    """
    lost = {key: kept for kept in files.read() if (key := kept["video_id"]) in gone}
    sizes = {kept["bytes"] for kept in lost.values()} - {0}
    matches: dict[tuple[int | str, ...], list[str]] = defaultdict(list)
    for path in paths:
        with suppress(OSError):
            if os.path.getsize(path) in sizes:
                matches[tuple(content(path).values())].append(path)
    for key, kept in lost.items():
        own = kept["bytes"], kept["digest"]
        same = [other for other in lost.values() if (other["bytes"], other["digest"]) == own]
        if len(matches[own]) == len(same) == 1:
            yield matches[own][0], gone[key]


def mark_gone(records: Collection[Record], present: Collection[str]) -> tuple[list[Record], bool]:
    """Filter the records whose file is not there, and no longer those whose file is back.

    Args:
        present: the ids of those that are known to be there.

    Returns:
        The records that are gone now, and whether any record has changed.
    """
    changed = False
    gone = []
    for record in records:
        missing = record["video_id"] not in present and not os.path.lexists(record["video_path"])
        if missing:
            gone.append(record)
        if missing != (record.get("filter_reason") == GONE):
            changed = True
            if missing:
                record |= {"filtered": True, "filter_reason": GONE}
            else:
                record["filtered"] = False
                del record["filter_reason"]
    return gone, changed


def write_listing(table: Table, records: Collection[Record], gone: Collection[Record]) -> None:
    """Write init.jsonl, and beside it the records that are gone, which later steps leave out."""
    if gone:
        Table(table.filtered_path).write(gone)
    else:
        table.filtered_path.unlink(missing_ok=True)
    table.write(records)
    for part in table.parts():
        part.unlink()
