"""``medcli calibrate probe`` against known truth: estimates, standard errors, held-out frames, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.spatial.transform import Rotation

from medcli.core.errors import DataError
from medcli.ultrabones.dataset.probe import read_probe
from medcli.ultrabones.geometry.image_to_ct import pixels_to_ct
from medcli.ultrabones.probe_calibration.calibrate_probe import ProbeCalibration, calibrate_probe
from tests.conftest import Ran
from tests.support import calibration_phantoms as phantoms
from tests.support.calibration_phantoms import COLUMNS, POINT, POSE, ROWS, SPACING_MM, TRUE, draw_points, draw_wires

SIZE = (ROWS, COLUMNS)
Tables = tuple[pd.DataFrame, pd.DataFrame]


def calibrated(
    folder: Path, tables: Tables, phantom: pd.DataFrame | None = None, spacing_mm: float | None = None
) -> ProbeCalibration:
    phantoms.write(folder, *tables, phantom)
    place = None if phantom is None else folder / "phantom.csv"
    out = folder / "probe.json"
    return calibrate_probe(folder / "points.csv", folder / "poses.csv", out, place, spacing_mm, SIZE, overwrite=True)


def scores(done: ProbeCalibration) -> np.ndarray:
    """Errors of rotation, translation and spacing over their standard errors."""
    matrix = np.array(done.image_to_probe)
    turned = Rotation.from_matrix(TRUE[:3, :3] @ matrix[:3, :3].T).as_rotvec(degrees=True)
    found = [*turned / done.rotation_error_deg, *(TRUE[:3, 3] - matrix[:3, 3]) / done.translation_error_mm]
    return np.array(found + ([(SPACING_MM - done.spacing_mm) / done.spacing_error_mm] if done.spacing_error_mm else []))


@pytest.mark.parametrize("kind", ["point", "wires", "tracked wires", "given spacing"])
def test_standard_errors_cover_the_truth(kind: str, tmp_path: Path) -> None:
    """Of 20 sets of tables, 95 % intervals hold 95 % of the numbers, within what chance allows; and they are narrow."""
    found, frames = [], 30
    for seed in range(20):
        generator = np.random.default_rng(seed)
        if kind in ("point", "given spacing"):
            spacing = SPACING_MM if kind == "given spacing" else None
            done = calibrated(tmp_path, draw_points(generator, frames), spacing_mm=spacing)
        else:
            tracking = 0.3 if kind == "tracked wires" else 0.0
            done = calibrated(tmp_path, draw_wires(generator, frames, tracking_mm=tracking), phantoms.wires())
        assert max(done.translation_error_mm) < 1.0
        assert max(done.rotation_error_deg) < 0.8
        found.append(scores(done))
    inside = np.abs(np.concatenate(found)) < stats.t.ppf(0.975, frames - 1)
    assert 0.90 <= inside.mean() <= 0.995
    assert done.kind == ("known wires" if "wires" in kind else "points")


def test_without_noise_the_truth_is_found(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    exact = {"noise_px": 0.0}
    known = pd.DataFrame([["tip", *POINT]], columns=["point", "x", "y", "z"])
    for done in (
        calibrated(tmp_path, draw_points(generator, 20, beam_mm=0.0, **exact)),
        calibrated(tmp_path, draw_points(generator, 20, beam_mm=0.0, **exact), known),
        calibrated(tmp_path, draw_wires(generator, 20, **exact), phantoms.wires()),
    ):
        assert np.allclose(done.image_to_probe, TRUE, atol=1e-6)
        assert done.spacing_mm == pytest.approx(SPACING_MM, abs=1e-8)
        assert done.residual_mm.maximum < 1e-6


def test_held_out_residuals_are_those_of_frames_left_out(tmp_path: Path) -> None:
    """To first order, so within a few percent of fits without each frame; and beyond the residuals."""
    points, poses = draw_points(np.random.default_rng(3), 12)
    whole = calibrated(tmp_path, (points, poses))
    left_out = []
    for frame in range(12):
        calibrated(tmp_path, (points[points["frame"] != frame], poses))
        probe = read_probe(tmp_path / "probe.json")
        seen = np.stack([place_of(points.iloc[i], poses.iloc[i], probe) for i in range(12)])
        others = np.delete(seen, frame, axis=0).mean(axis=0)
        left_out.append(np.linalg.norm(seen[frame] - others))
    rms = float(np.sqrt(np.mean(np.square(left_out))))
    assert whole.held_out_mm.rms == pytest.approx(rms, rel=0.1)
    assert whole.residual_mm.rms < 0.85 * whole.held_out_mm.rms


def place_of(point: pd.Series, pose: pd.Series, probe: object) -> np.ndarray:
    spacing = probe.spacing_mm  # type: ignore[attr-defined]
    return pixels_to_ct(pose[POSE].to_numpy(float), [point["u"]], [point["v"]], spacing, probe)[0]  # type: ignore[arg-type]


def tilted_about_one_axis() -> Tables:
    points, poses = draw_points(np.random.default_rng(0), 40, beam_mm=0.0, noise_px=0.2)
    generator = np.random.default_rng(1)
    image = np.tile(np.eye(4), (40, 1, 1))
    image[:, :3, :3] = Rotation.from_euler("y", generator.uniform(-40, 40, (40, 1)), degrees=True).as_matrix()
    local = np.column_stack([(points[["u", "v"]].to_numpy() + 0.5) * SPACING_MM, np.zeros(40)])
    image[:, :3, 3] = POINT - np.einsum("nij,nj->ni", image[:, :3, :3], local)
    marker = image @ np.linalg.inv(TRUE)
    angles = Rotation.from_matrix(marker[:, :3, :3]).as_euler("xyz", degrees=True)
    poses[POSE] = np.concatenate([marker[:, :3, 3], angles], axis=1)
    return points, poses


def in_one_row() -> Tables:
    points, poses = draw_points(np.random.default_rng(0), 40)
    points["v"] = 200.0 + 0.1 * np.arange(40) % 1
    return points, poses


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        (lambda: draw_points(np.random.default_rng(0), 4), "4 points in 4 frames are too few for 10 unknowns"),
        (
            lambda: draw_points(np.random.default_rng(0), 40, tilt_deg=1.0),
            "all poses are alike: none is turned by more",
        ),
        (in_one_row, "lie within 0.3 pixels of one line"),
        (tilted_about_one_axis, "do not determine"),
        (
            lambda: (draw_points(np.random.default_rng(0))[0], draw_points(np.random.default_rng(1))[1]),
            "it stays open",
        ),
    ],
)
def test_what_does_not_determine_it_is_refused(tables: Callable[[], Tables], words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the points do not determine the calibration") as refused:
        calibrated(tmp_path, tables())
    assert words in refused.value.message
    assert not (tmp_path / "probe.json").exists()


def test_command_writes_what_other_commands_read(medcli: Callable[..., Ran], tmp_path: Path) -> None:
    phantoms.write(tmp_path, *draw_wires(np.random.default_rng(5)), phantoms.wires())
    words = ("calibrate", "probe", tmp_path / "points.csv", "--poses", tmp_path / "poses.csv")
    options = ("--out", tmp_path / "probe.json", "--phantom", tmp_path / "phantom.csv")
    ran = medcli(*words, *options)
    assert ran.code == 2
    assert "name it with --rows and --columns" in ran.err
    ran = medcli(*words, *options, "--rows", ROWS, "--columns", COLUMNS)
    assert ran.code == 0, ran.err
    assert "points seen of 9 known wires" in ran.out
    assert read_probe(tmp_path / "probe.json").rows == ROWS
    found = json.loads((tmp_path / "probe.json").read_text())["calibration"]
    assert found["held_out_mm"]["rms"] > found["residual_mm"]["rms"] > 0
    assert len(found["translation_error_mm"]) == len(found["rotation_error_deg"]) == 3
    written = (tmp_path / "probe.json").stat().st_mtime_ns
    first, again = ran, medcli(*words, *options, "--rows", ROWS, "--columns", COLUMNS)
    said = "already made of the same tables with the same options"
    assert " ".join(again.out.split()) == f"{' '.join(first.out.split())} {said}"
    assert (again.code, (tmp_path / "probe.json").stat().st_mtime_ns) == (0, written)
    other = medcli(*words, *options, "--rows", ROWS, "--columns", COLUMNS, "--spacing-mm", "0.12")
    assert (other.code, "probe.json exists" in other.err) == (2, True)
    assert "gross error" not in ran.err
    table = pd.read_csv(tmp_path / "points.csv")
    row = int((table["v"] - ROWS / 2).abs().idxmin())
    table.loc[row, "v"] += 60
    table.to_csv(tmp_path / "points.csv", index=False)
    ran = medcli(*words, *options, "--rows", ROWS, "--columns", COLUMNS, "--overwrite")
    assert f"in frame {table.loc[row, 'frame']}" in " ".join(ran.out.split())
    assert f"the point in frame {table.loc[row, 'frame']} of" in " ".join(ran.err.split())


def test_a_spacing_that_the_points_contradict_is_warned_of(medcli: Callable[..., Ran], tmp_path: Path) -> None:
    phantoms.write(tmp_path, *draw_points(np.random.default_rng(2)))
    words = ("calibrate", "probe", tmp_path / "points.csv", "--poses", tmp_path / "poses.csv", "--rows", ROWS)
    words = (*words, "--columns", COLUMNS, "--out", tmp_path / "probe.json", "--overwrite", "--spacing-mm")
    assert (sound := medcli(*words, "0.12")).err == ""
    assert "beware" not in sound.out
    for spacing, count in (("0.125", 1), ("0.2", 2)):
        ran = medcli(*words, spacing)
        said = " ".join(ran.err.split())
        assert f"the spacing given, {spacing} mm, contradicts the points, which give 0.1" in said
        assert "beware" in ran.out
        assert ("mm (rms), far more than the noise" in said) == (count == 2)
        found = json.loads((tmp_path / "probe.json").read_text())["calibration"]["warnings"]
        assert len(found) == count
        assert json.loads(medcli(*words, spacing, "--json").out)["warnings"] == found


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda points, poses: points.insert(0, "x_px", points.pop("u")), "no column u"),
        (lambda points, poses: poses.pop("euler_z"), "no column euler_z"),
        (lambda points, poses: points.insert(0, "wire", points.pop("point")), "on wires, and where"),
        (lambda points, poses: points.__setitem__("frame", points["frame"] + 50), "not in"),
        (
            lambda points, poses: points.__setitem__("u", points["u"].astype(object).where(points.index != 3, "?")),
            "'?'",
        ),
        (lambda points, poses: points.__setitem__("u", points["u"] + 500), "outside an image of 640 x 480"),
        (lambda points, poses: poses.__setitem__("frame", 1), "has frame 1 twice"),
        (lambda points, poses: points.__setitem__(slice(1, 2), points[:1].to_numpy()), "of frame 0 twice at one place"),
        (lambda points, poses: poses.__setitem__(POSE[:3], poses[POSE[:3]] / 1000), "in millimetres"),
    ],
)
def test_bad_tables_are_refused(
    change: Callable[[pd.DataFrame, pd.DataFrame], object], words: str, medcli: Callable[..., Ran], tmp_path: Path
) -> None:
    points, poses = draw_points(np.random.default_rng(0))
    change(points, poses)
    phantoms.write(tmp_path, points, poses)
    size = ("--rows", ROWS, "--columns", COLUMNS, "--out", tmp_path / "probe.json")
    ran = medcli("calibrate", "probe", tmp_path / "points.csv", "--poses", tmp_path / "poses.csv", *size)
    assert ran.code == 3, ran.err
    assert words in ran.err, ran.err
    assert not (tmp_path / "probe.json").exists()
