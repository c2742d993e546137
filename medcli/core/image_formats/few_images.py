"""Compiled code for images, loaded where they are many: its import takes what it saves in some hundred of them."""

from __future__ import annotations

import itertools
import sys

_FEW = 100


class FewImages:
    """Counts the images of a process that one function gets."""

    def __init__(self) -> None:
        self._count = itertools.count()

    def next_is_one(self) -> bool:
        """Whether the next image is one of the first, and no compiled code is loaded yet: it does without."""
        return "numba" not in sys.modules and next(self._count) < _FEW
