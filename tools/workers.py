"""`world_size` processes on this machine that run a step's records from one queue.

Each worker has a pipe of its own and holds at most one batch, so a worker that is killed at any
moment, even while it reads or writes its pipe, can hang nobody: pools with one shared queue
(multiprocessing.Pool, ProcessPoolExecutor) either hang or break as a whole then. A worker appends
each record to its own part file *before* it reports it.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from tools.errors import Filtered, StorageError, UserError
from tools.jsonl import DISK_ERRORS, Appender, Record

if TYPE_CHECKING:
    from tools.steps import Step

WORKER_DIED = "worker died"
# After this many deaths per worker without one record finished between them, the fault is not a
# record's.
DEATHS_IN_A_ROW = 4


@dataclass
class Item:
    """A record on its way: the line as it stands in the table it comes from, and the tables that
    want it.

    Attributes:
        missing: names of the step's tables that do not hold the record yet.
        attempts: how often a worker has been given it.
    """

    video_id: str
    line: bytes
    missing: tuple[str, ...]
    attempts: int = 0


@dataclass(frozen=True)
class Outcome:
    """How one record ended in one table: `kind` is done, filtered (detail: reason) or failed
    (detail: error)."""

    video_id: str
    table: str
    kind: str
    detail: str = ""
    attempts: int = 1


@dataclass
class _Worker:
    rank: int
    process: Any
    pipe: Connection
    step: "Step | None" = None
    held: dict[str, Item] = field(default_factory=dict)
    alive: bool = True


class Pool:
    """`world_size` spawned workers; rank r computes on GPU r modulo the GPUs there are, or on the
    CPU."""

    def __init__(self, world_size: int, device: str = "cpu", threads: int = 1) -> None:
        """Args: device: auto, cpu or cuda; threads: CPU threads a worker may use."""
        self.world_size = world_size
        self.threads = threads
        self.gpus = count_gpus() if device != "cpu" else 0
        if device == "cuda" and not self.gpus:
            raise UserError(
                "--device cuda: no GPU that torch can use is here; use --device cpu or auto"
            )
        self._workers: dict[int, _Worker] = {}

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *_: object) -> None:
        """End the workers at once: what they have appended is safe, what they hold is done again by
        the next run."""
        for worker in self._workers.values():
            worker.process.kill()
        for worker in self._workers.values():
            worker.process.join()
            worker.pipe.close()
        self._workers.clear()

    def run(self, step: "Step", items: Iterable[Item]) -> Iterator[Outcome]:
        """Hand the items out in batches; yield each outcome as it is reported, in no fixed order.

        Raises:
            UserError: a worker cannot set the step up, the disk refuses, or workers die before they
                finish anything.
        """
        queue = iter(items)
        again: deque[Item] = deque()
        deaths = 0
        while True:
            for rank in range(self.world_size):
                if rank in self._workers and self._workers[rank].held:
                    continue
                # What died with its worker comes back alone: it may be what killed it.
                batch = [again.popleft()] if again else list(islice(queue, step.batch_size))
                if not batch:
                    break
                self._give(rank, step, batch)
            busy = {worker.pipe: worker for worker in self._workers.values() if worker.held}
            if not busy:
                return
            for pipe in wait(list(busy)):
                worker = busy[pipe]  # type: ignore[index]
                for outcome in self._hear(worker):
                    deaths = 0
                    yield outcome
                if not worker.alive:
                    deaths += 1
                    yield from self._bury(worker, again)
                    if deaths >= DEATHS_IN_A_ROW * self.world_size:
                        raise UserError(
                            f"workers of step {step.name} die before they finish anything"
                            f" (exit code {worker.process.exitcode}): out of memory?"
                        )

    def _hear(self, worker: _Worker) -> Iterator[Outcome]:
        """What a worker has reported by now; notes its death, which closes its end of the pipe."""
        try:
            while worker.pipe.poll():
                kind, payload = worker.pipe.recv()
                if kind == "storage":
                    raise StorageError(payload)
                if kind == "fatal":
                    raise UserError(payload)
                item = worker.held.pop(payload[0].video_id)
                yield from (replace(outcome, attempts=item.attempts) for outcome in payload)
        except (EOFError, ConnectionResetError):
            worker.alive = False

    def _bury(self, worker: _Worker, again: deque[Item]) -> Iterator[Outcome]:
        """Put what a dead worker held back into the queue, or fail what has killed two."""
        worker.process.join()
        worker.pipe.close()
        del self._workers[worker.rank]
        for item in worker.held.values():
            if item.attempts == 1:
                again.append(item)
                continue
            for table in item.missing:
                yield Outcome(item.video_id, table, "failed", WORKER_DIED, item.attempts)

    def _give(self, rank: int, step: "Step", batch: list[Item]) -> None:
        if rank not in self._workers or not self._workers[rank].process.is_alive():
            self._workers[rank] = self._spawn(rank)
        worker = self._workers[rank]
        for item in batch:
            item.attempts += 1
        worker.held = {item.video_id: item for item in batch}
        try:
            if worker.step is not step:
                worker.pipe.send(("step", step))
                worker.step = step
            worker.pipe.send(
                ("batch", [(item.video_id, item.line, item.missing) for item in batch])
            )
        except (BrokenPipeError, ConnectionResetError):
            pass  # It died just now: its end of the pipe says so to whoever waits.

    def _spawn(self, rank: int) -> _Worker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        device = f"cuda:{rank % self.gpus}" if self.gpus else "cpu"
        os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(self.threads)))
        process = context.Process(
            target=_work, args=(theirs, rank, self.world_size, device, self.threads), daemon=True
        )
        # A Ctrl-C reaches the whole process group. Workers must not answer it, not even while
        # they start: the parent ends them. A blocked signal stays blocked in a spawned child.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        theirs.close()
        return _Worker(rank, process, ours)


def count_gpus() -> int:
    """How many GPUs torch can use, asked in a process of its own: importing torch costs seconds and
    memory."""
    if not any(Path(node).exists() for node in ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")):
        return 0
    question = "import torch; print(torch.cuda.device_count())"
    answer = subprocess.run([sys.executable, "-c", question], capture_output=True, text=True)
    return int(answer.stdout or 0)


def _work(pipe: Connection, rank: int, world_size: int, device: str, threads: int) -> None:
    """A worker's life: take a step, take batches, append, report; end when the parent does."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    step: Step | None = None
    parts: dict[str, Appender] = {}
    while True:
        try:
            kind, payload = pipe.recv()
        except (EOFError, ConnectionResetError):
            return
        try:
            if kind == "step":
                for part in parts.values():
                    part.close()
                parts, step = {}, payload
                payload.setup(device, threads)
                continue
            assert step is not None
            _run_batch(pipe, step, payload, parts, rank, world_size)
        except StorageError as error:
            pipe.send(("storage", str(error)))
        except UserError as error:
            pipe.send(("fatal", str(error)))
        except Exception:
            pipe.send(("fatal", f"step {step.name if step else '?'}:\n{traceback.format_exc()}"))


def _run_batch(
    pipe: Connection,
    step: "Step",
    batch: list[tuple[str, bytes, tuple[str, ...]]],
    parts: dict[str, Appender],
    rank: int,
    world_size: int,
) -> None:
    tables = {table.name: table for table in step.writes}
    records = [orjson.loads(line) for _, line, _ in batch]
    for position, results in step.process_batch(records):
        video_id, _, missing = batch[position]
        outcomes = []
        for name in missing:
            result = results[name] if isinstance(results, dict) and len(tables) > 1 else results
            if isinstance(result, Filtered):
                kind, detail = "filtered", str(result)
                kept = records[position] if len(tables) == 1 else _identity(records[position])
                result = {**kept, "filtered": True, "filter_reason": detail}
            elif isinstance(result, BaseException):
                _stop_if_the_disk_refused(result)
                outcomes.append(Outcome(video_id, name, "failed", describe(result)))
                continue
            else:
                kind, detail = "done", ""
            if name not in parts:
                parts[name] = Appender(tables[name].part(rank, world_size))
            _still_wanted()
            parts[name].append(result)
            outcomes.append(Outcome(video_id, name, kind, detail))
        pipe.send(("outcome", outcomes))


def _identity(record: Record) -> Record:
    return {key: record[key] for key in ("video_id", "video_path")}


def _stop_if_the_disk_refused(error: BaseException) -> None:
    if isinstance(error, UserError):
        raise error
    if isinstance(error, OSError) and error.errno in DISK_ERRORS:
        raise StorageError(
            f"cannot write {error.filename}: {error.strerror}; free some space and run again"
        )


def describe(error: BaseException) -> str:
    """An error in one line; a bug's, which nobody foresaw, with the place it comes from."""
    text = f"{type(error).__name__}: {error}".rstrip(": ").replace("\n", " ")
    if isinstance(error, OSError | ValueError) or error.__traceback__ is None:
        return text
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{text} ({Path(place.filename).name}:{place.lineno})"


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _still_wanted() -> None:
    """Write nothing once the parent is gone: a new run may have read this part already."""
    parent = multiprocessing.parent_process()
    if parent is not None and os.getppid() != parent.pid:
        os._exit(1)
