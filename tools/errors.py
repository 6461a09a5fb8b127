"""The three ways in which a record or a run can fail, and the hint for a misspelt name."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any


class UserError(Exception):
    """A mistake of the user's: its text is one line that names the mistake, the value and what to
    do."""


class Filtered(Exception):
    """Raised by a step for a record that the method rejects."""

    def __init__(self, reason: str, record: dict[str, Any] | None = None) -> None:
        """Args: reason: its short name; record: what is kept beside it (None: the step's input)."""
        super().__init__(reason)
        self.record = record


class StorageError(UserError):
    """The disk refused a write (full, quota, read-only): the run stops, nothing is left torn."""


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """The end of a message about an unknown name: the nearest one that exists, or nothing."""
    nearest = get_close_matches(name, list(names), n=1)
    return f"; did you mean {nearest[0]!r}?" if nearest else ""
