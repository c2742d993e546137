"""Where words go: results to standard output, the rest to standard error."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import typer

from medcli.cli.shared.output import Output, say
from medcli.core.progress import activity
from medcli.core.secrets import hide_values


@dataclass(frozen=True)
class Result:
    count: int
    path: Path
    score: float
    curve: object
    failures: list[str] = field(default_factory=list)
    schema: str = "test.v1"


def test_json_is_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(as_json=True)
    output.line("for people only")
    output.pairs({"a": 1})
    output.table(["a"], [[1]])
    output.finish(Result(np.int64(2), Path("x") / "y", float("nan"), np.array([0.5, np.inf])), lambda _: None)
    shown = json.loads(capsys.readouterr().out)
    assert shown["curve"] == [0.5, None]
    assert (shown["count"], shown["score"], shown["schema"]) == (2, None, "test.v1")


def test_failures_leave_with_four_and_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    failures = [f"item {i}: broken" for i in range(30)]
    with pytest.raises(typer.Exit) as left:
        Output().finish(Result(1, Path(), 0.0, None, failures), lambda result: None)
    err = capsys.readouterr().err
    assert left.value.exit_code == 4
    assert "failed: item 0: broken" in err
    assert "10 more" in err


def test_table_is_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    Output().table(["name", "mm"], [["a", 1.5], ["long name", 22.25]])
    assert capsys.readouterr().out == "name          mm\na            1.5\nlong name  22.25\n"


def test_progress_in_a_log_file_is_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    from medcli.cli.shared.output import _Lines

    with _Lines(every_s=0.0).task("Working", 10, "images") as advance:
        advance(4)
    assert "Working: 4 of 10 images" in capsys.readouterr().err
    with Output(quiet=True).progress().task("Working", 10) as advance:
        advance(4)
    assert capsys.readouterr().err == ""


def test_long_lines_are_folded_on_a_terminal_and_whole_in_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = " ".join(["word"] * 30) + " /a/path/" + "x" * 90
    say("error: ", text)
    assert capsys.readouterr().err == f"error: {text}\n"
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    say("error: ", text)
    lines = capsys.readouterr().err.splitlines()
    assert [line[:7] for line in lines] == ["error: ", *["       "] * (len(lines) - 1)]
    assert max(map(len, lines[:-1])) <= 80
    assert lines[-1].endswith("x" * 90)


def test_a_command_is_one_line_on_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    command = f"medcli download weights --dest /data/{'x' * 50} --name 'a b'"
    say("       ", f"the weights of that network are not in this folder, nor beside it: {command}")
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == f"       {command}"
    assert max(map(len, lines[:-1])) <= 60
    say("       ", command)
    assert capsys.readouterr().err == f"       {command}\n"
    Output().pairs({"next": f"type {command}"})
    assert command in capsys.readouterr().out


def test_a_path_with_blanks_is_not_broken(capsys: pytest.CaptureFixture[str]) -> None:
    path = Path("a folder") / ("of a user with a long name " * 4).strip()
    Output().pairs({"table": path, "note": str(path)})
    assert f"table  {path}\n" in capsys.readouterr().out


def test_bars_show_whole_names_and_what_they_wait_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """At 80 columns; a command that is printed while a bar is shown is not broken, either."""
    monkeypatch.setattr("rich.console.detect_legacy_windows", lambda: False)
    command = f"medcli evaluate seg --root {'x' * 40} --checkpoint {'y' * 40}"
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    record = "label specimen90 tibia_with_a_long_name_that_is_longer_than_half_of_the_screen record01"
    with activity(record), Output().progress().task("labelling", 1e6, "frames") as advance:
        advance(123456)
        say("", f"next: {command}")
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().err)
    assert "labelling" in shown
    assert "123,456/1,000,000" in shown
    assert record in shown.replace("\n", " ")
    assert f"\n{command}\n" in shown


def test_a_credential_is_hidden_before_a_line_is_folded_or_a_label_cut(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hide_values("Zq7X v9Kp 2Lm4")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    for width in range(25, 60):
        monkeypatch.setenv("COLUMNS", str(width))
        say("error: ", "the password is Zq7X v9Kp 2Lm4, it is said")
        with Output().progress().task(f"Reading http://user:{'Zq7Xv9' * 9}@host", 1.0) as advance:
            advance(1)
    shown = capsys.readouterr().err
    assert "http://(hidden)@host" in shown
    assert not any(part in shown for part in ("Zq7X", "v9Kp", "2Lm4"))


def test_long_values_continue_in_their_column(capsys: pytest.CaptureFixture[str]) -> None:
    path = Path("a folder") / ("x" * 90)
    Output().pairs({"short": 1, "name": "word " * 20, "path": path})
    first, second, third, last = capsys.readouterr().out.splitlines()
    assert (first, second[:7], third[:7], last) == ("short  1", "name   ", "       ", f"path   {path}")
    assert max(len(second), len(third)) <= 80
