"""Renaming and removing files that another program may have open, which Windows refuses meanwhile.

Virus scanners and indexers open a file as soon as it is there, for a moment; readers of a file that is replaced, too.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

OPEN_ELSEWHERE = frozenset({32, 33, 1224})
"""Windows' errors of a file that a program has open: sharing violation, locked, mapped into memory."""
ACCESS_DENIED = 5
"""And this one, which is also of missing permissions."""
_PAUSES_S = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.4)


def put_in_place(source: Path, target: Path) -> None:
    """Rename ``source`` to ``target``, which is replaced if it is a file.

    Raises:
        OSError: it cannot be; also where a program has it open for three seconds.
    """
    _patiently(lambda: source.replace(target))


def remove_file(path: Path) -> None:
    """Remove a file, if there is one.

    Raises:
        OSError: as :func:`put_in_place`.
    """
    _patiently(lambda: path.unlink(missing_ok=True))


def _patiently(change: Callable[[], Any]) -> None:
    for pause in _PAUSES_S:
        try:
            change()
            return
        except OSError as error:
            if getattr(error, "winerror", None) not in {*OPEN_ELSEWHERE, ACCESS_DENIED}:
                raise
        time.sleep(pause)
    change()
