"""What a step is: one record in, one record out."""

from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

from tools.store.jsonl import Record, Table


class Step:
    """One step of the pipeline. It knows nothing of files, ranks, resuming or progress bars."""

    name: ClassVar[str]  # as in `--redo NAME`
    revision: ClassVar[int] = 1  # goes up when the step's own code comes to other results
    reads: Table  # the table whose records it takes
    writes: tuple[Table, ...]  # the tables it makes, usually one
    batch_size = 1  # how many records a worker is handed at once
    time_limit: float | None = None  # seconds a record may take before its worker is replaced

    @property
    def is_cheap(self) -> bool:
        """Whether records may wait for the others of their batch until they are written: a message
        costs more than such a step. What a model answers must be safe at once, and which record
        takes too long must be seen."""
        is_own = type(self).process_batch is not Step.process_batch
        return self.batch_size > 1 and not is_own and self.time_limit is None

    def params(self) -> dict[str, Any]:
        """The parameters that shape the output; a run with others does not add to it."""
        return {}

    def versions(self) -> dict[str, str]:
        """The versions of the libraries that compute the output; those that differ are shown."""
        return {}

    def limits(self) -> dict[str, str]:
        """Reason of a Filtered -> which flag sets its limit, and what to do, in words: shown where
        most are filtered."""
        return {}

    def check(self, device: str) -> None:
        """Called in the parent before any step works: raise UserError where something is missing
        that this step needs. `device` is auto, cpu or cuda, as the user chose."""

    def workload(self, left: Iterable[tuple[Record, tuple[str, ...]]]) -> str:
        """What these records cost, in words, before the first is computed; nothing where it is not
        worth a line.

        Args:
            left: records, each with the names of the tables that lack it.
        """
        return ""

    def setup(self, device: str, threads: int) -> None:
        """Called once in each worker, before its first record: load what is costly."""

    def process(self, record: Record) -> Any:
        """Turn a record into the record with this step's fields added.

        Raises:
            Filtered: the method rejects the video.
            Exception: anything else fails this record alone.
        """
        raise NotImplementedError

    def process_batch(
        self, records: list[Record], wanted: list[tuple[str, ...]]
    ) -> Iterator[tuple[int, Any]]:
        """Yield (position in `records`, result) for every record, each as soon as it is known.

        A result is a record, or Filtered or another exception in its place; of a step with several
        tables it may be a dict of such, by the names of the tables, of which it may leave out those
        that are not in `wanted`: the names of the tables that lack the record.
        """
        for position, record in enumerate(records):
            try:
                result: Any = self.process(record)
            except Exception as error:
                result = error
            yield position, result
