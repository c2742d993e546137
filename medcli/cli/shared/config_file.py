"""Settings from a file: ``--config FILE``, and ``medcli.toml`` in the working folder.

A table for each command, ``[train.seg]``, with the names of its options. A value counts where neither the command line
nor an environment variable gives one: the parser asks them first, then these files (its ``default_map``).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from medcli.cli.shared.option_values import OptionKind, takes_optional_value
from medcli.core.errors import MedcliError, SeveralProblems, UsageError
from medcli.core.run_records.options import parse_toml
from medcli.core.secrets import holds_credential

NOT_SETTINGS = frozenset({"config", "json", "quiet", "verbose", "help", "version"})
"""Options about the command itself, which no file sets."""
_ONLY_TYPED = frozenset({"overwrite", "dry_run"})
"""Neither are these stored with a run: its settings, given again, must not replace results or do nothing."""
Spread = Callable[[str, Any], Sequence[Any]]
"""The values that one word of an option stands for: ``2-5`` is four numbers; raises typer.BadParameter."""


@dataclass(frozen=True)
class SettingsTable:
    """The values of one command in one file, checked.

    Attributes:
        file: where they are from.
        values: parameter -> value as if it were typed.
    """

    file: Path
    values: Mapping[str, Any]


def read_table(file: Path, ctx: Any, kinds: Mapping[str, OptionKind], spread: Spread) -> SettingsTable:
    """The settings of one command in a file.

    Args:
        ctx: of the command; its root knows every table and name that there may be.
        kinds: the type of each of its parameters.

    Raises:
        UsageError, SeveralProblems: the file cannot be read; it has unknown tables or names, holds a credential, or
            gives the command a value of a wrong type. Every problem is listed.
    """
    content, path = _parse(file), command_path(ctx)
    unknown = _unknown(content, ctx.find_root().command, ())
    problems: list[MedcliError] = [UsageError(f"{file}: {text}", hint) for text, hint in unknown]
    if problems:
        raise SeveralProblems(problems)
    values = {}
    for name, value in _below(content, path).items():
        param = _settable(ctx.command)[_plain(name)]
        where = f"{file}: [{'.'.join(path)}] {name}"
        try:
            values[param.name] = _as_typed(value, _Target(param, ctx, kinds[param.name], spread), where)
        except MedcliError as problem:
            problem.hint = f"correct that line; the values of --{_name(param)}: {ctx.command_path} --help"
            problems.append(problem)
    if problems:
        raise SeveralProblems(problems)
    return SettingsTable(file, values)


def command_path(ctx: Any) -> tuple[str, ...]:
    """``("train", "seg")``."""
    return tuple(ctx.command_path.split()[1:])


def command_values(params: Sequence[Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """What a command was called with, by option as a file has them; see :mod:`medcli.core.run_records.options`."""
    left_out = NOT_SETTINGS | _ONLY_TYPED
    return {_name(param): _as_text(given.get(param.name)) for param in params if param.name not in left_out}


def words_of(command: Any, values: Mapping[str, Any], environment: Mapping[str, str]) -> list[str]:
    """The words that give a command these values, as :func:`command_values` has them.

    Options that have their default are left out, unless a variable of ``environment`` would change them.
    """
    flags: list[str] = []
    arguments: list[str] = []
    for param in command.params:
        value = values.get(_name(param))
        several = value if isinstance(value, list) else [value]
        if value is None or value is False:
            continue
        if param.param_type_name == "argument":
            arguments += map(str, several)
            continue
        names = [param.envvar] if isinstance(param.envvar, str) else param.envvar or []
        is_overridden = any(name in environment for name in names)
        if _as_text(param.default) == value and not is_overridden:
            continue
        flags += [param.opts[0], *([] if value is True else map(str, several))]
    return [*arguments, *flags]


def _as_text(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_as_text(item) for item in value] or None
    value = getattr(value, "value", value)
    return value if value is None or isinstance(value, (bool, int, float)) else str(value)


def _parse(file: Path) -> dict[str, Any]:
    try:
        text = file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise UsageError(f"cannot read the settings {file}: {reason}", "name a TOML file: --config FILE") from error
    try:
        return parse_toml(text)
    except ValueError as error:
        # Its message quotes one character at most.
        hint = "a table for each command: [train.seg]"
        if re.search(r'"[^"\n]*\\(?!["\\])', text):
            hint = "in double quotes a backslash has another meaning: write paths with / or in single quotes"
        raise UsageError(f"{file} is not TOML: {error}", hint) from error


def _unknown(content: Mapping[str, Any], node: Any, path: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Tables and names that do not exist, and credentials; with a remedy each."""
    commands = getattr(node, "commands", None)
    for name, value in content.items():
        where = f"[{'.'.join(path)}] {name}" if path else name
        if commands is None:
            names = _settable(node)
            if _holds_credential(name, value):
                yield (
                    f"{where} holds a credential (not shown), which does not belong in a file of settings",
                    ("take it out; medcli download ultrabones --help says where a connection string belongs"),
                )
            elif _plain(name) not in names:
                shown = sorted({_name(param) for param in names.values()})
                yield f"{where} is not an option of medcli {' '.join(path)}", _nearest(name, shown, "options")
        elif name not in commands:
            if isinstance(value, dict):
                hint = _nearest_table(name, value, node, path)
                yield f"{_table((*path, name))} is not a known table", hint
                continue
            places = [_table(below) for below, command in _tables(node, path) if _plain(name) in _settable(command)]
            near = f"it is an option of {', '.join(places[:4])}" if places else _nearest_table(name, {}, node, path)
            yield f"{where} is not a known option: options are in the table of their command", near
        elif not isinstance(value, dict):
            table = _table((*path, name))
            yield f"{where} is not a table, expected {table}", f"write {table}, and the options below it"
        else:
            yield from _unknown(value, commands[name], (*path, name))


def _table(path: Sequence[str]) -> str:
    return f"[{'.'.join(path)}]"


def _tables(node: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Path and command of every table below a command."""
    for part, command in node.commands.items():
        if getattr(command, "commands", None) is not None:
            yield from _tables(command, (*path, part))
        else:
            yield (*path, part), command


def _nearest_table(name: str, value: Mapping[str, Any], node: Any, path: tuple[str, ...]) -> str:
    """The table that ``name`` is likely to mean: spelled similarly, and with the options that it holds, if one is."""
    below = next((part for part, inner in value.items() if isinstance(inner, dict)), None)
    given = [_plain(part) for part, inner in value.items() if not isinstance(inner, dict)]
    tables = {_table(place): set(_settable(command)) for place, command in _tables(node, path)}
    fitting = [table for table, names in tables.items() if names >= set(given)]
    named = _table((*path, name) if below is None else (*path, name, below)).replace("_", "-")
    near = difflib.get_close_matches(named, fitting or tables, 1, 0.5)
    groups = ", ".join(_table((*path, one)) for one in node.commands)
    return f"did you mean {near[0]}?" if near else f"the tables are {groups}"


def _nearest(name: str, known: Sequence[str], what: str) -> str:
    near = difflib.get_close_matches(name.replace("_", "-"), known, 1, 0.5)
    return f"did you mean {near[0]}?" if near else f"the {what} are {', '.join(known)}"


def _holds_credential(name: str, value: Any) -> bool:
    values = value if isinstance(value, list) else [value]
    return any(isinstance(one, str) and (holds_credential(one) or holds_credential(f"{name}={one}")) for one in values)


def _below(content: Mapping[str, Any], path: Sequence[str]) -> Mapping[str, Any]:
    for name in path:
        content = content.get(name, {})
    return content


def _settable(command: Any) -> dict[str, Any]:
    """The parameters that a file may set, by each of their names with ``_``."""
    return {
        _plain(name.lstrip("-")): param
        for param in command.params
        if param.name not in NOT_SETTINGS
        for name in ([param.name] if param.param_type_name == "argument" else param.opts)
        if param.param_type_name == "argument" or name.startswith("--")
    }


def _plain(name: str) -> str:
    return name.replace("-", "_")


def _name(param: Any) -> str:
    """``batch-size``; an argument, which has no flag, by the name of its parameter."""
    flags = [] if param.param_type_name == "argument" else [flag for flag in param.opts if flag.startswith("--")]
    return str(flags[0][2:] if flags else param.name.replace("_", "-"))


@dataclass(frozen=True)
class _Target:
    """The parameter that a value is for."""

    param: Any
    ctx: Any
    kind: OptionKind
    spread: Spread

    @property
    def takes_numbers_as_text(self) -> bool:
        """``--gpus auto|N`` and ``--precision 32|bf16`` are text, and their numbers are written as numbers."""
        words = (self.param.metavar or "").replace(" ...", "").split("|")
        return bool(self.kind.choices) or bool({"N", "ID", "IDS"} & set(words))


def _as_typed(value: Any, target: _Target, where: str) -> Any:
    """``value`` as the parser takes it; checked by it, so that its complaint names the place in the file."""
    if target.kind.element is bool:
        if not isinstance(value, bool):
            raise UsageError(f"{where} is {_kind(value)}, expected true or false")
        return value
    if isinstance(value, bool) and takes_optional_value(target.param):  # true is the option alone
        return target.kind.choices[0] if value else None
    if isinstance(value, list) and not target.kind.several:
        raise UsageError(f"{where} is a list, expected one value")
    values = [_single(one, target, where) for one in (value if isinstance(value, list) else [value])]
    try:
        words = [word for one in values for word in target.spread(one, target.param)] if target.kind.several else values
        target.param.process_value(target.ctx, words if target.kind.several else words[0])
    except (typer.BadParameter, ValueError) as error:
        reason = str(getattr(error, "message", None) or error).removeprefix("Value error, ")
        raise UsageError(f"{where}: {reason}") from error
    return words if target.kind.several else words[0]


def _single(value: Any, target: _Target, where: str) -> Any:
    """One value of the type that the option has, or of one that is written the same way."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if target.kind.element is int:
        fits = (is_number and isinstance(value, int)) or (isinstance(value, str) and target.kind.several)  # "2-5"
        expected = "a whole number"
    elif target.kind.element is float:
        fits, expected = is_number, "a number"
    else:
        fits, expected = isinstance(value, str) or (is_number and target.takes_numbers_as_text), "text in quotes"
    if not fits:
        raise UsageError(f"{where} is {_kind(value)}, expected {expected}")
    return str(value) if is_number and expected == "text in quotes" else value


def _kind(value: Any) -> str:
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "text", list: "a list"}
    return names.get(type(value), "a table" if isinstance(value, dict) else type(value).__name__)
