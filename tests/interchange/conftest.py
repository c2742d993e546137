"""Small data of both kinds, made once for all conversions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medcli.core.rigid_transforms import invert_rigid
from medcli.interchange.implant_trials import ImplantSources, ImplantTrial, read_implant_trials
from medcli.synthetic.ultrasound.dataset import SweepSettings, make_ultrabones
from tests.conftest import MadeOnce
from tests.support import knees

SPECIMENS = (2, 5, 7, 8, 9)
"""5 and 7 are two legs of one donor, and so are 8 and 9."""
SOURCE = {
    "principalp_h_bs": 3.66892,
    "principalp_v_bs": -4.88717,
    "sid_bs": 1855.72,
    "principalp_h_fs": -9.8319,
    "principalp_v_fs": 0.22845,
    "sid_fs": 1852.25,
}


@pytest.fixture(scope="session")
def ultrasound(made_once: MadeOnce) -> Path:
    """Sweeps of five legs of three donors, with thin labels and closed outlines. Not to be changed."""
    settings = SweepSettings(frames=3, scale=0.25)
    return made_once("interchange-ultrasound", lambda root: make_ultrabones(root, SPECIMENS, settings=settings))


@pytest.fixture(scope="session")
def implants(made_once: MadeOnce) -> Path:
    """Two trials of two moments with the poses of femur 1 and tibia 3, without images. Not to be changed."""

    def make(root: Path) -> None:
        rows = knees.pose_rows(knees.draw_knees(2, 2)).round(5).assign(source_int_calibration_id=1)
        knees.write_knees(root, rows)
        pd.DataFrame([{"id": 1, **SOURCE}]).to_csv(root / "csv_files/source_int_calibration_reloaded.csv", index=False)

    return made_once("interchange-implants", make)


@pytest.fixture(scope="session")
def trial(implants: Path) -> ImplantTrial:
    """The first trial."""
    return read_implant_trials(ImplantSources(implants), ["1"]).trials[0]


@pytest.fixture(scope="session")
def outlines(implants: Path, trial: ImplantTrial) -> dict[tuple[str, str, int], np.ndarray]:
    """Plane, kind and frame -> points of the implant's outline in its own coordinates, (N, 3)."""
    surfaces = read_implant_trials(ImplantSources(implants), ["1"]).study.surfaces
    found = {}
    for plane in ("bs", "fs"):
        for kind, poses in trial.poses.items():
            for frame, pose in enumerate(poses):
                source = invert_rigid(pose) @ [*trial.cameras.camera(plane).source_mm, 1]
                found[plane, kind, frame] = surfaces.implant(trial.anatomies[kind]).outline(source[:3])
    return found
