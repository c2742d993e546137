"""Keeps credentials out of all that the program prints and writes.

Text leaves the program at two places only: standard output and error (:mod:`medcli.cli.shared.guarded_streams`) and
text files (:mod:`medcli.core.files`, :mod:`medcli.core.json_text`). Both pass it through :func:`redact`, which knows
the forms that credentials have, and the values that were given to this process as such (:func:`hide_values`).
"""

from __future__ import annotations

import html
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from urllib.parse import quote, quote_plus, unquote

HIDDEN = "(hidden)"
_SHORTEST, _ALONE, _LONG, _LONGEST = 6, 12, 16, 10_000
_ORDINARY = re.compile(r"[A-Z]?[a-z]+(?:[_ -][a-z]+)*|[^A-Za-z]*|[+-]?[\d.]+[eE][+-]?\d+")
"""Words, names of columns, dates and numbers: text would be damaged if they were replaced wherever they occur."""

_NAME = (
    r"sig|signature|credentials?|passw(?:or)?d|passphrase|pwd|connection[_-]?string|shared[_-]?access[_-]?signature|"
    r"(?:shared[_-]?access|account|access|api|secret|private|storage|signing|subscription)[_-]?key|authorization|"
    r"(?:access|auth|refresh|id|session|security|bearer|api|tracking)[_-]?token|(?:client|app|shared)?[_-]?secret"
)
_BEFORE_COLON = (
    r"passw(?:or)?d|passphrase|(?:shared[_-]?access|account|access|api|secret|private)[_-]?key|authorization|"
    r"(?:access|auth|refresh)[_-]?token|client[_-]?secret|shared[_-]?access[_-]?signature"
)
"""Only these: the others are followed by a colon in ordinary sentences."""
_ENDS = (
    *("sig", "signature", "credential", "credentials", "passwd", "password", "passphrase", "pwd", "string"),
    *("key", "token", "secret", "authorization"),
)
_WINDOW = 40  # characters; longer than any of the names
_START = r"(?:(?-i:(?<![A-Za-z0-9])|(?<=[a-z])(?=[A-Z]))|(?<=%[0-9a-f]{2})|(?<=%25[0-9a-f]{2})|(?<=\\u00[0-9a-f]{2}))"
_SIGN = re.compile(r"=|:|%(?:25)*3[dD]")
_NAMED = re.compile(rf"{_START}(?:{_NAME})[ \t]?$", re.IGNORECASE)
_NAMED_BEFORE_COLON = re.compile(rf"{_START}(?:{_BEFORE_COLON})[ \t]?$", re.IGNORECASE)
_NAMED_IN_QUOTES = re.compile(rf"{_START}(?:{_BEFORE_COLON}|token|secret)\\?[\"'][ \t]?$", re.IGNORECASE)
_NAMED_WEAKLY = re.compile(rf"(?<![/\\]){_START}(?:key|token)$", re.IGNORECASE)
_SCHEMES = "basic|bearer|digest|negotiate|sharedkey|token"
_SCHEME = rf"(?:(?i:{_SCHEMES})\s+)?(?!\(hidden\)|…|(?i:{_SCHEMES})\s)"
_QUOTED = r"[^\"'\\\n,;:{}\[\]]{1,200}"
_VALUE = re.compile(  # none goes beyond a quote, a backslash or a comma, so that JSON and CSV stay
    rf"[ \t]?{_SCHEME}((?:[^\s\"'<>&;,\\]|\\u(?!00[0-7])[0-9a-f]{{4}})+|\"{_QUOTED}\"|'{_QUOTED}'|\\\"{_QUOTED}\\\")"
)
_VALUE_IN_QUOTES = re.compile(rf"\s?\\?[\"']{_SCHEME}([^\"'\\\n]+)")

_FORMS: tuple[tuple[str, re.Pattern[str], str], ...] = (
    (
        "bearer",
        re.compile(r"\b(bearer[ \t]+)(?=[^\s\"']*[0-9_.~+/-])[\w.~+/-]{12,}=*", re.IGNORECASE),
        rf"\1{HIDDEN}",
    ),
    ("wandb_v", re.compile(rf"{_START}wandb_v\d_[A-Za-z0-9_-]{{16,}}"), HIDDEN),
    ("hf_", re.compile(rf"{_START}hf_(?:[A-Za-z0-9]{{16,}}|(?:oauth|jwt)_[\w.-]{{8,}})"), HIDDEN),
    ("api_org_", re.compile(rf"{_START}api_org_[A-Za-z0-9]{{16,}}"), HIDDEN),
    (
        "@",  # user information of an address; a password may hold what no address may; paths lose a slash
        re.compile(
            r"(?<=[A-Za-z0-9]{2}:/)(/{0,2})(?!\(hidden\)@)(?:[^\s/?#\"<>,\\]*@|[^\s/?#@:\"'<>,\\]*:(?!\d+[/?#])[^\s@\"'<>,\\]*@)",
        ),
        rf"\1{HIDDEN}@",
    ),
    (
        "@",  # where Windows took it for a path; a backslash would make another sign of what follows it in JSON
        re.compile(
            r"\b((?:https?|s?ftp|ssh|s3|abfss?|wss?|git|postgresql|mysql):)\\{1,4}(?!\(hidden\)@)"
            r"(?:[^\s/?#\"<>,\\]*@|[^\s/?#@:\"'<>,\\]*:(?!\d+[\\?#])[^\s@\"'<>,]*@)",
            re.IGNORECASE,
        ),
        rf"\1/{HIDDEN}@",
    ),
    (
        "@",  # and without the address's scheme
        re.compile(
            r"(?<![\w/.%+-])(?!mailto:)([\w.%+-]+:)(?!\(hidden\))[^\s@/\"'<>,\\]+"
            r"(?=@(?:localhost\b|\d+\.\d+\.\d+\.\d+|[a-z][\w-]*(?:\.[\w-]+)*\.[a-z]{2}))",
            re.IGNORECASE,
        ),
        rf"\1{HIDDEN}",
    ),
    ("%40", re.compile(r"(?<=%2f%2f)(?!\(hidden\))[^\s/?#\"'<>&;,\\]*?%40", re.IGNORECASE), f"{HIDDEN}%40"),
)
"""What is there in lower case where a form may be, the form, and what replaces it."""

_CREDENTIAL_VARIABLE = re.compile(
    r"(?:TOKEN|SECRET|PASSWORD|PASSWD|CONNECTION_STRING|(?:ACCESS|API|ACCOUNT|STORAGE)_KEY)$", re.IGNORECASE
)
_GIVEN = re.compile(
    rf"{_START}(?:{_NAME}|key|token)(?:=|%(?:25)*3d)([^&;\n]+)|:/{{1,3}}[^\s/?#@:]*:(?!\d+(?:[/?#]|$))([^\s@]+)@"
    rf"|:/{{1,3}}([^\s/?#@:]{{16,}})@|(hf_\S+)|^[^\s/@:]*:([^\s/@]+)@"
    r"|(?<![A-Za-z0-9+/])([A-Za-z0-9+/]{86}==|[A-Za-z0-9+/]{43}=)(?![A-Za-z0-9+/=])",
    re.IGNORECASE,
)
_CREDENTIAL_OPTIONS = ("--connection-string-file",)
"""Options that name a file with a credential, after which the credential itself is pasted."""
_PART_OF_PATH = re.compile(r"\.{0,2}|~\w*|[A-Za-z]:|\.?[A-Za-z0-9]{1,24}(?:[ _.-][A-Za-z0-9]{1,24})*")
_PATH_BEGINS = re.compile(r"[/~.]|[A-Za-z]:[/\\]|\\\\")
_PLAIN_NAME = re.compile(r"\.?[A-Za-z]{1,24}\d{0,8}(?:[ _.-](?:[A-Za-z]{1,24}\d{0,8}|\d{1,8}))*")
_BASE64 = re.compile(r"[A-Za-z0-9+/]+")
_BASE64_END = re.compile(r"==?(?![A-Za-z0-9+/=])")
_KEY_LENGTHS = {"==": 86, "=": 43}
"""Digits in base64 of the keys of an Azure account (64 bytes) and of its signatures (32 bytes)."""
_LONGER_DATA = 200  # digits before those of a key: an embedded image, not a path
_known: tuple[str, ...] = ()


def redact(text: str) -> str:
    """``text`` with every credential in it replaced by ``(hidden)``; quotes and line ends stay, so JSON and CSV do."""
    for value in _known:
        if value in text:
            text = _replaced(value, text)
    # Runs for every line and every string of a JSON file: the cheapest question comes first.
    if not (
        "=" in text
        or "@" in text
        or ":" in text
        or "%" in text
        or "hf_" in text
        or "api_org_" in text
        or "wandb_v" in text
        or "earer" in text
    ):
        return text
    text = _without_keys(_without_named(text))
    low = text.lower()
    for needle, form, replacement in _FORMS:
        if needle in low:
            text = _by_line(text, needle, lambda line, form=form, by=replacement: form.sub(by, line))  # type: ignore[misc]
    return text


def _replaced(value: str, text: str) -> str:
    """``text`` with a credential hidden; a short one only where it stands alone, since a checksum may hold it."""
    if len(value) >= _ALONE:
        return text.replace(value, HIDDEN)
    return re.sub(rf"(?<![A-Za-z0-9]){re.escape(value)}(?![A-Za-z0-9])", HIDDEN, text)


def _without_named(text: str) -> str:
    """``name=value`` and ``name: value`` without the values of names that credentials have."""
    kept, done = [], 0
    for sign in _SIGN.finditer(text):
        start = sign.start()
        if start < done or not text[max(start - _WINDOW, 0) : start].rstrip(" \t\"'\\").lower().endswith(_ENDS):
            continue
        value = _value_of(text, sign)
        if value:
            kept += [text[done : value.start(1)], HIDDEN]
            done = value.end(1)
    return "".join([*kept, text[done:]]) if kept else text


def _without_keys(text: str) -> str:
    """``text`` without what looks like the key of an Azure account or a signature, and is no image or checksum."""
    kept, done = [], 0
    for end in _BASE64_END.finditer(text):
        start = end.start() - _KEY_LENGTHS[end[0]]
        if start >= done and _is_key(text[start : end.start()], text[max(start - _LONGER_DATA, 0) : start], end[0]):
            kept += [text[done:start], HIDDEN]
            done = end.end()
    return "".join([*kept, text[done:]]) if kept else text


def _is_key(digits: str, before: str, end: str) -> bool:
    if not _BASE64.fullmatch(digits) or digits.islower() or digits.isupper() or digits.isalpha():
        return False
    is_data = "base64," in before or before.endswith(("sha256-", "sha512-"))
    if end == "=":  # of a key, a path may stand before it; the shorter one is too near to ordinary text
        return not is_data and not _BASE64.fullmatch(before[-1:])
    return not is_data and not (len(before) == _LONGER_DATA and _BASE64.fullmatch(before))


def _value_of(text: str, sign: re.Match[str]) -> re.Match[str] | None:
    """The credential behind ``=`` or ``:``; None where the name before it is of something else."""
    start = sign.start()
    before = text[max(start - _WINDOW, 0) : start]
    if sign[0] == ":":
        if _NAMED_IN_QUOTES.search(before):
            return _VALUE_IN_QUOTES.match(text, sign.end())
        return _VALUE.match(text, sign.end()) if _NAMED_BEFORE_COLON.search(before) else None
    if _NAMED.search(before):
        return _VALUE.match(text, sign.end())
    weak = _NAMED_WEAKLY.search(before)
    value = _VALUE.match(text, sign.end()) if weak else None
    if weak is None or value is None:
        return None
    # "key" and "token" name much else: hidden in a query, or if the value looks like a credential.
    return value if before[weak.start() - 1 : weak.start()] in ("?", "&", ";") or _is_telling(value[1]) else None


def _by_line(text: str, needle: str, change: Callable[[str], str]) -> str:
    """``change`` made in the lines of ``text`` that hold ``needle``, in any case; of a large table, few do."""
    if len(text) < _LONGEST:
        return change(text)
    return "\n".join(change(line) if needle in line.lower() else line for line in text.split("\n"))


def holds_credential(text: str) -> bool:
    """Whether a credential has one of the known forms in ``text``, or was given as one and occurs in it."""
    return redact(text) != text


def hide_values(*values: str) -> None:
    """Hide these credentials from now on wherever they occur, escaped for an address, JSON, HTML or Python as well.

    Values of fewer than six characters, and those that look like a word or a number, are hidden in the known forms
    only: they would be found in ordinary text.
    """
    global _known
    fresh = {form for value in values if _is_telling(value.strip()) for form in _written(value.strip())}
    if not fresh <= set(_known):
        _known = tuple(sorted(fresh | set(_known), key=len, reverse=True))


def hide_values_in(texts: Iterable[str]) -> None:
    """Do so with the values of all credentials in ``texts``: the words of a command line, a connection string."""
    found = (match for text in texts for match in _GIVEN.finditer(text[:_LONGEST]))
    hide_values(*(value for match in found for value in match.groups() if value))


def hide_option_values(words: Sequence[str]) -> None:
    """Do so with what stands behind an option for a file with a credential, where that plainly names no file."""
    for word, after in zip(words, [*words[1:], ""], strict=False):
        flag, equals, value = word.partition("=")
        value = value if equals else after
        if flag in _CREDENTIAL_OPTIONS and not _names_file(value):
            hide_values(value, *(part for part in re.split(r"[/\\]", value) if len(part) >= _LONG))


def _names_file(value: str) -> bool:
    """Whether a text is the path of a file that exists, or looks like one and not like a credential."""
    try:
        if os.path.exists(value):  # noqa: PTH110 - a text of any length
            return True
    except (OSError, ValueError):
        return False
    parts = re.split(r"[/\\]", value)
    if not all(_PART_OF_PATH.fullmatch(part) for part in parts):
        return False
    is_told = _PATH_BEGINS.match(value) or re.search(r"\.[A-Za-z]{1,5}$", value)
    return bool(is_told) or all(_PLAIN_NAME.fullmatch(part) or not part for part in parts)


def hide_variables(variables: Mapping[str, str]) -> None:
    """Do so with the values of variables whose names or contents say that they are credentials."""
    named = (value for name, value in variables.items() if _CREDENTIAL_VARIABLE.search(name))
    # A variable may name a file; a key may begin with a slash.
    hide_values(*(value for value in named if not (_PATH_BEGINS.match(value) and _names_file(value))))
    hide_values_in(variables.values())


def _is_telling(value: str) -> bool:
    return _SHORTEST <= len(value) <= _LONGEST and (len(value) >= _LONG or not _ORDINARY.fullmatch(value))


def _written(value: str) -> set[str]:
    """The value in the ways in which it may be written."""
    plain = {value, unquote(value)}
    quoted = {form for text in plain for safe in ("", "/") for form in (quote(text, safe, errors="replace"),)}
    quoted |= {quote_plus(text, errors="replace") for text in plain}
    lower = {re.sub(r"%[0-9A-F]{2}", lambda match: match[0].lower(), text) for text in quoted}
    escaped = chain.from_iterable(
        (html.escape(text), json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], repr(text)[1:-1])
        for text in plain
    )
    return {form for form in (*plain, *quoted, *lower, *escaped) if len(form) >= _SHORTEST}
