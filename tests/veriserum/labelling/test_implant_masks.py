"""``medcli label veriserum``: silhouettes against a slow twin, both components, resuming, other options."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from medcli.core.mesh import Mesh
from medcli.synthetic.fluoroscopy.dataset import FluoroscopySettings, Study, make_veriserum
from medcli.synthetic.fluoroscopy.motion import pose_cells
from medcli.veriserum.geometry.biplane import Camera, ImageGrid
from medcli.veriserum.labelling.implant_masks import projected_mask
from tests.conftest import MadeOnce, Ran

POSES = "csv_files/veriserum_pose_reloaded_refined_all.csv"


def make_knees(root: Path) -> None:
    """Two pairs; the first has a row for each component, as two rows of one id."""
    study = make_veriserum(root, pairs=2, frames_per_trial=1, anatomies=(1,), obsolete_every=0).study
    frame = study.frames[1]
    table = pd.read_csv(root / POSES).astype(object)
    other = table.iloc[0].to_dict() | {"anatomy_id": frame.companion_id, **pose_cells(frame.knee.of("tibia"))}
    pd.concat([table, pd.DataFrame([other])]).to_csv(root / POSES, index=False)


@pytest.fixture(scope="module")
def sound(made_once: MadeOnce) -> Path:
    return made_once("labelled-knees", make_knees)


@pytest.fixture
def knees(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "knees"))


def slow_mask(camera: Camera, mesh: Mesh, pose: NDArray[np.float64], size: int) -> NDArray[np.bool_]:
    """Every pixel centre against every projected triangle."""
    points = mesh.vertices @ pose[:3, :3].T + pose[:3, 3]
    corners = ImageGrid.calibrated(size).to_pixels(camera.project(points))[mesh.faces]
    columns, rows = np.meshgrid(np.arange(size), np.arange(size))
    mask = np.zeros((size, size), bool)
    for a, b, c in corners:
        sides = [(q[0] - p[0]) * (rows - p[1]) - (q[1] - p[1]) * (columns - p[0]) for p, q in ((a, b), (b, c), (c, a))]
        mask |= np.all([side >= 0 for side in sides], axis=0) | np.all([side <= 0 for side in sides], axis=0)
    return mask


@pytest.mark.parametrize("shift_mm", [(0.0, 0.0, 0.0), (170.0, -120.0, 0.0), (900.0, 0.0, 0.0)])
def test_masks_are_the_pixels_inside_a_projected_triangle(shift_mm: tuple[float, float, float]) -> None:
    study = Study(FluoroscopySettings(pairs=1))
    frame, size = study.frames[1], 24
    implant = study.implants[frame.anatomy_id]
    pose = frame.knee.of(implant.kind).copy()
    pose[:3, 3] += shift_mm
    for plane in ("bs", "fs"):
        camera = study.cameras(1).camera(plane)
        assert np.array_equal(
            projected_mask(camera, implant.mesh, pose, size), slow_mask(camera, implant.mesh, pose, size)
        )


def test_masks_of_both_components_resume_and_refuse_other_options(
    medcli: Callable[..., Ran], knees: Path, tmp_path: Path
) -> None:
    words = ("label", "veriserum", "--root", knees, "--size", "128", "--workers", "2")
    sheet = tmp_path / "sheet.jpg"
    first = json.loads(medcli(*words, "--figure", sheet, "--json").out)
    assert (first["pairs"], first["both"], first["done"], first["failures"]) == (2, 1, 6, [])
    out = knees / "implant_masks"
    masks = {path.stem: cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in out.glob("*.png")}
    assert sorted(masks) == [
        "femur_bs_000001", "femur_bs_000002", "femur_fs_000001", "femur_fs_000002",
        "tibia_bs_000001", "tibia_fs_000001",
    ]  # fmt: skip
    assert {int(value) for mask in masks.values() for value in np.unique(mask)} == {0, 255}
    assert cv2.imread(str(sheet)) is not None
    assert json.loads((out / "medcli-run.json").read_text())["verb"] == "label veriserum"

    (out / "tibia_fs_000001.png").unlink()
    before = (out / "femur_bs_000001.png").stat().st_mtime_ns
    again = json.loads(medcli(*words, "--json").out)
    assert (again["done"], again["skipped"]) == (1, 5)
    assert (out / "femur_bs_000001.png").stat().st_mtime_ns == before
    assert np.array_equal(cv2.imread(str(out / "tibia_fs_000001.png"), cv2.IMREAD_UNCHANGED), masks["tibia_fs_000001"])

    other = medcli(*words[:-4], "--size", "64")
    assert (other.code, "size was 128, is 64" in other.err) == (2, True)
    assert medcli(*words[:-4], "--size", "64", "--ids", "1", "--overwrite").code == 2  # id 2 would remain
    single = json.loads(medcli(*words[:-4], "--size", "128", "--single-file", "--out", tmp_path / "one", "--json").out)
    assert single["done"] == 4
    values = cv2.imread(str(tmp_path / "one/implants_bs_000001.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(values & 1, masks["femur_bs_000001"] // 255)
    assert np.array_equal(values >> 1, masks["tibia_bs_000001"] // 255)


def test_other_poses_replace_all_masks_or_none(medcli: Callable[..., Ran], knees: Path) -> None:
    words = ("label", "veriserum", "--root", knees, "--size", "64")
    assert json.loads(medcli(*words, "--dry-run", "--json").out)["done"] == 6
    assert not (knees / "implant_masks").exists()
    medcli(*words)
    table = pd.read_csv(knees / POSES)
    table.assign(tx=table["tx"] + 20).to_csv(knees / POSES, index=False)
    refused = medcli(*words)
    assert (refused.code, "poses was" in refused.err) == (2, True)
    before = (knees / "implant_masks/femur_bs_000002.png").read_bytes()
    assert json.loads(medcli(*words, "--overwrite", "--json").out)["done"] == 6
    assert (knees / "implant_masks/femur_bs_000002.png").read_bytes() != before


def test_a_pose_that_cannot_be_right_is_a_failure_of_its_own(medcli: Callable[..., Ran], knees: Path) -> None:
    table = pd.read_csv(knees / POSES)
    table.loc[1, "tz"] = 3000.0
    table.to_csv(knees / POSES, index=False)
    ran = medcli("label", "veriserum", "--root", knees, "--size", "64")
    assert ran.code == 4
    assert "id 2, bs: femur: the mesh extends to the X-ray source" in ran.err
    assert (knees / "implant_masks/tibia_bs_000001.png").exists()
