"""Commands for the user to type: what ``medcli info`` proposes, as text that a shell takes as it is."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass
from importlib.util import find_spec

_PLAIN_ON_WINDOWS = re.compile(r"[\w./\\:=+~-]+")


@dataclass(frozen=True)
class Proposal:
    """What to do next.

    Attributes:
        command: can be typed as it is in the folder in which it was proposed.
        why: what it does, in a few words.
        step: the verb, for those who choose among proposals.
    """

    command: str
    why: str
    step: str = ""


def spell(*words: object) -> str:
    """Words as one command line; those with spaces or signs are quoted as the system's shell wants it.

    On Windows in double quotes, which both of its shells know; cmd would still put in the value of ``%NAME%``.
    """
    texts = [str(word) for word in words]
    return " ".join(map(_quoted_for_windows, texts)) if os.name == "nt" else shlex.join(texts)


def install_extra(*extras: str) -> str:
    """The command that adds extras to the installed medcli, also to that of a checkout; by uv where there is no pip."""
    return spell(*(["pip"] if find_spec("pip") else ["uv", "pip"]), "install", f"medcli[{','.join(extras)}]")


def spelled_words(line: str, is_windows: bool) -> list[str]:
    """The words of a command line that :func:`spell` wrote, on Windows or elsewhere."""
    return _words_of_windows(line) if is_windows else shlex.split(line)


def _quoted_for_windows(word: str) -> str:
    if _PLAIN_ON_WINDOWS.fullmatch(word):
        return word
    return '"' + re.sub(r'(\\*)("|$)', lambda found: 2 * found[1] + (found[2] and '\\"'), word) + '"'


def _words_of_windows(line: str) -> list[str]:
    """As Windows' programs split it: a backslash is one, unless a quote follows.

    https://learn.microsoft.com/cpp/c-language/parsing-c-command-line-arguments
    """
    words: list[str] = []
    word, is_begun, is_quoted = "", False, False
    for slashes, sign in re.findall(r"(\\*)([^\\]|$)", line):
        word += slashes[: len(slashes) // 2] if sign == '"' else slashes
        is_begun = is_begun or bool(slashes)
        if sign == '"' and not len(slashes) % 2:
            is_begun, is_quoted = True, not is_quoted
        elif (sign in " \t" and not is_quoted) or not sign:
            words += [word] if is_begun else []
            word, is_begun = "", False
        else:
            word, is_begun = word + sign, True
    return words
