"""Jobs: commands that run one after the other, a few jobs at a time, each with its own log file.

What each job took is kept in jobs.jsonl beside the logs. A job that fails says so in one line;
whatever needs it is left out, and everything else goes on.
"""

import io
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

from reproduction.warm_swift import JOB, served_seconds
from tools.store.dataset import REPOSITORY
from tools.store.jsonl import dumps

# Each job computes on one thread; the shell scripts find this environment's programs.
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
}

NO_TIME = {"wall_s": 0.0, "cpu_s": 0.0}  # of a job that was not run


class JobFailed(Exception):
    """A command of a job failed; what needs the job cannot be done."""


class Runner:
    """Runs functions on `workers` threads, and the commands of the jobs that they need.

    <job>.log and jobs.jsonl go into `folder`. Ctrl-C ends the running commands first.
    """

    def __init__(self, folder: Path, workers: int) -> None:
        self.folder = folder
        self.workers = workers
        self._lock = Lock()
        self._jobs: dict[str, Future[None]] = {}
        self._running: set[int] = set()
        self._stopping = False

    def each(self, tasks: Sequence[tuple[str, Callable[[], object]]]) -> list[str]:
        """Call named functions, the first of them first; returns the names of those that failed."""
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
                with self._lock:
                    self._stopping = True
                    for pid in self._running:
                        with suppress(ProcessLookupError):
                            os.killpg(pid, signal.SIGTERM)
                pool.shutdown(cancel_futures=True)
                raise
        return failed

    def job(
        self, name: str, commands: Sequence[Sequence[str]], settings: Mapping[str, str] = {}
    ) -> None:
        """Run a job once; whoever needs it while it runs waits for it.

        Args:
            name: unique; names the log file.
            settings: environment variables beside `ENVIRONMENT`.

        Raises:
            JobFailed: a command failed; those after it were not run.
        """
        with self._lock:
            is_first = name not in self._jobs
            future = self._jobs.setdefault(name, Future())
        if is_first:
            try:
                self._run(name, commands, {**ENVIRONMENT, **settings})
                future.set_result(None)
            except BaseException as error:
                future.set_exception(error)
        future.result()

    def _run(
        self, name: str, commands: Sequence[Sequence[str]], environment: Mapping[str, str]
    ) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        log = self.folder / f"{name}.log"
        start, cpu, code = time.time(), 0.0, 0
        environment = {**environment, JOB: name}
        with open(log, "wb", buffering=0) as out:
            for command in commands:
                code, seconds = self._command(command, environment, out)
                cpu += seconds
                if code:
                    break
        wall = time.time() - start
        cpu += served_seconds(name)
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
        self, command: Sequence[str], environment: Mapping[str, str], out: io.FileIO
    ) -> tuple[int, float]:
        """Run one command; its exit code, and the CPU seconds of it and its children."""
        with self._lock:
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


def job_seconds(folder: Path) -> dict[str, dict[str, float]]:
    """{job: {"wall_s", "cpu_s"}}: the seconds that it took, all tries together."""
    path = folder / "jobs.jsonl"
    total: dict[str, dict[str, float]] = {}
    for line in path.read_bytes().splitlines() if path.exists() else ():
        with suppress(orjson.JSONDecodeError):  # torn by a kill
            record = orjson.loads(line)
            so_far = total.get(record["job"], NO_TIME)
            total[record["job"]] = {kind: so_far[kind] + record[kind] for kind in NO_TIME}
    return {
        job: {kind: round(s, 1) for kind, s in seconds.items()} for job, seconds in total.items()
    }


def reason(log: Path) -> str:
    """The last line of a log that says what went wrong, or its last line at all."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error")]
    return (errors or lines)[-1].strip()
