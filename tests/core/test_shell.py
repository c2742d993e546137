"""Commands as text that a shell takes as it is."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medcli.core import shell
from medcli.core.shell import install_extra, spell, spelled_words

WORDS = ("medcli", "info", "--runs", "my runs", 3)
TELLING = ["C:\\my data\\", "C:\\R&D\\x", "a\\\\b c\\", 'say "x"', '\\"', "", "100%", "(1)", "a;b|c>d", "1,2", "Zoë\\é"]


def spelled_on(system: str, *words: object) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shell.os, "name", system)
        return spell(*words)


def test_words_are_quoted_as_the_system_wants_it() -> None:
    assert spelled_on("posix", *WORDS) == "medcli info --runs 'my runs' 3"
    assert spelled_on("nt", *WORDS) == 'medcli info --runs "my runs" 3'
    assert spelled_on("nt", "--root", "C:\\R&D\\data", "D:\\plain_1") == '--root "C:\\R&D\\data" D:\\plain_1'


def test_windows_quotes_are_those_of_its_programs() -> None:
    for word in TELLING:
        expected = subprocess.list2cmdline([word])
        assert spelled_on("nt", word) in (expected, f'"{expected}"'), word


@given(st.lists(st.text('\\" ab\t&é', max_size=6), max_size=4) | st.lists(st.sampled_from(TELLING)))
def test_words_are_found_again(words: list[str]) -> None:
    assert spelled_words(spelled_on("nt", *words), is_windows=True) == words
    assert spelled_words(shlex.join(words), is_windows=False) == words


@pytest.mark.skipif(sys.platform != "win32", reason="asks Windows itself")
def test_programs_on_windows_get_the_words() -> None:
    line = spell(sys.executable, "-c", "import json, sys; print(json.dumps(sys.argv[1:]))", *TELLING)
    found = subprocess.run(line, capture_output=True, check=True).stdout
    assert json.loads(found) == TELLING


def test_paths_and_plain_words_stay_as_they_are() -> None:
    assert spell("medcli", "report", Path("runs")) == "medcli report runs"


def test_extras_are_added_by_pip_or_by_uv_without_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    for there, tool in ((object(), "pip"), (None, "uv pip")):
        monkeypatch.setattr("medcli.core.shell.find_spec", lambda name, there=there: there)
        assert install_extra("onnx", "dicom") == f"{tool} install {spell('medcli[onnx,dicom]')}"
