"""A short trial of the ray-casting simulator as a Veriserum folder with calibrated images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from medcli.core.mesh import write_stl
from medcli.veriserum.dataset.pose_tables import PUBLISHED_COLUMNS, pose_numbers
from tests.support.ray_cast_knees import MESHES, Knee

FIRST_ID = 11


def write_trial(
    root: Path, knees: list[Knee], named: Sequence[int] | None = None, surfaces: Sequence[int] | None = None
) -> Path:
    """``root`` with tables, implants and ``calibrated``.

    Args:
        named: ``anatomy_id`` in the pose table, by frame in turn; None: the femoral component.
        surfaces: components with a surface; None: both of the knee.
    """
    named, surfaces = named or [knees[0].femur_id], surfaces or [knees[0].femur_id, knees[0].tibia_id]
    for folder in ("csv_files", "veriserum_anatomies", "calibrated"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    rows = []
    for number, knee in enumerate(knees, FIRST_ID):
        cells = dict.fromkeys(PUBLISHED_COLUMNS, "")
        cells |= {
            "id": number,
            "measurement_id": 5,
            "anatomy_id": named[(number - FIRST_ID) % len(named)],
            "obsolete": 0,
        }
        cells |= {"source_int_calibration_id": 1, "distortion_calibration_id": 1}
        numbers = pose_numbers(knee.pose(int(cells["anatomy_id"])))
        rows.append(cells | dict(zip(("tx", "ty", "tz", "rz", "rx", "ry"), numbers, strict=True)))
        for plane, image in knee.images.items():
            cv2.imwrite(str(root / "calibrated" / f"calibrated_{plane}_{number:06d}.jpg"), image)
    folder = root / "csv_files"
    pd.DataFrame(rows).to_csv(folder / "veriserum_pose_reloaded_refined_all.csv", index=False)
    source = pd.DataFrame([{"id": 1, **knees[0].source}])
    source.to_csv(folder / "source_int_calibration_reloaded.csv", index=False)
    for anatomy in surfaces:
        write_stl(MESHES[anatomy], root / "veriserum_anatomies" / f"ana_{anatomy:06d}.stl")
    return root


def true_pose(knees: list[Knee], number: int, anatomy: int) -> np.ndarray:
    return knees[number - FIRST_ID].pose(anatomy)
