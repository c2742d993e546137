"""From an image of the grid to the true map."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from medcli.synthetic.fluoroscopy.grid_phantom import grid_image
from medcli.veriserum.calibration.distortion_model import PolynomialDistortion
from medcli.veriserum.calibration.grid_fit.bead_matching import View
from medcli.veriserum.calibration.grid_fit.fit_plane import fit_grid, fit_image_file
from medcli.veriserum.dataset.detector import PLANES
from tests.support.grid_images import largest_map_error, native, truth


@pytest.mark.parametrize("plane", PLANES)
def test_a_fit_recovers_the_true_map(plane: str) -> None:
    found = fit_grid(native(plane))
    lengths = np.linalg.norm(found.fit.residuals_mm[found.fit.used], axis=1)
    assert found.match.view is View.UPRIGHT
    assert lengths.mean() < 0.03
    assert largest_map_error(found.fit.distortion, truth()[plane]) < 0.05
    back = PolynomialDistortion.from_text(found.fit.distortion.to_text())
    assert np.array_equal(back(found.centres_px), found.fit.distortion(found.centres_px))


@pytest.mark.parametrize("rotation_deg", [-10, 10])
def test_a_rotated_image_is_fitted_as_well(rotation_deg: float) -> None:
    middle = (831.5, 799.5)
    turn = cv2.getRotationMatrix2D(middle, rotation_deg, 0.93)
    turned = cv2.warpAffine(native("bs"), turn, (1664, 1600), flags=cv2.INTER_CUBIC, borderValue=5)
    found = fit_grid(turned)
    assert found.match.rotation_deg == pytest.approx(rotation_deg, abs=1.5)
    pixels = np.stack(np.meshgrid(np.arange(500, 1100, 40.0), np.arange(500, 1100, 40.0)), -1).reshape(-1, 2)
    moved = pixels @ turn[:, :2].T + turn[:, 2]
    assert np.linalg.norm(found.fit.distortion(moved) - truth()["bs"](pixels), axis=1).max() < 0.05


def accuracy_on_published(table: pd.DataFrame, number: int, plane: str) -> tuple[float, float]:
    """Mean residual and largest map error in millimetres on an image made from a published calibration."""
    true = PolynomialDistortion.from_text(table.at[number, f"distortion_result_{plane}"])
    found = fit_grid(grid_image(true, np.random.default_rng(number), noise=1.0, missing_share=0.05))
    mean = float(np.linalg.norm(found.fit.residuals_mm[found.fit.used], axis=1).mean())
    return mean, largest_map_error(found.fit.distortion, true)


def test_a_published_calibration_is_recovered(real_data: Path) -> None:
    table = pd.read_csv(real_data / "veriserum/csv_files/distortion_calibration_reloaded.csv").set_index("id")
    mean, largest = accuracy_on_published(table, table.index[0], "bs")
    assert mean <= 0.03
    assert largest <= 0.05


@pytest.mark.deep
@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("row", range(10))
def test_every_published_calibration_is_recovered(real_data: Path, row: int, plane: str) -> None:
    table = pd.read_csv(real_data / "veriserum/csv_files/distortion_calibration_reloaded.csv").set_index("id")
    mean, largest = accuracy_on_published(table, table.index[row], plane)
    assert mean <= 0.03
    assert largest <= 0.05


def test_images_of_another_size_are_resized_to_the_native_size(tmp_path: Path) -> None:
    small = cv2.resize(native("bs"), (1248, 1200), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(tmp_path / "small.png"), small)
    found = fit_image_file("bs", tmp_path / "small.png")
    assert largest_map_error(found.fit.distortion, truth()["bs"]) < 0.05
