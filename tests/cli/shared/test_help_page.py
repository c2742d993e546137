"""The help on a terminal: panels in which every option and every verb has its place; plain text elsewhere."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from medcli.cli.app import Root
from medcli.cli.shared.help_panels import COMMANDS, ELSEWHERE, PANELS, panel_of
from tests.cli.test_app import command_paths
from tests.conftest import Ran
from tests.test_reference import COMMANDS as BY_PATH

TYPES = re.compile(r"<(int|float|str|bool|path|file|dir)\b|list\[")
CODES = re.compile(r"\x1b\[[0-9;]*m")
LEAVES = {path: command for path, command in BY_PATH.items() if not hasattr(command, "commands")}


@pytest.fixture
def on_a_terminal(medcli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """The help of a command as on a terminal of so many columns."""
    monkeypatch.setattr("medcli.cli.shared.guarded_streams.GuardedStream.isatty", lambda _: True)
    monkeypatch.setattr("rich.console.detect_legacy_windows", lambda: False)  # Windows' answer of what is no terminal
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)

    def help_of(columns: int, *path: str) -> str:
        monkeypatch.setenv("COLUMNS", str(columns))
        return medcli(*path, "--help").out

    return help_of


def test_every_option_and_every_verb_has_a_panel() -> None:
    flags = {(path, flag) for path, command in LEAVES.items() for param in command.params for flag in param.opts}
    options = {(path, flag) for path, flag in flags if flag.startswith("--")}
    missing = sorted(flag for path, flag in options if panel_of(path, flag) is None)
    assert not missing, f"add {' '.join(missing)} to PANELS in medcli/cli/shared/help_panels.py"
    verbs = [verb.name for verb in Root.verbs if verb.panel not in COMMANDS]
    assert not verbs, f"give {' '.join(verbs)} one of the panels of COMMANDS in medcli/cli/shared/help_panels.py"
    used = {flag for _, flag in options} | {"--help"}
    unused = sorted({flag for words in PANELS.values() for flag in words.split()} - used)
    unused += sorted(set(ELSEWHERE) - {f"{path.split()[1]} {flag}" for path, flag in options})
    assert not unused, f"remove {' '.join(unused)} from medcli/cli/shared/help_panels.py: no command has it"
    assert len({flag for words in PANELS.values() for flag in words.split()}) == sum(
        len(words.split()) for words in PANELS.values()
    )


def test_the_verbs_are_in_the_order_of_a_study() -> None:
    order = [COMMANDS.index(verb.panel) for verb in Root.verbs]
    assert order == sorted(order)


@pytest.mark.parametrize("columns", [80, 120])
def test_pages_on_a_terminal(on_a_terminal: Callable[..., str], columns: int) -> None:
    for path in command_paths():
        coloured = on_a_terminal(columns, *path)
        text = CODES.sub("", coloured)
        assert coloured != text
        assert max(map(len, text.splitlines())) <= columns, path
        assert f" Usage: medcli {' '.join(path)}" in text.replace("  ", " ")
        assert not TYPES.search(text), path
        command = BY_PATH[" ".join(["medcli", *path])]
        flags = [max(param.opts, key=len) for param in command.params if param.param_type_name == "option"]
        assert all(re.search(rf"│ {flag}\b", text) for flag in flags), path
        assert text.count("╭─") == text.count("╰─") > 0


def test_options_stand_in_their_panels(on_a_terminal: Callable[..., str]) -> None:
    text = CODES.sub("", on_a_terminal(100, "train", "seg"))
    panels = dict(re.findall(r"╭─ (.*?) ─+╮\n(.*?)╰", text, re.DOTALL))
    assert list(panels) == ["Data", "Network", "Training", "Hardware", "Output", "Every command"]
    assert re.search(r"│ --root +FOLDER +Folder of UltraBones100k", panels["Data"])
    assert re.search(r"│ --epochs +N +Number .*\[1 or more\]", panels["Training"])
    assert "[default: resnet34]" in re.sub(r"[│\s]+", " ", panels["Network"])  # wherever it is folded
    assert "--help, -h" in panels["Every command"]
    verbs = CODES.sub("", on_a_terminal(100))
    assert re.findall(r"╭─ (.*?) ─", verbs) == ["Options", *dict.fromkeys(verb.panel for verb in Root.verbs)]


def test_elsewhere_it_is_plain(medcli: Callable[..., Ran]) -> None:
    for path in command_paths():
        text = medcli(*path, "--help").out
        assert text.isascii() or not re.search("[\u2500-\u257f\x1b]", text), path
        assert text.startswith(f"Usage: {' '.join(['medcli', *path])}")
        assert not TYPES.search(text), path
