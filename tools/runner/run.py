"""The runner: what is done, what is left, filtered, failed, and the progress of it.

A step is a small object that turns a record into a record and knows nothing of files, ranks,
resuming or bars. The runner knows all of that, once. Every record that a step is given ends as
done, filtered (with a reason) or failed (with an error), and the three add up to what the step was
given.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, ClassVar

from tqdm import tqdm

from tools.errors import Filtered, UserError
from tools.runner.fingerprints import check_fingerprint, check_origin, fingerprint, forget, sign
from tools.runner.options import Options
from tools.runner.pool import WORKER_DIED, Item, Outcome, Pool
from tools.store.dataset import Dataset
from tools.store.files import read_json, write_json
from tools.store.jsonl import Appender, Index, Record, Table

# What one record becomes: the new record, or why there is none. A step with several tables gives
# one such per table name.
Result = Record | Filtered | BaseException


class Step:
    """One step of the pipeline.

    Attributes:
        name: the step's name, as in `--redo NAME`.
        reads: the table whose records it takes.
        writes: the tables it makes, usually one.
        batch_size: how many records a worker is handed at once.
        revision: goes up when the step's own code comes to other results.
    """

    name: ClassVar[str]
    revision: ClassVar[int] = 1
    reads: Table
    writes: tuple[Table, ...]
    batch_size = 1

    def params(self) -> dict[str, Any]:
        """The parameters that shape the output; a run with others does not add to it."""
        return {}

    def versions(self) -> dict[str, str]:
        """The versions of whatever else shapes the output: libraries, weights."""
        return {}

    def check(self, device: str) -> None:
        """Called in the parent before any step's work: is what this step needs there?

        Args:
            device: auto, cpu or cuda, as the user asked.

        Raises:
            UserError: it is not.
        """

    def setup(self, device: str, threads: int) -> None:
        """Called once in each worker, before its first record: load what is costly."""

    def process(self, record: Record) -> Any:
        """Turn a record into the record with this step's fields added.

        Raises:
            Filtered: the method rejects the video.
            Exception: anything else fails this record alone.
        """
        raise NotImplementedError

    def process_batch(
        self, records: list[Record], wanted: list[tuple[str, ...]]
    ) -> Iterator[tuple[int, Any]]:
        """Yield (position in `records`, result) for every record, each as soon as it is known.

        Args:
            wanted: of each record, the names of the tables that lack it; a step with several tables
                may leave the others out of its result.
        """
        for position, record in enumerate(records):
            try:
                result: Any = self.process(record)
            except Exception as error:
                result = error
            yield position, result


@dataclass
class Counts:
    """How the records that a step was given have ended so far."""

    done: int = 0
    filtered: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    remaining: int = 0

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
    ids = set(given)
    there = ids & index.places.keys()
    rejected = index.filtered.keys() & there
    failed = failures.keys() & ids - there
    return Counts(
        len(there) - len(rejected),
        Counter(index.filtered[video_id] for video_id in rejected),
        Counter(kind_of(failures[video_id]["error"]) for video_id in failed),
        len(ids) - len(there) - len(failed),
    )


def kind_of(error: str) -> str:
    """What kind of error it is, `Type: what` of `Type: what: details`."""
    return ": ".join(error.split(": ")[:2])


def run(
    steps: Sequence[Step],
    dataset: Dataset,
    options: Options,
    prepare: Callable[[], None] | None = None,
) -> None:
    """Run the steps one after the other, each on what the one before it has finished.

    Args:
        prepare: called once the locks are held, before anything is looked at.

    Raises:
        UserError: another run holds a step, the output was made with other parameters, or the work
            cannot go on.
    """
    names = [step.name for step in steps]
    if options.redo and options.redo not in names:
        raise UserError(f"--redo {options.redo}: the steps here are {', '.join(names)}")
    if options.redo and options.limit is not None:
        raise UserError(
            f"--redo {options.redo} deletes what was made of all videos, --limit {options.limit}"
            " would make only some of it again: leave one of them out"
        )
    redone = names.index(options.redo) if options.redo else len(steps)
    with ExitStack() as stack:
        for step in steps:
            stack.enter_context(dataset.lock(lock_key(dataset, step.name, step.writes)))
        if prepare:
            prepare()
        check_origin(steps[0].reads)
        for step in steps[:redone]:
            check_fingerprint(step)
        # What is missing is said before the first video is touched, not after a week.
        unfinished = steps[min(redone, _first_unfinished(steps, dataset, options)) :]
        for step in unfinished:
            step.check(options.device)
        pool = stack.enter_context(Pool(options.world_size, options.device, options.threads))
        if unfinished and options.device == "cuda":
            _ = pool.gpus
        # The last first: a kill in between leaves a step without its successors, never the reverse.
        for step in reversed(steps[redone:]):
            dataset.state(lock_key(dataset, step.name, step.writes)).unlink(missing_ok=True)
            for table in step.writes:
                forget(table)
        before: Index | None = None
        for step in steps:
            before = _run_step(step, dataset, options, pool, before)


def _first_unfinished(steps: Sequence[Step], dataset: Dataset, options: Options) -> int:
    """The place of the first step that is not known to be finished; all after it may have work."""
    for place, step in enumerate(steps):
        if not _finished(step, dataset, options):
            return place
    return len(steps)


def _finished(step: Step, dataset: Dataset, options: Options) -> Counts | None:
    """The counts of a step that has nothing left to do, if that is known without reading tables."""
    if options.limit is not None or options.retry_failed:
        return None
    state_path = dataset.state(lock_key(dataset, step.name, step.writes))
    state = remembered(state_path, step.reads, step.writes)
    if not state or state["fingerprint"] != fingerprint(step)["fingerprint"]:
        return None
    return None if WORKER_DIED in state["failed"] else _counts_of(state)


def lock_key(dataset: Dataset, name: str, writes: Sequence[Table]) -> str:
    """The name of the lock and the memory of a step, the same for all runs that would write it."""
    folder = writes[0].path.parent.relative_to(dataset.root)
    last = writes[0].name if len(writes) == 1 else name
    return "-".join([part for part in folder.parts if part != "anno"] + [last])


def _run_step(
    step: Step, dataset: Dataset, options: Options, pool: Pool, before: Index | None
) -> Index | None:
    """Do what is left of a step; `before` is the index of its input, if the step before made one.

    Returns the index of the step's output, if it had to be made.
    """
    signature = sign(step)
    if finished := _finished(step, dataset, options):
        print(f"{step.name}: nothing to do ({finished.line()})")
        return None
    made_just_now = before is not None and before.files == [step.reads.path]
    given = before if before and made_just_now else step.reads.index()
    ids = given.kept()[: options.limit]
    indexes = {table.name: table.index() for table in step.writes}
    failures = {table.name: table.failed.read() for table in step.writes}
    missing = _missing(ids, indexes, failures, options.retry_failed)
    if missing:
        total = len(ids) * len(step.writes)
        proven = any(indexes.values())
        items = (Item(video_id, line, missing[video_id]) for video_id, line in given.lines(missing))
        _work_off(step, pool.run(step, items, len(missing), proven), missing, total, failures)
        indexes = {table.name: table.index() for table in step.writes}
    merged = [table.merge(indexes[table.name]) for table in step.writes]
    counts = _sum(
        count(ids, index, table.failed.read())
        for index, table in zip(merged, step.writes, strict=True)
    )
    if options.limit is None:
        write_json(
            dataset.state(lock_key(dataset, step.name, step.writes)),
            {"fingerprint": signature, **_stats(step.reads, step.writes), **vars(counts)},
        )
    print(f"{step.name}: {counts.line()}")
    return merged[0]


def _missing(
    ids: Iterable[str],
    indexes: dict[str, Index],
    failures: dict[str, dict[str, Record]],
    retry_failed: bool,
) -> dict[str, tuple[str, ...]]:
    """video_id -> the tables it is to be made for, in the order in which the records are to be
    handed out: what has killed a worker comes last, it must not keep the others from being done."""
    lacking: dict[str, set[str]] = {}
    died: set[str] = set()
    for name, index in indexes.items():
        killers = {key for key, one in failures[name].items() if one["error"] == WORKER_DIED}
        left_alone = set() if retry_failed else failures[name].keys() - killers
        lacking[name] = set(ids) - index.places.keys() - left_alone
        died |= killers
    order = sorted(set().union(*lacking.values()), key=lambda key: (key in died, key))
    return {key: tuple(name for name in lacking if key in lacking[name]) for key in order}


def _work_off(
    step: Step,
    outcomes: Iterable[Outcome],
    missing: dict[str, tuple[str, ...]],
    total: int,
    failures: dict[str, dict[str, Record]],
) -> None:
    """See the outcomes come in, under one bar for the step, and note every failure."""
    tally: Counter[str] = Counter()
    lists = {table.name: table.failed for table in step.writes}
    logs: dict[str, Appender] = {}
    left = sum(map(len, missing.values()))
    bar = tqdm(
        total=total,
        initial=total - left,
        desc=step.name,
        unit="video" if len(step.writes) == 1 else "response",
        mininterval=0.2 if sys.stderr.isatty() else 10,
        dynamic_ncols=True,
    )
    with bar:
        for outcome in outcomes:
            if outcome.kind == "failed":
                if outcome.table not in logs:
                    logs[outcome.table] = Appender(lists[outcome.table].path)
                attempts = failures[outcome.table].get(outcome.video_id, {}).get("attempts", 0)
                logs[outcome.table].append(_failure(outcome, step, attempts))
            tally[outcome.kind] += 1
            bar.set_postfix(filtered=tally["filtered"], failed=tally["failed"], refresh=False)
            bar.update()
    for log in logs.values():
        log.close()


def _failure(outcome: Outcome, step: Step, earlier: int) -> Record:
    return {
        "video_id": outcome.video_id,
        "step": step.name,
        "error": outcome.detail,
        "attempts": earlier + outcome.attempts,
    }


def _sum(counts: Iterable[Counts]) -> Counts:
    total = Counts()
    for one in counts:
        total.done += one.done
        total.filtered += one.filtered
        total.failed += one.failed
        total.remaining += one.remaining
    return total


def _stats(reads: Table, writes: Iterable[Table]) -> dict[str, Any]:
    """Size and time of change of the merged files: whether any has changed costs no reading."""
    return {"input": _stat(reads), "output": {table.name: _stat(table) for table in writes}}


def _stat(table: Table) -> list[int] | None:
    if not table.path.exists() or table.parts():
        return None
    stat = table.path.stat()
    return [stat.st_size, stat.st_mtime_ns]


def remembered(state_path: Any, reads: Table, writes: Iterable[Table]) -> dict[str, Any] | None:
    """The counts of a finished step, if none of its files has changed since; else None."""
    state = read_json(state_path)
    if state is None or None in (state["input"], *state["output"].values()):
        return None
    return (
        state if {key: state[key] for key in ("input", "output")} == _stats(reads, writes) else None
    )


def _counts_of(state: dict[str, Any]) -> Counts:
    return Counts(
        state["done"], Counter(state["filtered"]), Counter(state["failed"]), state["remaining"]
    )


def step_counts(state_path: Any, reads: Table, writes: Sequence[Table]) -> Counts:
    """How a step stands, from its files; for `tools.status`.

    Raises:
        CorruptLine: a line of a table is not a record.
    """
    state = remembered(state_path, reads, writes)
    if state:
        return _counts_of(state)
    ids = reads.index().kept()
    return _sum(count(ids, table.index(), table.failed.read()) for table in writes)
