"""Every command and Python example of the README runs as printed, in a folder with small synthetic data."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from medcli.synthetic.fluoroscopy import make_veriserum
from tests.conftest import REPOSITORY, Ran

README = (REPOSITORY / "README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def printed_commands(section: str) -> Iterator[list[str]]:
    """The words of each ``$ medcli …`` line below a heading."""
    text = next(part for part in re.split(r"^## ", README, flags=re.MULTILINE) if part.startswith(section))
    for block in re.findall(r"^```console\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("$ medcli"):
                yield shlex.split(line.partition(" #")[0])[2:]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder as the README supposes it."""
    place = tmp_path_factory.mktemp("readme")
    make_veriserum(place / "data/veriserum", pairs=3)
    pd.DataFrame({"x_px": [100.0, 831.5], "y_px": [200.0, 800.0]}).to_csv(place / "markers.csv", index=False)
    return place


@pytest.mark.parametrize("section", ["Two commands", "Veriserum: correct the distortion of every image"])
def test_commands_run_as_printed(
    section: str, folder: Path, medcli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    commands = list(printed_commands(section))
    assert commands
    for words in commands:
        ran = medcli(*words)
        assert ran.code == 0, f"medcli {shlex.join(words)}: {ran.err}"
        assert ran.out


def test_python_examples_run_as_printed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    for block in blocks("python"):
        ran = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True, check=False, timeout=200)
        assert ran.returncode == 0, ran.stderr


def test_every_picture_is_there() -> None:
    for picture in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README):
        assert (REPOSITORY / picture).is_file(), picture


def test_every_named_file_is_there() -> None:
    for path in re.findall(r"`(?:python )?((?:tests|docs)/[\w/.]+)", README):
        assert (REPOSITORY / path).exists(), path
