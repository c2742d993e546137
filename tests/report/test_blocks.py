"""Cells of tables: recognition and formatting of numbers."""

from __future__ import annotations

import math

import pytest

from medcli.report.blocks import FigureTile, Table, is_number, number


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


@pytest.mark.parametrize(
    ("text", "tile"),
    [
        ("0.131", ("0.131", "", "")),
        ("0.01 mm; at the start 3.45", ("0.01", "mm", "at the start 3.45")),
        ("4.0 grey levels; before 19.8", ("4.0", "grey levels", "before 19.8")),
        ("36 of specimens 2 7 8", ("36", "", "of specimens 2 7 8")),
        ("12 of 12, by 0.32 mm", ("12", "", "of 12, by 0.32 mm")),
        ("3.2 mm, 4.3 deg", ("3.2", "mm", "4.3 deg")),
        ("2 min 10 s; 14 steps", ("2 min 10 s", "", "14 steps")),
        ("\u22120.5 °", ("\u22120.5", "°", "")),
        ("pan on tu-x", ("pan on tu-x", "", "")),
    ],
)
def test_a_tile_is_a_number_a_unit_and_a_second_line(text: str, tile: tuple[str, str, str]) -> None:
    found = FigureTile.of(text)
    assert (found.value, found.unit, found.beside) == tile
    assert found.is_number is (text != "pan on tu-x")
