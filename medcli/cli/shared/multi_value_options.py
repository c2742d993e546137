"""Several values after one flag: ``--specimens 2 7 8``.

The parser beneath Typer takes one value a flag. :class:`WordsCommand` rewrites the words into repeated flags before
they are parsed, so that annotations stay correct (``list[int]``) and the help stays the parser's own.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import typer
from typer.core import CompletionItem, TyperCommand  # type: ignore[attr-defined]

from medcli.cli.shared.command_group import CommandGroup
from medcli.cli.shared.completion import offered
from medcli.cli.shared.help_page import HelpPage
from medcli.cli.shared.option_values import OptionKind, describe, option_kinds, takes_optional_value
from medcli.cli.shared.options import with_output
from medcli.cli.shared.output import say
from medcli.cli.shared.usage_errors import errors_of, misuse, with_remedies
from medcli.core.run_records.options import run_options
from medcli.core.secrets import holds_credential

_RANGE = re.compile(r"^(\d+)(?:-(\d+))?$")
_MOST_VALUES = 100_000
CONFIG = "medcli.toml"
"""The file of settings that is read where a command is started."""
_SETTINGS_TAKEN = "medcli.settings_taken"
_WORDS = "medcli.words"
"""Where a context keeps what was typed, for the shell's completion."""
_ADDRESS = "base_url"
"""The parameter that takes an address, which is checked and shown as one."""


class WordsCommand(HelpPage, TyperCommand):
    """A command whose list options take several words: ``2 7 8``, ``2,7,8``, ``2-5``, ``=2,7,8`` or repeated."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        kinds = option_kinds(self.callback)
        self._several: dict[str, OptionKind] = {}
        self._spellings: list[tuple[list[str], OptionKind]] = []
        self._optional: dict[str, str] = {}
        param: Any
        for param in self.params:
            kind = kinds[param.name]
            describe(param, kind)
            param.shell_complete = self._offering(param)
            if takes_optional_value(param):
                self._optional |= dict.fromkeys(param.opts, kind.choices[0])
            if param.multiple:
                self._several |= dict.fromkeys(param.opts, kind)
            elif not getattr(param, "is_flag", False) and len(param.opts) > 1:
                self._spellings.append((param.opts, kind))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if ctx.resilient_parsing:  # a shell asks how the words could go on
            ctx.meta[_WORDS] = tuple(args)
            with contextlib.suppress(typer.BadParameter):
                args = self._spread(args)
            return super().parse_args(ctx, args)
        with errors_of(ctx):
            words = self._spread(args)
            for flags, kind in self._spellings:
                _refuse_contradiction(words, flags, kind, ctx)
        rest = super().parse_args(ctx, words)
        names = [name for name in ctx.meta.pop(_SETTINGS_TAKEN, []) if _is_from_file(ctx, name)]
        if names and not ctx.params.get("quiet") and _is_first():
            say("", f"settings from {CONFIG}: {', '.join(names).replace('_', '-')}")
        for param in self.params:
            given = ctx.params.get(param.name or "")
            for value in given if isinstance(given, (list, tuple)) else [given]:
                if param.name != _ADDRESS:
                    _refuse_credential(value, param, ctx)
        return rest

    def take_settings(self, ctx: Any, file: Path | None, is_step: bool) -> None:
        """Give the options that are not typed the values of ``--config`` and of ``medcli.toml``.

        Args:
            is_step: the command is run by another one, in whose place no file of the folder speaks.
        """
        local = Path(CONFIG)
        files = ([] if is_step or not local.is_file() else [local]) + ([file] if file else [])
        if not files:
            return
        from medcli.cli.shared.config_file import read_table

        kinds = option_kinds(self.callback)

        def spread(word: Any, param: Any) -> Sequence[Any]:
            is_text = isinstance(word, str)
            return _elements(word, kinds[param.name], param.opts[0]) if is_text else [word]

        tables = [read_table(one, ctx, kinds, spread) for one in files]
        ctx.default_map = {name: value for table in tables for name, value in table.values.items()}
        overridden = tables[1].values if len(tables) > 1 else {}
        taken = tables[0].values if files[0] == local else {}
        ctx.meta[_SETTINGS_TAKEN] = [name for name in taken if name not in overridden]

    def invoke(self, ctx: Any) -> Any:
        from medcli.cli.shared.config_file import command_path, command_values
        from medcli.core.image_formats.damage import max_pixels

        options = command_values(self.params, ctx.params)
        with with_remedies(ctx), run_options(".".join(command_path(ctx)), options):
            max_pixels()  # a variable that is no number is refused before any image is
            return super().invoke(ctx)

    def _spread(self, words: list[str]) -> list[str]:
        takes_arguments = any(param.param_type_name == "argument" for param in self.params)
        return spread_values(with_values(words, self._optional), self._several, takes_arguments)

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        return super().shell_complete(ctx, incomplete) or self._more_values(ctx, incomplete)

    def _offering(self, param: Any) -> Callable[[Any, str], list[Any]]:
        def offer(ctx: Any, incomplete: str) -> list[Any]:
            more = self._more_values(ctx, incomplete) if param.param_type_name == "argument" else []
            return more or self._offered(param, ctx, incomplete)

        return offer

    def _more_values(self, ctx: Any, incomplete: str) -> list[Any]:
        """Further values of the list option that was typed last."""
        flags = [word.partition("=")[0] for word in ctx.meta.get(_WORDS, ()) if _is_option(word)]
        params = [param for param in self.params if param.multiple and flags and flags[-1] in param.opts]
        return [item for param in params for item in self._offered(param, ctx, incomplete)]

    def _offered(self, param: Any, ctx: Any, incomplete: str) -> list[Any]:
        """Values for the last part of a list with commas: ``2,`` goes on as ``2,7``."""
        head, comma, last = incomplete.rpartition(",")
        kind = self._several.get(param.opts[0])
        if not comma or kind is None or not _takes_commas(kind):
            return offered(param, ctx, incomplete)
        given: list[str] = []
        with contextlib.suppress(typer.BadParameter):
            given = _elements(head, kind, "")
        items = [item for item in offered(param, ctx, last) if item.value not in given]
        return [CompletionItem(f"{head},{item.value}") for item in items]


def _is_from_file(ctx: Any, name: str) -> bool:
    """Whether a parameter has the value of a file: neither typed nor of the environment."""
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "DEFAULT_MAP"


def _refuse_contradiction(words: list[str], flags: list[str], kind: OptionKind, ctx: Any) -> None:
    """Stop where two spellings of an option (``--device``, ``--gpus``) are given with values of another meaning."""
    given: dict[str, str] = {}
    for word, after in zip(words, [*words[1:], ""], strict=False):
        flag, equals, value = word.partition("=")
        if flag in flags:
            given[flag] = value if equals else after
    if len(given) > 1 and len({kind.value(value) for value in given.values()}) > 1:
        raise misuse(f"{' and '.join(map(' '.join, given.items()))} contradict each other", ctx)


def _refuse_credential(value: Any, param: Any, ctx: Any) -> None:
    """Stop before a connection string or a signed address that was pasted here names a file or is sent somewhere."""
    if isinstance(value, (str, Path)) and not isinstance(value, Enum) and holds_credential(str(value)):
        raise typer.BadParameter(
            "it holds a password, key, token or signature (not shown), which does not belong here; "
            "`medcli download ultrabones --help` says where a connection string does",
            ctx=ctx,
            param=param,
        )


class App(typer.Typer):
    """A Typer app in the house style: plain help, no tracebacks in boxes, list options that take several words.

    A command's parameter ``output`` stands for ``--json --quiet --verbose``.
    """

    def __init__(self, **settings: Any) -> None:
        defaults: dict[str, Any] = {
            "cls": CommandGroup,
            "add_completion": False,
            "rich_markup_mode": None,
            "pretty_exceptions_enable": False,
            "no_args_is_help": True,
            "context_settings": {"help_option_names": ["-h", "--help"], "max_content_width": 100},
        }
        super().__init__(**(defaults | settings))

    def command(self, name: str | None = None, **settings: Any) -> Callable[[Any], Any]:
        settings.setdefault("cls", WordsCommand)
        register = super().command(name, **settings)
        return lambda function: register(with_output(function))


def with_values(words: Sequence[str], optional: Mapping[str, str]) -> list[str]:
    """Give flags whose value may be left out the one that is meant then: ``--refine`` is ``--refine frames``.

    Args:
        optional: flag -> the value that it means alone.
    """
    given: list[str] = []
    for word, after in zip(words, [*words[1:], "-"], strict=False):
        given += [word, optional[word]] if word in optional and after.startswith("-") else [word]
    return given


def spread_values(words: Sequence[str], kinds: Mapping[str, OptionKind], takes_arguments: bool) -> list[str]:
    """Rewrite ``--flag a b`` into ``--flag a --flag b`` for the flags in ``kinds``.

    Args:
        words: what the user typed after the command's name.
        kinds: of the flags that take several values.
        takes_arguments: the command also takes positional words; then the values end at the first word that is
            not of the flag's type, and that word and the rest are left to the arguments.

    Raises:
        typer.BadParameter: a word is not a value of its flag; the word is quoted.
    """
    spread: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            return [*spread, word, *rest]
        flag, equals, first = word.partition("=")
        if flag not in kinds:
            spread.append(word)
            continue
        values = [first] if equals else []
        while rest and not _is_option(rest[0]):
            if values and takes_arguments and not _is_value(rest[0], kinds[flag]):
                break
            values.append(rest.pop(0))
        if not values:
            spread.append(flag)  # the parser says that a value is missing
        for value in values:
            for element in _elements(value, kinds[flag], flag):
                spread += [flag, element]
    return spread


def _is_option(word: str) -> bool:
    return word.startswith("-") and not re.match(r"^-\.?\d", word)


def _is_value(word: str, kind: OptionKind) -> bool:
    try:
        _elements(word, kind, "")
    except typer.BadParameter:
        return False
    return True


def _elements(word: str, kind: OptionKind, flag: str) -> list[str]:
    """The single values that one word stands for; commas separate values of every type but text and paths."""
    if not _takes_commas(kind):
        return [word]
    parts = [part.strip() for part in word.split(",") if part.strip()]
    if not parts:
        raise typer.BadParameter(f"'{word}' holds no value", param_hint=[flag])
    return [value for part in parts for value in _element_values(part, kind, flag)]


def _takes_commas(kind: OptionKind) -> bool:
    return kind.element not in (str, Path)


def _element_values(part: str, kind: OptionKind, flag: str) -> list[str]:
    if kind.element is int:
        return _integers(part, flag)
    try:
        kind.value(part)
    except ValueError as error:
        raise typer.BadParameter(f"'{part}' is not {error}", param_hint=[flag]) from error
    return [part]


def _integers(part: str, flag: str) -> list[str]:
    match = _RANGE.match(part)
    if match is None:
        raise typer.BadParameter(f"'{part}' is not a whole number or a range like 2-5", param_hint=[flag])
    first, last = int(match[1]), int(match[2] or match[1])
    if last < first or last - first >= _MOST_VALUES:
        raise typer.BadParameter(f"'{part}' is not a range from a smaller to a larger number", param_hint=[flag])
    return [str(number) for number in range(first, last + 1)]


def _is_first() -> bool:
    """Whether this is the process that prints, of those that a launcher started to train together."""
    from medcli.training.devices import is_first_process

    return is_first_process()
