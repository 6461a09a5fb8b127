"""Commands that need one another, run a few at a time.

A job's output goes to a log file of its own; what each job took is kept in jobs.jsonl beside the
logs. A job that fails says so in one line, those that need it are left out, the others go on.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Literal

import orjson

from tools.store.jsonl import dumps

STOP_SECONDS = 60.0  # what a child that was asked to end may take
POLL_SECONDS = 0.2

Outcome = Literal["done", "there", "failed", "left out"]
WELL = ("done", "there")


@dataclass(frozen=True)
class Job:
    """Commands that are run one after the other.

    Attributes:
        name: unique; names the log file.
        commands: says what to run, once its turn has come.
        needs: names of jobs earlier in the list that have to end well before.
        environment: variables on top of the driver's own.
        done: whether there is nothing left to do; asked once its turn has come.
    """

    name: str
    commands: Callable[[], Sequence[Sequence[str]]]
    needs: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    done: Callable[[], bool] = lambda: False


class Runner:
    """Runs jobs on `workers` threads, the first in the list first.

    Ctrl-C ends the commands that are running before it goes on its way.
    """

    def __init__(self, folder: Path, workers: int, say: Callable[[str], None] = print) -> None:
        """Args: folder: takes <job>.log and jobs.jsonl."""
        self.folder = folder
        self.workers = workers
        self.say = say
        self._stopping = Event()

    def run(self, jobs: Sequence[Job]) -> dict[str, Outcome]:
        """Run jobs; each one's outcome.

        Raises:
            ValueError: a job needs one that does not come before it.
        """
        before: set[str] = set()
        for job in jobs:
            if lost := set(job.needs) - before:
                raise ValueError(
                    f"{job.name} needs {', '.join(lost)}, not among the jobs before it"
                )
            before.add(job.name)
        self.folder.mkdir(parents=True, exist_ok=True)
        outcomes: dict[str, Outcome] = {}
        waiting = {job.name: job for job in jobs}
        running: dict[Future[tuple[Outcome, str]], str] = {}
        with ThreadPoolExecutor(self.workers) as pool:
            try:
                while waiting or running:
                    self._leave_out(waiting, outcomes)
                    for job in list(waiting.values()):
                        ready = all(outcomes.get(need) in WELL for need in job.needs)
                        if ready and len(running) < self.workers:
                            running[pool.submit(self._run, job)] = waiting.pop(job.name).name
                    ended, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in ended:
                        name = running.pop(future)
                        outcomes[name], how = future.result()
                        if outcomes[name] != "there":
                            self.say(f"[{len(outcomes)}/{len(jobs)}] {name}: {how}")
            except BaseException:
                self._stopping.set()
                raise
        return outcomes

    def _leave_out(self, waiting: dict[str, Job], outcomes: dict[str, Outcome]) -> None:
        """Take out what cannot run any more; a job comes after those that it needs."""
        for job in list(waiting.values()):
            lost = [need for need in job.needs if outcomes.get(need, "done") not in WELL]
            if lost:
                outcomes[waiting.pop(job.name).name] = "left out"
                self.say(f"left out: {job.name}, which needs {lost[0]}")

    def _run(self, job: Job) -> tuple[Outcome, str]:
        if job.done():
            return "there", ""
        log = self.folder / f"{job.name}.log"
        log.unlink(missing_ok=True)
        start = time.time()
        cpu, code = 0.0, 0
        for command in job.commands():
            code, seconds = self._command(command, job.environment, log)
            cpu += seconds
            if code:
                break
        wall = time.time() - start
        self._note(job.name, start, wall, cpu, code)
        if code:
            return "failed", f"failed: {last_line(log)} (all of it in {log})"
        return "done", f"{wall:.0f} s"

    def _command(
        self, command: Sequence[str], environment: Mapping[str, str], log: Path
    ) -> tuple[int, float]:
        """Run one command; its exit code, and the CPU seconds of it and its children."""
        with open(log, "ab") as out:
            out.write(f"$ {' '.join(command)}\n".encode())
            out.flush()
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
                start_new_session=True,
            )
        asked_to_end = 0.0
        while True:
            pid, status, usage = os.wait4(child.pid, os.WNOHANG)
            if pid:
                child.returncode = os.waitstatus_to_exitcode(status)
                return child.returncode, usage.ru_utime + usage.ru_stime
            if self._stopping.is_set():
                if not asked_to_end:
                    asked_to_end = time.monotonic()
                    os.killpg(child.pid, signal.SIGTERM)
                elif time.monotonic() > asked_to_end + STOP_SECONDS:
                    os.killpg(child.pid, signal.SIGKILL)
            time.sleep(POLL_SECONDS)

    def _note(self, name: str, start: float, wall: float, cpu: float, code: int) -> None:
        record = {"job": name, "started": start, "wall_s": wall, "cpu_s": cpu, "exit": code}
        # Lines this short are appended whole, by whichever thread.
        with open(self.folder / "jobs.jsonl", "ab", buffering=0) as file:
            file.write(dumps(record) + b"\n")


def seconds(folder: Path) -> dict[str, tuple[float, float]]:
    """job -> (wall, CPU) seconds that it took, all tries together."""
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


def last_line(log: Path) -> str:
    """The last line of a log that says what went wrong, or its last line at all."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error")]
    return (errors or lines or ["no output"])[-1].strip()
