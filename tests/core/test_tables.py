"""Tables in CSV files, and files that are none."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from medcli.core.errors import DataError
from medcli.core.tables import read_dicts, read_frame, read_table_text, refuse_decimal_commas

BAD = {
    "nothing": (b"", "it is empty|no column x"),
    "a NUL byte": (b"x,y\n1,\x002\n", "byte 6 is 0"),
    "UTF-16": ("x,y\n1,2\n".encode("utf-16"), "it is UTF-16"),
    "Latin-1": (b"x,y\n1,\xe9\n", "byte 6 is not UTF-8"),
    "one column twice": (b"x,y,x\n1,2,3\n", "has the column x twice"),
    "no such column": (b"a,b\n1,2\n", "has no column x: it is not a test table"),
    "semicolons": (b"x;y\n1;2\n", "separated by semicolons: columns must be separated by commas"),
    "tabs": (b"x\ty\n1\t2\n", "separated by tabs"),
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("read", [read_frame, read_dicts])
def test_what_is_no_such_table_is_one_error(tmp_path: Path, kind: str, read: Callable[..., object]) -> None:
    content, said = BAD[kind]
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read(path, "test table", ["x"])
    assert any(words in f"{caught.value.message} {caught.value.hint}" for words in said.split("|"))
    assert str(path) in caught.value.message


def test_folders_pipes_and_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="it is a folder"):
        read_table_text(tmp_path, "test table")
    with pytest.raises(DataError, match="there is no file"):
        read_table_text(tmp_path / "absent.csv", "test table")
    with pytest.raises(DataError, match="cannot be read as a test table"):
        read_table_text(tmp_path / ("n" * 300), "test table")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(DataError, match="not a regular file"):
            read_table_text(tmp_path / "pipe", "test table")


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_marks_and_line_ends_change_nothing(tmp_path: Path, mark: bytes, end: bytes) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(mark + end.join([b"x,y", b"1,2", b"", b"3,4", b""]))
    assert read_frame(path, "test table", ["x", "y"]).to_dict("list") == {"x": [1, 3], "y": [2, 4]}
    assert read_dicts(path, "test table", ["x"]) == (["x", "y"], [{"x": "1", "y": "2"}, {"x": "3", "y": "4"}])


def test_more_values_than_names_are_a_warning_and_no_shift(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "t.csv").write_text("x,y\n1,2,9\n3,4,9\n")
    assert read_frame(tmp_path / "t.csv", "test table", ["x"]).x.tolist() == [1, 3]
    assert "more values than the header has names" in caplog.text
    with pytest.raises(DataError, match="more or fewer cells"):
        read_dicts(tmp_path / "t.csv", "test table", ["x"])


def test_columns_that_are_not_needed_may_be_doubled_or_without_a_name(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("x,note,note,,\n1,a,b,,\n")
    assert read_frame(tmp_path / "t.csv", "test table", ["x"], once=["y"]).x.tolist() == [1]
    (tmp_path / "t.csv").write_text("x,y,Y\n1,2,3\n")
    with pytest.raises(DataError, match="has the column y twice"):
        read_frame(
            tmp_path / "t.csv", "test table", ["x"], once=["y"], rename=lambda names: [name.lower() for name in names]
        )


def test_decimal_commas_are_named_by_their_line(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('x,y,z\n1.5,2,a,b\n1,"3,25",-\n"0,5",4,-\n'.replace("a,b", '"a,b"'), "utf-8")
    table = read_frame(path, "test table", ("x", "y"))
    with pytest.raises(DataError, match="line 3: y is '3,25', with a comma in place of the decimal point"):
        refuse_decimal_commas(table, ("x", "y", "absent"), path)
    refuse_decimal_commas(table, ("z",), path)
    for cell in ("1,007.73", "-1'007.73", "1,234,567"):
        path.write_text(f'x,y\n1.5,2\n1,"{cell}"\n', "utf-8")
        with pytest.raises(DataError, match=f"line 3: y is '{cell}', with separators between thousands"):
            refuse_decimal_commas(read_frame(path, "test table", ("x", "y")), ("x", "y"), path)
