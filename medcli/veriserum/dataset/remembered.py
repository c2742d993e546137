"""Cache for tables, surfaces and calibrations that many pairs share."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from medcli.core.errors import DataError

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Remembered(Generic[Key, Value]):
    """A function's value for a key, computed on first use; a ``DataError`` is remembered and raised again.

    May be called from several threads; the function may then run more than once for a key.
    """

    def __init__(self, function: Callable[[Key], Value]) -> None:
        self._function = function
        self._known: dict[Key, Value | DataError] = {}

    def __call__(self, key: Key) -> Value:
        if key not in self._known:
            try:
                self._known[key] = self._function(key)
            except DataError as error:
                self._known[key] = error
        found = self._known[key]
        if isinstance(found, DataError):
            raise DataError(found.message, found.hint)
        return found
