"""What a worker does, wherever it runs: it turns a batch of records into outcomes. It writes
nothing: an outcome carries the finished line, which the parent appends as it is."""

import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import orjson

from tools.errors import Filtered, UserError
from tools.runner.step import Step
from tools.store.files import FULL, storage_error
from tools.store.jsonl import Record, dumps


class WorkerDied(Exception):
    """A worker has ended; the text says how."""


@dataclass
class Item:
    """A record on its way to a worker."""

    video_id: str
    line: bytes  # in the table that it comes from
    missing: tuple[str, ...]  # names of the step's tables that do not hold it yet
    attempts: int = 0  # how often a worker has been sent it


@dataclass(frozen=True)
class Outcome:
    """How one record ended in one table."""

    video_id: str
    table: str
    attempts: int
    kind: str  # done, filtered or failed
    line: bytes = b""  # what the table will hold, without its newline; empty of what failed
    error: str = ""  # of what failed, or why it was filtered


class Worker(Protocol):
    """A worker as the pool sees it. What it answers, `messages` yields."""

    node: str  # the machine that it is on

    def set_up(self, step: Step) -> None:
        """Let it set up a step."""

    def send(self, batch: list[Item]) -> None:
        """Let it work."""

    def messages(self) -> Iterator[list[Outcome]]:
        """The outcomes that it has reported by now; an empty list says that the step is set up.

        Raises:
            UserError: the run must stop.
            WorkerDied: it has ended.
        """

    def end(self) -> None:
        """End it at once, whatever it does."""


class Engine(Protocol):
    """Where workers are and how they are reached."""

    name: str  # for people

    def check(self) -> None:
        """Called before any step works: find out what workers compute on.

        Raises:
            UserError: a GPU is asked for, and there is none.
        """

    def start(self, rank: int) -> Worker:
        """Start a worker; it may take long until it answers."""

    def wait(self, workers: Sequence[Any], seconds: float | None) -> Sequence[Any]:
        """Wait until some of the workers have sent a message or died, and return those; none where
        so many seconds have passed."""

    def close(self) -> None:
        """Give back what the engine holds beside its workers, which have ended."""


class StepRunner:
    """What a worker is inside, wherever it runs.

    Args:
        device: cpu, or cuda:N.
        threads: CPU threads that it may use.
    """

    def __init__(self, device: str, threads: int) -> None:
        self.device = device
        self.threads = threads
        self.step: Any = None

    def answer(self, task: Step | list[Item]) -> Iterator[list[Outcome] | UserError]:
        """Set up a step, or turn a batch of its records into outcomes.

        Yields:
            An empty list once a step is set up; the outcomes of each record as soon as they are
            known, or of a cheap step those of the whole batch; an error that must end the run.
        """
        try:
            if isinstance(task, Step):
                self.step = task
                task.setup(self.device, self.threads)
                yield []
            elif self.step.is_cheap:
                yield list(chain.from_iterable(outcomes_of(self.step, task)))
            else:
                yield from outcomes_of(self.step, task)
        except UserError as error:
            yield UserError(str(error))
        except Exception:
            yield UserError(f"step {self.step.name}:\n{traceback.format_exc()}")


def outcomes_of(step: Step, batch: list[Item]) -> Iterator[list[Outcome]]:
    """Yield the outcomes of each record of a batch, as soon as they are known; raise UserError
    where the disk refuses, or the step says that no record can be done."""
    records = [orjson.loads(item.line) for item in batch]
    for position, result in _results(step, records, [item.missing for item in batch]):
        item, record = batch[position], records[position]
        several = len(step.writes) > 1 and isinstance(result, dict)
        yield [
            _outcome(item, table, record, result[table] if several else result)
            for table in item.missing
        ]


def _results(
    step: Step, records: list[Record], wanted: list[tuple[str, ...]]
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


def _outcome(item: Item, table: str, record: Record, result: Any) -> Outcome:
    ending = item.video_id, table, item.attempts
    if isinstance(result, Filtered):
        kept = record if result.record is None else result.record
        line = dumps({**kept, "filtered": True, "filter_reason": str(result)})
        return Outcome(*ending, "filtered", line, str(result))
    if isinstance(result, OSError) and result.errno in FULL:
        raise storage_error(result.filename or "a file", result)
    if isinstance(result, UserError):
        raise result
    if isinstance(result, BaseException):
        return Outcome(*ending, "failed", error=describe(result))
    return Outcome(*ending, "done", dumps(result))


def describe(error: BaseException) -> str:
    """An error in one line; a bug's with the place that raised it."""
    text = " ".join(f"{type(error).__name__}: {error}".rstrip(": ").split())
    text = text.encode(errors="backslashreplace").decode()
    if isinstance(error, OSError | ValueError) or error.__traceback__ is None:
        return text
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{text} ({Path(place.filename).name}:{place.lineno})"
