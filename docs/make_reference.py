"""Writes ``docs/reference.md``, the reference of every command, from the commands themselves.

    python docs/make_reference.py

Names, values, defaults and words come from the parameters that the command line is made of, so the page cannot say
anything that the program does not do; ``tests/test_reference.py`` compares the two.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from medcli.cli import app as root
from medcli.cli.shared.help_page import default_of, without_default
from medcli.cli.shared.output import ITEMS_FAILED
from medcli.core.errors import DataError, MedcliError, UsageError

TARGET = Path(__file__).with_name("reference.md")
SHARED = ("config", "json", "quiet", "verbose")
_TYPED = re.compile(r"(?<![\w`])(?:--[a-z][a-z-]*|\$?[\w./<>*-]*[_*<][\w./<>*-]*[\w>]/?)")
_INTRODUCTION = """\
# Command reference

Written by `python docs/make_reference.py` from the commands themselves, and compared with them by the tests: change a
help text in `medcli/cli/`, not here.
"""
_SHARED_WORDS = """\
## What all commands have in common

Results go to standard output; progress, warnings and errors go to standard error. `--json` prints one JSON object with
a `schema` field.

Running a command a second time repeats no finished work, and one that was interrupted resumes. Exceptions:
`runs repeat` repeats, and `convert` and `import` end with status 2 where their output exists, unless `--overwrite` is
given. Files are written under a temporary name and renamed, so a file under its final name is always complete, even
after `kill -9`.

An option that takes several values (`N ...` below) takes them in any way: `--specimens 2 7 8`, `--specimens 2,7,8`,
`--specimens 2-5` or the option repeated. Paths are relative to the working folder; folders that do not exist are made.
Each option has the first value that is given: on the command line, by the environment variable in the column *meaning*,
in the file of `--config`, in `medcli.toml` of the working folder, by default. Both files have a table for each command,
such as `[train.seg]`, with the names of its options ([settings from a file](runs.md#settings-from-a-file)); every run
stores its own. Two variables have no option: `MEDCLI_CACHE_DIR`, the folder of prepared frames and maps, and
`MEDCLI_MAX_PIXELS`, the largest image that is decoded (64 million pixels).

`train`, `evaluate` and `predict` mean `seg` where no subcommand is named: `medcli train --gpus 1` is
`medcli train seg --gpus 1`. `label`, `reconstruct`, `register` and `export` have a default as well; `--help` names it.
`--device` and `--gpus` are two spellings of one option of training, evaluation and prediction: `auto` (a GPU if
available), `cpu`, `mps`, `cuda`, `cuda:1`, or a number of GPUs (training only).

`--help` groups options and commands in panels on a terminal, and is plain text in a pipe. `medcli --install-completion`
sets up completion for the shell: commands, options, choices, the specimens in `--root`, encoders, devices, checkpoints
and run folders.
"""
EXIT_CODES = {
    0: "done",
    MedcliError.exit_code: (
        "failed: a file that cannot be written, a package that is not installed, a missed threshold of `--fail-under`"
    ),
    UsageError.exit_code: "wrong usage: an option or value that does not exist or fit, a GPU that is not there",
    DataError.exit_code: "data missing or damaged, or a source that cannot be reached",
    ITEMS_FAILED: "finished, but some items failed; they are listed, the others are done",
    root.INTERRUPTED: "interrupted (Ctrl-C, a time limit, a closed terminal)",
}


@dataclass(frozen=True)
class Row:
    """An argument or option: how it is typed, what it is without it, what it means."""

    typed: str
    default: str
    meaning: str


def reference() -> str:
    """The whole page."""
    commands = list(walk(typer.main.get_command(root.app), "medcli"))
    parts = [_INTRODUCTION, _contents(commands), _SHARED_WORDS, _shared_tables(commands)]
    parts += [_describe(command, path) for path, command in commands[1:]]
    parts.append(f"{commands[0][1].epilog}\n")
    return "\n".join(parts)


def walk(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every command and group below ``command`` in the order of the help, with what is typed to reach it."""
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from walk(child, f"{path} {name}")


def _contents(commands: list[tuple[str, Any]]) -> str:
    leaves = [(path, command) for path, command in commands if not hasattr(command, "commands")]
    rows = [[f"[`{path}`](#{path.replace(' ', '-')})", _first_sentence(command)] for path, command in leaves]
    return _table(["command", "what it does"], rows)


def _first_sentence(command: Any) -> str:
    first = " ".join(_paragraphs(command.help)[0].split())
    return first.partition(". ")[0].rstrip(".")


def _shared_tables(commands: list[tuple[str, Any]]) -> str:
    one = next(command for _, command in commands if not hasattr(command, "commands"))
    flags = [_row(param) for param in one.params if param.name in SHARED]
    flags.append(Row("`-h`, `--help`", "", "Show the options and leave."))
    codes = [[f"{code}", meaning] for code, meaning in sorted(EXIT_CODES.items())]
    shared = _table(["option of every command", "meaning"], [[row.typed, row.meaning] for row in flags])
    return f"{shared}\n{_table(['exit code', 'meaning'], codes)}"


def _describe(command: Any, path: str) -> str:
    if hasattr(command, "commands"):
        return f"## {path}\n\n{_prose(command.help)}{_default_command(command)}"
    shown = [param for param in command.params if param.name not in SHARED and not param.hidden]
    arguments = [param for param in shown if param.param_type_name == "argument"]
    flags = [param for param in shown if param.param_type_name == "option"]
    usage = " ".join([path, "[OPTIONS]", *(_in_usage(param) for param in arguments)])
    heading = "##" if path.count(" ") == 1 else "###"
    text = f"{heading} {path}\n\n```text\n{usage}\n```\n\n{_prose(command.help)}"
    for title, params in (("argument", arguments), ("option", flags)):
        if params:
            rows = [_row(param) for param in params]
            text += "\n" + _table([title, "default", "meaning"], [[r.typed, r.default, r.meaning] for r in rows])
    return text


def _default_command(group: Any) -> str:
    return f"\nWithout the name of a subcommand, `{group.default}` is meant.\n" if group.default else ""


def _in_usage(param: Any) -> str:
    name = _metavar(param) + ("..." if param.nargs == -1 else "")
    return name if param.required else f"[{name}]"


def _metavar(param: Any) -> str:
    return str(param.metavar)


def _row(param: Any) -> Row:
    meaning = without_default(param.help or "")
    if param.limits:
        meaning += f" {param.limits[0].upper()}{param.limits[1:]}."
    if param.param_type_name == "argument":
        typed = f"`{_metavar(param)}`"
    else:
        typed = ", ".join(f"`{flag}`" for flag in param.opts)
        typed += "" if param.is_flag else f" `{_metavar(param)}`"
    default = default_of(param)
    is_in_words = default and without_default(param.help or "") != (param.help or "").strip()
    shown = default if is_in_words or not default else f"`{default}`"
    return Row(typed, "(required)" if param.required else shown, meaning + _in_environment(param.envvar))


def _in_environment(names: str | list[str] | None) -> str:
    return f" (`{names if isinstance(names, str) else ', '.join(names)}`)" if names else ""


def _paragraphs(text: str) -> list[str]:
    return re.split(r"\n\s*\n", inspect.cleandoc(text))


def _prose(text: str) -> str:
    r"""Paragraphs; those that begin with ``\b`` keep their lines: a line of words above commands, as in the help."""
    return "\n".join(_block(paragraph) for paragraph in _paragraphs(text))


def _block(paragraph: str) -> str:
    if not paragraph.startswith("\b"):
        words = _escape(" ".join(paragraph.split()))
        return textwrap.fill(words, 120, break_long_words=False, break_on_hyphens=False) + "\n"
    groups: list[tuple[list[str], list[str]]] = []
    for line in paragraph.splitlines()[1:]:
        is_command = line.startswith("  ")
        if not groups or (groups[-1][1] and not is_command):
            groups.append(([], []))
        groups[-1][is_command].append(line[2:] if is_command else line)
    shown = ["{}\n\n```sh\n{}\n```\n".format(" ".join(words), "\n".join(commands)) for words, commands in groups]
    return "\n".join(shown)


def _table(header: list[str], rows: list[list[str]]) -> str:
    """A table whose columns are also aligned for those who read it as text."""
    cells = [[_escape(cell).replace("|", r"\|") for cell in row] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(header, *cells, strict=True)]
    lines = [_line(header, widths), "|" + "|".join("-" * (width + 2) for width in widths) + "|"]
    return "\n".join([*lines, *(_line(row, widths) for row in cells)]) + "\n"


def _line(cells: list[str], widths: list[int]) -> str:
    return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"


def _escape(text: str) -> str:
    """Sets what is typed or named (``--out``, ``Labels_pred``, ``runs/*/best``, ``<stem>``) as code."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else _TYPED.sub(r"`\g<0>`", part) for part in parts)


if __name__ == "__main__":
    TARGET.write_text(reference(), encoding="utf-8", newline="\n")
    print(f"wrote {TARGET}")
