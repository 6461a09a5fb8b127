"""The index of a dataset: what a viewer asks about a million pairs, in Parquet files.

A renewal scans where each line lies (`places`), works out what it does not know of a line yet
(`facts`, kept in files that are only ever added to), and sums up (`tables`). `index.json` names the
files that count and is replaced when all are there, so that any number of viewers can read
meanwhile. All of it lies in this user's cache: the data may be read-only.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from tools.store.dataset import Dataset
from tools.store.files import disk_errors_in_one_line, read_json, write_json
from tools.store.jsonl import FailureList
from tools.store.locks import locked
from visualize.cache import cache_folder, digest
from visualize.index.facts import KNOWN, describe
from visualize.index.places import PLACES, BadLine, Source, Survey, scan, survey
from visualize.index.tables import (
    AS_IT_IS,
    SUMMARIES,
    TODO,
    connect,
    open_known,
    open_lines,
    quoted,
    summarise,
)

# `map`, or that of a pool of processes.
Map = Callable[..., Iterator[tuple[pa.Table, list[BadLine]]]]

# Goes up when the tables come to hold something else.
INDEX_VERSION = 2
# Bytes to read from which on the work is shared among processes, and how many they are.
POOL_BYTES, WORKERS = 50_000_000, 2
# Lines that are described at a time.
BATCH_LINES = 8192
# Above so many files of KNOWN, what is still in use moves to one.
MAX_KNOWN_FILES = 32


@dataclass
class IndexState:
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

    def leave_out(self, lines: Iterable[BadLine]) -> None:
        """Count lines that are no records."""
        for name, message in lines:
            number, first = self.bad.get(name, (0, message))
            self.bad[name] = number + 1, first


class DatasetIndex:
    """The index of one dataset, in this user's cache."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.folder = cache_folder() / f"{dataset.name}-{digest(dataset.root.resolve())}"

    def state(self) -> IndexState | None:
        """What stands now; None where there is no index, a part of one, or one of another
        version."""
        state = read_json(self.folder / "index.json")
        if not state or state["version"] != INDEX_VERSION:
            return None
        sources = [Source(**source) for source in state["survey"]["sources"]]
        state = IndexState(**{**state, "survey": Survey(**{**state["survey"], "sources": sources})})
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

    def renew(self) -> IndexState:
        """Bring the index up to date, and return what stands then.

        Raises:
            StorageError: the cache cannot be written to.
            CorruptLine: a list of failures holds a line that is no record.
        """
        with locked(self.folder / ".lock"), disk_errors_in_one_line(self.folder):
            before, now = self.state(), survey(self.dataset)
            if before and before.survey == now:
                return before
            generation, known = (before.generation + 1, before.known) if before else (1, [])
            state = IndexState(generation, now, [*known])
            with connect() as database, _mapping(now.size) as mapped:
                self._scan(state, mapped)
                open_lines(database, now.sources, self.folder / state.file("places"))
                self._learn(database, state, mapped)
                failures = [FailureList(self.dataset.root / name) for name in now.failures]
                out = {name: self.folder / state.file(name) for name in SUMMARIES}
                summarise(database, failures, out)
            write_json(self.folder / "index.json", state)
            (self.folder / "progress.json").unlink(missing_ok=True)
            # Somebody may still be reading the index before this one.
            for name in self._parquet_files() - state.files - (before.files if before else set()):
                (self.folder / name).unlink(missing_ok=True)
            return state

    def _scan(self, state: IndexState, mapped: Map) -> None:
        """Write where every line lies."""
        files: dict[int, dict[str, int]] = {}
        for number, (name, (source, *_)) in enumerate(state.survey.files.items()):
            files.setdefault(source, {})[name] = number
        with pq.ParquetWriter(self.folder / state.file("places"), PLACES) as writer:
            for table, bad in mapped(partial(scan, self.dataset.root), files, files.values()):
                writer.write_table(table, row_group_size=1 << 15)
                state.leave_out(bad)

    def _learn(self, database: duckdb.DuckDBPyConnection, state: IndexState, mapped: Map) -> None:
        """Add what is new to what is known, in a file of its own."""
        known = [self.folder / name for name in state.known]
        open_known(database, known)
        lines = database.sql(TODO).to_arrow_reader(BATCH_LINES).read_all()
        if known and not len(lines):
            return
        known.append(self.folder / f"known-{state.generation}.parquet")
        work = partial(describe, self.dataset.root, list(state.survey.files))
        with pq.ParquetWriter(known[-1], KNOWN, compression="none", use_dictionary=False) as writer:
            described = mapped(work, lines.to_batches())
            for number, (table, bad) in enumerate(described, 1):
                writer.write_table(table)
                state.leave_out(bad)
                share = 0.05 + 0.9 * min(1, number * BATCH_LINES / len(lines))
                write_json(self.folder / "progress.json", share)
        open_known(database, known)
        if len(known) > MAX_KNOWN_FILES:
            known = [self.folder / f"known-{state.generation}-in-use.parquet"]
            in_use = "select known.* from known semi join lines using (key)"
            database.execute(f"copy ({in_use}) to {quoted(known[0])} ({AS_IT_IS})")
            open_known(database, known)
        state.known = [path.name for path in known]


@contextmanager
def _mapping(size: int) -> Iterator[Map]:
    """`map`, or that of a pool of processes where there are many bytes to read."""
    if size < POOL_BYTES:
        yield map
        return
    with ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn")) as pool:
        yield pool.map
