"""A stand-in for figures, most of the time of a small reconstruction, where nobody looks at them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from medcli.core.image_io import write_image


def draw_nothing(path: Path, *_: Any) -> None:
    """Write a small image in place of :func:`medcli.ultrabones.reconstruction.figure.draw_cloud`'s."""
    write_image(path, np.zeros((4, 6, 3), np.uint8))
