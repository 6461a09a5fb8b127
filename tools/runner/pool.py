"""Hands a step's records out to workers, and survives the workers' deaths.

A worker says when it is set up, and only then is given records: no record is blamed for a worker
that dies at start, and none waits for a worker that never starts.
"""

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from itertools import islice
from multiprocessing.connection import wait
from typing import Any

from tools.errors import UserError
from tools.runner.batch import Item, Outcome
from tools.runner.devices import count_gpus, has_gpu_driver
from tools.runner.step import Step
from tools.runner.worker import Worker, WorkerDied, start_worker

WORKER_DIED = "worker died"
# A worker that has died so often in a row before it was set up will not start the next time either.
DEATHS_AT_START = 3
# After this many deaths at work per worker, in a step that has never finished a record, the fault
# is the step's and not a record's.
DEATHS_AT_WORK = 4


class Pool:
    """`world_size` workers; rank r computes on GPU r modulo the GPUs there are, or on the CPU.

    Workers end with the thread that started them, so a pool belongs in the main thread, or in one
    that lives as long as the pool.
    """

    def __init__(self, world_size: int, device: str = "cpu", threads: int = 1) -> None:
        """Args: device: auto, cpu or cuda; threads: CPU threads a worker may use."""
        self.world_size = world_size
        self.device = device
        self.threads = threads
        self._gpus = 0
        self._workers: dict[int, Worker] = {}

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *_: object) -> None:
        """End the workers at once: the next run does again what they hold."""
        for worker in self._workers.values():
            worker.end()
        self._workers.clear()

    def check(self) -> None:
        """Count the GPUs; raise UserError where one is asked for and there is none."""
        self._gpus = count_gpus() if self.device != "cpu" else 0
        if self.device == "cuda" and not self._gpus:
            raise UserError(
                "--device cuda: no GPU that torch can use is here; use --device cpu or auto"
            )
        if self.device == "auto" and not self._gpus and has_gpu_driver():
            print("note: a GPU is here that torch cannot use: computing on the CPU", flush=True)

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
            for worker in self._workers.values():
                if worker.step is not step or not worker.ready or worker.held:
                    continue
                if again:
                    # What died with its worker comes back alone: it may be what killed it.
                    worker.process_batch([again.popleft()])
                elif batch := list(islice(queue, share())):
                    left -= len(batch)
                    worker.process_batch(batch)
            self._set_up(step, batches=len(again) + -(-left // share()))
            busy: dict[Any, Worker] = {
                worker.pipe: worker
                for worker in self._workers.values()
                if worker.held or not worker.ready
            }
            if not (again or left or any(worker.held for worker in busy.values())):
                return
            for pipe in wait(list(busy)):
                worker = busy[pipe]
                try:
                    for outcome in worker.outcomes():
                        proven = True
                        yield outcome
                except WorkerDied as death:
                    worker.end()
                    del self._workers[worker.rank]
                    yield from _bury(worker, again)
                    at_work += worker.ready
                    at_start[worker.rank] = 0 if worker.ready else at_start[worker.rank] + 1
                    if at_start[worker.rank] >= DEATHS_AT_START:
                        raise UserError(
                            f"step {step.name}: worker {worker.rank} died {DEATHS_AT_START} times"
                            f" in a row while it was starting ({death})"
                        ) from death
                    if at_work >= DEATHS_AT_WORK * self.world_size and not proven:
                        raise UserError(
                            f"step {step.name}: {at_work} workers died before one record was"
                            f" finished ({death})"
                        ) from death

    def _set_up(self, step: Step, batches: int) -> None:
        """Let as many workers set the step up as there are batches that wait for one; a worker that
        still sets up the step before is left alone until it is ready."""
        for rank in range(self.world_size):
            starting = sum(w.step is step and not w.ready for w in self._workers.values())
            if starting >= batches:
                return
            if rank not in self._workers:
                device = f"cuda:{rank % self._gpus}" if self._gpus else "cpu"
                self._workers[rank] = start_worker(rank, device, self.threads)
            if (worker := self._workers[rank]).ready and worker.step is not step:
                worker.set_up(step)


def _bury(worker: Worker, again: deque[Item]) -> Iterator[Outcome]:
    """Put what a dead worker held back into the queue, or fail what has killed two."""
    for item in worker.held.values():
        if item.attempts < 2:
            again.append(item)
            continue
        for table in item.missing:
            yield Outcome(item.video_id, table, item.attempts, "failed", error=WORKER_DIED)
