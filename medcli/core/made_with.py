"""What something was made with: a fingerprint of it, what differs from what is asked for now, and the refusal.

A run never adds to, resumes, or reuses what was made with other options. Whoever leaves something notes beside it what
it was made with, and the next run compares.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from medcli.core.errors import MedcliError, UsageError

_MOST_NAMED = 3


def fingerprint(*parts: str | bytes) -> str:
    """A short text (16 hexadecimal digits) that changes when any of ``parts`` does."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(part.encode() if isinstance(part, str) else part)
    return whole.hexdigest()[:16]


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What ``before`` says otherwise than ``now``, one text for each name of ``now``: ``lr was 1e-05, is 0.5``."""
    return [f"{name} was {before.get(name)}, is {value}" for name, value in now.items() if before.get(name) != value]


def refuse_other_options(
    what: object, differing: Sequence[str], way_out: str, kind: type[MedcliError] = UsageError
) -> None:
    """Make sure that ``what`` is there was made as asked for now.

    Args:
        what: a folder or a file.
        differing: one text for each option that differs, see :func:`differences`; none: all is well.
        way_out: what to do otherwise.

    Raises:
        MedcliError: of ``kind``; names the first options that differ.
    """
    if differing:
        more = f" and {len(differing) - _MOST_NAMED} more" if len(differing) > _MOST_NAMED else ""
        named = ", ".join(differing[:_MOST_NAMED]) + more
        raise kind(f"{what} was made with other options: {named}", way_out)
