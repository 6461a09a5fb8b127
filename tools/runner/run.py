"""The runner: what is done, what is left, and the progress of it.

Workers compute a step (`tools.runner.pool`); the runner knows the rest, and it alone writes. Every
record that a step is given ends as done, filtered (with a reason) or failed (with an error), and
the three add up to what the step was given.
"""

import os
import secrets
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, closing
from itertools import dropwhile
from pathlib import Path

import orjson
from tqdm import tqdm

from tools.errors import UserError, did_you_mean
from tools.runner.counts import (
    Counts,
    count,
    filtered_most,
    given_ids,
    remember,
    remembered,
    was_edited,
)
from tools.runner.fingerprints import check_fingerprint, forget, sign
from tools.runner.options import Options
from tools.runner.pace import Pace
from tools.runner.pool import WORKER_DIED, Pool
from tools.runner.processes import Processes
from tools.runner.progress import Progress
from tools.runner.step import Step
from tools.runner.worker import Engine, Item, Outcome
from tools.store.dataset import REPOSITORY, Dataset
from tools.store.files import Appender
from tools.store.index import Index
from tools.store.jsonl import Record, Table, dumps
from tools.store.origin import check_origin


def run(
    steps: Sequence[Step],
    dataset: Dataset,
    options: Options,
    prepare: Callable[[], None] | None = None,
    videos: Path | None = None,
) -> None:
    """Run the steps one after the other, each on what the one before it has finished.

    Args:
        prepare: called once the locks are held, before anything is looked at.
        videos: the folder of videos, which every machine must see (None: that of the first record,
            if it has one).

    Raises:
        UserError: another run holds a step, the output was made with other parameters, a step is
            given no record, or the work cannot go on.
    """
    names = [step.name for step in steps]
    if options.redo and options.redo not in names:
        hint = did_you_mean(options.redo, names)
        raise UserError(f"--redo {options.redo}: the steps here are {', '.join(names)}{hint}")
    if options.redo and options.limit is not None:
        raise UserError(
            f"--redo {options.redo} deletes what was made of all videos, --limit {options.limit}"
            " would make only some of it again: leave one of them out"
        )
    redone = names.index(options.redo) if options.redo else len(steps)
    with ExitStack() as stack:
        engine = stack.enter_context(closing(_engine(options, dataset, steps[0], videos)))
        for step in steps:
            stack.enter_context(dataset.lock(lock_key(dataset, step.name, step.writes)))
        if prepare:
            prepare()
        check_origin(steps[0].reads)
        for step in steps[:redone]:
            check_fingerprint(step)
        # What is missing is said before the first video is touched, not after a week: all steps
        # after one that is unfinished may have work.
        work_from = dropwhile(lambda step: _finished(step, options), steps[:redone])
        unfinished = [*work_from, *steps[redone:]]
        for step in unfinished:
            step.check(options.device)
        if unfinished:
            engine.check()
        # The last first: a kill in between leaves a step without its successors, never the reverse.
        for step in reversed(steps[redone:]):
            for table in step.writes:
                forget(table)
        pool = stack.enter_context(Pool(engine, options.world_size))
        last = steps[-1]
        run_file = dataset.runs / f"{lock_key(dataset, last.name, last.writes)}.json"
        progress = stack.enter_context(Progress(run_file, pool))
        given, filtered = 0, Counter[str]()
        limits = {reason: limit for step in steps for reason, limit in step.limits().items()}
        for step in steps:
            counts = _run_step(step, options, pool, progress)
            why = filtered_most(given, filtered, limits)
            if not counts.total:
                raise NothingToDo(
                    f"nothing to do for {step.name}: no video of {step.reads.path.name} was kept;"
                    f" {why or f'python -m tools.status {dataset.title} shows why'}"
                )
            given = given or counts.total
            filtered += counts.filtered
    if why := filtered_most(given, filtered, limits):
        print(f"note: {why}")


class NothingToDo(UserError):
    """A step was given no record."""


def run_shards(datasets: Sequence[Dataset], work: Callable[[Dataset], None]) -> None:
    """Run a script's steps on each dataset in turn; a shard all of whose videos were filtered is
    done, as a note says.

    Raises:
        NothingToDo: nothing was to do in a dataset without shards.
        UserError: see `run`.
    """
    for dataset in datasets:
        if dataset.shard:
            print(f"shard {dataset.shard} of {dataset.name}")
        try:
            work(dataset)
        except NothingToDo as error:
            if not dataset.shard:
                raise
            print(f"note: {error}")


def _engine(options: Options, dataset: Dataset, first: Step, videos: Path | None) -> Engine:
    """Where the workers run; a UserError where they cannot."""
    if options.ray is None:
        return Processes(options.device, options.threads)
    if options.ray == "local":
        # Ray listens on all interfaces: nobody else may run code through it. Ray reads both at its
        # import alone, so the runs of all shards in this process have one token.
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    try:
        from tools.runner.on_ray import RayCluster
    except ImportError as error:
        raise UserError(f"--ray needs Ray ({error}): pip install -r requirements-ray.txt") from None
    videos = videos or dataset.video_dir()
    if videos is None and (path := next(first.reads.read(), {}).get("video_path")):
        videos = Path(path).parent
    # Where this machine lacks it too, the steps do not need it, or say so themselves.
    needed = [REPOSITORY, *([videos] if videos and videos.exists() else [])]
    return RayCluster(options, needed)


def lock_key(dataset: Dataset, name: str, writes: Sequence[Table]) -> str:
    """The name of a step's lock, the same for all runs that would write its tables."""
    folder = writes[0].path.parent.relative_to(dataset.root)
    last = writes[0].name if len(writes) == 1 else name
    return "-".join([part for part in folder.parts if part != "anno"] + [last])


def _finished(step: Step, options: Options) -> Counts | None:
    """The counts of a step that has nothing left to do, if that is known without reading tables."""
    if options.limit is not None or options.retry_failed:
        return None
    counts = remembered(step.reads, step.writes)
    return None if counts is None or WORKER_DIED in counts.failed else counts


def _run_step(step: Step, options: Options, pool: Pool, progress: Progress) -> Counts:
    """Do what is left of a step, and write nothing if it was given nothing; how its records have
    ended."""
    if finished := _finished(step, options):
        sign(step)
        if finished.total:
            print(f"{step.name}: nothing to do ({finished.line()})")
        return finished
    given = step.reads.index()
    ids = given_ids(step.reads, given)[: options.limit]
    if not ids:
        return Counts()
    sign(step)
    indexes = {table.name: table.index() for table in step.writes}
    failures = {table.name: table.failed.read() for table in step.writes}
    missing = _missing(ids, indexes, failures, options.retry_failed)
    if missing:
        records = ((orjson.loads(line), missing[key]) for key, line in given.lines(missing))
        if workload := step.workload(records):
            print(f"{step.name}: {workload}")
        items = (Item(video_id, line, missing[video_id]) for video_id, line in given.lines(missing))
        outcomes = pool.run(step, items, len(missing), proven=any(indexes.values()))
        left = sum(map(len, missing.values()))
        pace = Pace(left, options.world_size)
        progress.begin(step.name, step.writes, _standing(ids, indexes, failures, missing))
        _write(step, outcomes, len(ids) * len(step.writes), pace, failures, progress)
        indexes = {table.name: table.index() for table in step.writes}
    elif options.limit is None and was_edited(step.reads, step.writes):
        print(
            f"note: {step.reads.path.name} was edited after {step.name} was done: what was made of"
            f" the records as they were is kept; --redo {step.name} makes it again"
        )
    counts = Counts()
    for table in step.writes:
        table.merge(indexes[table.name])
        own = count(ids, indexes[table.name], table.failed.read())
        if options.limit is None:
            remember(step.reads, table, own)
        counts += own
    print(f"{step.name}: {counts.line()}")
    return counts


def _missing(
    ids: Iterable[str],
    indexes: dict[str, Index],
    failures: dict[str, dict[str, Record]],
    retry_failed: bool,
) -> dict[str, tuple[str, ...]]:
    """video_id -> the tables that lack it, in the order in which the records are handed out.

    Records that have killed workers come last, since they must not keep the others from being done.
    """
    missing: dict[str, tuple[str, ...]] = {}
    last: dict[str, tuple[str, ...]] = {}
    for video_id in ids:
        errors = {name: failed.get(video_id, {}).get("error") for name, failed in failures.items()}
        tables = tuple(
            name
            for name, error in errors.items()
            if video_id not in indexes[name] and (retry_failed or error in (None, WORKER_DIED))
        )
        if tables:
            (last if WORKER_DIED in errors.values() else missing)[video_id] = tables
    return missing | last


def _standing(
    ids: list[str],
    indexes: dict[str, Index],
    failures: dict[str, dict[str, Record]],
    missing: dict[str, tuple[str, ...]],
) -> Counts:
    """How the records have ended before this run begins, where those that are tried again have
    not."""
    counts = Counts()
    for name, index in indexes.items():
        for_good = {
            key: failure
            for key, failure in failures[name].items()
            if name not in missing.get(key, ())
        }
        counts += count(ids, index, for_good)
    return counts


def _write(
    step: Step,
    outcomes: Iterable[Outcome],
    total: int,
    pace: Pace,
    failures: dict[str, dict[str, Record]],
    progress: Progress,
) -> None:
    """Append every outcome as it comes in, under one bar for all `total` of them."""
    tables = {table.name: table for table in step.writes}
    parts = {name: table.part() for name, table in tables.items()}
    files: dict[Path, Appender] = {}
    tally: Counter[str] = Counter()
    bar = tqdm(
        total=total,
        initial=total - pace.left,
        desc=step.name,
        unit="video" if len(tables) == 1 else "response",
        mininterval=0.2 if sys.stderr.isatty() else 10,
        dynamic_ncols=True,
    )
    with bar, ExitStack() as stack:
        for outcome in outcomes:
            path, line = parts[outcome.table], outcome.line
            if outcome.kind == "failed":
                path = tables[outcome.table].failed.path
                earlier = failures[outcome.table].get(outcome.video_id, {}).get("attempts", 0)
                failure = {
                    "video_id": outcome.video_id,
                    "step": step.name,
                    "error": outcome.error,
                    "attempts": earlier + outcome.attempts,
                }
                line = dumps(failure)
            if path not in files:
                files[path] = stack.enter_context(closing(Appender(path)))
            files[path].append(line)
            if not tally:
                bar.unpause()  # the time until the first outcome went into loading
            if speed := pace.measure(line):
                bar.write(f"{step.name}: {speed}")
            tally[outcome.kind] += 1
            progress.add(outcome)
            if outcome.kind != "done" or not bar.postfix:  # It costs more than to append a line.
                bar.set_postfix(filtered=tally["filtered"], failed=tally["failed"], refresh=False)
            bar.update()
