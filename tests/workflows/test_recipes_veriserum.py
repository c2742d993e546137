"""CONTRIBUTING's recipes for fluoroscopy, carried out: your own distortion model, pose metric and pose loss."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
from numpy.typing import ArrayLike
from scipy.optimize import least_squares
from scipy.spatial import cKDTree
from torch import Tensor

from medcli.core import image_io
from medcli.synthetic.fluoroscopy import xray
from medcli.synthetic.fluoroscopy.dataset import make_veriserum
from medcli.synthetic.fluoroscopy.grid_phantom import undistorted_grid
from medcli.training.losses import TrainingLoss
from medcli.veriserum.calibration.distortion_model import DISTORTION_MODELS, DistortionModel, Points, as_points
from medcli.veriserum.pose.losses import POSE_LOSSES
from medcli.veriserum.pose.metrics import POSE_MEASURES, PoseMeasure
from tests.conftest import Ran
from tests.support.made_veriserum import make_distortion, smooth_image, write_tables, write_test_image
from tests.support.published_veriserum import correct_pair
from tests.veriserum.calibration.test_undistortion_map import slow_area

Run = Callable[..., Ran]
SIZE = 100


# -- a distortion model: one class and one entry ----------------------------------------------------------------------


@dataclass(frozen=True)
class BrownDistortion(DistortionModel):
    """Radial distortion about a centre (Brown 1971): v (1 + k1 |v|² + k2 |v|⁴), v = scale times pixels from there."""

    scale: float
    column: float
    row: float
    k1: float
    k2: float
    name: ClassVar[str] = "brown"

    def __call__(self, points_px: ArrayLike) -> Points:
        away_mm = self.scale * (as_points(points_px) - [self.column, self.row]) * [1, -1]
        squared = (away_mm**2).sum(axis=1, keepdims=True)
        return away_mm * (1 + self.k1 * squared + self.k2 * squared**2)

    @classmethod
    def from_estimate(cls, points_px: Points, points_mm: Points) -> BrownDistortion:
        units = np.array([0.1, 1000, 1000, 1e-6, 1e-11])

        def residuals(numbers: np.ndarray) -> np.ndarray:
            return cls(*(numbers * units)).residuals(points_px, points_mm).ravel()

        start = np.array([0.225, 832, 800, 0, 0]) / units
        return cls(*(least_squares(residuals, start).x * units).tolist())


TRUTH = {
    "bs": BrownDistortion(0.2217, 835.2, 797.1, 9.1e-7, 2e-12),
    "fs": BrownDistortion(0.2231, 828.7, 803.4, 8.4e-7, -1e-12),
}


@pytest.fixture
def brown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DISTORTION_MODELS, BrownDistortion.name, BrownDistortion)


def slow_reference(pair: dict[str, np.ndarray], models: dict[str, DistortionModel]) -> dict[str, np.ndarray]:
    """The published steps; each grid pixel that the reduction to 100 pixels reads is looked up in a k-d tree."""
    lines = np.array([16 * j + k for j in range(SIZE) for k in (7, 8)])
    on_grid = np.stack(np.meshgrid(lines, lines), axis=-1).reshape(-1, 2)
    pixels = np.stack(np.meshgrid(np.arange(1664.0), np.arange(1600.0)), axis=-1).reshape(-1, 2)
    nearest = {}
    for plane, model in models.items():
        tree = cKDTree(model(pixels) / [0.225, -0.225] + 800, balanced_tree=False, compact_nodes=False)
        nearest[plane] = np.zeros((1600, 1600), np.int64)
        nearest[plane][np.ix_(lines, lines)] = tree.query(on_grid)[1].reshape(len(lines), -1)
    return correct_pair(pair, nearest, SIZE)


@pytest.mark.deep
def test_a_model_of_your_own_is_fitted_and_undistorts(brown: None, tmp_path: Path, medcli: Run) -> None:
    """From images of the bead grid to a table, and from the table to the images, by the commands alone."""
    generator = np.random.default_rng(0)
    for plane, model in TRUTH.items():
        native = xray.to_native(undistorted_grid(), model.grid_positions().astype(np.float32))
        image_io.write_image(tmp_path / f"grid_{plane}.png", xray.digitise(native, generator, 1.0))
    table = tmp_path / "table.csv"
    words = ("calibrate", "fit", tmp_path / "grid_bs.png", tmp_path / "grid_fs.png", "--out", table, "--id", "4")
    ran = medcli(*words, "--model", "brown", "--json")
    assert ran.code == 0, ran.err
    assert all(plane["mean_mm"] < 0.03 and plane["missing"] == 0 for plane in json.loads(ran.out)["planes"])
    row = pd.read_csv(table).iloc[0]
    fitted = {plane: BrownDistortion.from_text(row[f"distortion_result_{plane}"]) for plane in TRUTH}
    inside_grid = np.array([[400.0, 400.0], [1400, 500], [1200, 1300], [300, 900]])
    for plane, model in fitted.items():
        np.testing.assert_allclose(model(inside_grid), TRUTH[plane](inside_grid), atol=0.02)
        np.testing.assert_allclose(model.inverse(model(inside_grid)), inside_grid, atol=1e-6)

    pair, root = {plane: smooth_image(20 + offset) for offset, plane in enumerate(TRUTH)}, tmp_path / "study"
    write_tables(root, [1], {4: make_distortion(4)})
    for plane, image in pair.items():
        write_test_image(root / f"{plane}_000001.png", image)
    words = ("calibrate", "veriserum", "--root", root, "--distortion", table, "--format", "png")
    ran = medcli(*words, "--size", SIZE, "--out", tmp_path / "reference")
    assert ran.code == 0, ran.err
    for plane, expected in slow_reference(pair, fitted).items():
        result = image_io.read_grey(tmp_path / f"reference/calibrated_{plane}_000001.png")
        np.testing.assert_array_equal(result, expected)

    assert medcli(*words, "--size", "64", "--resample", "area", "--mask", "--out", tmp_path / "area").code == 0
    result = image_io.read_grey(tmp_path / "area/calibrated_bs_000001.png")
    inside = np.argwhere(image_io.read_grey(tmp_path / "area/mask_bs_calibration_04.png") > 0)
    for i, j in inside[generator.integers(0, len(inside), 20)]:
        white = 255 / pair["bs"].max()
        assert abs(result[i, j] - white * slow_area(pair["bs"], fitted["bs"], 64, i, j)) <= 3

    points = tmp_path / "points.csv"
    points.write_text("x_px,y_px\n100,200\n1500.5,30\n")
    words = ("--calibration", "4", "--plane", "fs", "--distortion", table)
    assert medcli("calibrate", "points", points, "--out", tmp_path / "mm.csv", *words).code == 0
    expected = fitted["fs"]([[100, 200], [1500.5, 30]])
    np.testing.assert_allclose(pd.read_csv(tmp_path / "mm.csv")[["x_mm", "y_mm"]], expected, atol=1e-9)


def test_a_model_that_is_not_there_is_reported(medcli: Run, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).touch()
    images = f"bs={tmp_path / 'a.png'}", f"fs={tmp_path / 'b.png'}"
    ran = medcli("calibrate", "fit", *images, "--out", tmp_path / "t.csv", "--model", "brown")
    assert ran.code == 2
    assert "--model 'brown' is not one of polynomial" in ran.err


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Synthetic pairs of four trials."""
    root = tmp_path_factory.mktemp("recipes") / "study"
    make_veriserum(root, 8, seed=4, calibrations=1, frames_per_trial=2, anatomies=(1,), companion=False)
    return root


# -- a pose metric: one entry -----------------------------------------------------------------------------------------


def test_a_metric_of_your_own_is_shown_everywhere(study: Path, tmp_path: Path, medcli: Run) -> None:
    largest = PoseMeasure(
        "largest_mm", "largest of three", lambda p: np.abs(p.away_mm).max(axis=1), "translation, mm", is_main=True
    )
    POSE_MEASURES.append(largest)
    try:
        poses = pd.read_csv(next(study.rglob("veriserum_pose*.csv")))
        poses.assign(tx=poses["tx"] + 3, tz=poses["tz"] - 4).to_csv(tmp_path / "poses.csv", index=False)
        words = ("evaluate", "pose", "--root", study, "--predictions", tmp_path / "poses.csv", "--split", "all")
        ran = medcli(*words, "--out", tmp_path / "out")
        assert ran.code == 0, ran.err
        assert re.search(r"largest of three +mm +4\.00", ran.out)
        assert json.loads((tmp_path / "out/evaluation.json").read_text())["errors"]["largest_mm"]["p95"] == 4.0
        assert (pd.read_csv(tmp_path / "out/pairs.csv")["largest_mm"] == 4).all()
        assert medcli("report", tmp_path / "out", "--out", tmp_path / "report.html").code == 0
    finally:
        POSE_MEASURES.remove(largest)
    page = (tmp_path / "report.html").read_text("utf-8")
    assert page.count("largest of three") >= 4  # tile, table, curve, percentiles


# -- a pose loss: one function and one entry --------------------------------------------------------------------------


def squared(estimates: Tensor, targets: Tensor, translation: float, rotation: float) -> Tensor:
    away = (estimates - targets) ** 2
    return translation * away[:, :3].mean(dim=1) + rotation * away[:, 3:].mean(dim=1)


def test_a_loss_of_your_own_is_chosen_by_name(
    study: Path, tmp_path: Path, medcli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        POSE_LOSSES,
        "squared",
        TrainingLoss(squared, {"translation": 1.0, "rotation": 1.0}, "squares of all nine numbers"),
    )
    words = ["--anatomy", "femur", "--size", "32", "--backbone", "shufflenet_v2_x0_5", "--backbone-weights", "none"]
    words += ["--epochs", "1", "--gpus", "0", "--loss", "squared", "--out", tmp_path / "run", "--json"]
    ran = medcli("train", "pose", "--root", study, *words)
    assert ran.code == 0, ran.err
    # Of an untrained network that gives the mean pose, tens of millimetres off: squares are hundreds.
    assert json.loads(ran.out)["best_metrics"]["val_loss"] > 100
