"""Counts in words: ``1 frame``, ``1,110 frames``."""

from __future__ import annotations


def quantity(number: int, one: str, several: str = "") -> str:
    """A count with what is counted, in the singular where there is one.

    Args:
        number: how many.
        one: what, in the singular: ``image``; words that depend on the number may follow: ``id has no image``.
        several: its plural, where that is not the singular with an ``s``.
    """
    return f"{number:,} {one if number == 1 else several or f'{one}s'}"
