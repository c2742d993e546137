"""Synthetic sweeps: closed meshes, poses, labels and images that agree with each other and with the real data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medcli.core.image_io import read_grey
from medcli.core.mesh import read_stl
from medcli.core.rigid_transforms import ULTRABONES_EULER, invert_rigid, rigid_transform
from medcli.synthetic.ultrasound.dataset import SweepSettings, first_surface, make_ultrabones
from medcli.synthetic.ultrasound.label_rules import (
    analytic_full_label,
)
from medcli.ultrabones.dataset.frame_index import index_frames
from medcli.ultrabones.dataset.tracking_table import OPTIMIZED_POSE_COLUMNS, POSE_COLUMNS, read_tracking
from medcli.ultrabones.geometry.image_to_ct import PROBE_FROM_IMAGE

SMALL = SweepSettings(frames=3, scale=0.4)


def poses_of(record_dir: str, columns: tuple[str, ...] = POSE_COLUMNS) -> np.ndarray:
    table = read_tracking(record_dir)[list(columns)].to_numpy()
    return rigid_transform(table[:, :3], table[:, 3:], ULTRABONES_EULER) @ PROBE_FROM_IMAGE


@pytest.mark.parametrize("layout", ["current", "first"])
def test_both_layouts_are_read_back(tmp_path: Path, layout: str) -> None:
    make_ultrabones(tmp_path, (1, 4, 21), layout=layout, anatomies=("fibula", "tibia"), settings=SMALL)  # type: ignore[arg-type]
    frames = index_frames(tmp_path)
    assert len(frames) == 3 * 2 * 3
    assert list(frames.groupby("specimen").donor.first())[:2] == ["F231091", "F231091"]
    assert (frames.label != "").all()
    assert (frames.tracking >= 0).all()
    if layout == "current":
        assert set(frames.anatomy) == {"fibula", "tibia"}
        assert (frames.label_full != "").all()
        assert (tmp_path / "specimen01/CT_bone_segmentations/CT_bone_model_merged.stl").is_file()
    else:
        assert set(frames.record) == {1, 2}
        assert (frames.label_full == "").all()


def test_same_seed_same_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        make_ultrabones(tmp_path / name, (3,), settings=SMALL, seed=5)
    make_ultrabones(tmp_path / "c", (3,), settings=SMALL, seed=6)
    a, b, c = (index_frames(tmp_path / name) for name in ("a", "b", "c"))
    for column in ("image", "label_full"):
        assert [Path(path).read_bytes() for path in a[column]] == [Path(path).read_bytes() for path in b[column]]
    assert Path(a.image[0]).read_bytes() != Path(c.image[0]).read_bytes()
    assert (Path(a.record_dir[0]) / "tracking.csv").read_text() == (Path(b.record_dir[0]) / "tracking.csv").read_text()


def test_label_from_written_mesh_and_true_pose_lands_on_the_bright_line(tmp_path: Path) -> None:
    make_ultrabones(tmp_path, (2,), anatomies=("tibia",), settings=SweepSettings(frames=3))
    frames = index_frames(tmp_path)
    mesh = read_stl(tmp_path / "specimen02/CT_bone_segmentations/CT_bone_model_merged.stl")
    poses = poses_of(frames.record_dir[0], OPTIMIZED_POSE_COLUMNS)
    for row in frames.itertuples():
        image, written = read_grey(row.image), read_grey(row.label_full)
        assert image.shape == written.shape == (811, 950)
        again = analytic_full_label(mesh.transformed(invert_rigid(poses[row.tracking])).triangles, 0.05392, (811, 950))
        assert np.mean(again != written) < 1e-5  # the file holds 32-bit coordinates
        surface = first_surface(read_grey(row.label))
        columns = np.flatnonzero(np.isfinite(surface))
        on_line = image[surface[columns].astype(int), columns].astype(float)
        below = image[np.minimum(surface[columns].astype(int) + 90, 810), columns].astype(float)
        assert np.median(on_line) > 2 * np.median(below) + 20


def test_initial_poses_err_by_no_more_than_said(tmp_path: Path) -> None:
    settings = SweepSettings(frames=5, scale=0.2, pose_error_mm=0.3, pose_error_deg=0.2)
    make_ultrabones(tmp_path, (2,), settings=settings)
    table = read_tracking(index_frames(tmp_path).record_dir[0])
    error = table[list(POSE_COLUMNS)].to_numpy() - table[list(OPTIMIZED_POSE_COLUMNS)].to_numpy()
    assert np.abs(error[:, :3]).max() <= 0.3 + 1e-9
    assert np.abs(error[:, 3:]).max() <= 0.2 + 1e-9
    assert np.abs(error).min() > 0


def test_images_look_like_the_real_ones(tmp_path: Path, real_data: Path) -> None:
    """Brightness, contrast and fall-off with depth lie within what the real frames show."""
    make_ultrabones(tmp_path, (1, 2), anatomies=("fibula", "tibia"), settings=SweepSettings(frames=3))

    def features(paths: list[str]) -> np.ndarray:
        images = [read_grey(path).astype(float) for path in paths]
        rows = []
        for image in images:
            third = len(image) // 3
            rows.append([image.mean(), image.std(), image[:third].mean() / max(image[-third:].mean(), 0.5)])
        return np.array(rows)

    real = features([str(path) for path in sorted((real_data / "ultrabones-images").glob("*.png"))])
    made = features(list(index_frames(tmp_path).image))
    assert np.all(np.median(made, axis=0) >= real.min(axis=0))
    assert np.all(np.median(made, axis=0) <= real.max(axis=0))


def test_plain_label_rule_gives_the_published_masks(real_data: Path) -> None:
    """The independent check of geometry and rule: published label images of the example record, initial poses."""
    folder = real_data / "ultrabones-example"
    frames = index_frames(folder).query("specimen == 90")
    mesh = read_stl(folder / "specimen90/CT_bone_segmentations/fibula.stl")
    poses = poses_of(frames.record_dir.iloc[0])
    masks = sorted((folder / "published_masks").glob("*_initial.png"))[:3]
    assert masks
    for path in masks:
        row = frames[frames.timestamp == int(path.name.split("_")[0])].iloc[0]
        made = (
            analytic_full_label(mesh.transformed(invert_rigid(poses[row.tracking])).triangles, 0.05392, (811, 950)) > 0
        )
        np.testing.assert_array_equal(made, read_grey(row.label_full) > 0)
        published = read_grey(path) > 0
        assert (made & published).sum() / published.sum() >= 0.999
        assert 2 * (made & published).sum() / (made.sum() + published.sum()) >= 0.975
