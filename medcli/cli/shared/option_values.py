"""What an option takes: its words become values here, and the help names the values by it.

Typer converts through pydantic, whose import takes as long as a whole refusal; the few types that options have are
converted by this module, in the words of all other errors.
"""

from __future__ import annotations

import glob
import inspect
import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import typer

from medcli.cli.shared.usage_errors import misuse
from medcli.core.errors import MedcliError
from medcli.core.secrets import redact
from medcli.core.system.path_names import path_fault

_LONGEST_SHOWN = 40  # characters of a name in a message
_YES, _NO = {"1", "true", "t", "yes", "y", "on"}, {"0", "false", "f", "no", "n", "off"}


@dataclass(frozen=True)
class OptionKind:
    """The type of an option or argument.

    Attributes:
        element: ``int``, ``float``, ``bool``, ``str``, ``Path``, an ``Enum`` or a ``Literal``: the type of one value.
        several: it takes a list of them.
        least: the smallest number; None: no limit.
        most: the largest number.
        parser: function that makes the value from the word, in place of the type; raises ``ValueError``.
    """

    element: Any
    several: bool = False
    least: float | None = None
    most: float | None = None
    parser: Callable[[str], Any] | None = None

    @classmethod
    def of(cls, annotation: Any) -> OptionKind:
        """The kind that ``Annotated[list[int] | None, typer.Option(min=1)]`` describes."""
        kind, info = annotation, None
        if get_origin(annotation) is Annotated:
            kind, info = get_args(annotation)[:2]
        if type(None) in get_args(kind):
            kind = next(one for one in get_args(kind) if one is not type(None))
        several = get_origin(kind) is list
        limits = (getattr(info, name, None) for name in ("min", "max", "parser"))
        return cls(get_args(kind)[0] if several else kind, several, *limits)

    @property
    def choices(self) -> tuple[str, ...]:
        """The words that it takes; none if it takes others, too."""
        if get_origin(self.element) is Literal:
            return get_args(self.element)
        if isinstance(self.element, type) and issubclass(self.element, Enum):
            return tuple(str(item.value) for item in self.element)
        return ()

    @property
    def limits(self) -> str:
        """The limits of a number in words; empty if there are none."""
        if self.least is None:
            return "" if self.most is None else f"at most {self.most:,g}"
        return f"{self.least:,g} or more" if self.most is None else f"{self.least:,g} to {self.most:,g}"

    def placeholder(self, about: str) -> str:
        """What the help shows for a value: ``N``, ``NUMBER``, ``FOLDER``, ``FILE``, ``NAME`` or the choices.

        Args:
            about: the help text of the option; it begins with the word folder where one is meant.
        """
        if self.choices:
            name = "|".join(self.choices)
        elif self.element is Path:
            name = "FOLDER" if about.startswith("Folder") else "FILE"
        else:
            name = {int: "N", float: "NUMBER"}.get(self.element, "ADDRESS" if about.startswith("Address") else "NAME")
        return name

    def value(self, word: Any) -> Any:
        """The value of one word; what is no text any more (a default, a number of a file) is only checked.

        Raises:
            ValueError: what the word is not, as in ``a whole number``.
            typer.BadParameter: by a parser of its own.
        """
        if self.parser is not None:
            return self.parser(word) if isinstance(word, str) else word
        if self.choices:
            return self._choice(word)
        if self.element in (int, float):
            return self._number(word)
        if self.element is bool:
            return _truth(word)
        return self.element(word) if self.element in (str, Path) else word

    def _choice(self, word: Any) -> Any:
        text = str(word.value if isinstance(word, Enum) else word)
        if text not in self.choices:
            raise ValueError(f"one of {', '.join(self.choices)}")
        return text if get_origin(self.element) is Literal else self.element(text)

    def _number(self, word: Any) -> Any:
        try:
            number = self.element(word)
        except (TypeError, ValueError):
            number = None
        if number is None or isinstance(word, bool) or (isinstance(word, float) and number != word):
            raise ValueError("a whole number" if self.element is int else "a number")
        if not math.isfinite(number):
            raise ValueError("a finite number")
        if (self.least is not None and number < self.least) or (self.most is not None and number > self.most):
            raise ValueError(self.limits)
        return number


def _truth(word: Any) -> bool:
    if isinstance(word, bool):
        return word
    if str(word).lower() not in _YES | _NO:
        raise ValueError("yes or no")
    return str(word).lower() in _YES


def option_kinds(callback: Any) -> dict[str, OptionKind]:
    """The kind of each parameter of a command's function, by name."""
    if callback is None:
        return {}
    hints = inspect.get_annotations(inspect.unwrap(callback), eval_str=True)
    return {name: OptionKind.of(hint) for name, hint in hints.items() if name != "return"}


def takes_optional_value(param: Any) -> bool:
    """Whether an option may stand alone, which means the first of its choices: its values are in brackets."""
    return param.param_type_name == "option" and str(param.metavar or "").startswith("[")


def describe(param: Any, kind: OptionKind) -> None:
    """Name the values of a parameter for the help, and let its words become values of its kind."""
    if not getattr(param, "is_flag", False):
        param.metavar = param.metavar or kind.placeholder(param.help or "")
        if param.param_type_name == "argument":
            _describe_argument(param, kind)
        elif kind.several and " " not in param.metavar:
            param.metavar += " ..."
    param.limits, param.choices = kind.limits, kind.choices
    param.process_value = _converting(param, kind)


def _describe_argument(param: Any, kind: OptionKind) -> None:
    name = (param.metavar if param.required else f"[{param.metavar}]") + ("..." if kind.several else "")
    param.get_usage_pieces = lambda ctx: [name]
    param.display_type_rich = lambda ctx: ""  # Typer would show the type behind the name


def _converting(param: Any, kind: OptionKind) -> Callable[[Any, Any], Any]:
    """What takes the place of the parameter's own ``process_value``."""

    def process_value(ctx: Any, given: Any) -> Any:
        if given is None:
            value: Any = () if kind.several else None
        elif kind.several:
            value = [_checked(param, kind, word, ctx) for word in _spread(given, kind)]
        else:
            value = _checked(param, kind, given, ctx)
        if param.required and value in (None, (), []):
            raise misuse(f"{_shown(param)} is missing", ctx)
        return param.callback(ctx, param, value) if param.callback else value

    return process_value


def _checked(param: Any, kind: OptionKind, word: Any, ctx: Any) -> Any:
    try:
        value = kind.value(word)
    except ValueError as error:
        raise typer.BadParameter(f"'{word}' is not {error}", ctx=ctx, param=param) from error
    if isinstance(value, Path):
        _check_names(value, param.opts[0])
    return value


def _shown(param: Any) -> str:
    return str(param.metavar) if param.param_type_name == "argument" else f"{param.opts[0]} {param.metavar}"


def _check_names(path: Path, flag: str) -> None:
    """Refuse what no file system takes, before the work instead of after it.

    Raises:
        MedcliError: a name is too long, or not one that Windows takes there.
    """
    name, fault = path_fault(path)
    if fault:
        shown = name if len(name) <= _LONGEST_SHOWN else f"{redact(name)[:_LONGEST_SHOWN]}…"
        what = "a shorter" if len(name) > _LONGEST_SHOWN else "another"
        raise MedcliError(f"cannot use {shown}: {fault}", f"give {what} {flag}")


def _spread(words: Sequence[Any], kind: OptionKind) -> Iterator[Any]:
    """The words of a list; of files on Windows, whose shells do so with none, those that a pattern names."""
    for word in words:
        found: list[str] = []
        if os.name == "nt" and kind.element is Path and isinstance(word, str) and re.search(r"[*?]", word):
            found = sorted(glob.glob(word))  # noqa: PTH207 - paths as they were typed
        yield from found or [word]
