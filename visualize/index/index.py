"""The index of a dataset: what a viewer asks about a million pairs, in Parquet files.

    python -m visualize.index mine       # make it before anybody opens the viewer

A renewal scans where each line lies (`places`), works out what it does not know of a line yet
(`facts`, kept in files that are only ever added to), and sums up (`tables`). `index.json` names the
files that count and is replaced when all are there, so that any number of viewers can read
meanwhile. All of it lies in this user's cache: the data may be read-only.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import starmap
from multiprocessing import get_context
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from tools.cli import add_data_root, add_dataset, script_parser
from tools.store.dataset import Dataset, open_dataset
from tools.store.files import disk_errors_in_one_line, read_json, write_json
from tools.store.jsonl import FailureList
from tools.store.locks import locked
from visualize.cache import cache_folder, digest
from visualize.index.facts import KNOWN, describe
from visualize.index.places import PLACES, BadLine, Source, Survey, scan, survey
from visualize.index.tables import (
    AS_IT_IS,
    IN_USE,
    SUMMARIES,
    TODO,
    connect,
    open_known,
    open_lines,
    quoted,
    summarise,
)

Made = tuple[pa.Table, list[BadLine]]
WorkOff = Callable[[Callable[..., Made], Iterable[Any]], Iterable[Made]]

# Goes up when the tables come to hold something else.
INDEX_VERSION = 2
# Bytes to read from which on the work is shared among processes, and how many they are.
POOL_BYTES, WORKERS = 50_000_000, 2
# Lines that are described at a time.
BATCH_LINES = 8192
# Above so many files of KNOWN, what is still in use moves to one.
MAX_KNOWN_FILES = 32


@dataclass
class State:
    """index.json.

    Attributes:
        generation: how many renewals there have been.
        survey: the files as they were then.
        known: the names of the files of `visualize.index.facts.KNOWN`.
        bad: file -> how many of its lines are no records, and what is wrong with the first.
    """

    generation: int
    survey: Survey
    known: list[str]
    bad: dict[str, tuple[int, str]] = field(default_factory=dict)
    version: int = INDEX_VERSION

    def file(self, name: str) -> str:
        """The name of a table's file: of `places` or one of SUMMARIES."""
        return f"{name}-{self.generation}.parquet"

    @property
    def files(self) -> set[str]:
        """The names of all files that the index consists of."""
        return {*self.known, *map(self.file, ("places", *SUMMARIES))}


class DatasetIndex:
    """The index of one dataset, in this user's cache."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.folder = cache_folder() / f"{dataset.name}-{digest(dataset.root.resolve())}"

    def state(self) -> State | None:
        """What stands now; None where there is no index, a part of one, or one of another
        version."""
        state = read_json(self.folder / "index.json")
        if not state or state["version"] != INDEX_VERSION:
            return None
        sources = [Source(**source) for source in state["survey"]["sources"]]
        state = State(**{**state, "survey": Survey(**{**state["survey"], "sources": sources})})
        return state if state.files <= self._parquet_files() else None

    def _parquet_files(self) -> set[str]:
        return {path.name for path in self.folder.glob("*.parquet")}

    def bytes_to_read(self) -> int:
        """How many bytes a renewal would scan; 0 if the index says what is there now."""
        state, now = self.state(), survey(self.dataset)
        return 0 if state and state.survey == now else now.size or 1

    @property
    def share(self) -> float:
        """How much of a renewal under way is done, 0 to 1, in whatever process it is."""
        return read_json(self.folder / "progress.json") or 0.0

    def renew(self) -> State:
        """Bring the index up to date, and return what stands then.

        Raises:
            StorageError: the cache cannot be written to.
            CorruptLine: a list of failures holds a line that is no record.
        """
        with locked(self.folder / ".lock"), disk_errors_in_one_line(self.folder):
            before, now = self.state(), survey(self.dataset)
            if before and before.survey == now:
                return before
            state = State(
                generation=before.generation + 1 if before else 1,
                survey=now,
                known=before.known if before else [],
            )
            with connect() as database, _workers(now.size) as work_off:
                bad = self._scan(state, work_off)
                open_lines(database, now.sources, self.folder / state.file("places"))
                bad += self._learn(database, state, work_off)
                failures = [FailureList(self.dataset.root / name) for name in now.failures]
                out = {name: self.folder / state.file(name) for name in SUMMARIES}
                summarise(database, failures, out)
            for name, message in bad:
                number, first = state.bad.get(name, (0, message))
                state.bad[name] = number + 1, first
            write_json(self.folder / "index.json", asdict(state))
            (self.folder / "progress.json").unlink(missing_ok=True)
            # Somebody may still be reading the index before this one.
            for name in self._parquet_files() - state.files - (before.files if before else set()):
                (self.folder / name).unlink(missing_ok=True)
            return state

    def _scan(self, state: State, work_off: WorkOff) -> list[BadLine]:
        """Write where every line lies."""
        bad: list[BadLine] = []
        files: dict[int, dict[str, int]] = {}
        for number, (name, (source, *_)) in enumerate(state.survey.files.items()):
            files.setdefault(source, {})[name] = number
        with pq.ParquetWriter(self.folder / state.file("places"), PLACES) as writer:
            jobs = ((self.dataset.root, source, own) for source, own in files.items())
            for table, more in work_off(scan, jobs):
                writer.write_table(table, row_group_size=1 << 15)
                bad += more
        return bad

    def _learn(
        self, database: duckdb.DuckDBPyConnection, state: State, work_off: WorkOff
    ) -> list[BadLine]:
        """Add what is new to what is known, in a file of its own."""
        known = [self.folder / name for name in state.known]
        open_known(database, known)
        lines = database.execute(f"{TODO}; select count(*) from todo").fetchall()[0][0]
        if known and not lines:
            return []
        bad: list[BadLine] = []
        files, sources = list(state.survey.files), state.survey.sources
        batches = database.sql("from todo").to_arrow_reader(BATCH_LINES)
        jobs = ((self.dataset.root, files, sources, batch) for batch in batches)
        known.append(self.folder / f"known-{state.generation}.parquet")
        with pq.ParquetWriter(known[-1], KNOWN, compression="none", use_dictionary=False) as writer:
            for number, (table, more) in enumerate(work_off(describe, jobs)):
                writer.write_table(table)
                bad += more
                share = (number + 1) * BATCH_LINES / lines
                write_json(self.folder / "progress.json", 0.05 + 0.9 * min(1, share))
        open_known(database, known)
        if len(known) > MAX_KNOWN_FILES:
            known = [self.folder / f"known-{state.generation}-in-use.parquet"]
            database.execute(f"copy ({IN_USE}) to {quoted(known[0])} ({AS_IT_IS})")
            open_known(database, known)
        state.known = [path.name for path in known]
        return bad


@contextmanager
def _workers(size: int) -> Iterator[WorkOff]:
    """A function that yields what comes of each job, in order, done in this process or, where there
    are many bytes to read, in several."""
    if size < POOL_BYTES:
        yield starmap
        return
    with ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn")) as pool:

        def work_off(function: Callable[..., Made], jobs: Iterable[Any]) -> Iterator[Made]:
            waiting: deque[Future[Made]] = deque()
            for job in jobs:
                waiting.append(pool.submit(function, *job))
                if len(waiting) > 2 * WORKERS:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

        yield work_off


def main(argv: Sequence[str] | None = None) -> None:
    """Make or renew the index of one dataset."""
    parser = script_parser(__doc__)
    add_dataset(parser, argv)
    add_data_root(parser)
    args = parser.parse_args(argv)
    index = DatasetIndex(open_dataset(args.dataset, args.data_root))
    state = index.renew()
    rows = pq.read_metadata(index.folder / state.file("places")).num_rows
    print(f"{index.folder}: {rows} records of {len(state.survey.files)} files")
