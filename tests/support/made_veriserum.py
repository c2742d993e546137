"""Parts of a small Veriserum folder: random smooth images and invented calibrations."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medcli.veriserum.calibration.distortion_model import PolynomialDistortion
from medcli.veriserum.dataset.detector import NATIVE_HEIGHT, NATIVE_WIDTH


def make_distortion(seed: int) -> PolynomialDistortion:
    """An invented calibration with terms as large as those of real image intensifiers."""
    rng = np.random.default_rng(seed)
    coefficients = np.zeros((2, 4, 4))
    coefficients[0, 0, 0], coefficients[1, 0, 0] = rng.uniform(3, 7, 2)
    coefficients[0, 1, 0], coefficients[1, 0, 1] = rng.uniform(1.01, 1.03, 2)
    coefficients[0, 0, 1], coefficients[1, 1, 0] = rng.uniform(-0.04, 0.04, 2)
    for i, j, size in (
        (2, 0, 7e-5),
        (1, 1, 7e-5),
        (0, 2, 7e-5),
        (3, 0, 1e-6),
        (2, 1, 1e-6),
        (1, 2, 1e-6),
        (0, 3, 1e-6),
    ):
        coefficients[:, i, j] = rng.uniform(-size, size, 2)
    angle = np.radians(rng.uniform(-1.2, 1.2))
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    translation = np.array([rng.uniform(-194, -190), rng.uniform(163, 181)])
    return PolynomialDistortion(coefficients.ravel(), rng.uniform(0.222, 0.228), translation, rotation)


@lru_cache(maxsize=20)
def smooth_image(seed: int, shape: tuple[int, int] = (NATIVE_HEIGHT, NATIVE_WIDTH)) -> NDArray[np.uint8]:
    """(H, W) uint8 with structure at every scale and no saturation."""
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(rng.random((13, 17), np.float32), shape[::-1], interpolation=cv2.INTER_CUBIC)
    fine = cv2.GaussianBlur(rng.random(shape, np.float32), (0, 0), 1.5)
    image = 40 + 120 * coarse + 200 * (fine - 0.5)
    return image.clip(1, rng.integers(180, 250)).astype(np.uint8)


def write_tables(root: Path, ids: list[int], distortions: dict[int, PolynomialDistortion]) -> None:
    """Pose table and distortion table with the published names and columns; ids take the calibrations in turn."""
    folder = root / "csv_files"
    folder.mkdir(parents=True, exist_ok=True)
    numbers = sorted(distortions)
    poses = pd.DataFrame({"id": ids, "measurement_id": 1, "anatomy_id": 1, "obsolete": 0})
    poses["distortion_calibration_id"] = [numbers[i % len(numbers)] for i in range(len(ids))]
    poses.to_csv(folder / "veriserum_pose_reloaded_refined_all.csv", index=False)
    table = pd.DataFrame({"id": numbers})
    for plane in ("fs", "bs"):
        table[f"distortion_result_{plane}"] = [distortions[number].to_text() for number in numbers]
    table.to_csv(folder / "distortion_calibration_reloaded.csv", index=False)


def write_test_image(path: Path, image: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, image)[1])


def write_study(root: Path, anatomies: Sequence[int], measurements: Sequence[int]) -> Path:
    """Tables of a study with poses, and images that are there but empty: for what looks at names and tables only."""
    numbers = range(1, len(anatomies) + 1)
    root.mkdir(parents=True, exist_ok=True)
    write_tables(root, list(numbers), {4: make_distortion(4)})
    table = root / "csv_files/veriserum_pose_reloaded_refined_all.csv"
    poses = pd.read_csv(table).assign(anatomy_id=list(anatomies), measurement_id=list(measurements))
    poses[["tx", "ty", "tz", "rz", "rx", "ry"]] = 1.5
    poses.to_csv(table, index=False)
    columns = "id,principalp_h_fs,principalp_v_fs,principalp_h_bs,principalp_v_bs,sid_fs,sid_bs"
    (root / "csv_files/source_int_calibration_reloaded.csv").write_text(f"{columns}\n1,0,0,0,0,1800,1800\n")
    for number in numbers:
        for plane in ("bs", "fs"):
            (root / f"{plane}_{number:06d}.jpg").touch()
    return root
