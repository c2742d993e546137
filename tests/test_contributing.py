"""CONTRIBUTING.md refers to existing files, functions and commands."""

from __future__ import annotations

import re
import shlex

from tests.conftest import REPOSITORY
from tests.test_reference import parse

PAGE = (REPOSITORY / "CONTRIBUTING.md").read_text("utf-8")
NEW = {"medcli/ultrabones/encoders.py"}
"""Files that the page asks the reader to create."""


def in_code() -> list[str]:
    return [
        text.replace("\n", " ") for text in re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL))
    ]


def test_every_path_exists() -> None:
    paths = [text for text in in_code() if re.fullmatch(r"[\w./-]+(/|\.py|\.md)|Makefile", text)]
    assert len(paths) > 30
    assert [path for path in paths if path not in NEW and not (REPOSITORY / path).exists()] == []


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = set(re.findall(r"^make ([a-z-]+)", PAGE, re.MULTILINE)) | set(re.findall(r"`make ([a-z-]+)`", PAGE))
    assert {"demo", "test", "test-deep", "coverage", "docs", "wheel", "benchmark"} == named <= targets


def test_commands_are_valid() -> None:
    commands = [
        text for text in in_code() if text.startswith(("medcli ", ".venv/bin/medcli ")) and "--help" not in text
    ]
    assert len(commands) >= 5
    for command in commands:
        parse(shlex.split(command)[1:])


def test_names_exist_in_the_files_that_the_page_states() -> None:
    """Of each ``name`` of ``file``, or ``name`` in ``file``, the file has the name."""
    pairs = re.findall(r"`(\w+)` (?:of|in)\s+`(medcli/[\w/]+\.py)`", PAGE)
    assert len(pairs) >= 8
    for name, path in pairs:
        assert re.search(rf"\b{name}\b", (REPOSITORY / path).read_text("utf-8")), f"{path} has no {name}"


def test_the_other_page_points_to_it() -> None:
    assert "CONTRIBUTING.md" in (REPOSITORY / "AGENTS.md").read_text("utf-8")
