"""Hands a step's records out to workers, and survives the workers' deaths.

Workers are those of an engine: processes of this machine (`tools.runner.processes`) or actors of a
Ray cluster (`tools.runner.on_ray`). A worker says when it is set up, and only then is given
records: no record is blamed for a worker that dies at start, and none waits for a worker that never
starts.
"""

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from time import monotonic

from tools.errors import UserError
from tools.runner.step import Step
from tools.runner.worker import Engine, Item, Outcome, Worker, WorkerDied

WORKER_DIED = "worker died"
TIMED_OUT = "timed out"
# A worker that has died so often in a row before it was set up will not start the next time either.
DEATHS_AT_START = 3
# After this many deaths at work per worker, in a step that has never finished a record, the fault
# is the step's and not a record's.
DEATHS_AT_WORK = 4


@dataclass
class _Slot:
    """A worker and what it does: the step that it is set up for, and the batch that it holds."""

    rank: int
    worker: Worker
    step: Step | None = None
    ready: bool = True
    held: dict[str, Item] = field(default_factory=dict)
    since: float = 0.0  # when it began the first of what it holds, seconds of the monotonic clock

    def set_up(self, step: Step) -> None:
        self.step, self.ready = step, False
        self.worker.set_up(step)

    def send(self, batch: list[Item]) -> None:
        self.held = {item.video_id: item for item in batch}
        self.since = monotonic()
        for item in batch:
            item.attempts += 1
        self.worker.send(batch)

    def outcomes(self) -> Iterator[Outcome]:
        """What the worker has reported by now."""
        for outcomes in self.worker.messages():
            self.ready, self.since = True, monotonic()
            for outcome in outcomes:
                self.held.pop(outcome.video_id, None)
                yield outcome


class Pool:
    """`world_size` workers of an engine."""

    def __init__(self, engine: Engine, world_size: int) -> None:
        self.engine = engine
        self.world_size = world_size
        self._slots: dict[int, _Slot] = {}

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *_: object) -> None:
        """End the workers at once: the next run does again what they hold."""
        for slot in self._slots.values():
            slot.worker.end()
        self._slots.clear()

    def nodes(self) -> dict[str, int]:
        """Machine -> how many of the workers are on it."""
        return Counter(slot.worker.node for slot in list(self._slots.values()))

    def run(
        self, step: Step, items: Iterable[Item], total: int, proven: bool = False
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
        queue, left = iter(items), total
        again: deque[Item] = deque()
        at_start: Counter[int] = Counter()
        at_work = 0

        def share() -> int:
            return max(1, min(step.batch_size, -(-left // self.world_size)))

        while True:
            for slot in self._slots.values():
                if slot.step is not step or not slot.ready or slot.held:
                    continue
                if again:
                    # What died with its worker comes back alone: it may be what killed it.
                    slot.send([again.popleft()])
                elif batch := list(islice(queue, share())):
                    left -= len(batch)
                    slot.send(batch)
            self._set_up(step, batches=len(again) + -(-left // share()))
            busy = {id(s.worker): s for s in self._slots.values() if s.held or not s.ready}
            if not (again or left or any(slot.held for slot in busy.values())):
                return
            spoke = self.engine.wait([slot.worker for slot in busy.values()], _patience(step, busy))
            for slot in busy.values():
                if slot.worker not in spoke and slot.held and _overdue(step, slot):
                    del self._slots[slot.rank]
                    slot.worker.end()
                    yield from _time_out(step, slot, again)
            for worker in spoke:
                slot = busy[id(worker)]
                try:
                    for outcome in slot.outcomes():
                        proven = True
                        yield outcome
                except WorkerDied as death:
                    del self._slots[slot.rank]
                    worker.end()
                    yield from _bury(slot, again)
                    at_work += slot.ready
                    at_start[slot.rank] = 0 if slot.ready else at_start[slot.rank] + 1
                    if at_start[slot.rank] >= DEATHS_AT_START:
                        raise UserError(
                            f"step {step.name}: worker {slot.rank} died {DEATHS_AT_START} times in"
                            f" a row while it was starting ({death})"
                        ) from death
                    if at_work >= DEATHS_AT_WORK * self.world_size and not proven:
                        raise UserError(
                            f"step {step.name}: {at_work} workers died before one record was"
                            f" finished ({death})"
                        ) from death

    def _set_up(self, step: Step, batches: int) -> None:
        """Let as many workers set the step up as there are batches that wait for one.

        A worker that still sets up the step before is left alone until it is ready.
        """
        for rank in range(self.world_size):
            starting = sum(s.step is step and not s.ready for s in self._slots.values())
            if starting >= batches:
                return
            if rank not in self._slots:
                self._slots[rank] = _Slot(rank, self.engine.start(rank))
            if (slot := self._slots[rank]).ready and slot.step is not step:
                slot.set_up(step)


def _patience(step: Step, busy: dict[int, _Slot]) -> float | None:
    """How long no worker can be overdue, seconds; None: for ever."""
    if step.time_limit is None:
        return None
    began = min((slot.since for slot in busy.values() if slot.held), default=monotonic())
    return max(0.0, began + step.time_limit - monotonic())


def _overdue(step: Step, slot: _Slot) -> bool:
    return step.time_limit is not None and monotonic() - slot.since >= step.time_limit


def _time_out(step: Step, slot: _Slot, again: deque[Item]) -> Iterator[Outcome]:
    """Fail the record that a worker has been at for too long; the others go back to the queue."""
    late, *others = slot.held.values()
    again.extend(others)
    for table in late.missing:
        error = f"{TIMED_OUT}: not done after {step.time_limit:g} s"
        yield Outcome(late.video_id, table, late.attempts, "failed", error=error)


def _bury(slot: _Slot, again: deque[Item]) -> Iterator[Outcome]:
    """Put what a dead worker held back into the queue, or fail what has killed two."""
    for item in slot.held.values():
        if item.attempts < 2:
            again.append(item)
            continue
        for table in item.missing:
            yield Outcome(item.video_id, table, item.attempts, "failed", error=WORKER_DIED)
