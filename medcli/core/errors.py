"""The errors that a user can act on.

Each says what was expected, what came, which file, and (as ``hint``) what to do next. The command line catches
:class:`MedcliError` in one place, prints it in one or two lines and exits with ``exit_code``; any other
exception is a bug and keeps its traceback.
"""

from __future__ import annotations


class MedcliError(Exception):
    """Something failed that is neither the words typed nor the data (disk full, no permission, …). Exit code 1.

    Args:
        message: what was expected, what came, and which file.
        hint: what to do next, shown on a line of its own.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(MedcliError):
    """Options that contradict each other or ask for what this machine does not have. Exit code 2."""

    exit_code = 2


class DataError(MedcliError):
    """Data that are missing, unreachable or corrupt. Exit code 3."""

    exit_code = 3
