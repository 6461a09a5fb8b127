"""`world_size` processes on this machine that run a step's records from one queue.

Each worker has a pipe of its own and holds at most one batch, so a worker that is killed at any
moment, even while it reads or writes its pipe, can hang nobody: pools with one shared queue
(multiprocessing.Pool, ProcessPoolExecutor) either hang or break as a whole then. A worker says when
it is set up, and only then is sent its batch: no record is blamed for a worker that dies at start.
It appends each record to its own part file *before* it reports it.
"""

import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from tools.errors import Filtered, StorageError, UserError
from tools.store.files import FULL, storage_error
from tools.store.jsonl import Appender, Record

if TYPE_CHECKING:
    from tools.runner.run import Step

WORKER_DIED = "worker died"
# After this many deaths in a row of one worker before it is set up, it will not do better.
DEATHS_AT_START = 3
# After this many deaths at work per worker, in a step that has never finished a record, the fault
# is the step's and not a record's.
DEATHS_AT_WORK = 4
# What the libraries that compute take their number of threads from.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "OPENCV_FOR_THREADS_NUM",
)
INTERRUPTS = (signal.SIGINT, signal.SIGTERM)
PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass
class Item:
    """A record on its way: the line as it stands in the table it comes from, and the tables that
    want it.

    Attributes:
        missing: names of the step's tables that do not hold the record yet.
        attempts: how often a worker has been sent it.
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
    ready: bool = False
    held: dict[str, Item] = field(default_factory=dict)
    alive: bool = True


class Pool:
    """`world_size` spawned workers; rank r computes on GPU r modulo the GPUs there are, or on the
    CPU."""

    def __init__(self, world_size: int, device: str = "cpu", threads: int = 1) -> None:
        """Args: device: auto, cpu or cuda; threads: CPU threads a worker may use."""
        self.world_size = world_size
        self.device = device
        self.threads = threads
        self._workers: dict[int, _Worker] = {}

    @cached_property
    def gpus(self) -> int:
        """How many GPUs the workers share; asked only once there is work.

        Raises:
            UserError: a GPU is asked for, and there is none.
        """
        gpus = count_gpus() if self.device != "cpu" else 0
        if self.device == "cuda" and not gpus:
            raise UserError(
                "--device cuda: no GPU that torch can use is here; use --device cpu or auto"
            )
        if self.device == "auto" and not gpus and _has_gpu_driver():
            print("note: a GPU is here that torch cannot use: computing on the CPU", flush=True)
        return gpus

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

    def run(
        self, step: "Step", items: Iterable[Item], total: int, proven: bool = False
    ) -> Iterator[Outcome]:
        """Hand the items out in batches; yield each outcome as it is reported, in no fixed order.

        Args:
            total: how many items there are: towards the end, and where there are few, batches are
                smaller than the step's batch_size, so that all workers have work.
            proven: the step has finished a record before; a worker's death is a record's fault.

        Raises:
            UserError: a worker cannot set the step up, the disk refuses, or workers die before they
                finish anything.
        """
        queue = iter(items)
        left = total
        again: deque[Item] = deque()
        at_start: Counter[int] = Counter()
        at_work = 0
        while True:
            for rank in range(self.world_size):
                if rank in self._workers and self._workers[rank].held:
                    continue
                if again:
                    # What died with its worker comes back alone: it may be what killed it.
                    batch = [again.popleft()]
                else:
                    share = -(-left // self.world_size)
                    batch = list(islice(queue, min(step.batch_size, share)))
                    left -= len(batch)
                if not batch:
                    break
                self._assign(rank, step, batch)
            busy = {worker.pipe: worker for worker in self._workers.values() if worker.held}
            if not busy:
                return
            for pipe in wait(list(busy)):
                worker = busy[pipe]  # type: ignore[index]
                for outcome in self._hear(worker):
                    proven = True
                    yield outcome
                if worker.alive:
                    continue
                yield from self._bury(worker, again)
                at_work += worker.ready
                at_start[worker.rank] = 0 if worker.ready else at_start[worker.rank] + 1
                if at_start[worker.rank] >= DEATHS_AT_START:
                    raise UserError(
                        f"step {step.name}: worker {worker.rank} died {DEATHS_AT_START} times in a"
                        f" row while it was starting ({_ending(worker)})"
                    )
                if at_work >= DEATHS_AT_WORK * self.world_size and not proven:
                    raise UserError(
                        f"step {step.name}: {at_work} workers died before one record was finished"
                        f" ({_ending(worker)})"
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
                if kind == "ready":
                    worker.ready = True
                    self._send_batch(worker)
                    continue
                item = worker.held.pop(payload[0].video_id)
                yield from (replace(outcome, attempts=item.attempts) for outcome in payload)
        except (EOFError, OSError):
            worker.alive = False

    def _bury(self, worker: _Worker, again: deque[Item]) -> Iterator[Outcome]:
        """Put what a dead worker held back into the queue, or fail what has killed two."""
        worker.process.join()
        worker.pipe.close()
        del self._workers[worker.rank]
        for item in worker.held.values():
            if item.attempts < 2:
                again.append(item)
                continue
            for table in item.missing:
                yield Outcome(item.video_id, table, "failed", WORKER_DIED, item.attempts)

    def _assign(self, rank: int, step: "Step", batch: list[Item]) -> None:
        """Set a batch aside for a worker, and send it once the worker is set up for the step."""
        if rank in self._workers and not self._workers[rank].process.is_alive():
            self._workers.pop(rank).pipe.close()
        if rank not in self._workers:
            self._spawn(rank)
        worker = self._workers[rank]
        worker.held = {item.video_id: item for item in batch}
        if worker.step is step:
            self._send_batch(worker)
            return
        worker.step, worker.ready = step, False
        with suppress(BrokenPipeError, ConnectionResetError):
            worker.pipe.send(("step", step))

    def _send_batch(self, worker: _Worker) -> None:
        items = list(worker.held.values())
        for item in items:
            item.attempts += 1
        # Should it have died just now, its end of the pipe says so to whoever waits.
        with suppress(BrokenPipeError, ConnectionResetError):
            worker.pipe.send(
                ("batch", [(item.video_id, item.line, item.missing) for item in items])
            )

    def _spawn(self, rank: int) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        device = f"cuda:{rank % self.gpus}" if self.gpus else "cpu"
        os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(self.threads)))
        process = context.Process(
            target=_work, args=(theirs, rank, self.world_size, device, self.threads), daemon=True
        )
        with _interrupts_held_back():
            # The tracker that Python starts before its first child would lift the block.
            resource_tracker.ensure_running()
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTS)
            process.start()
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            theirs.close()
            self._workers[rank] = _Worker(rank, process, ours)


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Answer a Ctrl-C or the end of a Slurm job only after the block, whatever thread it meets.

    Both reach the whole process group. Workers must not answer them, not even while they start: the
    parent ends them. So they are started with both blocked, which a spawned process inherits.
    """
    came: list[int] = []
    handlers = {
        number: signal.signal(number, lambda number, _: came.append(number))
        for number in INTERRUPTS
    }
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


def _ending(worker: _Worker) -> str:
    code = worker.process.exitcode
    if code >= 0:
        return f"exit code {code}"
    hint = "; out of memory?" if code == -signal.SIGKILL else ""
    return f"killed by signal {-code}{hint}"


def count_gpus() -> int:
    """How many GPUs torch can use, asked in a process of its own: importing torch costs seconds and
    memory."""
    if not _has_gpu_driver():
        return 0
    question = "import torch; print(torch.cuda.device_count())"
    answer = subprocess.run([sys.executable, "-c", question], capture_output=True, text=True)
    return int(answer.stdout or 0)


def _has_gpu_driver() -> bool:
    return any(Path(node).exists() for node in ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd"))


def _work(pipe: Connection, rank: int, world_size: int, device: str, threads: int) -> None:
    """A worker's life: take a step, take batches, append, report; end when the parent does."""
    _end_with_parent()
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
                pipe.send(("ready", None))
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
    wanted = [missing for _, _, missing in batch]
    for position, results in _results(step, records, wanted):
        video_id, _, missing = batch[position]
        outcomes = []
        for name in missing:
            result = results[name] if isinstance(results, dict) and len(tables) > 1 else results
            if isinstance(result, Filtered):
                kind, detail = "filtered", str(result)
                kept = result.record
                if kept is None:
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


def _results(
    step: "Step", records: list[Record], wanted: list[tuple[str, ...]]
) -> Iterator[tuple[int, Any]]:
    """The step's results; of a batch that fails as a whole, what is left is tried one by one."""
    left = set(range(len(records)))
    try:
        for position, result in step.process_batch(records, wanted):
            left.remove(position)
            yield position, result
    except Exception as error:
        if len(records) == 1:
            yield 0, error
            return
        for position in sorted(left):
            for _, result in _results(step, [records[position]], [wanted[position]]):
                yield position, result


def _identity(record: Record) -> Record:
    return {key: record[key] for key in ("video_id", "video_path")}


def _stop_if_the_disk_refused(error: BaseException) -> None:
    if isinstance(error, UserError):
        raise error
    if isinstance(error, OSError) and error.errno in FULL:
        raise storage_error(error.filename or "a file", error)


def describe(error: BaseException) -> str:
    """An error in one line; a bug's, which nobody foresaw, with the place it comes from."""
    text = " ".join(f"{type(error).__name__}: {error}".rstrip(": ").split())
    text = text.encode(errors="backslashreplace").decode()
    if isinstance(error, OSError | ValueError) or error.__traceback__ is None:
        return text
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{text} ({Path(place.filename).name}:{place.lineno})"


def _end_with_parent() -> None:
    """See to it that this process ends when its parent does, however that ends."""
    if sys.platform == "linux":
        # The kernel's word holds inside a native call too, where no thread of ours may run.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        _still_wanted()
    else:
        threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _still_wanted() -> None:
    """Write nothing once the parent is gone: a new run may have read this part already."""
    parent = multiprocessing.parent_process()
    if parent is not None and os.getppid() != parent.pid:
        os._exit(1)
