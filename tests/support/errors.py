"""The error that a piece of work ends with."""

from __future__ import annotations

from collections.abc import Callable

from medcli.core.errors import DataError


def error_of(work: Callable[[], object]) -> tuple[str, str | None] | None:
    """Message and hint of the :class:`DataError` that ``work`` raises; None if it raises none."""
    try:
        work()
    except DataError as error:
        return error.message, error.hint
    return None
