"""Pose refinement: the objective against its formula, the search, the rules for leaving a frame alone, real frames."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import distance_transform_edt

from medcli.core.image_io import read_grey
from medcli.ultrabones.dataset.mesh_files import find_meshes
from medcli.ultrabones.dataset.probe import ULTRABONES100K
from medcli.ultrabones.dataset.records import find_sweeps, read_poses
from medcli.ultrabones.dataset.tracking_table import POSE_COLUMNS
from medcli.ultrabones.geometry.bone_meshes import load_surfaces
from medcli.ultrabones.geometry.bone_surface import Surface
from medcli.ultrabones.geometry.image_to_ct import FRAME_SHAPE, PROBE_FROM_IMAGE, image_to_ct, pixels_to_ct, probe_to_ct
from medcli.ultrabones.labelling.label_rules import partial_label
from medcli.ultrabones.labelling.mesh_section import full_label
from medcli.ultrabones.pose_refinement import pose_optimizer
from medcli.ultrabones.pose_refinement.distance_field import DistanceField
from medcli.ultrabones.pose_refinement.refine_frame import (
    BonePixels,
    RefineSettings,
    exact_objective,
    refine_frame,
    select_pixels,
)
from tests.support.solids import tube

S = 0.05392
TRUE = np.array([181.2, 334.4, 1517.2, -97.2, -18.5, 123.8])
OFF = np.array([0.35, -0.3, 0.25, 0.2, -0.15, 0.1])


def bone() -> Surface:
    """An egg-shaped, tapering tube across the image at :data:`TRUE`: no motion leaves its section as it is."""
    from medcli.core.rigid_transforms import rigid_transform

    mesh = tube(9.0, 40.0, 180, 21)
    stretched = mesh.vertices * (1.0, 0.7, 1.0) * (1 + 0.01 * mesh.vertices[:, 2:])
    bowed = type(mesh)(stretched + 0.08 * stretched[:, :1] ** 2 * (0, 0.2, 0), mesh.faces)
    return Surface.from_mesh(bowed.transformed(image_to_ct(TRUE) @ rigid_transform((25, 20, 0), (20, 10, 30), "xyz")))


@pytest.fixture(scope="module")
def scene() -> tuple[np.ndarray, list[Surface], DistanceField]:
    """A frame in which the bone, seen from above, is bright, its shadow dark, and the rest speckled."""
    surfaces = [bone()]
    seen = partial_label(full_label(surfaces, TRUE)[0]) > 0
    random = np.random.default_rng(0)
    image = 40 + 12 * random.standard_normal(FRAME_SHAPE)
    image[np.cumsum(seen, axis=0) > 0] *= 0.3
    glow = np.exp(-((distance_transform_edt(~seen) * S / 0.35) ** 2))
    image = image * (1 - glow) + 215 * glow
    return np.clip(image, 0, 255).astype(np.uint8), surfaces, DistanceField.around(surfaces)


def objective_by_formula(x: np.ndarray, start: np.ndarray, pixels: BonePixels, distances: np.ndarray) -> float:
    near = distances < 0.5
    if not near.any():
        return 0.0
    balls = [[-30.3539, -25.101, -0.4395], [25.7953, -25.101, -0.5479], [37.0174, -25.101, -28.2339]]
    balls.append([-30.6348, -25.101, -57.3485])
    moved = 0.0
    for marker_ball in np.array(balls):
        here, there = probe_to_ct(x) @ [*marker_ball, 1], probe_to_ct(start) @ [*marker_ball, 1]
        moved += np.linalg.norm(here - there)
    return 3000 * moved / 4 - np.exp(5 * pixels.grey[near]).sum()


def test_the_objective_is_its_formula(scene: tuple[np.ndarray, list[Surface], DistanceField]) -> None:
    image, surfaces, field = scene
    grey = image[1::2, 1::2] / 255.0
    pixels = select_pixels(grey, np.zeros(grey.shape), S, RefineSettings())
    inside = np.random.default_rng(1).choice(len(pixels.grey), 20_000, replace=False)
    pixels = BonePixels(pixels.points[inside], pixels.grey[inside], pixels.distance[inside])
    for change in np.random.default_rng(2).uniform(-1, 1, (4, 6)):
        in_ct = pixels.points @ probe_to_ct(TRUE + change)[:3, :3].T + probe_to_ct(TRUE + change)[:3, 3]
        distances = surfaces[0].distances(in_ct)
        expected = objective_by_formula(TRUE + change, TRUE, pixels, distances)
        assert exact_objective(TRUE + change, TRUE, pixels, surfaces) == pytest.approx(expected, abs=1e-6)
        by_field = pose_optimizer.objective(TRUE + change, TRUE, pixels.points, pixels.weights, *field.arrays)
        expected = objective_by_formula(TRUE + change, TRUE, pixels, field.distances(in_ct))
        assert by_field == pytest.approx(expected, abs=1e-6)
    assert exact_objective(TRUE + 200, TRUE, pixels, surfaces) == 0


def test_pixels_are_the_odd_ones_in_place() -> None:
    grey = np.zeros((405, 475))
    grey[3, 7] = 0.5
    distance = np.full(grey.shape, 2.5)
    pixels = select_pixels(grey, distance, S, RefineSettings())
    in_image = np.linalg.inv(PROBE_FROM_IMAGE) @ [*pixels.points[0], 1]
    assert np.allclose(in_image[:3], [(2 * 7 + 1.5) * S, (2 * 3 + 1.5) * S, 0], atol=1e-9)
    assert pixels.weights.tolist() == [np.exp(2.5)]
    distance[3, 7] = 2.6
    assert len(select_pixels(grey, distance, S, RefineSettings()).grey) == 0


def test_a_displaced_pose_comes_back(scene: tuple[np.ndarray, list[Surface], DistanceField]) -> None:
    image, surfaces, field = scene
    found = refine_frame(image, TRUE + OFF, S, surfaces, field)
    assert found.refined
    assert found.reason == ""
    assert found.j_after < found.j_before
    assert np.abs(found.pose - TRUE - OFF).max() <= 1.0
    assert found.displacement_mm == pytest.approx(np.linalg.norm(found.pose[:3] - TRUE[:3] - OFF[:3]))
    rows, columns = np.nonzero(partial_label(full_label(surfaces, TRUE)[0]))
    before, after = (surfaces[0].distances(pixels_to_ct(x, columns, rows, S)).mean() for x in (TRUE + OFF, found.pose))
    assert before > 0.4
    assert after < 0.25


def test_the_same_seed_gives_the_same_pose(scene: tuple[np.ndarray, list[Surface], DistanceField]) -> None:
    image, surfaces, field = scene
    settings = RefineSettings(generations=4)
    one, again = (refine_frame(image, TRUE + OFF, S, surfaces, field, 5, settings) for _ in range(2))
    shift = np.eye(4)
    shift[:2, 3] = 400 * S, 200 * S  # the same calibration, its origin elsewhere in the image
    matrix = tuple(map(tuple, (PROBE_FROM_IMAGE @ shift).tolist()))
    probe = replace(ULTRABONES100K, image_to_probe=matrix, origin_px=(400, 200))
    assert np.allclose(
        refine_frame(image, TRUE + OFF, S, surfaces, field, 5, settings, probe).pose, one.pose, atol=1e-6
    )
    assert one.pose.tobytes() == again.pose.tobytes()
    others = [
        refine_frame(image, TRUE + OFF, S, surfaces, field, 6, settings),
        refine_frame(image, TRUE + OFF, S, surfaces, field, 5, RefineSettings(seed=1, generations=4)),
    ]
    assert all(not np.array_equal(one.pose, other.pose) for other in others)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda image: image * 0, "bone not bright enough"),
        (lambda image: np.minimum(image, 90), "bone not bright enough"),
        (lambda image: np.minimum(image, 149), "bone not bright enough"),
    ],
)
def test_a_frame_that_does_not_show_the_bone_is_left_alone(scene, change, reason) -> None:  # type: ignore[no-untyped-def]
    image, surfaces, field = scene
    found = refine_frame(change(image).astype(np.uint8), TRUE + OFF, S, surfaces, field)
    assert not found.refined
    assert found.reason == reason
    assert np.array_equal(found.pose, TRUE + OFF)
    assert found.displacement_mm == 0


def test_a_frame_far_from_the_bone_is_left_alone(scene: tuple[np.ndarray, list[Surface], DistanceField]) -> None:
    image, surfaces, field = scene
    found = refine_frame(image, TRUE + np.array([0, 0, 300, 0, 0, 0]), S, surfaces, field)
    assert (found.refined, found.reason) == (False, "bone farther than 3 mm")


@pytest.mark.real_data
@pytest.mark.deep
def test_published_frames_are_refined_better_than_published(real_data: Path) -> None:
    root = real_data / "ultrabones-example"
    sweep = find_sweeps(root, [90])[0]
    surfaces = load_surfaces(find_meshes(sweep.folder, 90))
    field = DistanceField.around(surfaces, workers=2)
    tracked = read_poses(sweep, "initial")
    recovered = pd.read_csv(root / "published_masks" / "recovered_optimized_poses.csv").set_index("timestamp")
    before, after = [], []
    for timestamp, row in recovered.iterrows():
        frame = sweep.timestamps.index(int(timestamp))
        start, image = tracked.pose[frame], read_grey(sweep.images[frame])
        found = refine_frame(image, start, S, surfaces, field, int(timestamp))
        assert found.refined
        assert found.j_after < found.j_before
        grey = image[1::2, 1::2] / 255.0
        rows, columns = np.mgrid[1:811:2, 1:950:2]
        distance = surfaces[0].distances(pixels_to_ct(start, columns.ravel(), rows.ravel(), S), 3.0)
        pixels = select_pixels(grey, distance.reshape(grey.shape), S, RefineSettings())
        published = exact_objective(row[list(POSE_COLUMNS)].to_numpy(float), start, pixels, surfaces)
        assert found.j_after == pytest.approx(exact_objective(found.pose, start, pixels, surfaces))
        assert found.j_after <= published
        v, u = np.nonzero(read_grey(root / "published_masks" / f"{timestamp}_optimized.png"))
        for pose, distances in ((start, before), (found.pose, after)):
            section = full_label(surfaces, pose)[0] > 0
            in_plane = distance_transform_edt(~section)[v, u].mean() * S
            in_space = surfaces[0].distances(pixels_to_ct(pose, u, v, S)).mean()
            distances.append(max(in_plane, in_space))
    assert len(after) == 6
    assert np.mean(before) > 0.45
    assert np.mean(after) <= 0.35
