"""Full labels against shapes with known sections, brute force and published images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from medcli.core.image_io import read_grey
from medcli.core.mesh import Mesh, merge_vertices, read_stl
from medcli.core.rigid_transforms import rigid_transform
from medcli.ultrabones.dataset.records import find_sweeps, read_poses
from medcli.ultrabones.geometry import image_to_ct as poses
from medcli.ultrabones.geometry.bone_surface import Surface
from medcli.ultrabones.labelling.mesh_section import full_label
from tests.support.solids import ball, brute_distances, random_triangles, tube

S = 0.05392
POSE = np.array([181.2, 334.4, 1517.2, -97.2, -18.5, 123.8])


def in_image(mesh: Mesh, pose: np.ndarray, u_mm: float, v_mm: float, angles_deg: tuple[float, ...] = (0, 0, 0)) -> Mesh:
    """Put a mesh's origin at a place of the image plane."""
    return mesh.transformed(poses.image_to_ct(pose) @ rigid_transform((u_mm, v_mm, 0), angles_deg, "xyz"))


def test_a_tube_cut_across_gives_a_ring() -> None:
    surface = Surface.from_mesh(in_image(tube(10.0), POSE, 25.0, 20.0))
    label, pixels = full_label([surface], POSE)
    rows, columns = np.mgrid[0:811, 0:950]
    distance = np.abs(np.hypot((columns + 0.5) * S - 25.0, (rows + 0.5) * S - 20.0) - 10.0)
    sure = np.abs(distance - 0.1) > 2e-4  # the mesh's facets lie up to 1e-4 mm inside the tube
    assert np.array_equal((label > 0)[sure], (distance < 0.1)[sure])
    assert set(np.unique(label)) == {0, 255}
    assert pixels.tolist() == [(label > 0).sum()]


def test_a_tube_cut_at_a_slant_gives_a_wider_band() -> None:
    """The distance is measured in space: a surface 60 degrees off the normal doubles the band."""
    slant = Surface.from_mesh(in_image(tube(6.0, 80.0), POSE, 25.0, 20.0, (60, 0, 0)))
    label = full_label([slant], POSE)[0] > 0
    across = label[:, int(25.0 / S)].sum() / 2  # where the ellipse's long axis meets its ends
    beside = label[int(20.0 / S)].sum() / 2
    assert beside == pytest.approx(0.2 / S, abs=1)
    assert across == pytest.approx(0.2 / S / np.cos(np.radians(60)), abs=1.5)


@pytest.mark.parametrize("height_mm", [0.0, 5.0, 11.95, 12.05, 12.2])
def test_a_ball_gives_a_ring_of_its_section(height_mm: float) -> None:
    mesh = ball(12.0).transformed(rigid_transform((0, 0, height_mm), (0, 0, 0), "xyz"))
    label, pixels = full_label([Surface.from_mesh(in_image(mesh, POSE, 30.0, 22.0))], POSE)
    rows, columns = np.mgrid[0:811, 0:950]
    radius = np.sqrt(((columns + 0.5) * S - 30.0) ** 2 + ((rows + 0.5) * S - 22.0) ** 2 + height_mm**2)
    distance = np.abs(radius - 12.0)
    sure = np.abs(distance - 0.1) > 0.002
    assert np.array_equal((label > 0)[sure], (distance < 0.1)[sure])
    assert (pixels[0] > 0) == (height_mm < 12.1)


def test_the_kernel_equals_brute_force() -> None:
    """The kernel's decision at the band, pixel by pixel: a wrong distance by more than 1e-9 mm would show."""
    shape, spacing = (60, 70), 0.5
    for seed in range(4):
        triangles = random_triangles(seed, 40) + np.array([17.0, 15.0, 0.0])
        surface = Surface.from_mesh(merge_vertices(triangles).transformed(poses.image_to_ct(POSE)))
        rows, columns = np.mgrid[0 : shape[0], 0 : shape[1]]
        points = poses.pixels_to_ct(POSE, columns.ravel(), rows.ravel(), spacing)
        exact = brute_distances(points, surface.triangles)
        bands = np.sort(exact)[[5, 40, 300, 900]]
        for band in bands:
            for shift in (-1e-9, 1e-9):
                label = full_label([surface], POSE, spacing, shape, band + shift)[0].ravel() > 0
                unsure = np.abs(exact - band - shift) < 5e-10
                assert np.array_equal(label[~unsure], (exact < band + shift)[~unsure])


def test_bones_are_united_and_one_that_misses_counts_nothing() -> None:
    near = Surface.from_mesh(in_image(tube(8.0), POSE, 15.0, 20.0), "near")
    other = Surface.from_mesh(in_image(tube(5.0), POSE, 38.0, 25.0), "other")
    far = Surface.from_mesh(tube(8.0), "far")
    label, pixels = full_label([near, other, far], POSE)
    apart = [full_label([surface], POSE)[0] for surface in (near, other, far)]
    assert np.array_equal(label, np.max(apart, axis=0))
    assert pixels.tolist() == [(one > 0).sum() for one in apart]
    assert pixels[2] == 0


def test_bones_are_cut_off_at_the_edges_of_the_image() -> None:
    for u, v in ((0.0, 20.0), (51.2, 20.0), (25.0, 0.0), (25.0, 43.7)):
        surface = Surface.from_mesh(in_image(tube(10.0), POSE, u, v))
        label = full_label([surface], POSE)[0]
        rows, columns = np.mgrid[0:811, 0:950]
        distance = np.abs(np.hypot((columns + 0.5) * S - u, (rows + 0.5) * S - v) - 10.0)
        sure = np.abs(distance - 0.1) > 2e-4
        assert np.array_equal((label > 0)[sure], (distance < 0.1)[sure])


@pytest.fixture(scope="module")
def example(real_data: Path) -> tuple[Path, Surface]:
    root = real_data / "ultrabones-example"
    mesh = read_stl(root / "specimen90" / "CT_bone_segmentations" / "fibula.stl")
    return root, Surface.from_mesh(mesh, "fibula")


@pytest.mark.real_data
def test_labels_of_the_example_are_those_of_the_dataset(example: tuple[Path, Surface]) -> None:
    root, surface = example
    sweep = find_sweeps(root, [90])[0]
    found = read_poses(sweep, "initial")
    for frame, timestamp in enumerate(sweep.timestamps):
        label, _ = full_label([surface], found.pose[frame], float(found.spacing_mm[frame]))
        assert np.array_equal(label, read_grey(sweep.folder / "Labels_full" / f"{timestamp}_label.png"))


@pytest.mark.real_data
def test_published_masks_are_reproduced(example: tuple[Path, Surface]) -> None:
    root, surface = example
    sweep = find_sweeps(root, [90])[0]
    found = read_poses(sweep, "initial")
    masks = sorted((root / "published_masks").glob("*_initial.png"))
    assert len(masks) == 6
    for path in masks:
        published = read_grey(path) > 0
        label = full_label([surface], found.pose[sweep.timestamps.index(int(path.name.split("_")[0]))])[0] > 0
        both = (published & label).sum()
        assert both / published.sum() >= 0.999
        assert 2 * both / (published.sum() + label.sum()) >= 0.975
        to_label, to_published = distance_transform_edt(~label)[published], distance_transform_edt(~published)[label]
        assert (to_label.mean() + to_published.mean()) / 2 <= 0.03
        assert max(to_label.max(), to_published.max()) <= 1.5
