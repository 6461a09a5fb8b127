"""Commands that are run a few at a time, each job with a log file of its own.

What each job took is kept in jobs.jsonl beside the logs. A job that fails says so in one line;
whatever needs it is left out, and everything else goes on.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import suppress
from pathlib import Path
from threading import Lock

import orjson

from tools.store.dataset import REPOSITORY
from tools.store.jsonl import dumps

# Each job computes on one thread; the shell scripts find this environment's programs.
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
}

Command = Sequence[str]
Task = tuple[str, Callable[[], object]]
"""A function and its name."""


class JobFailed(Exception):
    """A command of a job failed; what needs the job cannot be done."""


class Runner:
    """Runs functions on `workers` threads, and the commands of the jobs that they ask for.

    Ctrl-C ends the running commands first.
    """

    def __init__(self, folder: Path, workers: int) -> None:
        """Args: folder: takes <job>.log and jobs.jsonl."""
        self.folder = folder
        self.workers = workers
        self._lock = Lock()
        self._jobs: dict[str, Future[None]] = {}
        self._running: set[int] = set()
        self._stopping = False

    def each(self, tasks: Sequence[Task]) -> list[str]:
        """Call functions, the first of them first; returns the names of those that failed.

        A function may wait for a job of another one: only for jobs that run already.
        """
        failed = []
        with ThreadPoolExecutor(self.workers) as pool:
            futures = {pool.submit(task): name for name, task in tasks}
            try:
                for future in as_completed(futures):
                    try:
                        future.result()
                    except JobFailed:
                        failed.append(futures[future])
            except BaseException:
                self._stop()
                pool.shutdown(cancel_futures=True)
                raise
        return failed

    def _stop(self) -> None:
        """End the running commands, and begin no other."""
        with self._lock:
            self._stopping = True
            for pid in self._running:
                with suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGTERM)

    def job(
        self, name: str, commands: Sequence[Command], settings: Mapping[str, str] | None = None
    ) -> None:
        """Run commands one after the other, once for all who ask: the others wait for the first.

        Args:
            name: unique; names the log file.
            settings: environment variables beside `ENVIRONMENT`.

        Raises:
            JobFailed: a command failed; those behind it were not run.
        """
        with self._lock:
            future = self._jobs.get(name)
            first = future is None
            if future is None:
                future = self._jobs[name] = Future()
        if first:
            try:
                self._run(name, commands, {**ENVIRONMENT, **(settings or {})})
                future.set_result(None)
            except BaseException as error:
                future.set_exception(error)
        future.result()

    def _run(self, name: str, commands: Sequence[Command], environment: Mapping[str, str]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        log = self.folder / f"{name}.log"
        log.unlink(missing_ok=True)
        start, cpu, code = time.time(), 0.0, 0
        for command in commands:
            code, seconds = self._command(command, environment, log)
            cpu += seconds
            if code:
                break
        wall = time.time() - start
        record = {"job": name, "started": start, "wall_s": wall, "cpu_s": cpu, "exit": code}
        # Lines this short are appended whole, by whichever thread.
        with open(self.folder / "jobs.jsonl", "ab", buffering=0) as file:
            file.write(dumps(record) + b"\n")
        if code and not self._stopping:
            print(f"{name}: failed: {reason(log)} (all of it in {log})")
        if code:
            raise JobFailed(name)
        print(f"{name}: {wall:.0f} s")

    def _command(
        self, command: Command, environment: Mapping[str, str], log: Path
    ) -> tuple[int, float]:
        """Run one command; its exit code, and the CPU seconds of it and its children."""
        with open(log, "ab", buffering=0) as out, self._lock:
            if self._stopping:
                raise JobFailed(command)
            out.write(f"$ {' '.join(command)}\n".encode())
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
                start_new_session=True,
            )
            self._running.add(child.pid)
        _, status, usage = os.wait4(child.pid, 0)
        with self._lock:
            self._running.discard(child.pid)
        child.returncode = os.waitstatus_to_exitcode(status)
        return child.returncode, usage.ru_utime + usage.ru_stime


def python(script: str, *words: object) -> list[str]:
    """The command of a script at the root, or of a module."""
    first = [str(REPOSITORY / script)] if script.endswith(".py") else ["-m", script]
    return [sys.executable, *first, *map(str, words)]


def job_seconds(folder: Path) -> dict[str, tuple[float, float]]:
    """{job: (wall, CPU) seconds that it took, all tries together}."""
    total: dict[str, tuple[float, float]] = {}
    try:
        lines = (folder / "jobs.jsonl").read_bytes().splitlines()
    except FileNotFoundError:
        return {}
    for line in lines:
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue  # torn by a kill
        wall, cpu = total.get(record["job"], (0.0, 0.0))
        total[record["job"]] = (wall + record["wall_s"], cpu + record["cpu_s"])
    return total


def reason(log: Path) -> str:
    """The last line of a log that says what went wrong, or its last line at all."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error")]
    return (errors or lines or ["no output"])[-1].strip()
