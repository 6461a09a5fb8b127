"""How a run stands, for people on other machines to see: a small file beside its tables.

A run writes it every two seconds while a step works, and deletes it at its end. One that a killed
run has left says so by its time, and is replaced when that run's command is run again.
"""

import os
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.errors import UserError
from tools.runner.counts import Counts, kind_of
from tools.runner.pool import Pool
from tools.runner.worker import Outcome
from tools.store.dataset import Dataset
from tools.store.files import read_json, write_json
from tools.store.jsonl import Table

BEAT_SECONDS = 2.0
RATE_BEATS = 30  # a rate is that of the last minute
# A run that has not written for so long is dead, or its machine hangs.
SILENT_SECONDS = 30.0


@dataclass
class RunState:
    """What a run has written.

    Attributes:
        engine: what runs its workers.
        started, seen: when the run began, and when it wrote this, seconds since 1970.
        step: the step that it works on.
        writes: the files of that step's tables, from the folder of the dataset or shard, which
            another machine may know by another path.
        counts: how the records that the step was given have ended.
        rate: outcomes a second, over the last minute.
        nodes: machine -> how many workers are on it.
    """

    host: str
    pid: int
    engine: str
    world_size: int
    started: float
    seen: float = 0.0
    step: str = ""
    writes: list[str] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)
    rate: float = 0.0
    nodes: dict[str, int] = field(default_factory=dict)

    def end(self, now: float) -> str:
        """Why nothing more is to be expected of the run, in words; empty of one that works."""
        if self.host == socket.gethostname() and not _is_there(self.pid):
            return "has ended without a word, perhaps killed: run its command again"
        if now - self.seen > SILENT_SECONDS:
            return f"has not written for {now - self.seen:.0f} s: it is dead, or its node hangs"
        return ""


class Progress:
    """Keeps a run's file up to date, from a thread of its own."""

    def __init__(self, path: Path, pool: Pool) -> None:
        self._path, self._pool = path, pool
        now = time.time()
        engine = pool.engine.name, pool.world_size
        self._state = RunState(socket.gethostname(), os.getpid(), *engine, started=now)
        self._past: deque[tuple[float, int]] = deque(maxlen=RATE_BEATS)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        if self._thread.is_alive():
            self._thread.join()
        self._path.unlink(missing_ok=True)

    def begin(self, step: str, writes: Sequence[Table], counts: Counts) -> None:
        """A step begins to work; from now on `counts` is its own."""
        self._past.clear()
        root = self._path.parent.parent
        self._state.step = step
        self._state.writes = [str(table.path.relative_to(root)) for table in writes]
        self._state.counts = counts
        if self._thread.ident is None:
            self._thread.start()

    def add(self, outcome: Outcome) -> None:
        """Count an outcome."""
        counts = self._state.counts
        counts.remaining -= 1
        if outcome.kind == "done":
            counts.done += 1
        elif outcome.kind == "filtered":
            counts.filtered[outcome.error] += 1
        else:
            counts.failed[kind_of(outcome.error)] += 1

    def _beat(self) -> None:
        while True:
            state, now = self._state, time.time()
            self._past.append((now, state.counts.remaining))
            (before, left), seconds = self._past[0], now - self._past[0][0]
            state.rate = (left - state.counts.remaining) / seconds if now > before else 0.0
            state.seen, state.nodes = now, self._pool.nodes()
            # A full disk stops the run itself, and a counter may grow while it is read.
            with suppress(OSError, UserError, RuntimeError):
                write_json(self._path, state)
            if self._done.wait(BEAT_SECONDS):
                return


def runs_on(dataset: Dataset) -> Iterator[tuple[Dataset, RunState]]:
    """The runs that work on a dataset or have died while they did, each with its shard."""
    for shard in dataset.shards():
        for path in sorted(shard.runs.glob("*.json")):
            with suppress(UserError):  # of another version
                if state := read_json(path):
                    yield shard, _state(state)


def _state(entry: dict[str, Any]) -> RunState:
    counts = entry["counts"]
    reasons = Counter(counts["filtered"]), Counter(counts["failed"])
    return RunState(**{**entry, "counts": Counts(counts["done"], *reasons, counts["remaining"])})


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
