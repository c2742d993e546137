"""Several files of one image: copies do no harm, but different images under one name leave open which one is meant."""

from __future__ import annotations

import filecmp
from collections.abc import Sequence

from medcli.core.errors import DataError

Doubles = dict[str, list[str]]
"""Path of an image -> further files of its id and plane (a copy in another folder, another suffix or spelling)."""


def check_single(path: str, doubles: Sequence[str]) -> None:
    """Compare an image with the further files of its id and plane.

    Raises:
        DataError: one of ``doubles`` differs from ``path``, or cannot be read; names both.
    """
    for double in doubles:
        try:
            differs = not filecmp.cmp(path, double, shallow=False)
        except OSError as error:
            raise DataError(f"cannot compare {path} with {double}: {error.strerror or error}") from error
        if differs:
            raise DataError(f"{path} and {double} are two different images of one name: keep one of them there")
