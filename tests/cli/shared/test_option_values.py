"""Words become values, and what is no value is said in the words of all errors."""

from __future__ import annotations

import sys
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import typer

from medcli.cli.shared.option_values import OptionKind
from tests.cli.test_app import in_a_new_process
from tests.conftest import Ran


class Kind(str, Enum):
    images = "images"
    labels = "labels"


COUNT = Annotated[int | None, typer.Option(min=1, max=1024)]


@pytest.mark.parametrize(
    ("annotation", "word", "value"),
    [
        (COUNT, "12", 12),
        (COUNT, 12, 12),
        (Annotated[float, typer.Option()], "1e-5", 1e-5),
        (float, "-2", -2.0),
        (float, 3, 3.0),
        (Literal["jpg", "png"], "png", "png"),
        (list[Kind] | None, "labels", Kind.labels),
        (Kind, Kind.images, Kind.images),
        (list[Path], "a/b", Path("a/b")),
        (bool, "yes", True),
        (bool, "0", False),
        (str, "x", "x"),
        (Annotated[Any, typer.Option(parser=len)], "four", 4),
    ],
)
def test_words_become_values(annotation: Any, word: Any, value: Any) -> None:
    found = OptionKind.of(annotation).value(word)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("annotation", "word", "said"),
    [
        (COUNT, "x", "a whole number"),
        (COUNT, "1.5", "a whole number"),
        (COUNT, 1.5, "a whole number"),
        (COUNT, True, "a whole number"),
        (COUNT, "0", "1 to 1,024"),
        (COUNT, "1025", "1 to 1,024"),
        (Annotated[int, typer.Option(min=1)], "0", "1 or more"),
        (float, "x", "a number"),
        (float, "inf", "a finite number"),
        (Literal["jpg", "png"], "gif", "one of jpg, png"),
        (Kind, "meshes", "one of images, labels"),
        (bool, "perhaps", "yes or no"),
    ],
)
def test_other_words_are_refused(annotation: Any, word: Any, said: str) -> None:
    with pytest.raises(ValueError, match=f"^{said}$"):
        OptionKind.of(annotation).value(word)


@pytest.mark.parametrize(
    ("annotation", "about", "name"),
    [
        (COUNT, "", "N"),
        (float, "", "NUMBER"),
        (str, "Branch.", "NAME"),
        (str, "Address of it.", "ADDRESS"),
        (Path, "Folder of it.", "FOLDER"),
        (Path, "Table.", "FILE"),
        (list[Kind], "", "images|labels"),
    ],
)
def test_values_have_names_that_people_use(annotation: Any, about: str, name: str) -> None:
    assert OptionKind.of(annotation).placeholder(about) == name


def test_variables_are_converted_like_words(
    medcli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEDCLI_SEED", "seven")
    assert medcli("train", "seg").err.startswith("error: --seed: 'seven' is not a whole number\n")
    monkeypatch.setenv("MEDCLI_SEED", "7")
    monkeypatch.setenv("MEDCLI_QUIET", "1")
    assert "seven" not in medcli("train", "seg").err


def test_a_name_that_no_file_system_takes_is_refused_before_the_work(medcli: Callable[..., Ran]) -> None:
    ran = medcli("calibrate", "veriserum", "--out", "x" * 300)
    assert ran.code == 1
    assert "a name of 300 bytes is longer than the 255" in ran.err


@pytest.mark.skipif(sys.platform != "win32", reason="other systems take those names, and their shells the patterns")
def test_windows_refuses_names_and_finds_the_files_of_a_pattern(
    medcli: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, said in (("a?b", "allows no ?"), ("aux.csv", "keeps that name"), ("first.", "drops the dot")):
        ran = medcli("calibrate", "veriserum", "--out", name)
        assert (ran.code, said in ran.err) == (1, True), ran.err
    for name in ("second", "first"):
        (tmp_path / name).mkdir()
    ran = medcli("runs", "compare", "*st", "s*")
    assert "first" in ran.err
    assert "*" not in ran.err


def test_no_command_loads_what_typer_converts_with(tmp_path: Path) -> None:
    code = f"""
import contextlib, os, sys
os.chdir({str(tmp_path)!r})
from medcli.cli.app import main
for words in ("train seg --gpus 99 --epochs 3", "evaluate --specimens 2 7", "calibrate veriserum --ids 1-3", "info"):
    with contextlib.suppress(SystemExit):
        main(words.split())
print("pydantic" in sys.modules, "rich" in sys.modules)
"""
    assert in_a_new_process(code=code).stdout.splitlines()[-1] == "False False"
