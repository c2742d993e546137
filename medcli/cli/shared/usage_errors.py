"""Wrong usage in the two lines of all errors: what is wrong, and what to type instead or where to read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

import typer

from medcli.cli.shared.help_panels import panel_of
from medcli.core.errors import DataError, MedcliError, UsageError

ParserError: Any = typer.BadParameter.__base__
"""Every error of the parser beneath Typer, which exports only this one of its classes."""


@contextmanager
def errors_of(ctx: Any) -> Iterator[None]:
    """Errors of the parser in the block concern the command of ``ctx``; not all of them say so."""
    try:
        yield
    except ParserError as error:
        error.ctx = error.ctx or ctx
        raise


@contextmanager
def with_remedies(ctx: Any) -> Iterator[None]:
    """Problems met in the block that do not say what to do next refer to the help of the command of ``ctx``."""
    try:
        yield
    except MedcliError as error:
        for problem in error.problems:
            correct = "correct or replace that, or name other data: " if isinstance(problem, DataError) else ""
            if problem.hint is None:  # an empty one: nothing to do but to read the message
                problem.hint = f"{correct}see {ctx.command_path} --help"
        raise


def misuse(message: str, ctx: Any) -> UsageError:
    """Wrong usage of the command of ``ctx``, whose help is named."""
    return UsageError(message, f"see {ctx.command_path} --help" if ctx else None)


def unknown(kind: str, name: str, known: Iterable[str], ctx: Any) -> UsageError:
    """A command or option that ``ctx`` does not have; the nearest one is named, if any is near."""
    message = f"{ctx.command_path} has no {kind} {name}"
    names = {one.lstrip("-"): one for one in known}
    near = get_close_matches(name.lstrip("-"), names, 1)
    return UsageError(message, f"did you mean {names[near[0]]}?") if near else misuse(message, ctx)


def as_usage_error(error: Any) -> UsageError:
    """The parser's error in the house form."""
    ctx = error.ctx
    if hasattr(error, "possibilities"):
        params = ctx.command.get_params(ctx)
        flags = [flag for param in params for flag in (*param.opts, *param.secondary_opts) if flag.startswith("--")]
        return unknown("option", error.option_name, flags, ctx)
    if isinstance(error, typer.BadParameter):
        return misuse(": ".join(filter(None, (_name(error), error.message))), ctx)
    message = error.format_message()
    text = f"{message[:1].lower()}{message[1:]}".rstrip(".")
    folders = _folder_options(ctx) if "unexpected extra argument" in text else []
    return UsageError(text, f"a folder is named by an option: {', '.join(folders)}") if folders else misuse(text, ctx)


def _folder_options(ctx: Any) -> list[str]:
    """Options of a command without arguments that name a folder to read."""
    params = ctx.command.get_params(ctx)
    if any(param.param_type_name == "argument" for param in params):
        return []
    named = [param.opts[0] for param in params if param.metavar == "FOLDER"]
    return [f"{flag} FOLDER" for flag in named if panel_of(ctx.command_path, flag) == "Data"]


def _name(error: Any) -> str:
    if error.param_hint:
        return error.param_hint if isinstance(error.param_hint, str) else " ".join(error.param_hint)
    if error.param is None:
        return ""
    return str(error.param.metavar if error.param.param_type_name == "argument" else error.param.opts[0])
