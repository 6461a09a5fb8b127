"""Workers that are processes of this machine.

Each has a pipe of its own, so that a worker that is killed at any moment, even while it reads or
writes its pipe, can block nobody: pools with one shared queue (multiprocessing.Pool,
ProcessPoolExecutor) either hang or break as a whole then.
"""

import ctypes
import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from tools.errors import UserError
from tools.runner.devices import count_gpus, has_gpu_driver
from tools.runner.step import Step
from tools.runner.worker import Item, Outcome, StepRunner, WorkerDied

# What the libraries that compute take their number of threads from.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "OPENCV_FOR_THREADS_NUM",
)
INTERRUPTS = (signal.SIGINT, signal.SIGTERM)
PR_SET_PDEATHSIG = 1  # linux/prctl.h
KILL_SECONDS = 5.0


@dataclass
class Process:
    """A worker that is a spawned process."""

    process: BaseProcess
    pipe: Connection
    node: str = field(default_factory=socket.gethostname)

    def set_up(self, step: Step) -> None:
        """Let it set up a step."""
        self._send(step)

    def send(self, batch: list[Item]) -> None:
        """Let it work."""
        self._send(batch)

    def _send(self, task: Step | list[Item]) -> None:
        # If it has just died, the end of its pipe says so to whoever waits.
        with suppress(BrokenPipeError, ConnectionResetError):
            self.pipe.send(task)

    def messages(self) -> Iterator[list[Outcome]]:
        """The outcomes that it has reported by now; an empty list says that the step is set up.

        Raises:
            UserError: the run must stop.
            WorkerDied: its end of the pipe is closed.
        """
        try:
            while self.pipe.poll():
                message = self.pipe.recv()
                if isinstance(message, UserError):
                    raise message
                yield message
        except (EOFError, OSError) as error:
            self.process.join()
            raise WorkerDied(_ending(self.process.exitcode or 0)) from error

    def end(self) -> None:
        """Kill it; one that a dead file system holds is left to end when it can."""
        self.process.kill()
        self.process.join(KILL_SECONDS)
        self.pipe.close()


class Processes:
    """An engine: rank r computes on GPU r modulo the GPUs there are, or on the CPU.

    Workers end with the thread that started them (Linux tells them of its death, see prctl(2)), so
    a pool belongs in the main thread, or in one that lives as long as the pool.
    """

    name = "local"

    def __init__(self, device: str = "cpu", threads: int = 1) -> None:
        """Args: device: auto, cpu or cuda; threads: CPU threads a worker may use."""
        self.device = device
        self.threads = threads
        self._gpus = 0

    def check(self) -> None:
        """Count the GPUs.

        Raises:
            UserError: a GPU is asked for, and there is none.
        """
        self._gpus = count_gpus() if self.device != "cpu" else 0
        if self.device == "cuda" and not self._gpus:
            raise UserError(
                "--device cuda: no GPU that torch can use is here; use --device cpu or auto"
            )
        if self.device == "auto" and not self._gpus and has_gpu_driver():
            print("note: a GPU is here that torch cannot use: computing on the CPU", flush=True)

    def start(self, rank: int) -> Process:
        """Spawn a worker."""
        device = f"cuda:{rank % self._gpus}" if self._gpus else "cpu"
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(self.threads)))
        process = context.Process(target=_serve, args=(theirs, device, self.threads), daemon=True)
        with _interrupts_held_back():
            # The tracker that Python starts before its first child would lift the block.
            resource_tracker.ensure_running()
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTS)
            process.start()
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            theirs.close()
        return Process(process, ours)

    def wait(self, workers: Sequence[Process], seconds: float | None) -> list[Process]:
        """Wait until some of the workers have sent a message or died, and return those; none where
        so many seconds have passed."""
        pipes: dict[Any, Process] = {worker.pipe: worker for worker in workers}
        return [pipes[pipe] for pipe in wait(list(pipes), seconds)]

    def close(self) -> None:
        """Nothing is left of it."""


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
    """A worker's life: take a step, take batches, send messages; end when the parent does."""
    _end_with_parent()
    runner = StepRunner(device, threads)
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            for message in runner.answer(pipe.recv()):
                pipe.send(message)


def _end_with_parent() -> None:
    """Make this process end when its parent does, however that ends."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    if sys.platform == "linux":
        # The kernel's signal arrives inside a native call too, where no thread of ours may run. It
        # is sent at the death of the *thread* that spawned this process.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent.pid:
            os._exit(1)
    else:
        threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()
