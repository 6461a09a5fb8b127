"""How the records that a step was given have ended: done, filtered, failed, remaining."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tools.store.files import write_json
from tools.store.jsonl import Index, Record, Table


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
        finished = table.meta().get("finished", {})
        files = _stamps(reads, table)
        if len(files) < 2 or finished.get("files") != files:
            return None
        reasons = Counter(finished["filtered"]), Counter(finished["failed"])
        counts += Counts(finished["done"], *reasons)
    return counts


def _stamps(*tables: Table) -> list[list[int]]:
    """Size in bytes and time of change in ns of each table that is one merged file."""
    stats = [table.path.stat() for table in tables if table.path.exists() and not table.parts()]
    return [[stat.st_size, stat.st_mtime_ns] for stat in stats]


def step_counts(reads: Table, writes: Sequence[Table]) -> Counts:
    """How a step stands, from its files."""
    if (counts := remembered(reads, writes)) is not None:
        return counts
    ids = reads.index().kept()
    return sum((count(ids, table.index(), table.failed.read()) for table in writes), Counts())
