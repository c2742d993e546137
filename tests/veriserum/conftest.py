"""A small Veriserum folder made of random smooth images and invented calibrations."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from medcli.veriserum.calibration.distortion_model import PolynomialDistortion
from tests.conftest import MadeOnce
from tests.support.made_veriserum import make_distortion, smooth_image, write_tables, write_test_image


@pytest.fixture(scope="session")
def distortions() -> dict[int, PolynomialDistortion]:
    """Two invented calibrations; their ids are not their row numbers."""
    return {4: make_distortion(4), 9: make_distortion(9)}


@pytest.fixture(scope="session")
def made_veriserum(tmp_path_factory: pytest.TempPathFactory, distortions: dict[int, PolynomialDistortion]) -> Path:
    """The source of the copies of :func:`veriserum`. Not to be changed."""
    root = tmp_path_factory.mktemp("made") / "veriserum"
    ids = [1, 2, 3, 4]
    for number in ids:
        for offset, plane in enumerate(("bs", "fs")):
            write_test_image(root / "images" / f"{plane}_{number:06d}.jpg", smooth_image(2 * number + offset))
    write_tables(root, ids, distortions)
    return root


@pytest.fixture
def veriserum(made_veriserum: Path, tmp_path: Path) -> Path:
    """Four pairs, ids 1 to 4, images in a separate folder, folder names with a blank and an accent."""
    return Path(shutil.copytree(made_veriserum, tmp_path / "Véri serum"))


@pytest.fixture(scope="session")
def pose_study(made_once: MadeOnce) -> Path:
    """Synthetic pairs of seven trials, five of femora (anatomies 1, 2), two of a tibia (3). Not to be changed."""
    from medcli.synthetic.fluoroscopy.dataset import make_veriserum

    def make(root: Path) -> None:
        settings = {"frames_per_trial": 3, "anatomies": (1, 3, 1, 3, 2, 1, 1), "companion": False, "obsolete_every": 0}
        make_veriserum(root, 21, seed=4, calibrations=1, **settings)

    return made_once("pose-study", make)
