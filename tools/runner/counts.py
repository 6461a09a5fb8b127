"""How the records that a step was given have ended: done, filtered, failed, remaining."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.store.dataset import annotation_of
from tools.store.files import write_json
from tools.store.index import Index
from tools.store.jsonl import Record, Table


@dataclass
class Counts:
    """How the records that a step was given have ended so far; the four add up to all of them."""

    done: int = 0
    filtered: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    remaining: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            *(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True))
        )

    @property
    def total(self) -> int:
        """All records that the step was given."""
        return self.done + self.filtered.total() + self.failed.total() + self.remaining

    def line(self) -> str:
        """The counts in words."""
        parts = [f"{self.done} done"]
        parts += [f"{n} filtered ({reason})" for reason, n in sorted(self.filtered.items())]
        parts += [f"{n} failed ({error})" for error, n in sorted(self.failed.items())]
        parts += [f"{self.remaining} remaining"] if self.remaining else []
        return ", ".join(parts)


def filtered_most(given: int, filtered: Counter[str], limits: Mapping[str, str]) -> str:
    """Which reason filtered most, and which flag sets its limit, where more than half of what was
    given is filtered; else an empty string.

    Args:
        limits: reason -> which flag sets its limit, in words.
    """
    if 2 * filtered.total() <= given:
        return ""
    reason, number = filtered.most_common(1)[0]
    limit = f"; {limits[reason]}" if reason in limits else ""
    return f"{filtered.total()} of {given} were filtered, {number} as {reason}{limit}"


def count(given: Iterable[str], index: Index, failures: dict[str, Record]) -> Counts:
    """Sort the ids that a step was given by how they ended in one of its tables."""
    counts = Counts()
    for video_id in given:
        if video_id in index.filtered:
            counts.filtered[index.filtered[video_id]] += 1
        elif video_id in index:
            counts.done += 1
        elif video_id in failures:
            counts.failed[kind_of(failures[video_id]["error"])] += 1
        else:
            counts.remaining += 1
    return counts


def kind_of(error: str) -> str:
    """The kind of an error, `Type: what` of `Type: what: details`."""
    return ": ".join(error.split(": ")[:2])


def given_ids(reads: Table, index: Index) -> list[str]:
    """The ids that a step is given, sorted: those that its input keeps whose video is there."""
    gone = {record["video_id"] for record in Table(_gone(reads)).read()}
    return [video_id for video_id in index.kept() if video_id not in gone]


def _gone(reads: Table) -> Path:
    """The list of the videos that are gone, which is there when some are."""
    return annotation_of(reads, "init").filtered_path


def remember(reads: Table, table: Table, counts: Counts) -> None:
    """Note in the meta.json of a merged table that nothing is left to do, until the table or the
    one that it was made from changes: then nobody has to read either to know."""
    finished = {
        "files": _stamps(reads, table),
        "done": counts.done,
        "filtered": counts.filtered,
        "failed": counts.failed,
    }
    made = table.meta()
    if made.get("finished") != finished:
        write_json(table.meta_path, {**made, "finished": finished})


def remembered(reads: Table, writes: Iterable[Table]) -> Counts | None:
    """The counts of a step that is known to be finished; None of any other."""
    counts = Counts()
    for table in writes:
        finished = _finished(table)
        files = _stamps(reads, table)
        if not files or finished.get("files") != files:
            return None
        reasons = Counter(finished["filtered"]), Counter(finished["failed"])
        counts += Counts(finished["done"], *reasons)
    return counts


def _stamps(reads: Table, table: Table) -> list[list[int]]:
    """Size in bytes and time of change in ns of both tables, and of the list of videos that are
    gone; nothing where a table is not one merged file."""
    if not all(one.path.exists() and not one.parts() for one in (reads, table)):
        return []
    stats = [path.stat() for path in (reads.path, table.path, _gone(reads)) if path.exists()]
    return [[stat.st_size, stat.st_mtime_ns] for stat in stats]


def was_edited(reads: Table, writes: Iterable[Table]) -> bool:
    """Whether a table of records has another size now than when a step was finished with it, where
    no record has come. Listing rewrites init.jsonl, and the steps know of it."""
    if reads.name == "init" or not reads.path.exists():
        return False
    sizes = {files[0][0] for table in writes if (files := _finished(table).get("files"))}
    return bool(sizes - {reads.path.stat().st_size})


def _finished(table: Table) -> dict[str, Any]:
    return dict(table.meta().get("finished", {}))


def step_counts(reads: Table, writes: Sequence[Table]) -> Counts:
    """How a step stands, from its files."""
    if (counts := remembered(reads, writes)) is not None:
        return counts
    ids = given_ids(reads, reads.index())
    return sum((count(ids, table.index(), table.failed.read()) for table in writes), Counts())
