"""A worker as a process of this machine: what the parent knows of it, and what the process does.

Each worker has a pipe of its own, so that one that is killed at any moment, even while it reads or
writes its pipe, can block nobody: pools with one shared queue (multiprocessing.Pool,
ProcessPoolExecutor) either hang or break as a whole then.
"""

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from tools.errors import UserError
from tools.runner.batch import Item, Outcome, outcomes_of
from tools.runner.step import Step

# What the libraries that compute take their number of threads from.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "OPENCV_FOR_THREADS_NUM",
)
INTERRUPTS = (signal.SIGINT, signal.SIGTERM)
PR_SET_PDEATHSIG = 1  # linux/prctl.h


class WorkerDied(Exception):
    """A worker has ended; the text says how."""


@dataclass
class Worker:
    """A spawned process, the step that it is set up for, and the records that it holds."""

    rank: int
    process: BaseProcess
    pipe: Connection
    step: Step | None = None
    ready: bool = True  # false while it sets a step up
    held: dict[str, Item] = field(default_factory=dict)

    def set_up(self, step: Step) -> None:
        """Let it set up a step."""
        self.step, self.ready = step, False
        self._send(step)

    def process_batch(self, batch: list[Item]) -> None:
        """Let it process records."""
        self.held = {item.video_id: item for item in batch}
        for item in batch:
            item.attempts += 1
        self._send(batch)

    def _send(self, task: Step | list[Item]) -> None:
        # If it has just died, the end of its pipe says so to whoever waits.
        with suppress(BrokenPipeError, ConnectionResetError):
            self.pipe.send(task)

    def outcomes(self) -> Iterator[Outcome]:
        """What it has reported by now; raises UserError where the run must stop, and WorkerDied
        where its end of the pipe is closed."""
        try:
            while self.pipe.poll():
                message = self.pipe.recv()
                if isinstance(message, UserError):
                    raise message
                self.ready = True
                for outcome in message:
                    self.held.pop(outcome.video_id, None)
                    yield outcome
        except (EOFError, OSError) as error:
            self.process.join()
            raise WorkerDied(_ending(self.process.exitcode or 0)) from error

    def end(self) -> None:
        """Kill it."""
        self.process.kill()
        self.process.join()
        self.pipe.close()


def start_worker(rank: int, device: str, threads: int) -> Worker:
    """Spawn a worker that computes on a device of torch, such as cuda:1, or with so many threads of
    the CPU. It ends with the thread that started it (Linux tells it of its death, see prctl(2))."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    process = context.Process(target=_serve, args=(theirs, device, threads), daemon=True)
    with _interrupts_held_back():
        # The tracker that Python starts before its first child would lift the block.
        resource_tracker.ensure_running()
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTS)
        process.start()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        theirs.close()
    return Worker(rank, process, ours)


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


def _ending(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    hint = "; out of memory?" if code == -signal.SIGKILL else ""
    return f"killed by signal {-code}{hint}"


def _serve(pipe: Connection, device: str, threads: int) -> None:
    """The life of the process: take a step, take batches, send lists of outcomes, and an empty list
    once a step is set up; end when the parent does."""
    _end_with_parent()
    step: Any = None
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            task = pipe.recv()
            try:
                if isinstance(task, Step):
                    step = task
                    step.setup(device, threads)
                    pipe.send([])
                else:
                    for outcomes in outcomes_of(step, task):
                        pipe.send(outcomes)
            except UserError as error:
                pipe.send(UserError(str(error)))
            except Exception:
                pipe.send(UserError(f"step {step.name}:\n{traceback.format_exc()}"))


def _end_with_parent() -> None:
    """Make this process end when its parent does, however that ends."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    if sys.platform == "linux":
        # The kernel's signal arrives inside a native call too, where no thread of ours may run.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent.pid:
            os._exit(1)
    else:
        threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()
