"""What every command has in common: help, exit codes, where words go."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer

from medcli import __version__
from medcli.cli import app as app_module
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
    paths = filter(None, (str(REPOSITORY), os.environ.get("PYTHONPATH")))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "80"}
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


@pytest.mark.parametrize("of_user", ["", "ACTIVE"])
def test_waiting_threads_leave_the_core_unless_the_user_decided(
    medcli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch, of_user: str
) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", of_user)
    if not of_user:
        monkeypatch.delenv("OMP_WAIT_POLICY")
    medcli("--version")
    assert os.environ["OMP_WAIT_POLICY"] == (of_user or "PASSIVE")


def test_completion_is_offered() -> None:
    environment = {"_MEDCLI_COMPLETE": "complete_bash", "COMP_WORDS": "medcli cal", "COMP_CWORD": "1"}
    code = f"import os; os.environ.update({environment!r}); from medcli.cli.app import main; main([])"
    assert "calibrate" in in_a_new_process(code=code).stdout


def test_unknown_command_is_a_usage_error(medcli: Callable[..., Ran]) -> None:
    ran = medcli("calibrat")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == "error: medcli has no command calibrat\n       did you mean calibrate?\n"


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
    monkeypatch.setattr("medcli.interchange.croissant.croissant_path", interrupt)
    ran = medcli("convert", "croissant", ".")
    assert (ran.code, "resume" in ran.err, "--overwrite" in ran.err) == (
        130,
        False,
        True,
    )  # it starts from the beginning


def test_info(medcli: Callable[..., Ran], tmp_path: Path) -> None:
    ran = medcli("info", "--json", "--veriserum-root", tmp_path / "none")
    shown = json.loads(ran.out)
    assert (ran.code, shown["version"], shown["devices"][-1]) == (0, __version__, "cpu")
    assert any(folder["name"] == "Veriserum" for folder in shown["data"])
    plain = medcli("info", "--veriserum-root", tmp_path / "none")
    assert "problem: the folder does not exist" in plain.out
    assert "next: medcli download veriserum" in plain.out


def test_environment_variables_set_defaults(
    medcli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MEDCLI_VERISERUM_ROOT", str(tmp_path / "from the environment"))
    assert "from the environment" in medcli("info").out
