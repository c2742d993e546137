"""What every command has in common: help, exit codes, where words go."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import typer

from medcli import __version__
from medcli.cli import app as app_module
from medcli.cli.output import Output, say
from medcli.core.errors import DataError, MedcliError, UsageError
from tests.conftest import REPOSITORY, Ran

HEAVY = ("torch", "cv2", "numba", "numpy", "pandas", "scipy", "lightning", "azure", "huggingface_hub")


def command_paths() -> list[list[str]]:
    """Every command and group of the command line, as typed."""

    def walk(command: object, path: list[str]) -> Iterator[list[str]]:
        yield path
        for name, child in getattr(command, "commands", {}).items():
            yield from walk(child, [*path, name])

    return list(walk(typer.main.get_command(app_module.app), []))


def in_a_new_process(*words: str, code: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code] if code else [sys.executable, "-m", "medcli", *words]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "COLUMNS": "80"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)


def test_no_help_imports_anything_heavy() -> None:
    """All help texts in one process: none of the slow libraries is loaded by any of them."""
    code = f"""
import contextlib, io, sys
from medcli.cli.app import main
for path in {command_paths()!r}:
    with contextlib.redirect_stdout(io.StringIO()) as out:
        try:
            main([*path, "--help"])
        except SystemExit as leaving:
            assert not leaving.code, path
    assert "Usage: medcli" in out.getvalue(), path
print([name for name in {HEAVY!r} if name in sys.modules])
"""
    ran = in_a_new_process(code=code)
    assert ran.stdout.strip() == "[]", ran.stdout + ran.stderr


def test_every_option_has_a_help_text() -> None:
    def check(command: object, path: str) -> None:
        assert getattr(command, "help", None), f"{path} has no help"
        for param in command.params:  # type: ignore[attr-defined]
            if param.param_type_name == "option" and not param.hidden:
                assert param.help, f"{path} {param.opts} has no help"
        for name, child in getattr(command, "commands", {}).items():
            check(child, f"{path} {name}")

    check(typer.main.get_command(app_module.app), "medcli")


def test_root_help_lists_the_verbs(medcli: Callable[..., Ran]) -> None:
    ran = medcli("--help")
    assert ran.code == 0
    for path in command_paths():
        if len(path) == 1:
            assert f"\n  {path[0]} " in ran.out


def test_version_and_module() -> None:
    ran = in_a_new_process("--version")
    assert (ran.returncode, ran.stdout.strip()) == (0, f"medcli {__version__}")


def test_completion_is_offered() -> None:
    environment = {"_MEDCLI_COMPLETE": "complete_bash", "COMP_WORDS": "medcli cal", "COMP_CWORD": "1"}
    code = f"import os; os.environ.update({environment!r}); from medcli.cli.app import main; main([])"
    assert "calibrate" in in_a_new_process(code=code).stdout


def test_unknown_command_is_a_usage_error(medcli: Callable[..., Ran]) -> None:
    ran = medcli("calibrat")
    assert ran.code == 2
    assert "Did you mean 'calibrate'?" in ran.err


@pytest.mark.parametrize(
    ("error", "code"),
    [(MedcliError("no room", "make some"), 1), (UsageError("no GPU"), 2), (DataError("no data"), 3)],
)
def test_errors_are_one_line_and_a_hint(
    medcli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch, error: MedcliError, code: int
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("medcli.workspace.inventory.take_inventory", fail)
    ran = medcli("info")
    hint = f"       {error.hint}\n" if error.hint else ""
    assert (ran.code, ran.out, ran.err) == (code, "", f"error: {error.message}\n{hint}")


def test_a_bug_keeps_its_traceback(medcli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medcli.workspace.inventory.take_inventory", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        medcli("info")


def test_interrupted(medcli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("medcli.workspace.inventory.take_inventory", interrupt)
    ran = medcli("info")
    assert ran.code == 130
    assert "run the same command again" in ran.err


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
    from medcli.cli.output import _Lines

    with _Lines(every_s=0.0).task("Working", 10, "images") as advance:
        advance(4)
    assert "Working: 4 of 10 images" in capsys.readouterr().err
    with Output(quiet=True).progress().task("Working", 10) as advance:
        advance(4)
    assert capsys.readouterr().err == ""


def test_info(medcli: Callable[..., Ran], tmp_path: Path) -> None:
    ran = medcli("info", "--json", "--veriserum-root", tmp_path / "none")
    shown = json.loads(ran.out)
    assert (ran.code, shown["version"], shown["devices"][-1]) == (0, __version__, "cpu")
    assert any(folder["name"] == "Veriserum" for folder in shown["data"])
    plain = medcli("info", "--veriserum-root", tmp_path / "none")
    assert "problem: the folder is not there" in plain.out
    assert "next: medcli download veriserum" in plain.out


def test_environment_variables_set_defaults(
    medcli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MEDCLI_VERISERUM_ROOT", str(tmp_path / "from the environment"))
    assert "from the environment" in medcli("info").out


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


def test_long_values_go_on_in_their_column(capsys: pytest.CaptureFixture[str]) -> None:
    path = Path("a folder") / ("x" * 90)
    Output().pairs({"short": 1, "name": "word " * 20, "path": path})
    first, second, third, last = capsys.readouterr().out.splitlines()
    assert (first, second[:7], third[:7], last) == ("short  1", "name   ", "       ", f"path   {path}")
    assert max(len(second), len(third)) <= 80
