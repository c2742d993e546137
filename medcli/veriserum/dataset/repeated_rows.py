"""Rows of a table that stand in it twice: the same ones count once, those that contradict each other are named."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from medcli.core.errors import quantity

if TYPE_CHECKING:
    import pandas as pd

_NOT_SAID = ("update_timestamp", "git_hash", "git_repo")
"""When and by which program a row was written: no part of what it says."""
_MOST_NAMED = 3


@dataclass(frozen=True)
class RepeatedRows:
    """Rows of one id and component beyond the first, each as ``id 3, anatomy 1: lines 4 and 9``.

    Attributes:
        same: they say what the first one says, and were left out.
        contradicting: they say something else.
    """

    same: tuple[str, ...] = ()
    contradicting: tuple[str, ...] = ()

    def notes(self, what: str, consequence: str) -> list[str]:
        """A line for each kind of repetition that there is.

        Args:
            what: the table's name.
            consequence: of a contradiction: ``the first of each is used``.
        """
        lines = []
        if self.same:
            count = quantity(len(self.same), "row is repeated and counts", "rows are repeated and count")
            lines.append(f"{what}: {count} once: {_some(self.same)}")
        if self.contradicting:
            several = "rows contradict others of their id"
            count = quantity(len(self.contradicting), "row contradicts another one of its id", several)
            lines.append(f"{what}: {count}; {consequence}: {_some(self.contradicting)}")
        return lines


def leave_out_repeated(table: pd.DataFrame, unit: str = "lines") -> tuple[pd.DataFrame, RepeatedRows]:
    """The rows without those that say the same as an earlier one, and what was repeated.

    Rows marked obsolete contradict nothing.

    Args:
        table: with whole numbers in the column ``id``; its index is the place of each row below the header, from 0.
        unit: what a place is called; ``lines`` count the header.
    """
    import pandas as pd

    names = [name for name in ("id", "anatomy_id") if name in table.columns]
    if not table.duplicated(names).any():
        return table, RepeatedRows()
    same = table.duplicated([name for name in table.columns if name not in _NOT_SAID])
    is_live = ~same
    if "obsolete" in table.columns:
        is_live &= ~(pd.to_numeric(table["obsolete"], errors="coerce") > 0)
    live = table[is_live]
    other = live[live.duplicated(names)]
    return table[~same], RepeatedRows(_named(table[same], table, names, unit), _named(other, live, names, unit))


def _named(rows: pd.DataFrame, among: pd.DataFrame, names: list[str], unit: str) -> tuple[str, ...]:
    """``id 3, anatomy 1: lines 4 and 9`` for each row, the first line being that of its like ``among`` others."""
    firsts = among.drop_duplicates(names)
    begin = dict(zip(_keys(firsts, names), firsts.index.tolist(), strict=True))
    offset, words = 2 if unit == "lines" else 1, [name.removesuffix("_id") for name in names]
    return tuple(
        f"{', '.join(map(' '.join, zip(words, key, strict=True)))}: {unit} {begin[key] + offset} and {place + offset}"
        for key, place in zip(_keys(rows, names), rows.index.tolist(), strict=True)
    )


def _keys(rows: pd.DataFrame, names: list[str]) -> list[tuple[str, ...]]:
    cells = (rows[name].astype(str).str.removesuffix(".0").tolist() for name in names)
    return list(zip(*cells, strict=True))


def _some(names: tuple[str, ...]) -> str:
    more = len(names) - _MOST_NAMED
    return "; ".join(names[:_MOST_NAMED]) + (f"; and {more:,} more" if more > 0 else "")
