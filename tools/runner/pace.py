"""How long a step takes, measured in the first minute of its work."""

from collections.abc import Callable
from time import monotonic

MINUTE = 60.0  # seconds from the first outcome on: what is loaded before it does not count


class Pace:
    """Measures a step's speed once.

    Args:
        left: how many outcomes are to come.
        workers: how many processes compute them.
        clock: seconds.
    """

    def __init__(self, left: int, workers: int, clock: Callable[[], float] = monotonic) -> None:
        self.left, self.workers, self.clock = left, workers, clock
        self.first: float | None = None
        self.count = self.bytes = 0
        self.measured = False

    def measure(self, line: bytes) -> str | None:
        """Count an outcome by its line; once, a minute after the first one, say what the rest
        takes."""
        now = self.clock()
        self.left -= 1
        if self.first is None:
            self.first = now  # what came before it was spent on loading too
            return None
        self.count += 1
        self.bytes += len(line) + 1
        seconds = now - self.first
        if self.measured or seconds < MINUTE or not self.left:
            return None
        self.measured = True
        hours = self.left * seconds / self.count / 3600
        size = self.left * self.bytes / self.count / 1e6
        return (
            f"{self.count} in {seconds:.0f} s: the {self.left} left take about {hours:.2g} hours,"
            f" {hours * self.workers:.2g} of a worker (GPU-hours, where each has a GPU), and"
            f" {size:.2g} MB of disk"
        )
