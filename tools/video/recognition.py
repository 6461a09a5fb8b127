"""Which video each file of the folder is, by its size and content, and which videos are gone."""

import errno
import hashlib
import os
import stat
import sys
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from itertools import chain, zip_longest
from operator import itemgetter

from tqdm import tqdm

from tools.runner.counts import Counts, kind_of, remember
from tools.store.dataset import Dataset
from tools.store.jsonl import NO_REASON, Record, Table

GONE = "gone"  # why init.jsonl has a video filtered
ENDS = 1 << 16  # bytes of a file's head, and of its tail, that its digest is made of

# What a file is recognised by: its size in bytes, and a digest of its head and tail.
Content = tuple[int, str]


def content(path: str) -> Content:
    """The content of a file.

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
    return size, digest.hexdigest()[:16]


def is_gone(record: Record) -> bool:
    """Whether init.jsonl has a video filtered because its file was not there."""
    return record.get("filter_reason") == GONE


def noted_contents(dataset: Dataset) -> dict[str, Content]:
    """video_id -> the content that files.jsonl has of it."""
    tables = (shard.table("files") for shard in dataset.shards())
    records = chain.from_iterable(table.read() for table in tables)
    return {kept["video_id"]: (kept["bytes"], kept["digest"]) for kept in records}


def note_contents(
    dataset: Dataset, noted: Mapping[str, Content], records: Iterable[Record]
) -> None:
    """Write files.jsonl, {video_id, bytes, digest}: what is noted already, and the contents of the
    videos that are not in `noted` yet, also those that an earlier run was stopped at."""
    contents = dict(noted)
    missing = [
        record for record in records if record["video_id"] not in noted and not is_gone(record)
    ]
    interval = 0.2 if sys.stderr.isatty() else 10
    for record in tqdm(missing, "init: digests", unit="video", mininterval=interval, delay=2):
        with suppress(OSError):  # such as a link that leads nowhere
            contents[record["video_id"]] = content(record["video_path"])
    if contents.keys() != noted.keys():
        write_contents(dataset, contents)


def write_contents(dataset: Dataset, contents: Mapping[str, Content]) -> None:
    """Write files.jsonl."""
    records: list[Record] = [
        {"video_id": video_id, "bytes": size, "digest": digest}
        for video_id, (size, digest) in contents.items()
    ]
    for shard, own in _by_shard(dataset, records):
        shard.table("files").write(own)


def owners_by_content(
    noted: Mapping[str, Content],
    listed: Mapping[str, Record],
    lost: Mapping[str, Record],
    strangers: Iterable[str],
) -> tuple[dict[str, Record | None], dict[str, Record]]:
    """Whose each file is where its content says otherwise than its path.

    Args:
        listed: path -> the record that has it, of the files that are there.
        lost: video_id -> its record, of the videos whose path is not there or is another's.
        strangers: the paths of the files that no record has.

    Returns:
        path -> the record of the video that it is; None where the path's own video is elsewhere and
        the file is a new one. And path -> its own record, of the files with content that no video
        had.
    """
    others = replaced(noted, listed, lost)
    searched = {**lost, **{record["video_id"]: record for record in others.values()}}
    renamed: dict[str, Record | None] = {}
    if searched:
        renamed |= recognised(noted, searched, [*strangers, *others])
    elsewhere = {record["video_id"] for record in renamed.values() if record}
    rewritten = {}
    for path, record in others.items():
        if path not in renamed:
            if record["video_id"] in elsewhere:
                renamed[path] = None
            else:
                rewritten[path] = record
    return renamed, rewritten


def replaced(
    noted: Mapping[str, Content], listed: Mapping[str, Record], lost: Collection[str]
) -> dict[str, Record]:
    """The listed files whose content is not the noted one: path -> the record that has this path.

    A size that differs shows it. Digests are compared only of files as large as a video that is
    lost or whose path holds another size: no other file can have taken such a video's place.

    Args:
        listed: path -> the record that has it, of the files that are there.
        lost: the ids of the videos whose path is not there.
    """
    sizes = {}
    for path, record in listed.items():
        if record["video_id"] in noted:
            with suppress(OSError):
                sizes[path] = os.path.getsize(path)
    others = {path for path in sizes if sizes[path] != noted[listed[path]["video_id"]][0]}
    displaced = {listed[path]["video_id"] for path in others}
    suspicious = {noted[key][0] for key in displaced.union(lost) if key in noted}
    for path, size in sizes.items():
        if size in suspicious and path not in others:
            with suppress(OSError):
                if content(path) != noted[listed[path]["video_id"]]:
                    others.add(path)
    return {path: record for path, record in listed.items() if path in others}


def recognised(
    noted: Mapping[str, Content], lost: Mapping[str, Record], paths: Iterable[str]
) -> Iterator[tuple[str, Record]]:
    """Yield (path, record) of each file that has the noted content of a video that is not where it
    was. Of equal files, the one that has kept its name is that video; the rest are interchangeable.

    Args:
        lost: video_id -> its record.
        paths: of the files that no other video is known to own.
    """
    owners: dict[Content, list[Record]] = defaultdict(list)
    # One that was gone before comes after one that has been lost now.
    for video_id, record in sorted(lost.items(), key=lambda item: is_gone(item[1])):
        if video_id in noted and noted[video_id][0]:  # empty files all look alike
            owners[noted[video_id]].append(record)
    sizes = {size for size, _ in owners}
    matches: dict[Content, list[str]] = defaultdict(list)
    for path in paths:
        with suppress(OSError):
            if os.path.getsize(path) in sizes:
                matches[content(path)].append(path)
    for key, equal in matches.items():
        by_name: dict[str, list[Record]] = defaultdict(list)
        for record in owners[key]:
            by_name[os.path.basename(record["video_path"])].append(record)
        renamed = []
        for path in equal:
            if same_name := by_name[os.path.basename(path)]:
                yield path, same_name.pop(0)
            else:
                renamed.append(path)
        yield from zip(renamed, chain(*by_name.values()), strict=False)


def mark_gone(records: Collection[Record], present: Collection[str]) -> list[Record]:
    """Filter the records whose file is not there, or is another video now, and no longer those
    whose file is back.

    Args:
        present: the ids of those that are known to be there; their paths are theirs alone.

    Returns:
        The records that are gone now.
    """
    gone = []
    taken = {record["video_path"] for record in records if record["video_id"] in present}
    for record in records:
        path = record["video_path"]
        missing = record["video_id"] not in present and (path in taken or not os.path.isfile(path))
        if missing:
            gone.append(record)
        if missing != is_gone(record):
            if missing:
                record |= {"filtered": True, "filter_reason": GONE}
            else:
                record["filtered"] = False
                del record["filter_reason"]
    return gone


def read_listing(dataset: Dataset) -> Iterator[Record]:
    """The records of init.jsonl, those of all shards where there are shards."""
    return chain.from_iterable(shard.table("init").read() for shard in dataset.shards())


def write_listing(
    dataset: Dataset, records: Iterable[Record], failed: Iterable[Record], gone: Collection[Record]
) -> None:
    """Write init.jsonl, and beside it who failed, and the records that are gone, which later steps
    leave out. A shard that would stay as it is is not written.

    Raises:
        UserError: a run is working on a shard that would change.
    """
    gone_ids = {record["video_id"] for record in gone}
    failures = dict(_by_shard(dataset, failed))
    for shard, own in _by_shard(dataset, records, *failures):
        table = shard.table("init")
        own_failures = failures.get(shard, [])
        own.sort(key=itemgetter("video_id"))
        own_gone = [record for record in own if record["video_id"] in gone_ids]
        as_it_is = table.path.exists() and not table.parts()
        as_it_is = as_it_is and all(a == b for a, b in zip_longest(table.read(), own))
        with ExitStack() as stack:
            if shard.shard and not as_it_is:
                stack.enter_context(shard.lock("scene"))
            table.failed.write(own_failures)
            if own_gone:
                Table(table.filtered_path).write(own_gone)
            else:
                table.filtered_path.unlink(missing_ok=True)
            if not as_it_is:
                table.write(own)
                for part in table.parts():
                    part.unlink()
        kinds = Counter(kind_of(record["error"]) for record in own_failures)
        reasons = (record.get("filter_reason") for record in own if record.get("filtered"))
        filtered = Counter(str(reason or NO_REASON) for reason in reasons)
        remember(table, table, Counts(len(own) - filtered.total(), filtered, kinds))


def _by_shard(
    dataset: Dataset, records: Iterable[Record], *others: Dataset
) -> Iterable[tuple[Dataset, list[Record]]]:
    """The records of each shard that has any, and of the others."""
    by_shard: dict[Dataset, list[Record]] = {shard: [] for shard in others}
    for record in records:
        by_shard.setdefault(dataset.shard_of(record["video_id"]), []).append(record)
    return by_shard.items()
