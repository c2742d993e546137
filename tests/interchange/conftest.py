"""Small data of both kinds, made once for all conversions."""

from __future__ import annotations

from pathlib import Path

import pytest

from medcli.synthetic.ultrasound.dataset import SweepSettings, make_ultrabones
from tests.conftest import MadeOnce

SPECIMENS = (2, 5, 7, 8, 9)
"""5 and 7 are two legs of one donor, and so are 8 and 9."""


@pytest.fixture(scope="session")
def ultrasound(made_once: MadeOnce) -> Path:
    """Sweeps of five legs of three donors, with thin labels and closed outlines. Not to be changed."""
    settings = SweepSettings(frames=3, scale=0.25)
    return made_once("interchange-ultrasound", lambda root: make_ultrabones(root, SPECIMENS, settings=settings))
