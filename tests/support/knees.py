"""Studies with the poses of both components of a knee, whose axes and motion are known."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from medcli.core.mesh import write_stl
from medcli.synthetic.fluoroscopy.implants import SyntheticImplant, make_implants
from medcli.synthetic.fluoroscopy.motion import KneePose, draw_trial
from medcli.veriserum.dataset.folder_index import POSE_COLUMNS
from medcli.veriserum.dataset.pose_tables import pose_numbers
from medcli.veriserum.kinematics.error_bars import ERROR_COLUMNS
from medcli.veriserum.kinematics.implant_axes import ImplantAxes

POSE_TABLE = "csv_files/veriserum_pose_reloaded_refined_all.csv"
SIDE = "left"
"""The synthetic flange leans to +x, which is lateral: x, y proximal, z anterior is a left knee's lateral axis."""
_FEMORAL_ORIGIN = {1: (0.0, 17.1, -5.8), 2: (0.0, 18.15, -6.4)}


@lru_cache(maxsize=1)
def implants() -> dict[int, SyntheticImplant]:
    return {implant.anatomy_id: implant for implant in make_implants()}


def true_axes(anatomy: int, side: str | None = None) -> ImplantAxes:
    """The axes that the shapes were made with: right is -x, anterior z, proximal y."""
    kind = implants()[anatomy].kind
    origin = _FEMORAL_ORIGIN[anatomy] if kind == "femur" else (0.0, 0.0, 0.0)
    return ImplantAxes(kind, origin, (-1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.0, 1.0, 0.0), "as made", side)


def draw_knees(trials: int, frames: int, seed: int = 0) -> list[list[KneePose]]:
    return [draw_trial(frames, np.random.default_rng([seed, trial])) for trial in range(trials)]


def pose_rows(
    trials: Sequence[Sequence[KneePose]],
    anatomies: tuple[int, int] = (1, 3),
    noise: tuple[float, float] = (0.0, 0.0),
    errors: bool = False,
    seed: int = 0,
) -> pd.DataFrame:
    """Two rows an image id, femur and tibia; poses with noise in mm and degrees, and its size as standard errors."""
    random = np.random.default_rng(seed)
    rows, number = [], 0
    sizes = np.repeat(noise, 3)
    for trial, poses in enumerate(trials, start=1):
        for pose in poses:
            number += 1
            for kind, anatomy in zip(("femur", "tibia"), anatomies, strict=True):
                values = pose_numbers(pose.of(kind)) + random.normal(size=6) * sizes
                row = {"id": number, "measurement_id": trial, "anatomy_id": anatomy, "obsolete": 0}
                row |= {"distortion_calibration_id": 1, **dict(zip(POSE_COLUMNS, values.tolist(), strict=True))}
                rows.append(row | (dict(zip(ERROR_COLUMNS, sizes.tolist(), strict=True)) if errors else {}))
    return pd.DataFrame(rows)


def write_knees(root: Path, rows: pd.DataFrame, anatomies: Sequence[int] = (1, 3)) -> Path:
    """A data folder with this pose table and the surfaces of the implants, without images."""
    (root / "csv_files").mkdir(parents=True, exist_ok=True)
    (root / "veriserum_anatomies").mkdir(exist_ok=True)
    rows.to_csv(root / POSE_TABLE, index=False)
    for anatomy in anatomies:
        write_stl(implants()[anatomy].mesh, root / "veriserum_anatomies" / f"ana_{anatomy:06d}.stl")
    return root
