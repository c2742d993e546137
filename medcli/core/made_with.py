"""The options that a result was made with: fingerprint, comparison with the current options, and the error.

A run never extends, resumes or reuses a result that was made with other options: every command records its options next
to its results, and the next run compares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from medcli.core.errors import MedcliError, UsageError

_MOST_NAMED = 3


def fingerprint(*parts: str | bytes) -> str:
    """A short text (16 hexadecimal digits) that changes when any of ``parts`` does."""
    import hashlib  # it loads OpenSSL

    whole = hashlib.sha256()
    for part in parts:
        whole.update(part.encode("utf-8", "surrogateescape") if isinstance(part, str) else part)
    return whole.hexdigest()[:16]


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Where ``before`` differs from ``now``, one text for each name in ``now``: ``lr was 1e-05, is 0.5``.

    A path is the same in the notation of Windows: results may be made on one system and continued on another.
    """
    return [
        _difference(name, before.get(name), value)
        for name, value in now.items()
        if _with_slashes(before.get(name)) != _with_slashes(value)
    ]


def _with_slashes(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\\", "/")
    return [_with_slashes(item) for item in value] if isinstance(value, list) else value


def _difference(name: str, before: Any, now: Any) -> str:
    """``lr was 1e-05, is 0.5``; a switch by its option: ``--quick was on, is off``."""
    if isinstance(now, bool):
        name = f"--{name.replace('_', '-')}"
    return f"{name} was {_in_words(before)}, is {_in_words(now)}"


def _in_words(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, (list, tuple)):  # ranges of ids are pairs
        return " ".join("-".join(map(str, one)) if isinstance(one, (list, tuple)) else str(one) for one in value)
    return "not given" if value is None else str(value)


def reject_other_options(
    what: object, differing: Sequence[str], remedy: str, kind: type[MedcliError] = UsageError
) -> None:
    """Reject an existing result that was made with other options.

    Args:
        what: a folder or a file.
        differing: one text for each option that differs, see :func:`differences`; none: accepted.
        remedy: what the user can do.

    Raises:
        MedcliError: of ``kind``; lists the first options that differ.
    """
    if differing:
        more = f" and {len(differing) - _MOST_NAMED} more" if len(differing) > _MOST_NAMED else ""
        named = ", ".join(differing[:_MOST_NAMED]) + more
        raise kind(f"{what} was made with other options: {named}", remedy)
