"""Cells of tables: recognition and formatting of numbers."""

from __future__ import annotations

import math

import pytest

from medcli.report.blocks import Table, is_number, number


@pytest.mark.parametrize("text", ["1", "−0.5", "1,234", "0.88 (0.85 to 0.91)", "12 %", "25"])
def test_numbers_are_distinguished_from_words(text: str) -> None:
    assert is_number(text)
    assert not is_number(f"{text} mm")
    assert not is_number("nan")


def test_number_columns_are_found_with_gaps() -> None:
    table = Table(["name", "n", "mixed"], [["a", "1", "2"], ["b", "–", "x"]], "caption")
    assert table.numeric == [False, True, False]


def test_numbers_as_cells() -> None:
    assert number(1234567) == "1,234,567"
    assert number(-0.5, 1, "mm") == "−0.5 mm"
    assert number(math.nan) == number(None) == number(True) == "–"
