"""Requests in batches on one device: of like length together, prepared in another thread while the
model runs, and in halves where memory runs out.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

from inference.ahead import in_background
from inference.captioner import Model
from inference.engines.local import LocalCaptioner, end_worker

# Requests are sorted by length within two batches, which keeps padding low. The first batch is a
# quarter of one, and the next ones grow from it, so that the model starts soon.
FIRST_BATCH = 4
SORTED_TOGETHER = 2
HANDED_OUT = 16  # batches a worker is handed at once
BATCHES_AHEAD = 2

Inputs = Any
Task = TypeVar("Task")
Result = TypeVar("Result")
Batch = list[tuple[int, Task]]
"""(position, task) of what runs together."""


class BatchedCaptioner(LocalCaptioner):
    """A checkpoint that runs batches.

    Args:
        batch: requests that run together.
        trust_remote_code: run code of the checkpoint's own.
    """

    def __init__(self, model: Model, batch: int, trust_remote_code: bool = False) -> None:
        super().__init__(model, HANDED_OUT * batch, trust_remote_code)
        self.batch = batch
        self.complaints: set[str] = set()

    def in_batches(
        self,
        tasks: Iterable[Task],
        length: Callable[[Task], int],
        prepare: Callable[[Sequence[Task]], Inputs],
        run: Callable[[Inputs, Sequence[Task]], Sequence[Result]],
    ) -> Iterator[tuple[int, Result | Exception]]:
        """Yield (position in `tasks`, result or the exception in its place), in any order.

        Args:
            tasks: taken one by one, from another thread.
            length: about how long a task is, tokens: those of like length are run together.
            prepare: makes the model's inputs of a batch, in that other thread.
            run: gives the results of a batch; where it raises, the batch is run in halves.
        """
        import torch

        def prepared(batch: Batch[Task]) -> tuple[Batch[Task], Inputs | Exception]:
            try:
                return batch, prepare([task for _, task in batch])
            except Exception as error:
                return batch, error

        def batches() -> Iterator[tuple[Batch[Task], Inputs | Exception]]:
            stream = enumerate(tasks)
            window = max(1, self.batch // FIRST_BATCH)
            while together := list(islice(stream, window)):
                together.sort(key=lambda numbered: length(numbered[1]), reverse=True)
                while together:
                    # Memory may have run out meanwhile, and batches become smaller.
                    batch, together = together[: self.batch], together[self.batch :]
                    yield prepared(batch)
                window = min(2 * window, SORTED_TOGETHER * self.batch)

        def results(
            batch: Batch[Task], inputs: Inputs | Exception
        ) -> Iterator[tuple[int, Result | Exception]]:
            error = inputs
            if not isinstance(inputs, Exception):
                try:
                    outputs = run(inputs, [task for _, task in batch])
                except Exception as caught:
                    # Its traceback would hold on to the memory that the halves need.
                    error = caught.with_traceback(None)
                    if not is_out_of_memory(caught):
                        # After an error inside a kernel every later call fails.
                        if isinstance(caught, torch.AcceleratorError):
                            end_worker("device", caught)
                    elif len(batch) > 1:
                        self.batch = max(1, min(self.batch, len(batch) // 2))
                        error = RuntimeError(
                            f"out of memory, {self.batch} requests at once from here"
                        )
                else:
                    yield from zip((position for position, _ in batch), outputs, strict=True)
                    return
            del inputs
            if len(batch) == 1:
                yield batch[0][0], error
                return
            # Printed once a kind: where all batches fail, nothing else shows why the run is slow.
            if (kind := f"{type(error).__name__}: {error}"[:200]) not in self.complaints:
                self.complaints.add(kind)
                print(
                    f"\na batch of {len(batch)} failed ({kind}); trying again in halves",
                    file=sys.stderr,
                    flush=True,
                )
            half = len(batch) // 2
            for part in (batch[:half], batch[half:]):
                yield from results(*prepared(part))

        for batch, inputs in in_background(batches(), BATCHES_AHEAD):
            yield from results(batch, inputs)


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error is for want of memory; what a GPU has cached is then freed."""
    import torch

    if isinstance(error, torch.OutOfMemoryError):
        torch.cuda.empty_cache()
        return True
    return isinstance(error, RuntimeError) and "not enough memory" in str(error)
