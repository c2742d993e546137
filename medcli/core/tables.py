"""Tables in CSV files: read whole, and refused in one message where a file is no such table.

Every reader of a table goes through :func:`read_table_text`, which refuses what is no text, and either
:func:`read_frame` or :func:`read_dicts`, which refuse headers that name a column twice or lack one.
"""

from __future__ import annotations

import csv
import io
import logging
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medcli.core.errors import DataError
from medcli.core.files import read_whole

if TYPE_CHECKING:
    import pandas as pd

_LOG = logging.getLogger(__name__)
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_MOST_NAMES_SHOWN = 20
_LONGEST_HEADER = 1 << 20  # characters, with blank lines before it
_SEPARATORS = {";": "semicolons", "\t": "tabs"}

Rows = list[dict[str, str]]


def read_table_text(path: Path, what: str, hint: str | None = None) -> str:
    """The text of a table; UTF-8, with or without a byte order mark.

    Args:
        what: the kind of table, in messages: ``tracking table``.
        hint: what to do about a file that is not there.

    Raises:
        DataError: no such file, a folder, not to be read, another encoding, or no text.
    """
    try:
        content = read_whole(path)
    except FileNotFoundError as error:
        raise DataError(f"there is no file {path}", hint) from error
    except OSError as error:
        raise DataError(f"{path} cannot be read as a {what}: {error.strerror or error}", hint) from error
    if content.startswith(_UTF16):
        raise DataError(f"{path} cannot be read as a {what}: it is UTF-16 text", "save it as CSV in UTF-8")
    if b"\0" in content:
        place = content.index(b"\0")
        raise DataError(f"{path} cannot be read as a {what}: byte {place} is 0, so it is no text or is damaged")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        fault = f"byte {error.start} is not UTF-8"
        raise DataError(f"{path} cannot be read as a {what}: {fault}", "save it as CSV in UTF-8") from error


def header_of(text: str, skipinitialspace: bool = False) -> list[str]:
    """The names of a table's columns as written: those of the first line that is not blank."""
    rows = csv.reader(io.StringIO(text[:_LONGEST_HEADER], newline=""), skipinitialspace=skipinitialspace)
    try:
        return next((row for row in rows if any(cell.strip() for cell in row)), [])
    except csv.Error:  # a cell of more than 128 kB
        return []


def check_columns(
    names: Sequence[str], needed: Collection[str], path: Path, what: str, once: Collection[str] = ()
) -> None:
    """Check that a header names every column that is needed, and names it once.

    Args:
        once: further columns that it need not name, but not twice.

    Raises:
        DataError: it does not; says what it has instead.
    """
    missing = [name for name in needed if name not in names]
    if missing:
        found = ", ".join(map(repr, names[:_MOST_NAMES_SHOWN])) or "none"
        mark = next((mark for mark in _SEPARATORS if any(mark in name for name in names)), "")
        fault = f"; they are separated by {_SEPARATORS[mark]}: columns must be separated by commas" if mark else ""
        raise DataError(f"{path} has no column {', '.join(missing)}: it is not a {what}", f"it has {found}{fault}")
    counts = Counter(names)
    doubled = [name for name in {**dict.fromkeys(needed), **dict.fromkeys(once)} if name and counts[name] > 1]
    if doubled:
        raise DataError(f"{path} has the column {', '.join(doubled)} twice", "remove or rename one of them")


def read_frame(
    path: Path,
    what: str,
    needed: Collection[str] = (),
    once: Collection[str] = (),
    hint: str | None = None,
    rename: Callable[[list[str]], list[str]] = list,
    **settings: Any,
) -> pd.DataFrame:
    """A table as a DataFrame; row names are not inferred, and values beyond the header are a warning, not a shift.

    Args:
        needed, once: see :func:`check_columns`; names as ``rename`` gives them.
        hint: what to do about a file that is not there.
        rename: gives the names of the columns from those in the file.
        settings: of pandas' ``read_csv``.

    Raises:
        DataError: as :func:`read_table_text` and :func:`check_columns`, or pandas cannot parse it.
    """
    import pandas as pd

    text = read_table_text(path, what, hint)
    names = rename(header_of(text, settings.get("skipinitialspace", False)))
    if not names:
        raise DataError(f"{path} cannot be read as a {what}: it is empty")
    check_columns(names, needed, path, what, once)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", pd.errors.ParserWarning)
            content = io.BytesIO(text.encode())  # pandas takes twice as long for text
            table = pd.read_csv(content, index_col=False, low_memory=False, **settings)
    except ValueError as error:  # pandas' parser errors are ValueErrors
        raise DataError(f"{path} cannot be read as a {what}: {error}") from error
    if any(issubclass(warning.category, pd.errors.ParserWarning) for warning in caught):
        _LOG.warning("%s: rows have more values than the header has names; the extra ones are ignored", path)
    return pd.DataFrame(table.set_axis(rename([str(name) for name in table.columns]), axis=1))


_COMMAS = {
    r"[+-]?\d*,\d+": "a comma in place of the decimal point",
    r"[+-]?\d{1,3}(?:[,'’]\d{3})+\.\d*|[+-]?\d{1,3}(?:['’]\d{3}|,\d{3},\d{3})+": "separators between thousands",
}


def refuse_decimal_commas(table: pd.DataFrame, columns: Collection[str], path: Path) -> None:
    """Refuse numbers with a decimal comma, or with separators between thousands, which would count as missing.

    Raises:
        DataError: names the first line with one; lines are counted with the header.
    """
    found = []
    for name in columns:
        if name in table.columns and table[name].dtype.kind not in "fiub":
            cells = table[name].astype(str).str.strip()
            for pattern, words in _COMMAS.items():
                places = cells.str.fullmatch(pattern).to_numpy().nonzero()[0]
                found += [(int(places[0]), name, cells.iloc[places[0]], words)] if len(places) else []
    if found:
        row, name, cell, words = min(found)
        raise DataError(
            f"{path}, line {row + 2}: {name} is '{cell}', with {words}",
            "write the numbers with points and without separators: 1012.5",
        )


def read_dicts(path: Path, what: str, needed: Collection[str], hint: str | None = None) -> tuple[list[str], Rows]:
    """The names of a table's columns, and its rows as text; for tables that are written again as they are.

    Raises:
        DataError: as :func:`read_table_text` and :func:`check_columns`, or a row has more or fewer cells.
    """
    text = read_table_text(path, what, hint)
    names = header_of(text)
    check_columns(names, needed, path, what, once=names)
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline="")) if row]
    except csv.Error as error:
        raise DataError(f"{path} cannot be read as a {what}: {error}") from error
    if any(len(row) != len(names) for row in rows):
        raise DataError(f"{path} is not a {what}: a row has more or fewer cells than columns", hint)
    return names, [dict(zip(names, row, strict=True)) for row in rows[1:]]


def csv_text(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Rows as CSV text with a heading; cells that a row lacks are empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
