"""Which image shows the bead grid in which plane."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from medcli.core.errors import UsageError
from medcli.veriserum.dataset.detector import PLANES

_PLANE_IN_NAME = re.compile(r"(?<![a-z])(bs|fs)(?![a-z])", re.IGNORECASE)


def images_by_plane(words: Sequence[str]) -> dict[str, Path]:
    """The image of each plane, from ``bs=PATH`` or from bs or fs in the file's name.

    Raises:
        UsageError: a name states neither or both, or two images show the same plane.
    """
    chosen: dict[str, Path] = {}
    for word in words:
        plane, equals, rest = word.partition("=")
        if equals and plane.lower() in PLANES and rest:
            plane, path = plane.lower(), Path(rest)
        else:
            if equals and rest and plane.isalpha() and not Path(word).exists():
                raise UsageError(f"there is no plane {plane}", f"write bs={rest} or fs={rest}")
            path = Path(word)
            named = {found.lower() for found in _PLANE_IN_NAME.findall(path.stem)}
            if len(named) != 1:
                raise UsageError(f"the plane of {word} is not given", f"write bs={word} or fs={word}")
            plane = named.pop()
        if plane in chosen:
            raise UsageError(f"two images for plane {plane}: {chosen[plane]} and {path}", "fit one calibration per run")
        chosen[plane] = path
    return {plane: chosen[plane] for plane in PLANES if plane in chosen}
