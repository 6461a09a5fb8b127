"""The three ways a record or a run can end other than well."""

from typing import Any


class UserError(Exception):
    """A mistake of the user's: its text is one line that names the mistake, the value and what to
    do."""


class Filtered(Exception):
    """Raised by a step for a record that the method rejects.

    Attributes:
        record: what to keep of it beside the reason; None: what the step was given.
    """

    def __init__(self, reason: str, record: dict[str, Any] | None = None) -> None:
        """Args: reason: its short name."""
        super().__init__(reason)
        self.record = record


class StorageError(UserError):
    """The disk refused a write (full, quota, read-only): the run stops, nothing is left torn."""
