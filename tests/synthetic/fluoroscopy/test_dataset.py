"""Synthetic Veriserum data: published layout, ground truth and reproducible bytes."""

from __future__ import annotations

import csv
import sqlite3
from pathlib import Path

import cv2
import numpy as np
import pytest

from medcli.core.errors import MedcliError
from medcli.core.image_io import read_content, read_grey
from medcli.core.mesh import read_stl
from medcli.core.rigid_transforms import VERISERUM_EULER, rigid_transform, rotation_angle_deg
from medcli.synthetic.fluoroscopy.calibrations import draw_calibrations
from medcli.synthetic.fluoroscopy.dataset import (
    DATABASE,
    IMAGE_FOLDER,
    FluoroscopySettings,
    Study,
    SyntheticVeriserum,
    make_veriserum,
)
from medcli.synthetic.fluoroscopy.grid_phantom import grid_image, undistorted_grid
from medcli.synthetic.fluoroscopy.motion import draw_trial, pose_cells
from medcli.synthetic.fluoroscopy.xray import FIELD_RADIUS_MM
from medcli.veriserum.calibration.distortion_model import PolynomialDistortion
from medcli.veriserum.calibration.grid_fit.phantom import bead_centres_mm, bead_presence
from medcli.veriserum.calibration.undistortion_map import AreaMap
from medcli.veriserum.dataset.detector import PLANES
from medcli.veriserum.geometry.biplane import DualPlane, ImageGrid, SourceIntensifier

POSE_COLUMNS = [
    *("id", "measurement_id", "anatomy_id", "update_timestamp", "obsolete", "git_hash", "git_repo"),
    *("source_int_calibration_id", "distortion_calibration_id", "tx", "ty", "tz", "rz", "rx", "ry"),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> SyntheticVeriserum:
    return make_veriserum(tmp_path_factory.mktemp("veriserum"), pairs=4, seed=5, frames_per_trial=2, workers=2)


def read_table(root: Path, name: str) -> list[dict[str, str]]:
    with (root / "csv_files" / f"{name}.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def images(root: Path) -> dict[str, bytes]:
    return {path.name: read_content(path) for path in sorted((root / IMAGE_FOLDER).iterdir())}


def test_published_layout(made: SyntheticVeriserum) -> None:
    assert (made.written, made.skipped) == (8 + 6, 0)
    assert list(images(made.root)) == [f"{plane}_{number:06d}.jpg" for plane in PLANES for number in range(1, 5)]
    image = cv2.imread(str(made.root / IMAGE_FOLDER / "fs_000003.jpg"), cv2.IMREAD_UNCHANGED)
    assert image is not None
    assert image.shape == (1600, 1664)
    assert len(list((made.root / "veriserum_anatomies").glob("ana_00000?.stl"))) == 7
    grids = [f"grid_{plane}_{number:02d}.png" for plane in PLANES for number in (1, 2, 3)]
    assert sorted(path.name for path in (made.root / "grid_phantom").iterdir()) == grids
    poses = read_table(made.root, "veriserum_pose_reloaded_refined_all")
    assert list(poses[0]) == POSE_COLUMNS
    assert [row["id"] for row in poses] == ["1", "2", "3", "4"]
    assert [row["measurement_id"] for row in poses] == ["1", "1", "2", "2"]
    distortion = read_table(made.root, "distortion_calibration_reloaded")
    assert {"id", "distortion_result_fs", "distortion_result_bs"} <= set(distortion[0])
    sources = read_table(made.root, "source_int_calibration_reloaded")
    assert {row["id"] for row in sources} >= {row["source_int_calibration_id"] for row in poses}
    assert {row["id"] for row in distortion} >= {row["distortion_calibration_id"] for row in poses}


def test_database_holds_the_same_tables(made: SyntheticVeriserum) -> None:
    connection = sqlite3.connect(made.root / DATABASE)
    connection.row_factory = sqlite3.Row
    for table, name in (
        ("Poses", "veriserum_pose_reloaded_refined_all"),
        ("Distortion_calibration", "distortion_calibration_reloaded"),
        ("Source_int_calibration", "source_int_calibration_reloaded"),
    ):
        stored = [{key: str(row[key]) for key in row.keys()} for row in connection.execute(f"SELECT * FROM {table}")]  # noqa: SIM118
        assert stored == read_table(made.root, name)
    connection.close()


def test_columns_are_those_of_the_real_tables(made: SyntheticVeriserum, real_data: Path) -> None:
    for name in ("distortion_calibration_reloaded", "source_int_calibration_reloaded"):
        with (real_data / "veriserum" / "csv_files" / f"{name}.csv").open(encoding="utf-8", newline="") as stream:
            expected = next(csv.reader(stream))
        assert set(read_table(made.root, name)[0]) == set(expected)


def test_a_second_run_writes_nothing_and_other_settings_replace_all(tmp_path: Path) -> None:
    first = make_veriserum(tmp_path, pairs=2, seed=1, workers=1, calibrations=1)
    before = images(tmp_path)
    again = make_veriserum(tmp_path, pairs=2, seed=1, workers=2, calibrations=1)
    assert (first.written, again.written, again.skipped) == (6, 0, 6)
    (tmp_path / IMAGE_FOLDER / "fs_000002.jpg").unlink()  # as after an interruption
    assert make_veriserum(tmp_path, pairs=2, seed=1, workers=2, calibrations=1).written == 1
    assert images(tmp_path) == before
    other = make_veriserum(tmp_path, pairs=1, seed=2, calibrations=1)
    assert other.written == 4
    assert set(images(tmp_path)) == {"bs_000001.jpg", "fs_000001.jpg"}
    assert images(tmp_path)["bs_000001.jpg"] != before["bs_000001.jpg"]


def test_images_of_another_origin_are_never_removed(tmp_path: Path) -> None:
    (tmp_path / IMAGE_FOLDER).mkdir()
    (tmp_path / IMAGE_FOLDER / "bs_000001.jpg").write_bytes(b"precious")
    with pytest.raises(MedcliError, match="not synthetic"):
        make_veriserum(tmp_path, pairs=1)
    assert images(tmp_path) == {"bs_000001.jpg": b"precious"}


@pytest.mark.parametrize("plane", PLANES)
def test_native_is_the_truth_seen_through_the_distortion(plane: str) -> None:
    study = Study(FluoroscopySettings(pairs=1, seed=3, noise=0.0))
    truth, native = study.truth(1, plane) * 255, study.native(1, plane)
    generator = np.random.default_rng(0)
    pixels = np.stack([generator.integers(5, 1659, 20_000), generator.integers(5, 1595, 20_000)], axis=1)
    mm = study.calibrations[1].distortion(plane)(pixels)
    grid = ImageGrid.calibrated(1600).to_pixels(mm)
    # On the rim of the round field brightness drops within 4 pixels; there the interpolations differ.
    off_rim = np.abs(np.linalg.norm(mm, axis=1) - FIELD_RADIUS_MM) > 1.5
    inside = np.all((grid > 2) & (grid < 1597), axis=1) & off_rim
    column, row = np.floor(grid[inside]).astype(int).T
    s, t = (grid[inside] - np.floor(grid[inside])).T
    upper = truth[row, column] * (1 - s) + truth[row, column + 1] * s
    lower = truth[row + 1, column] * (1 - s) + truth[row + 1, column + 1] * s
    error = native[pixels[inside, 1], pixels[inside, 0]] - (upper * (1 - t) + lower * t)
    assert inside.mean() > 0.85
    assert np.abs(error).mean() < 0.35  # rounding to 8 bits alone gives 0.25
    assert np.percentile(np.abs(error), 99.9) < 3


def test_correcting_restores_the_truth_and_not_correcting_does_not() -> None:
    study = Study(FluoroscopySettings(pairs=1, seed=3, noise=0.0))
    native, truth = study.native(1, "bs"), study.truth(1, "bs", 512) * 255
    corrected = AreaMap.build(study.calibrations[1].bs, 512).apply(native, 0)
    uncorrected = cv2.resize(native, (512, 512), interpolation=cv2.INTER_AREA)
    seen = corrected > 0
    errors = [np.sqrt(np.mean((image[seen] - truth[seen]) ** 2)) for image in (corrected, uncorrected)]
    assert errors[0] < 1.0
    assert errors[1] > 15 * errors[0]


@pytest.mark.parametrize("plane", PLANES)
def test_files_alone_predict_the_position_of_the_metal(made: SyntheticVeriserum, plane: str) -> None:
    """Pose table, source table, distortion table and STL, read back, predict where the metal is."""
    for pose in read_table(made.root, "veriserum_pose_reloaded_refined_all"):
        calibrations = read_table(made.root, "distortion_calibration_reloaded")
        distortion = next(row for row in calibrations if row["id"] == pose["distortion_calibration_id"])
        sources = read_table(made.root, "source_int_calibration_reloaded")
        source = next(row for row in sources if row["id"] == pose["source_int_calibration_id"])
        native = read_grey(made.root / IMAGE_FOLDER / f"{plane}_{int(pose['id']):06d}.jpg")
        image = AreaMap.build(PolynomialDistortion.from_text(distortion[f"distortion_result_{plane}"]), 800).apply(
            native, float(native.max())
        )
        implant = read_stl(made.root / "veriserum_anatomies" / f"ana_{int(pose['anatomy_id']):06d}.stl")
        cameras = DualPlane.from_calibration(SourceIntensifier.from_row(source))
        matrix = cameras.pose_matrix(
            *([float(pose[k]) for k in names] for names in (("tx", "ty", "tz"), ("rz", "rx", "ry")))
        )
        length = cameras.camera(plane).path_length(implant, matrix, ImageGrid.calibrated(800))
        assert np.sum(length > 0) > 5_000
        # Logarithm of brightness against path length: where the predicted metal is thick, the image is dark.
        thick, near = length > 8, cv2.dilate((length > 0).astype(np.uint8), np.ones((21, 21))) > 0
        just_outside = near & (cv2.dilate((length > 0).astype(np.uint8), np.ones((5, 5))) == 0)
        assert np.median(image[thick]) < 0.45 * np.median(image[just_outside])
        shifted = np.roll(thick, 40, axis=1)
        assert image[thick].mean() < 0.8 * image[shifted].mean()


def test_images_look_like_fluoroscopy(made: SyntheticVeriserum) -> None:
    for path in sorted((made.root / IMAGE_FOLDER).iterdir()):
        image = read_grey(path)
        assert image[:40, :40].mean() < 12  # dark outside the round field
        assert 150 < np.percentile(image, 90) < 250  # bright, not saturated
        assert np.mean(image == 255) < 0.01
        patch = image[780:820, 160:200].astype(float) - cv2.blur(image, (9, 9))[780:820, 160:200]
        assert 1 < patch.std() < 10  # quantum noise


def test_trials_are_smooth() -> None:
    for seed in range(20):
        trial = draw_trial(12, np.random.default_rng(seed))
        for kind in ("femur", "tibia"):
            poses = np.stack([knee.of(kind) for knee in trial])
            steps = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1)
            turns = rotation_angle_deg(np.swapaxes(poses[:-1, :3, :3], 1, 2) @ poses[1:, :3, :3])
            assert 0.05 < steps.max() < 12
            assert 0.05 < turns.max() < 20
            numbers = [pose_cells(pose) for pose in poses]
            again = rigid_transform(
                [[n["tx"], n["ty"], n["tz"]] for n in numbers],
                [[n["rz"], n["rx"], n["ry"]] for n in numbers],
                VERISERUM_EULER,
            )
            np.testing.assert_allclose(again, poses, atol=1e-4)


def test_trials_differ_and_share_no_calibration_by_accident() -> None:
    study = Study(FluoroscopySettings(pairs=40, frames_per_trial=4, calibrations=3))
    frames = list(study.frames.values())
    assert [frame.measurement_id for frame in frames] == [i // 4 + 1 for i in range(40)]
    for frame in frames:
        assert frame.calibration_id == (frame.measurement_id - 1) % 3 + 1
    assert {frame.anatomy_id for frame in frames} == set(range(1, 8))
    assert sum(frame.obsolete for frame in frames) == 2
    kinds = {study.implants[frame.anatomy_id].kind for frame in frames if frame.companion_id < 3}
    assert kinds == {"tibia"}


def test_fewer_pairs_are_the_first_of_more() -> None:
    few, many = Study(FluoroscopySettings(pairs=3, seed=9)), Study(FluoroscopySettings(pairs=20, seed=9))
    for number in few.frames:
        assert few.pose_row(number) == many.pose_row(number)


def test_calibrations_are_usable_and_like_real_ones() -> None:
    for calibration in draw_calibrations(10, seed=4):
        for plane in PLANES:
            distortion = calibration.distortion(plane)
            distortion.check_invertible()
            again = PolynomialDistortion.from_text(distortion.to_text())
            assert again.to_text() == distortion.to_text()
            assert 0.22 < distortion.scale < 0.23
            assert -205 < distortion.translation_mm[0] < -180
            assert 165 < distortion.translation_mm[1] < 195
            corners = np.array([[832.0, 800], [832, 0], [0, 800], [1663, 800]])
            centre, top, left, right = distortion(corners)
            assert np.abs(centre).max() < 12
            assert top[1] > 150
            assert left[0] < -150 < 150 < right[0]
            # The distortion is much larger than a pixel and smaller than a centimetre.
            bend = distortion([[832 + 500, 800 - 500]])[0] - (
                centre + (right - centre + top - centre) * [500 / 831, 500 / 800]
            )
            assert 0.3 < np.linalg.norm(bend) < 10
    first, second = draw_calibrations(2, seed=4)
    assert first.bs.to_text() != second.bs.to_text() != second.fs.to_text()


def test_invalid_settings_are_rejected() -> None:
    with pytest.raises(ValueError, match="at least one"):
        FluoroscopySettings(pairs=0)
    with pytest.raises(ValueError, match="1 to 7"):
        FluoroscopySettings(anatomies=(1, 8))


def test_grid_phantom_has_its_beads_at_the_stated_positions() -> None:
    present = bead_presence()
    assert present.sum() == 45 * 45 - 4 * sum(range(1, 12)) + 1
    assert present[:, 44].sum() == present[0].sum() == 45 - 2 * 11
    assert present[5, 39]
    assert not present[39, 39]
    distortion = draw_calibrations(1, seed=8)[0].fs
    image = grid_image(distortion, np.random.default_rng(0), missing_share=0.0).astype(float)
    beads = distortion.inverse(bead_centres_mm())
    between = distortion.inverse(bead_centres_mm() + 3.5)
    visible = np.all((beads > 10) & (beads < [1653, 1589]), axis=1)
    visible &= np.linalg.norm(bead_centres_mm(), axis=1) < 165
    assert visible.sum() > 1500
    levels = [image[np.rint(p[visible, 1]).astype(int), np.rint(p[visible, 0]).astype(int)] for p in (beads, between)]
    assert np.percentile(levels[0] / levels[1], 99) < 0.75
    thinned = grid_image(distortion, np.random.default_rng(0), missing_share=0.3).astype(float)
    gone = thinned[np.rint(beads[visible, 1]).astype(int), np.rint(beads[visible, 0]).astype(int)] / levels[1] > 0.8
    assert 0.2 < gone.mean() < 0.4


def test_undistorted_beads_are_at_their_pixels_in_every_direction() -> None:
    """Column 800 + X / 0.225, row 800 - Y / 0.225: a bead above, below, left and right of the centre."""
    image = 1 - undistorted_grid()
    for x_mm, y_mm in ((70, 0), (-70, 0), (0, 70), (0, -70), (0, 0)):
        column, row = 800 + x_mm / 0.225, 800 - y_mm / 0.225
        top, left = round(row) - 9, round(column) - 9
        weights = np.clip(image[top : top + 19, left : left + 19] - 0.5, 0, None)
        rows, columns = np.mgrid[top : top + 19, left : left + 19]
        centre = (weights * columns).sum() / weights.sum(), (weights * rows).sum() / weights.sum()
        assert np.allclose(centre, (column, row), atol=0.06)


def test_both_poses_are_those_of_one_knee() -> None:
    study = Study(FluoroscopySettings(pairs=2, both_poses=True))
    first, other = study.pose_rows(1)
    frame = study.frames[1]
    assert (first["id"], other["id"], first["anatomy_id"], other["anatomy_id"]) == (1, 1, 1, frame.companion_id)
    assert first == Study(FluoroscopySettings(pairs=2)).pose_rows(1)[0]
    assert {name: other[name] for name in ("tx", "ty", "tz", "rz", "rx", "ry")} == pose_cells(frame.knee.tibia)
