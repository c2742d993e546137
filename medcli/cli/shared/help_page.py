"""The help of a command: panels on a terminal; elsewhere the plain text of the parser, for grep and for logs."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import typer

from medcli.cli.shared.help_panels import ARGUMENTS, OPTIONS, PANELS, panel_of
from medcli.cli.shared.option_values import OptionKind, describe
from medcli.cli.shared.usage_errors import errors_of

if TYPE_CHECKING:
    from rich.console import Console
    from rich.panel import Panel
    from rich.text import Text

_WIDEST, _WIDEST_VALUE = 120, 14  # columns
_NAME, _VALUE, _TYPED, _NOTE = "bold cyan", "yellow", "cyan", "dim"
_FLAGS = r"(?<![\w-])--[a-z][a-z-]*"
_DEFAULT_IN_WORDS = re.compile(r"\s*\[default: (.*)\]$", re.DOTALL)


class Row(NamedTuple):
    """A line of a panel: name of an option or command, what its value is called, what it does, and remarks."""

    name: str
    value: str
    about: str
    remarks: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """What it does, with the remarks."""
        return "  ".join((self.about, *(f"[{remark}]" for remark in self.remarks)))


class HelpPage:
    """The part of commands and of groups that is their help."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        if sys.stdout.isatty():
            formatter.write(_page(self, ctx))
        else:
            super().format_help(ctx, formatter)  # type: ignore[misc]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args and self.no_args_is_help and not ctx.resilient_parsing:  # type: ignore[attr-defined]
            typer.echo(ctx.get_help(), err=True)
            raise typer.Exit(2)
        with errors_of(ctx):
            return super().parse_args(ctx, args)  # type: ignore[misc,no-any-return]

    def get_help_option(self, ctx: Any) -> Any:
        option = super().get_help_option(ctx)  # type: ignore[misc]
        if option is not None:
            describe(option, OptionKind(bool))
        return option

    def command_rows(self) -> dict[str, list[Row]]:
        """Name and purpose of each subcommand, by panel."""
        return {}

    def remark(self, ctx: Any) -> str:
        """A paragraph after the help text."""
        return ""


def first_sentence(text: str) -> str:
    """The first sentence of a help text."""
    first = " ".join(inspect.cleandoc(text).split("\n\n")[0].split())
    return re.split(r"(?<=\.) ", first, maxsplit=1)[0]


def default_of(param: Any) -> str:
    """The default of a parameter in words: those of its help text, or its value."""
    in_words = _DEFAULT_IN_WORDS.search(param.help or "")
    return in_words[1] if in_words else "" if isinstance(param.default, bool) else _spelled(param.default)


def without_default(about: str) -> str:
    """A help text without the default at its end."""
    return _DEFAULT_IN_WORDS.sub("", about.strip())


def _spelled(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return " ".join(map(_spelled, value))
    if isinstance(value, Path):
        return value.as_posix()
    return "" if value is None else str(value.value if isinstance(value, Enum) else value)


def _page(command: Any, ctx: Any) -> str:
    console = _console()
    with console.capture() as capture:
        console.print(_usage(command, ctx))
        console.print()
        for part in _prose(f"{command.help or ''}\n\n{command.remark(ctx)}"):
            console.print(part)
            console.print()
        for panel in (*_panels(_param_rows(command, ctx)), *_panels(command.command_rows())):
            console.print(panel)
        if command.epilog:
            console.print(f" {command.epilog}", style=_NOTE)
    return capture.get()


def _console() -> Console:
    from rich.console import Console

    console = Console(highlight=False, markup=False)
    if console.legacy_windows:  # it would show the codes of colours as text
        console = Console(highlight=False, markup=False, color_system=None)
    console.width = min(console.width, _WIDEST)
    return console


def _usage(command: Any, ctx: Any) -> Text:
    from rich.text import Text

    words = Text.assemble(" ", ("Usage: ", _VALUE), (ctx.command_path, "bold"))
    return words.append(" " + " ".join(command.collect_usage_pieces(ctx)))


def _prose(text: str) -> Iterator[Text]:
    r"""Paragraphs; those that begin with ``\b`` keep their lines, and what is typed in them stands out."""
    from rich.padding import Padding
    from rich.text import Text

    for paragraph in filter(None, re.split(r"\n\s*\n", inspect.cleandoc(text))):
        if paragraph.startswith("\b"):
            part = Text(paragraph.removeprefix("\b\n"))
            part.highlight_regex(r"(?m)^  .*$", _TYPED)
        else:
            part = Text(" ".join(paragraph.split()))
            part.highlight_regex(_FLAGS, _TYPED)
        yield Padding(part, (0, 1))  # type: ignore[misc]


def _param_rows(command: Any, ctx: Any) -> dict[str, list[Row]]:
    """The lines of arguments and options by panel, in the order of the panels."""
    rows: dict[str, list[Row]] = {panel: [] for panel in (ARGUMENTS, *PANELS, OPTIONS)}
    is_group = hasattr(command, "commands")
    for param in command.get_params(ctx):
        if getattr(param, "hidden", False):
            continue
        if param.param_type_name == "argument":
            rows[ARGUMENTS].append(Row(param.metavar, "", without_default(param.help or ""), _remarks(param)))
            continue
        flags = sorted(param.opts, key=len, reverse=True)
        value = "" if param.is_flag else param.metavar
        row = Row(", ".join(flags), value, without_default(param.help or ""), _remarks(param))
        rows[OPTIONS if is_group else panel_of(ctx.command_path, flags[0]) or OPTIONS].append(row)
    return rows


def _remarks(param: Any) -> tuple[str, ...]:
    limits, default, variable = getattr(param, "limits", ""), default_of(param), param.envvar
    return (
        *((limits,) if limits else ()),
        *(("required",) if param.required else (f"default: {default}",) if default else ()),
        *((f"env: {variable}",) if variable else ()),
    )


def _panels(rows: dict[str, list[Row]]) -> Iterator[Panel]:
    """The panels with something in them; their columns are aligned."""
    from rich.panel import Panel
    from rich.table import Table

    shown = [row for lines in rows.values() for row in lines]
    values = {row.value: _broken(row.value) for row in shown}
    name_width = max((len(row.name) for row in shown), default=0)
    value_width = max((len(line) for text in values.values() for line in text.splitlines()), default=0)
    for title, lines in rows.items():
        if not lines:
            continue
        table = Table.grid(padding=(0, 2, 0, 0), expand=True)
        table.add_column(style=_NAME, no_wrap=True, width=name_width)
        if value_width:
            table.add_column(style=_VALUE, no_wrap=True, width=value_width)
        table.add_column(ratio=1)
        for row in lines:
            table.add_row(row.name, *([values[row.value]] if value_width else []), _about(row))
        yield Panel(table, title=title, title_align="left", border_style=_NOTE)


def _about(row: Row) -> Text:
    from rich.text import Text

    words = Text(row.about)
    words.highlight_regex(_FLAGS, _TYPED)
    for remark in row.remarks:
        words.append(f" [{remark}]", _NOTE)
    return words


def _broken(value: str) -> str:
    """Choices in lines that are not too long: broken behind a bar."""
    lines = [""]
    for part in re.findall(r"[^|]+\|?", value):
        if lines[-1] and len(lines[-1]) + len(part) > _WIDEST_VALUE:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)
