"""Groups: the subcommand that is meant where none is named, and verbs that are loaded when they are typed."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from medcli.cli.app import Root, app
from medcli.cli.shared.help_page import first_sentence
from tests.cli.test_app import in_a_new_process
from tests.conftest import Ran

WITH_DEFAULT = {verb.name: verb.default for verb in Root.verbs if verb.default}


def test_the_verbs_of_both_datasets_mean_seg() -> None:
    assert all(WITH_DEFAULT[verb] == "seg" for verb in ("train", "evaluate", "predict"))


@pytest.mark.parametrize("verb", WITH_DEFAULT)
def test_without_the_name_of_a_subcommand_the_default_is_meant(
    verb: str, medcli: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = {"train": ["--gpus", "99"], "predict": ["scans", "--device", "cpu"], "runs": ["--runs", "none"]}.get(
        verb, ["--quiet"]
    )
    short, long = medcli(verb, *words), medcli(verb, WITH_DEFAULT[verb], *words)
    assert short == long
    assert short.err.startswith("error: ")
    listed, own = medcli("--help").out, medcli(verb, "--help").out
    line = re.search(rf"^  {verb} .*(?:\n   +.*)?", listed, re.MULTILINE)
    assert line is not None
    assert re.search(rf"{WITH_DEFAULT[verb]}, default\)|\[default:\s+{WITH_DEFAULT[verb]}\]", line[0])
    assert f"medcli {verb} [OPTIONS] is short for medcli {verb} {WITH_DEFAULT[verb]} [OPTIONS]." in " ".join(
        own.split()
    )
    assert "[default]" in own


def test_a_word_is_an_input_of_the_default_unless_it_is_like_a_subcommand(
    medcli: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert medcli("predict", "segg").err == "error: medcli predict has no command segg\n       did you mean seg?\n"
    assert "has no command scans" in medcli("train", "scans").err, "train seg takes no argument"
    assert "no such file or folder: scans" in medcli("predict", "scans").err
    (tmp_path / "segg").mkdir()
    assert "has no command" not in medcli("predict", "segg").err


def test_a_verb_is_loaded_when_it_is_typed_and_named_as_in_its_module() -> None:
    code = """
import sys, typer
from medcli.cli.app import app, main
try:
    main(["--help"])
except SystemExit:
    pass
print([name for name in sys.modules if name.startswith("medcli.cli.") and ".shared" not in name])
"""
    assert in_a_new_process(code=code).stdout.splitlines()[-1] == "['medcli.cli.app']"
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert list(commands) == [verb.name for verb in Root.verbs]
    for verb in Root.verbs:
        assert not verb.default or verb.default in commands[verb.name].commands
        assert first_sentence(commands[verb.name].help) == first_sentence(verb.help)
