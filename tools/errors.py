"""The three ways a record or a run can end other than well."""


class UserError(Exception):
    """A mistake of the user's: its text is one line that names the mistake, the value and what to
    do."""


class Filtered(Exception):
    """Raised by a step for a video that the method rejects; the argument is the reason's short
    name."""


class StorageError(UserError):
    """The disk refused a write (full, quota, read-only): the run stops, nothing is left torn."""
