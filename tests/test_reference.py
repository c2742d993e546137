"""The command reference says what the commands say, and what help texts show as an example can be typed."""

from __future__ import annotations

import inspect
import re
import shlex
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import typer

from docs.make_reference import TARGET, reference, walk
from medcli.cli.app import app
from tests.cli.test_app import command_paths
from tests.conftest import Ran

COMMANDS = dict(walk(typer.main.get_command(app), "medcli"))


def parse(words: list[str]) -> dict[str, Any]:
    """What the words of a command mean, without running it; raises on a word that does not fit."""
    command, context = COMMANDS["medcli"], None
    while True:
        given = words if not hasattr(command, "commands") else []
        context = typer.Context(command, info_name=command.name, parent=context)
        if not hasattr(command, "commands"):
            command.parse_args(context, list(given))
            return context.params
        default = next(iter(command.commands))
        named = bool(words) and not words[0].startswith("-")
        command = command.commands[words[0] if named else default]
        words = words[1:] if named else words


def examples() -> Iterator[str]:
    for command in COMMANDS.values():
        for block in re.findall("\b\n((?:.+\n?)+)", inspect.cleandoc(command.help or "")):
            yield from re.findall(r"^  (medcli .*)", block.replace("\\\n", " "), re.MULTILINE)


def test_the_committed_page_is_what_the_code_says() -> None:
    assert TARGET.read_text("utf-8") == reference(), "run python docs/make_reference.py"


def test_the_page_names_every_command_and_every_option() -> None:
    page = reference()
    sections = dict(re.findall(r"^###? (medcli .*)\n((?:(?!^##).*\n)*)", page, re.MULTILINE))
    assert sections.keys() == {path for path in COMMANDS if path != "medcli"}
    shared = page[: page.index("## medcli ")]
    for path, command in COMMANDS.items():
        flags = [param.opts[0] for param in command.params if param.param_type_name == "option" and path != "medcli"]
        for flag in flags:
            assert f"`{flag}`" in sections[path] or flag in ("--config", "--json", "--quiet", "--verbose"), (
                f"{path} {flag}"
            )
    assert all(f"`{flag}`" in shared for flag in ("--json", "--quiet", "--verbose", "--help"))


def test_examples_in_help_texts_can_be_typed() -> None:
    found = list(examples())
    assert len(found) > 10
    for example in found:
        parse(shlex.split(example)[1:])
    with pytest.raises(Exception, match="No such option"):
        parse(["train", "seg", "--epoch-count", "3"])


def test_help_fits_80_columns_and_its_lists_are_not_cut(
    medcli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for path in command_paths():
        text = medcli(*path, "--help").out
        assert max(map(len, text.splitlines())) <= 80, path
        listed = text.partition("\nCommands:\n")[2]
        assert "..." not in listed, f"medcli {' '.join(path)} --help cuts its list of commands: shorten first sentences"


def test_an_option_has_the_same_words_everywhere() -> None:
    """Options that mean the same for every command; others say what they hold for it."""
    same = ("ids", "device", "seed", "dry_run", "workers", "calibrated", "inter_plane", "pose_frame", "skip_obsolete")
    words: dict[tuple[str, str], set[str]] = {}
    for path, command in COMMANDS.items():
        for param in command.params:
            if param.name in same and not (param.name == "workers" and path.startswith("medcli download")):
                words.setdefault((param.name, ""), set()).add(param.help)
    assert {name for name, _ in words} == set(same)
    assert all(len(texts) == 1 for texts in words.values()), words
