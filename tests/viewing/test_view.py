"""What ``medcli view --save`` writes, read back with rerun's own reader and compared with the geometry of the data."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from medcli.core.image_io import read_grey
from medcli.core.mesh import read_stl
from medcli.core.rigid_transforms import transform_points
from medcli.core.run_provenance import note_path
from medcli.synthetic.fluoroscopy.dataset import make_veriserum
from medcli.synthetic.ultrasound.dataset import SweepSettings, make_ultrabones
from medcli.ultrabones.dataset.mesh_files import find_meshes
from medcli.ultrabones.dataset.records import find_sweeps, read_poses
from medcli.ultrabones.geometry.bone_meshes import load_surfaces
from medcli.ultrabones.geometry.image_to_ct import pixels_to_ct
from medcli.ultrabones.reconstruction.figure import distance_colours
from medcli.ultrabones.reconstruction.mask_points import back_project
from medcli.ultrabones.reconstruction.point_cloud import surface_distances
from medcli.veriserum.geometry.biplane import ImageGrid
from medcli.veriserum.registration.start_poses import Sources, StartPoses
from tests.conftest import MadeOnce, Ran
from tests.support.small_disk import small_disk

rerun = pytest.importorskip("rerun", reason="rerun is not installed")

pytestmark = pytest.mark.usefixtures("axes_guessed_once")
RECORD = "specimen02/ultrasound_records/fibula/record01"
FRAMES = 6
Rows = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def bones(made_once: MadeOnce) -> Path:
    """A folder whose name has blanks and umlauts, with one record."""
    settings = SweepSettings(frames=FRAMES, scale=0.3, predictions=True)

    def make(folder: Path) -> None:
        make_ultrabones(folder / "Daten für Größe", (2,), settings=settings)

    return made_once("view bones", make) / "Daten für Größe"


@pytest.fixture(scope="module")
def knees(made_once: MadeOnce) -> Path:
    def make(folder: Path) -> None:
        make_veriserum(folder, 6, frames_per_trial=3, calibrations=1, obsolete_every=0, both_poses=True)

    return made_once("view knees", make)


def read_back(path: Path) -> Rows:
    """By entity, its rows: what was logged, with its timelines."""
    from rerun.chunk import RrdReader

    found: Rows = defaultdict(list)
    for chunk in RrdReader(path).stream():
        for row in chunk.to_record_batch().to_pylist():
            found[chunk.entity_path].append({name: value for name, value in row.items() if value is not None})
    for rows in found.values():
        rows.sort(key=lambda row: row.get("frame", 0))
    return dict(found)


def one(rows: Rows, entity: str, component: str) -> Any:
    """The only value of a component of an entity."""
    values = [row[component] for row in rows[entity] if component in row]
    assert len(values) == 1, f"{entity} {component}: {len(values)} values"
    return values[0]


def matrix_of(row: dict[str, Any]) -> np.ndarray:
    found = np.eye(4)
    found[:3, 3] = row["Transform3D:translation"][0]
    found[:3, :3] = np.reshape(row["Transform3D:mat3x3"][0], (3, 3)).T  # columns follow each other
    return found


def intrinsics(row: dict[str, Any]) -> np.ndarray:
    return np.reshape(row["Pinhole:image_from_camera"][0], (3, 3)).T


def jpeg_of(row: dict[str, Any]) -> np.ndarray:
    content = np.array(row["EncodedImage:blob"][0], np.uint8)
    return cv2.imdecode(content, cv2.IMREAD_GRAYSCALE)


def saved(medcli: Callable[..., Ran], file: Path, *words: str | Path) -> tuple[dict[str, Any], Rows]:
    ran = medcli("view", *words, "--save", file, "--json")
    assert ran.code == 0, ran.err
    return json.loads(ran.out), read_back(file)


def test_a_record_is_in_ct_space(medcli: Callable[..., Ran], bones: Path, tmp_path: Path) -> None:
    result, rows = saved(medcli, tmp_path / "eine Ansicht ä.rrd", bones / RECORD)
    sweep = find_sweeps(bones / RECORD)[0]
    poses = read_poses(sweep, "optimized")
    surfaces = load_surfaces(find_meshes(sweep.folder, 2))
    assert (result["frames"], result["frames_there"], result["failures"]) == (FRAMES, FRAMES, [])
    assert result["schema"] == "medcli.view.v1"

    images = [row for row in rows["/ct/frame/image"] if "EncodedImage:blob" in row]
    seconds = [(stamp - sweep.timestamps[0]) / 1000 for stamp in sweep.timestamps]
    assert [row["frame"] for row in images] == list(range(1, FRAMES + 1))
    assert [row["time"].total_seconds() for row in images] == pytest.approx(seconds)
    camera = next(row for row in rows["/ct/frame/image"] if "Pinhole:image_from_camera" in row)
    distance = camera["Pinhole:image_plane_distance"][0]
    behind = np.array(camera["Transform3D:translation"][0])
    for frame, (placed, image) in enumerate(zip(rows["/ct/frame"], images, strict=True)):
        expected = read_grey(sweep.images[frame])
        assert np.abs(jpeg_of(image).astype(int) - expected).mean() < 6
        columns, lines = np.array([0.0, 10.0, 200.0]), np.array([0.0, 40.0, 3.0])
        rays = np.linalg.inv(intrinsics(camera)) @ [columns + 0.5, lines + 0.5, np.ones(3)]
        seen = transform_points(matrix_of(placed), (rays * distance).T + behind)
        true = pixels_to_ct(poses.pose[frame], columns, lines, float(poses.spacing_mm[frame]))
        assert np.abs(seen - true).max() < 2e-3

    for name, ending in (("Labels", "_label.png"), ("Labels_pred", "_label_pred.png")):
        for frame, row in enumerate(rows[f"/ct/points/{name}"]):
            mask = read_grey(sweep.folder / name / f"{sweep.timestamps[frame]}{ending}")
            every = back_project(mask, poses.pose[frame], float(poses.spacing_mm[frame]))
            points = np.array(row["Points3D:positions"])
            apart = np.linalg.norm(every[None] - points[:, None], axis=2)
            assert apart.min(axis=1).max() < 1e-3, "a point that is no pixel of the mask"
            assert apart.min(axis=0).max() < 0.45, "a pixel of the mask without a point near"
            colours = np.array([[value >> shift & 255 for shift in (24, 16, 8)] for value in row["Points3D:colors"]])
            away = surface_distances(every[apart.argmin(axis=1)], surfaces)
            assert np.abs(colours - distance_colours(away, result["scale_mm"])).max() <= 1
            median = rows[f"/distance/{name}"][-FRAMES:][frame]["Scalars:scalars"][0]
            assert median == pytest.approx(np.median(surface_distances(points, surfaces)), abs=1e-4)
    mesh = read_stl(find_meshes(sweep.folder, 2)[0])
    vertices = np.array(one(rows, "/ct/bones/fibula", "Mesh3D:vertex_positions"))
    assert np.allclose([vertices.min(axis=0), vertices.max(axis=0)], mesh.bounds, atol=1e-3)
    normals = np.array(one(rows, "/ct/bones/fibula", "Mesh3D:vertex_normals"))
    outwards = np.einsum("ij,ij->i", normals, vertices - [*mesh.bounds.mean(axis=0)[:2], 0] * np.array([1, 1, 0]))
    assert np.allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)
    assert outwards.mean() > 0
    path = np.array(one(rows, "/ct/probe_path", "LineStrips3D:strips")[0])
    assert path.shape == (FRAMES, 3)


def test_every_second_frame_of_one_folder_of_masks_without_meshes(
    medcli: Callable[..., Ran], bones: Path, tmp_path: Path
) -> None:
    shutil.copytree(bones, tmp_path / "data")
    record = tmp_path / "data" / RECORD
    shutil.rmtree(tmp_path / "data/specimen02/CT_bone_segmentations")
    next((record / "UltrasoundImages").glob("*.png")).write_bytes(b"no image")
    ran = medcli("view", record / "Labels_pred", "--every", "2", "--save", tmp_path / "view.rrd")
    assert "without bones and distances" in ran.err
    rows = read_back(tmp_path / "view.rrd")
    frames = [row["frame"] for row in rows["/ct/points/Labels_pred"]]
    assert set(frames) <= {1, 3, 5}
    assert ran.code == (0 if len(frames) == 3 else 4)
    assert "/ct/points/Labels" not in rows
    assert not any(name.startswith("/ct/bones") for name in rows)
    refused = medcli("view", record, "--save", tmp_path / "view.rrd")
    assert refused.code == 2
    assert "--overwrite" in refused.err


def test_a_trial_has_its_cameras_implants_outlines_and_angles(
    medcli: Callable[..., Ran], knees: Path, tmp_path: Path
) -> None:
    result, rows = saved(medcli, tmp_path / "trial.rrd", "trial:2", "--root", knees)
    assert (result["title"], result["frames"], result["contents"]["images"]) == ("trial 2", 3, 6)
    starts = StartPoses(Sources(knees))
    table = pd.read_csv(next(knees.glob("csv_files/*pose*.csv")))
    anatomies = sorted(set(table[table["measurement_id"] == 2]["anatomy_id"]))
    meshes = {anatomy: starts.study.surfaces.implant(anatomy).mesh for anatomy in anatomies}
    names = {anatomy: f"{'femur' if anatomy < 3 else 'tibia'}_{anatomy}" for anatomy in anatomies}
    for place, number in enumerate((4, 5, 6)):
        for plane in ("bs", "fs"):
            images = [row for row in rows[f"/world/{plane}"] if "EncodedImage:blob" in row]
            assert [row["id"] for row in images] == [4, 5, 6]
            image = starts.image(number, plane)
            assert np.abs(jpeg_of(images[place]).astype(int) - image).mean() < 4
            row = next(row for row in rows[f"/world/{plane}"] if "Pinhole:image_from_camera" in row)
            camera, grid = starts.geometry.cameras(number).camera(plane), ImageGrid.calibrated(image.shape[0])
            for anatomy, mesh in meshes.items():
                placed = [one for one in rows[f"/world/{names[anatomy]}"] if "Transform3D:translation" in one]
                world = transform_points(matrix_of(placed[place]), mesh.vertices)
                seen = intrinsics(row) @ transform_points(np.linalg.inv(matrix_of(row)), world).T
                pixels = (seen[:2] / seen[2]).T
                assert np.abs(pixels - 0.5 - grid.to_pixels(camera.project(world))).max() < 0.01
                outlines = rows[f"/world/{plane}/{names[anatomy]}"][place]["LineStrips2D:strips"]
                outline = np.concatenate([np.array(strip) for strip in outlines])
                assert np.abs(outline.min(axis=0) - pixels.min(axis=0)).max() < 1.5
                assert np.abs(outline.max(axis=0) - pixels.max(axis=0)).max() < 1.5

    assert medcli("kinematics", "veriserum", "--root", knees, "--out", tmp_path / "knee run").code == 0
    motion = pd.read_csv(tmp_path / "knee run/kinematics.csv", dtype={"trial": str}).query("trial == '2'")
    for entity, name in (("angles", "flexion_deg"), ("angles", "internal_rotation_deg"), ("shifts", "distal_mm")):
        logged = [row for row in rows[f"/motion/{entity}/{name}"] if "Scalars:scalars" in row]
        assert [row["Scalars:scalars"][0] for row in logged] == pytest.approx(motion[name].tolist(), abs=1e-5)
        assert [row["time"].total_seconds() for row in logged] == pytest.approx(motion["time_s"].tolist())

    stored, again = saved(medcli, tmp_path / "run.rrd", tmp_path / "knee run", "--trials", "2")
    assert stored["kind"] == "motion"
    for entity, component in (("/world/bs", "EncodedImage:blob"), ("/motion/angles/flexion_deg", "Scalars:scalars")):
        values = [[row[component] for row in found[entity] if component in row] for found in (rows, again)]
        if component == "Scalars:scalars":
            assert np.ravel(values[0]) == pytest.approx(np.ravel(values[1]), abs=1e-5)
        else:
            assert values[0] == values[1]


def test_the_side_of_a_knee_that_no_table_states(medcli: Callable[..., Ran], knees: Path, tmp_path: Path) -> None:
    table = pd.read_csv(next(knees.glob("csv_files/*pose*.csv")))
    table[["id", "anatomy_id", "tx", "ty", "tz", "rz", "rx", "ry"]].to_csv(tmp_path / "poses.csv", index=False)
    turned = {}
    for words in ((), ("--side", "right"), ("--side", "left")):
        result, rows = saved(medcli, tmp_path / f"{len(turned)}.rrd", tmp_path / "poses.csv", "--root", knees, *words)
        assert any("nothing states the side" in warning for warning in result["warnings"]) == (not words)
        logged = [row["Scalars:scalars"][0] for row in rows["/motion/angles/adduction_deg"] if "Scalars:scalars" in row]
        turned[words] = np.array(logged)
    assert np.allclose(turned[()], turned["--side", "right"])
    assert np.allclose(turned["--side", "left"], -turned["--side", "right"])
    assert np.abs(turned[()]).max() > 0.1


def test_tables_of_poses_and_pairs(medcli: Callable[..., Ran], knees: Path, tmp_path: Path) -> None:
    table = pd.read_csv(next(knees.glob("csv_files/*pose*.csv")))
    femora = table[table["anatomy_id"].isin([1, 2])].copy()
    femora.loc[femora["id"] == 2, "tx"] = np.nan  # as the row of a registration that failed
    femora["tz"] += 3.0
    femora[["id", "anatomy_id", "tx", "ty", "tz", "rz", "rx", "ry"]].to_csv(tmp_path / "poses.csv", index=False)
    result, rows = saved(medcli, tmp_path / "table.rrd", tmp_path / "poses.csv", "--root", knees)
    name = next(name for name in rows if name.startswith("/world/femur"))
    assert result["frames"] == 5
    placed = [row for row in rows[name] if "Transform3D:translation" in row]
    expected = femora[(femora["id"] == placed[0]["id"])].iloc[0]
    assert np.allclose(placed[0]["Transform3D:translation"][0], expected[["tx", "ty", "tz"]].astype(float), atol=1e-3)
    run = pd.read_csv(tmp_path / "poses.csv").assign(tz=lambda rows: rows["tz"] - 1800)  # about the source of plane bs
    run.to_csv(tmp_path / "run.csv", index=False)
    note_path(tmp_path / "run.csv", "register pose").write_text('{"settings": {"frame": "source-bs"}}')
    refused = medcli("view", tmp_path / "run.csv", "--root", knees, "--pose-frame", "fs", "--save", tmp_path / "no.rrd")
    assert (refused.code, "were computed in the frame source-bs" in refused.err) == (2, True)
    _, rows = saved(medcli, tmp_path / "run.rrd", tmp_path / "run.csv", "--root", knees)
    source = StartPoses(Sources(knees)).geometry.cameras(int(placed[0]["id"])).bs.source_mm
    (moved, *_) = (row for row in rows[name] if "Transform3D:translation" in row)
    assert np.allclose(
        np.subtract(moved["Transform3D:translation"][0], placed[0]["Transform3D:translation"][0]),
        source - [0, 0, 1800],
        atol=1e-3,
    )
    pair, rows = saved(medcli, tmp_path / "pair.rrd", "0004", "--root", knees)
    assert (pair["kind"], pair["title"], pair["frames"]) == ("pair", "pair 4", 1)
    assert [row["id"] for row in rows["/world/fs"] if "EncodedImage:blob" in row] == [4]
    absent = medcli("view", "99", "--root", knees, "--save", tmp_path / "none.rrd")
    assert absent.code == 3
    assert "ids are 1 to 6" in absent.err
    no_trial = medcli("view", "trial:99", "--root", knees, "--save", tmp_path / "none.rrd")
    assert no_trial.code == 3
    assert "trials with poses: 1, 2" in no_trial.err
    assert not list(tmp_path.glob("*none*"))


def test_a_reconstruction_lies_over_its_bones_and_frames(
    medcli: Callable[..., Ran], bones: Path, tmp_path: Path
) -> None:
    out = tmp_path / "runs" / "bone"
    assert medcli("reconstruct", "ultrabones", "--root", bones, "--mask", "Labels_pred", "--out", out).code == 0
    result, rows = saved(medcli, tmp_path / "bone.rrd", out)
    assert result["kind"] == "bones"
    assert result["frames"] == FRAMES
    assert len(one(rows, "/ct/cloud/points", "Points3D:positions")) == result["contents"]["cloud"]
    assert set(result["contents"]) == {"bones", "cloud", "Labels_pred"}
    (out / "medcli-run.json").unlink()  # as if it came from another machine
    result, rows = saved(medcli, tmp_path / "bone2.rrd", next(out.glob("*.ply")), "--meshes", bones / "specimen02")
    assert (result["frames"], result["contents"]["bones"]) == (0, 3)
    assert "is not found" in result["warnings"][0]


def test_an_interrupted_or_refused_save_leaves_nothing(
    medcli: Callable[..., Ran], bones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medcli.viewing import record_scene
    from medcli.viewing.rerun_file import RerunFile

    out = tmp_path / "out"
    out.mkdir()
    with monkeypatch.context() as patch:
        placed: list[str] = []

        def place(self: RerunFile, entity: str, matrix: np.ndarray) -> None:
            placed.append(entity)
            if len(placed) == 3:
                raise KeyboardInterrupt

        patch.setattr(RerunFile, "place", place)
        ran = medcli("view", bones / RECORD, "--save", out / "view.rrd")
    assert (ran.code, len(placed), list(out.iterdir())) == (130, 3, [])
    with small_disk(tmp_path / "disk", 1) as disk:
        monkeypatch.setattr(record_scene, "encode", lambda *_: np.zeros(400_000, np.uint8))
        ran = medcli("view", bones / RECORD, "--save", disk / "view.rrd")
        assert (ran.code, list(disk.iterdir())) == (1, [])
        assert "disk is full" in ran.err


def test_records_without_poses_are_refused(medcli: Callable[..., Ran], bones: Path, tmp_path: Path) -> None:
    shutil.copytree(bones, tmp_path / "data")
    record = tmp_path / "data" / RECORD
    table = record / "tracking.csv"
    rows = pd.read_csv(table)
    rows.assign(timestamp=rows["timestamp"] + 1_000_000).to_csv(table, index=False)
    ran = medcli("view", record, "--save", tmp_path / "view.rrd")
    assert ran.code == 3
    assert "has a pose" in ran.err
    table.unlink()
    ran = medcli("view", record, "--save", tmp_path / "view.rrd")
    assert ran.code == 3
    assert "no tracking table" in ran.err
    assert not list(tmp_path.glob("*.rrd*"))


@pytest.mark.real_data
def test_real_frames(medcli: Callable[..., Ran], real_data: Path, tmp_path: Path) -> None:
    record = real_data / "ultrabones-example/specimen90/ultrasound_records/fibula/record01"
    result, rows = saved(medcli, tmp_path / "real.rrd", record, "--every", "16")
    assert result["frames"] == 5
    assert max(row["Scalars:scalars"][0] for row in rows["/distance/Labels_full"] if "frame" in row) < 0.1
