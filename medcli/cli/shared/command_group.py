"""A group of commands in the house style: its help, its default subcommand, and what it says of unknown ones."""

from __future__ import annotations

import os
from difflib import get_close_matches
from typing import Any

from typer.core import CompletionItem, TyperGroup  # type: ignore[attr-defined]

from medcli.cli.shared.help_page import HelpPage, Row, first_sentence
from medcli.cli.shared.option_values import OptionKind, describe
from medcli.cli.shared.usage_errors import unknown


class CommandGroup(HelpPage, TyperGroup):
    """A group; with a ``default``, ``evaluate --json`` is ``evaluate seg --json``.

    Attributes:
        default: the subcommand that is meant where none is named; empty: one has to be.
    """

    default = ""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        for param in self.params:  # --version and those that Typer adds for completion
            describe(param, OptionKind(bool))
        if self.default and self._means_default(ctx, args):
            args = [self.default, *args]
        return super().parse_args(ctx, args)

    def _means_default(self, ctx: Any, args: list[str]) -> bool:
        if not args:
            return not ctx.resilient_parsing  # a shell that completes the name of the subcommand
        first = args[0].partition("=")[0]
        if first.startswith("-"):
            return first not in {flag for param in self.get_params(ctx) for flag in param.opts}
        if first in self.commands or not self._default_takes_arguments():
            return False
        return os.path.lexists(args[0]) or not get_close_matches(first, list(self.commands))

    def _default_takes_arguments(self) -> bool:
        return any(param.param_type_name == "argument" for param in self.commands[self.default].params)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in self.commands and not ctx.resilient_parsing and not args[0].startswith("-"):
            raise unknown("command", args[0], self.commands, ctx)
        return super().resolve_command(ctx, args)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        pieces = super().collect_usage_pieces(ctx)
        return [*pieces[:-1], "[COMMAND] [ARGS]..."] if self.default else pieces

    def remark(self, ctx: Any) -> str:
        if not self.default:
            return ""
        return f"{ctx.command_path} [OPTIONS] is short for {ctx.command_path} {self.default} [OPTIONS]."

    def command_rows(self) -> dict[str, list[Row]]:
        commands = {name: command for name, command in self.commands.items() if not command.hidden}
        return {"Commands": [self._row(name, command.help or "") for name, command in commands.items()]}

    def _row(self, name: str, text: str) -> Row:
        return Row(name, "", first_sentence(text), ("default",) if name == self.default else ())

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        rows = [row for rows in self.command_rows().values() for row in rows if row.name.startswith(incomplete)]
        found = [CompletionItem(row.name, help=row.about) for row in rows]
        if self.default and not found:  # options of the subcommand that is meant
            inner = self.commands[self.default].make_context(self.default, [], parent=ctx, resilient_parsing=True)
            found += inner.command.shell_complete(inner, incomplete)
        flags = [flag for param in self.get_params(ctx) for flag in param.opts if flag.startswith(incomplete or " ")]
        return found + [CompletionItem(flag) for flag in flags if flag not in {item.value for item in found}]

    def format_help_text(self, ctx: Any, formatter: Any) -> None:
        super().format_help_text(ctx, formatter)
        if remark := self.remark(ctx):
            formatter.write_paragraph()
            with formatter.indentation():
                formatter.write_text(remark)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(row.name, row.text) for rows in self.command_rows().values() for row in rows])
