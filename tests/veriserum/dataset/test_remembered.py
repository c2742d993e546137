"""Shared values are computed once, and an error is raised again."""

from __future__ import annotations

import pytest

from medcli.core.errors import DataError
from medcli.veriserum.dataset.remembered import Remembered


def test_values_and_errors_are_computed_once() -> None:
    asked: list[int] = []

    def halve(number: int) -> int:
        asked.append(number)
        if number % 2:
            raise DataError(f"{number} is odd", "take another")
        return number // 2

    known = Remembered(halve)
    for _ in range(3):
        assert known(4) == 2
        with pytest.raises(DataError, match="5 is odd") as caught:
            known(5)
        assert caught.value.hint == "take another"
    assert asked == [4, 5]


def test_other_errors_are_not_remembered() -> None:
    known = Remembered({}.__getitem__)
    with pytest.raises(KeyError):
        known("a")
