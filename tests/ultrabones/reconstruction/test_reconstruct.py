"""``medcli reconstruct ultrabones``: points in space, their distances, files, and bad input."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from medcli.core.errors import DataError
from medcli.core.image_io import read_grey, read_rgb, write_image
from medcli.core.mesh import read_stl
from medcli.core.run_provenance import NAME as RUN_NOTE
from medcli.report.labels_and_bones import made_of_points
from medcli.report.runs import runs_in
from medcli.synthetic.ultrasound.dataset import SweepSettings, make_ultrabones
from medcli.ultrabones.dataset.folder_layout import find_records
from medcli.ultrabones.geometry.bone_surface import Surface
from medcli.ultrabones.geometry.image_to_ct import pixels_to_ct
from medcli.ultrabones.labelling.label_dataset import LabelSettings, label_ultrabones
from medcli.ultrabones.pose_refinement.refine_frame import RefineSettings
from medcli.ultrabones.reconstruction import cloud_files, point_cloud
from medcli.ultrabones.reconstruction.figure import draw_cloud
from medcli.ultrabones.reconstruction.mask_points import CUT_FROM_CT, FITTED_TO_CT, back_project
from medcli.ultrabones.reconstruction.reconstruct import ReconstructSettings, reconstruct_ultrabones
from tests.support.small_figures import draw_nothing
from tests.support.solids import ball

RECORD = Path("specimen01/ultrasound_records/fibula/record01")
STEM = "specimen01_fibula_record01_Labels_full_optimized"
FULL = ReconstructSettings(mask="Labels_full")


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = SweepSettings(frames=5, scale=0.25, predictions=True)
    return make_ultrabones(tmp_path_factory.mktemp("reconstruct") / "made", (1,), settings=settings)


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "data"))


@pytest.fixture
def drawn() -> None:
    """For a test that looks at the figure; elsewhere a small image stands for it."""


@pytest.fixture(autouse=True)
def _less_to_compute(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if "real_data" not in request.fixturenames:
        monkeypatch.setattr(point_cloud, "PUBLISHED_SAMPLES", 50_000)
        if "drawn" not in request.fixturenames:
            monkeypatch.setattr(cloud_files, "draw_cloud", draw_nothing)


def read_ply(path: Path) -> np.ndarray:
    header, _, body = path.read_bytes().partition(b"end_header\n")
    lines = header.decode("ascii").splitlines()
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"]
    kinds = {"float": "<f4", "uchar": "u1"}
    fields = [(line.split()[2], kinds[line.split()[1]]) for line in lines if line.startswith("property")]
    count = next(int(line.split()[2]) for line in lines if line.startswith("element vertex"))
    points = np.frombuffer(body, fields)
    assert len(points) == count
    return points


def test_pixels_go_where_the_formula_says() -> None:
    pose = np.array([180.0, 330, 1500, -97, -18, 123])
    mask = np.zeros((811, 950), np.uint8)
    mask[700, 40] = mask[3, 900] = 255
    mask[5, 5] = 254  # a stored probability, not a label
    expected = pixels_to_ct(pose, [900, 40], [3, 700], 0.05392)
    assert np.array_equal(back_project(mask, pose, 0.05392), expected)


def test_full_labels_lie_within_the_band(root: Path, tmp_path: Path) -> None:
    result = reconstruct_ultrabones(root, tmp_path / "out", settings=FULL)
    record = result.records[0]
    assert record.distance_mm is not None
    assert record.published_mm is not None
    assert record.distance_mm.maximum <= 0.1 + 1e-6
    assert 0.03 < record.distance_mm.mean < 0.07
    assert record.published_mm > record.distance_mm.mean
    assert (record.frames, record.empty, record.poses) == (5, 0, "optimized")
    assert 0 < record.seen["fibula"] < 1
    assert record.seen["foot"] == 0
    wrong = reconstruct_ultrabones(root, tmp_path / "wrong", settings=ReconstructSettings("Labels_full", "initial"))
    assert wrong.records[0].distance_mm is not None
    assert wrong.records[0].distance_mm.maximum > 0.2


def test_the_files_hold_the_points(root: Path, tmp_path: Path, drawn: None) -> None:
    record = reconstruct_ultrabones(root, tmp_path / "out", settings=FULL).records[0]
    assert record.files == (f"{STEM}.ply", f"{STEM}.xyz", f"{STEM}.png")
    text = np.loadtxt(tmp_path / "out" / f"{STEM}.xyz")
    cloud = read_ply(tmp_path / "out" / f"{STEM}.ply")
    assert len(text) == len(cloud) == record.points == record.points_written
    assert np.abs(np.stack([cloud["x"], cloud["y"], cloud["z"]], axis=1) - text).max() < 2e-4
    assert cloud["distance"].max() == pytest.approx(record.distance_mm.maximum, abs=1e-6)  # type: ignore[union-attr]
    near, far = cloud[cloud["distance"].argmin()], cloud[cloud["distance"].argmax()]
    assert (near["red"], near["green"], near["blue"]) == (68, 1, 84)
    assert far["red"] > 200
    image = read_rgb(tmp_path / "out" / f"{STEM}.png")
    assert image.shape[1] > 1000
    saved = json.loads((tmp_path / "out" / f"{STEM}.json").read_text())["reconstruction"]
    assert saved["points"] == record.points


def test_a_voxel_keeps_one_point_and_leaves_the_figures(root: Path, tmp_path: Path, medcli: Callable) -> None:
    whole = reconstruct_ultrabones(root, tmp_path / "a", settings=FULL).records[0]
    few = reconstruct_ultrabones(
        root, tmp_path / "b", settings=ReconstructSettings("Labels_full", voxel_mm=1.0)
    ).records[0]
    assert few.points_written < whole.points / 2
    assert few.points == whole.points
    assert few.distance_mm == whole.distance_mm
    points = np.loadtxt(tmp_path / "b" / f"{STEM}_1mm.xyz")
    assert len(points) == few.points_written
    words = ("reconstruct", "ultrabones", "--root", root, "--mask", "Labels_full", "--out", tmp_path / "b")
    ran = medcli(*words, "--voxel-mm", 1000)
    assert f"thinned: 1 of {whole.points:,} points in the files" in ran.out
    assert f"1 point is left of {whole.points:,}: lengths are in millimetres" in ran.err


def test_a_second_run_does_nothing_and_a_changed_mask_is_noticed(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = reconstruct_ultrabones(root, out, settings=FULL)
    times = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    assert reconstruct_ultrabones(root, out, settings=FULL).records == first.records
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == times
    (out / f"{STEM}.ply").unlink()
    reconstruct_ultrabones(root, out, settings=FULL)
    assert (out / f"{STEM}.ply").exists()
    mask = sorted((root / RECORD / "Labels_full").iterdir())[0]
    write_image(mask, np.zeros((203, 238), np.uint8))
    changed = reconstruct_ultrabones(root, out, settings=FULL).records[0]
    assert changed.empty == 1
    assert changed.points < first.records[0].points


def test_the_result_does_not_depend_on_workers(root: Path, tmp_path: Path) -> None:
    one = reconstruct_ultrabones(root, tmp_path / "a", settings=FULL, workers=1)
    three = reconstruct_ultrabones(root, tmp_path / "b", settings=FULL, workers=3)
    assert one.records == three.records
    for suffix in (".ply", ".xyz", ".json"):
        assert (tmp_path / "a" / (STEM + suffix)).read_bytes() == (tmp_path / "b" / (STEM + suffix)).read_bytes()


def test_frames_with_one_pixel_or_none_are_no_trouble(root: Path, tmp_path: Path) -> None:
    """The published script drops a whole chunk of frames there."""
    masks = sorted((root / RECORD / "Labels_full").iterdir())
    one = np.zeros((203, 238), np.uint8)
    one[100, 100] = 255
    for path in masks:
        write_image(path, one if path == masks[0] else one * 0)
    record = reconstruct_ultrabones(root, tmp_path / "out", settings=FULL).records[0]
    assert (record.frames, record.empty, record.points) == (5, 4, 1)
    write_image(masks[0], one * 0)
    record = reconstruct_ultrabones(root, tmp_path / "out", settings=FULL).records[0]
    assert (record.points, record.distance_mm, record.published_mm, record.files) == (0, None, None, ())


def worst(root: Path, out: Path, **settings: Any) -> tuple[str, float]:
    record = reconstruct_ultrabones(root, out, settings=ReconstructSettings("Labels_full", **settings)).records[0]
    assert record.distance_mm is not None
    return record.poses, record.distance_mm.maximum


@pytest.mark.parametrize(("kind", "other"), [("initial", "optimized"), ("optimized", "initial")])
def test_masks_are_put_where_they_were_made(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str, other: str
) -> None:
    label_ultrabones(root, settings=LabelSettings(poses=kind, overwrite=True))
    poses, largest = worst(root, tmp_path / "out")
    assert poses == kind
    assert largest <= 0.1 + 1e-6
    assert caplog.messages == []
    poses, largest = worst(root, tmp_path / "out", poses=other)
    assert poses == other
    assert largest > 0.2
    assert f"were made from the {kind} poses, but the {other} ones were asked for" in caplog.text


def test_published_labels_belong_to_the_poses_published_with_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Labels of a table with tracked poses only; then ``--refine`` adds optimised ones and keeps the labels."""
    make_ultrabones(tmp_path, (1,), settings=SweepSettings(frames=3, scale=0.25, optimized_columns=False))
    table = pd.read_csv(tmp_path / RECORD / "tracking.csv")
    label_ultrabones(tmp_path, settings=LabelSettings(overwrite=True))
    (tmp_path / RECORD / "labels.json").unlink()
    caplog.clear()
    assert worst(tmp_path, tmp_path / "out")[0] == "initial"
    assert caplog.messages == []
    label_ultrabones(tmp_path, settings=LabelSettings(refine=True, refine_settings=RefineSettings(generations=5)))
    assert len(pd.read_csv(tmp_path / RECORD / "tracking.csv").columns) == len(table.columns) + 6
    caplog.clear()
    poses, largest = worst(tmp_path, tmp_path / "out")
    assert poses == "initial"
    assert largest <= 0.1 + 1e-6
    assert "Labels_full does not say from which poses" in caplog.text
    assert "--poses optimized takes the others" in caplog.text


def test_labels_of_poses_that_changed_since_are_reported(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    label_ultrabones(root, settings=LabelSettings(overwrite=True))
    path = root / RECORD / "tracking.csv"
    table = pd.read_csv(path)
    table["x_optimized"] += 0.5
    table.to_csv(path, index=False)
    worst(root, tmp_path / "out")
    assert "optimized poses that have changed since" in caplog.text


@pytest.mark.deep
def test_runs_that_differ_do_not_share_files(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for settings in (
        FULL,
        ReconstructSettings("Labels_full", "initial"),
        ReconstructSettings("Labels_full", voxel_mm=1),
    ):
        reconstruct_ultrabones(root, out, settings=settings)
    assert {path.stem for path in out.iterdir() if path.name != RUN_NOTE} == {
        STEM,
        STEM.replace("optimized", "initial"),
        f"{STEM}_1mm",
    }


@pytest.mark.deep
def test_records_of_two_releases_do_not_share_files(root: Path, tmp_path: Path) -> None:
    """A specimen in both layouts, each with meshes of its own."""
    make_ultrabones(root / "first", (1,), layout="first", settings=SweepSettings(frames=2, scale=0.25))
    settings = ReconstructSettings("Labels")
    result = reconstruct_ultrabones(root, tmp_path / "out", settings=settings)
    files = [name for record in result.records for name in record.files]
    assert len(set(files)) == len(files) == 3 * len(result.records)
    assert any(name.startswith("cadaver01_F231091_") for name in files)
    shutil.copytree(root / "specimen01", root / "copy" / "specimen01")
    with pytest.raises(DataError, match=r"two records are named specimen01_fibula_record01: .*copy.* and"):
        reconstruct_ultrabones(root, tmp_path / "none", settings=settings)
    assert not (tmp_path / "none").exists()


class TestCommand:
    def test_predictions_and_the_screen(self, root: Path, tmp_path: Path, medcli: Callable) -> None:
        ran = medcli("reconstruct", "ultrabones", "--root", root, "--mask", "Labels_pred", "--out", tmp_path / "out")
        assert ran.code == 0
        assert "specimen01 fibula record01: optimized poses" in ran.out
        assert max(len(line) for line in ran.out.splitlines()[:-1]) <= 100
        ran = medcli("reconstruct", "--root", root, "--mask", "Labels_pred", "--out", tmp_path / "out", "--json")
        assert json.loads(ran.out)["schema"] == "medcli.reconstruct.v1"

    @pytest.mark.parametrize(
        ("mask", "poses", "words"),
        [
            ("Labels", "initial", CUT_FROM_CT),
            ("Labels_pred", "optimized", FITTED_TO_CT),
            ("Labels_pred", "initial", ""),
        ],
    )
    def test_what_distances_do_not_say_is_said(
        self, mask: str, poses: str, words: str, root: Path, tmp_path: Path, medcli: Callable
    ) -> None:
        run = ("reconstruct", "--root", root, "--mask", mask, "--poses", poses, "--out", tmp_path / "out")
        for _ in range(2):  # made, and found as it was
            ran = medcli(*run)
            assert (ran.code, "beware" in ran.out) == (0, bool(words)), ran.err
            assert words in " ".join(ran.out.split())
        assert json.loads(medcli(*run, "--json").out)["records"][0]["caution"] == words
        (report,) = runs_in(tmp_path / "out")
        assert [block.text.rstrip(".").lower() for block in report.notes] == ([words.lower()] if words else [])

    def test_a_dry_run_writes_nothing(self, root: Path, tmp_path: Path, medcli: Callable) -> None:
        ran = medcli("reconstruct", "ultrabones", "--root", root, "--out", tmp_path / "out", "--dry-run")
        assert ran.code == 0
        assert not (tmp_path / "out").exists()

    def test_no_such_masks(self, root: Path, tmp_path: Path, medcli: Callable) -> None:
        shutil.rmtree(root / RECORD / "Labels_pred")
        ran = medcli("reconstruct", "ultrabones", "--root", root, "--mask", "Labels_pred", "--out", tmp_path / "out")
        assert ran.code == 3
        assert "mask folders there: Labels, Labels_full" in ran.err
        assert "medcli predict" in ran.err

    def test_a_damaged_mask_and_one_of_another_size(self, root: Path, tmp_path: Path, medcli: Callable) -> None:
        masks = sorted((root / RECORD / "Labels").iterdir())
        masks[0].write_bytes(masks[0].read_bytes()[:50])
        write_image(masks[1], np.zeros((256, 256), np.uint8))
        for _ in range(2):  # a second run tries again
            ran = medcli("reconstruct", "ultrabones", "--root", root, "--out", tmp_path / "out", "--json")
            assert ran.code == 4
            failures = json.loads(ran.out)["failures"]
            assert len(failures) == 2
            assert "256 x 256 pixels, expected 238 x 203" in failures[1]
        assert json.loads(ran.out)["records"][0]["frames"] == 3

    @pytest.mark.parametrize("value", [1, 254])
    def test_masks_of_another_value(self, root: Path, tmp_path: Path, medcli: Callable, value: int) -> None:
        for path in (root / RECORD / "Labels").iterdir():
            write_image(path, np.full((203, 238), value, np.uint8))
        for _ in range(2):  # said again by a second run
            ran = medcli("reconstruct", "ultrabones", "--root", root, "--out", tmp_path / "out")
            assert ran.code == 0
            assert "5 masks in Labels have pixels but none of value 255" in " ".join(ran.err.split())
            assert "no point cloud was written" in ran.out
            assert "point clouds and figures" not in ran.out
            assert not (tmp_path / "out").exists()

    def test_no_frame_can_be_used(self, root: Path, tmp_path: Path, medcli: Callable) -> None:
        path = root / RECORD / "tracking.csv"
        pd.read_csv(path).assign(x_optimized=np.nan).to_csv(path, index=False)
        ran = medcli("reconstruct", "ultrabones", "--root", root, "--out", tmp_path / "out")
        assert ran.code == 3
        assert "no mask of specimen01 fibula record01 can be used" in ran.err
        assert "the pose in the tracking table is not a number" in ran.err
        assert not (tmp_path / "out").exists()

    def test_nan_pose(self, root: Path, tmp_path: Path, medcli: Callable) -> None:
        path = root / RECORD / "tracking.csv"
        table = pd.read_csv(path)
        table.loc[0, "x_optimized"] = np.nan
        table.to_csv(path, index=False)
        ran = medcli("reconstruct", "ultrabones", "--root", root, "--out", tmp_path / "out")
        assert ran.code == 4
        assert "the pose in the tracking table is not a number" in ran.err


@pytest.mark.real_data
@pytest.mark.deep
def test_full_labels_of_the_example(real_data: Path, tmp_path: Path) -> None:
    result = reconstruct_ultrabones(real_data / "ultrabones-example", tmp_path, [90], settings=FULL)
    record = result.records[0]
    assert record.distance_mm is not None
    assert record.published_mm is not None
    assert record.points == 210_718
    assert record.distance_mm.maximum <= 0.1 + 1e-6
    assert record.distance_mm.mean == pytest.approx(0.050, abs=0.002)
    assert record.published_mm == pytest.approx(0.093, abs=0.002)


def test_cleaning_normals_surface_and_the_authors_path(root: Path, tmp_path: Path, medcli: Callable) -> None:
    """A stray group of pixels is cleaned away; the files say what they hold; a second run repeats nothing."""
    out = tmp_path / "out"
    mask = next((root / RECORD / "Labels_full").glob("*.png"))
    image = read_grey(mask).copy()
    image[3:5, 3:5] = 255
    write_image(mask, image)
    options = ("--outlier-sd", 3, "--radius-mm", 8, "--normals", "--surface", "open", "--layout", "authors")
    words = ("reconstruct", "ultrabones", "--root", root, "--mask", "Labels_full", "--out", out, *options)
    ran = medcli(*words)
    assert ran.code == 0, ran.err
    assert "open surface, " in ran.out
    stem = f"{STEM}_outliers3_radius8mm"
    saved = json.loads((out / f"{stem}.json").read_text())["reconstruction"]
    cloud_file = "specimen01/3D_reconstructions/fibula/record01/reconstruction_pcd_filtered_optimizedPose.xyz"
    assert saved["files"] == [f"{stem}.ply", cloud_file, f"{stem}.png", f"{stem}_open.stl"]
    assert saved["points_written"] < saved["points"]
    assert saved["distance_mm"]["maximum"] > 1 > saved["cleaned_mm"]["maximum"]
    cloud, text = read_ply(out / f"{stem}.ply"), np.loadtxt(out / cloud_file)
    assert len(cloud) == len(text) == saved["points_written"]
    normals = np.stack([cloud[name] for name in ("nx", "ny", "nz")], axis=1)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)
    mesh = read_stl(out / f"{stem}_open.stl")
    assert len(mesh.faces) == saved["surface"]["faces"]
    assert saved["surface"]["to_ct"]["mean"] < 0.5
    titles = [table.header[1] for table in made_of_points([saved])]
    assert (titles, made_of_points([{"name": "of an earlier version"}])) == (["points left", "surface"], [])
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.*")}
    again = medcli(*words, "--json")
    assert json.loads(again.out)["records"][0]["surface"] == saved["surface"]
    assert all(path.stat().st_mtime_ns == time for path, time in before.items() if stem in path.name)
    for other, reason in ((("--radius-mm", 9), "radius_mm was 8"), (("--mask", "Labels"), "mask was Labels_full, is")):
        ran = medcli(*words, *other)
        assert (ran.code, reason in ran.err) == (2, True), ran.err
    assert (out / cloud_file).stat().st_mtime_ns == before[out / cloud_file]
    assert len({record.path for record in find_records(root)}) == len(
        {record.path for record in find_records(out.parent)}
    )
    assert medcli(*words, "--radius-mm", 9, "--overwrite").code == 0
    assert medcli(*words).code == 2  # "up to date" would be the other cloud


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--radius-mm", "0.002"), 2, "millimetres, usually 2 to 5"),
        (("--voxel-mm", "0.0001"), 2, "far below the size of a pixel"),
        (("--radius-mm", "0.6", "--voxel-mm", "5"), 3, "cleaning leaves none of"),
    ],
)
def test_cleaning_that_cannot_be_meant(
    root: Path, tmp_path: Path, medcli: Callable, options: tuple[str, ...], code: int, words: str
) -> None:
    ran = medcli("reconstruct", "ultrabones", "--root", root, "--out", tmp_path / "out", *options)
    assert (ran.code, words in ran.err) == (code, True), ran.err
    assert not list((tmp_path / "out").glob("*.ply")) if (tmp_path / "out").exists() else True


def test_empty_masks_make_no_surface(root: Path, tmp_path: Path, medcli: Callable) -> None:
    for mask in (root / RECORD / "Labels_full").glob("*.png"):
        write_image(mask, np.zeros_like(read_grey(mask)))
    words = ("reconstruct", "ultrabones", "--root", root, "--mask", "Labels_full", "--out", tmp_path / "out")
    ran = medcli(*words, "--surface", "watertight", "--normals", "--outlier-sd", 2)
    assert ran.code == 0
    assert "no point cloud was written" in ran.out


def test_colours_of_a_figure_end_where_they_are_told_to(tmp_path: Path) -> None:
    """Distances of 0.1 mm are yellow where the scale fits them, and dark on a scale of 2 mm."""
    surface = Surface.from_mesh(ball(10.0, 12, 7))
    points = surface.triangles[:, 0]
    for scale_mm, is_yellow in ((None, True), (2.0, False)):
        draw_cloud(tmp_path / "a.png", points, np.full(len(points), 0.1), [surface], "", scale_mm)
        image = read_rgb(tmp_path / "a.png").astype(int)
        image = image[: 3 * len(image) // 4]  # above the colour bar
        assert (np.abs(image - [253, 231, 37]).max(axis=2) < 12).any() == is_yellow
