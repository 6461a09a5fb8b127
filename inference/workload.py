"""What stages 2 and 3 will ask of a model, before the first request."""

import argparse
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

from tools.cli import amount
from tools.store.jsonl import Record

# TEMPLE shows a model pictures of at most 512 tokens of 28 x 28 pixels each.
PICTURE_TOKENS = 512
BYTES_PER_TOKEN = 3.5  # as in tools.pairs.swift_rows


@dataclass
class Workload:
    """Requests to come.

    Attributes:
        text: bytes of the captions that they hold, which the answers are about as long as.
    """

    videos: int = 0
    requests: int = 0
    pictures: int = 0
    text: int = 0

    def __add__(self, other: "Workload") -> "Workload":
        return Workload(
            *(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True))
        )

    def line(self, rate: float | None) -> str:
        """In words.

        Args:
            rate: requests that one worker answers a second; None: not known yet.
        """
        tokens = self.pictures * PICTURE_TOKENS + self.text / BYTES_PER_TOKEN
        if self.pictures:
            pictures = _counted(self.pictures, "picture")
            what = f"{pictures}, at most {tokens / 1e6:.2g} million tokens in"
        else:
            what = f"about {tokens / 1e6:.2g} million tokens in, and as many out"
        if rate is None:
            hours = "the first minute measures the time (--rate)"
        else:
            hours = f"{self.requests / rate / 3600:.2g} GPU-hours at {rate:g} requests a second"
        requests, videos = _counted(self.requests, "request"), _counted(self.videos, "video")
        return f"{requests} about {videos}, {what}; {hours}"


def estimate(
    left: Iterable[tuple[Record, tuple[str, ...]]],
    workload_of: Callable[[Record, tuple[str, ...]], Workload],
    rate: float | None,
) -> str:
    """What all records cost, in words; nothing where none of them can be read.

    A record that `workload_of` cannot read is left out, whatever is wrong with it: its own
    processing fails it, and an estimate must not end the run of the others.

    Args:
        left: records, each with the names of the tables that lack it.
        rate: see `Workload.line`.
    """
    total = Workload()
    for record, names in left:
        with suppress(Exception):
            total += workload_of(record, names)
    return total.line(rate) if total.videos else ""


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def add_rate_flag(parser: argparse.ArgumentParser) -> None:
    """Add --rate."""
    parser.add_argument(
        "--rate",
        type=amount,
        help="requests that one worker answers a second, for the estimate of GPU-hours before the"
        " run (default: the run's first minute measures the time)",
    )
