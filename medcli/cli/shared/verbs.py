"""The verbs of the command line. Each is a module beside :mod:`medcli.cli.app`, imported when the verb is typed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar

import typer

from medcli.cli.shared.command_group import CommandGroup
from medcli.cli.shared.help_page import Row


@dataclass(frozen=True)
class Verb:
    """A command or group below ``medcli``, in the module of its name.

    Attributes:
        name: what is typed.
        panel: where the help lists it.
        help: what it does, in a sentence.
        default: the subcommand that is meant where none is named; empty: one has to be.
        module: its module, where it cannot have the verb's name.
    """

    name: str
    panel: str
    help: str
    default: str = ""
    module: str = ""

    @property
    def row(self) -> Row:
        """Its line in the list of commands; the default is remarked where the help does not name it."""
        is_named = not self.default or f"({self.default}, default)" in self.help
        return Row(self.name, "", self.help, () if is_named else (f"default: {self.default}",))

    def load(self) -> Any:
        """The command or group itself."""
        group: Any = typer.main.get_group(import_module(f"medcli.cli.{self.module or self.name}").app)
        if list(group.commands) == [self.name]:  # a verb without subcommands
            return group.commands[self.name]
        group.name, group.help, group.default = self.name, self.help, self.default
        return group


class Verbs(Mapping[str, Any]):
    """Commands by name, of which those of ``verbs`` are loaded when they are asked for."""

    def __init__(self, verbs: tuple[Verb, ...], others: Mapping[str, Any]) -> None:
        self.verbs = {verb.name: verb for verb in verbs}
        self._loaded = dict(others)

    def __getitem__(self, name: str) -> Any:
        if name not in self._loaded:
            self._loaded[name] = self.verbs[name].load()
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*self.verbs, *self._loaded)))

    def __len__(self) -> int:
        return len(self.verbs.keys() | self._loaded.keys())

    def __contains__(self, name: object) -> bool:
        return name in self.verbs or name in self._loaded


class VerbGroup(CommandGroup):
    """The root: it lists its verbs without loading them."""

    verbs: ClassVar[tuple[Verb, ...]] = ()

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands: Any = Verbs(self.verbs, self.commands)

    def command_rows(self) -> dict[str, list[Row]]:
        rows: dict[str, list[Row]] = {}
        for verb in self.verbs:
            rows.setdefault(verb.panel, []).append(verb.row)
        return rows
