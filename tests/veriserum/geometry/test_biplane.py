"""The two X-ray cameras and the renderer: against single rays, against analytic lengths, and on edges."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medcli.core.errors import DataError
from medcli.core.mesh import Mesh, merge_vertices
from medcli.synthetic.fluoroscopy.implants import make_implants
from medcli.veriserum.geometry.biplane import (
    Camera,
    DualPlane,
    ImageGrid,
    InterPlane,
    Plane,
    PoseFrame,
    SourceIntensifier,
    read_inter_plane,
)
from medcli.veriserum.geometry.rasterizer import add_triangles, project_corners

CALIBRATION = SourceIntensifier(2.7, -6.1, 1860.0, -10.2, 1.9, 1851.0)
CROSSING = [0.0, 0.0, 381.0]


@pytest.fixture(scope="module")
def cameras() -> DualPlane:
    return DualPlane.from_calibration(CALIBRATION)


def box(size: tuple[float, float, float]) -> Mesh:
    """A box about the origin: 8 corners, 12 triangles."""
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * np.array(size) / 2
    quads = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
    return Mesh(corners, np.array([face for a, b, c, d in quads for face in ([a, b, c], [a, c, d])]))


def sphere(radius: float, divisions: int) -> Mesh:
    """An octahedron whose faces are divided again and again and pushed onto the sphere; 8 · 4^divisions triangles."""
    x, y, z = np.eye(3)
    faces = np.array([[a * x, b * y, c * z] for a in (1, -1) for b in (1, -1) for c in (1, -1)])
    flipped = np.einsum("ij,ij->i", faces[:, 0], np.cross(faces[:, 1], faces[:, 2])) < 0
    faces[flipped] = faces[flipped][:, ::-1]
    for _ in range(divisions):
        a, b, c = np.moveaxis(faces, 1, 0)
        ab, bc, ca = ((p + q) / np.linalg.norm(p + q, axis=1, keepdims=True) for p, q in ((a, b), (b, c), (c, a)))
        parts = [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
        faces = np.concatenate([np.stack(part, axis=1) for part in parts])
    return merge_vertices(faces * radius)


def to_mm(grid: ImageGrid, pixels: np.ndarray) -> np.ndarray:
    """Where pixels (..., 2), column and row, lie on the detector, right and up: the twin of ``ImageGrid.to_pixels``."""
    return np.stack(
        [grid.left_mm + pixels[..., 0] * grid.pixel_mm, grid.top_mm - pixels[..., 1] * grid.pixel_mm], axis=-1
    )


def rays(camera: Camera, grid: ImageGrid) -> np.ndarray:
    """Unit directions from the source to every pixel, (rows, columns, 3)."""
    pixels = np.stack(np.meshgrid(np.arange(grid.columns), np.arange(grid.rows)), axis=-1)
    on_plane = to_mm(grid, pixels)
    plane = camera.plane
    points = plane.centre_mm + on_plane[..., :1] * plane.horizontal + on_plane[..., 1:] * plane.vertical
    directions = points - camera.source_mm
    return directions / np.linalg.norm(directions, axis=-1, keepdims=True)


def slow_path_length(mesh: Mesh, camera: Camera, grid: ImageGrid) -> tuple[np.ndarray, np.ndarray]:
    """Reference renderer: Möller-Trumbore test of every ray against every triangle, lengths and hits."""
    directions = rays(camera, grid).reshape(-1, 3)
    length, hits = np.zeros(len(directions)), np.zeros(len(directions), dtype=int)
    for a, b, c in mesh.triangles:
        ab, ac, to_source = b - a, c - a, camera.source_mm - a
        across = np.cross(directions, ac)
        determinant = across @ ab
        with np.errstate(divide="ignore", invalid="ignore"):
            u = across @ to_source / determinant
            v = directions @ np.cross(to_source, ab) / determinant
            distance = ac @ np.cross(to_source, ab) / determinant
            inside = (u >= 0) & (v >= 0) & (u + v <= 1) & (distance > 0)
        # A positive determinant: the ray meets the front and enters.
        length[inside] -= np.sign(determinant[inside]) * distance[inside]
        hits[inside] += 1
    shape = (grid.rows, grid.columns)
    return length.reshape(shape), hits.reshape(shape)


@pytest.mark.parametrize("plane", ["bs", "fs"])
@pytest.mark.parametrize("angles", [[0, 0, 0], [31, -17, 62], [-140, 50, -20]])
def test_equals_rays_shot_one_by_one(cameras: DualPlane, plane: str, angles: list[float]) -> None:
    camera, mesh = cameras.camera(plane), sphere(20, 2)
    mesh = Mesh(mesh.vertices * [1.0, 0.6, 1.4] + 0.013 * mesh.vertices[::-1], mesh.faces)
    pose = cameras.pose_matrix([3.3, -4.1, 377.0], angles)
    middle = ImageGrid.calibrated(256).to_pixels(camera.project(pose[None, :3, 3]))[0].astype(int)
    grid = ImageGrid.calibrated(256).cropped(middle[0] - 30, middle[1] - 30, 60, 60)
    expected, hits = slow_path_length(mesh.transformed(pose), camera, grid)
    assert (hits > 0).sum() > 200
    np.testing.assert_allclose(camera.path_length(mesh, pose, grid), expected, atol=2e-3)
    np.testing.assert_array_equal(camera.silhouette(mesh, pose, grid), hits > 0)


@pytest.mark.parametrize("plane", ["bs", "fs"])
def test_sphere_has_its_analytic_lengths(cameras: DualPlane, plane: str) -> None:
    camera, grid, radius = cameras.camera(plane), ImageGrid.calibrated(400), 30.0
    pose = cameras.pose_matrix([5, -8, 390], [0, 0, 0])
    to_centre = pose[:3, 3] - camera.source_mm
    squared = to_centre @ to_centre - (rays(camera, grid) @ to_centre) ** 2
    expected = 2 * np.sqrt(np.clip(radius**2 - squared, 0, None))
    rendered = camera.path_length(sphere(radius, 5), pose, grid)
    # The polyhedron is up to 0.02 mm inside the sphere; near the rim the difference along the ray is much larger.
    well_inside = squared < (0.9 * radius) ** 2
    assert well_inside.sum() > 4000
    assert np.abs(rendered - expected)[well_inside].max() < 0.15
    assert np.all(rendered[squared > radius**2] == 0)
    volume = (rendered * well_inside).sum() / (expected * well_inside).sum()
    assert volume == pytest.approx(1, abs=2e-3)


def test_slab_facing_the_source_is_as_thick_as_it_is(cameras: DualPlane) -> None:
    camera, grid = Camera(cameras.bs.plane, np.zeros(2), 1800.0), ImageGrid.calibrated(1600).cropped(790, 790, 21, 21)
    length = camera.path_length(box((40, 30, 12.5)), cameras.pose_matrix([0, 0, 300], [0, 0, 0]), grid)
    assert length[10, 10] == pytest.approx(12.5, abs=1e-4)
    offset = np.hypot(10 * 0.225, 10 * 0.225)
    assert length[0, 0] == pytest.approx(12.5 * np.hypot(1, offset / 1800), abs=1e-4)


@pytest.mark.parametrize("plane", ["bs", "fs"])
def test_every_ray_enters_as_often_as_it_leaves(cameras: DualPlane, plane: str) -> None:
    """With all depths one, the signed sum counts entries against exits: exactly 0 at every pixel of a closed mesh.

    The triangles' edges run along pixel rows and columns and through pixel centres here, where careless rules leak.
    """
    camera, grid = cameras.camera(plane), ImageGrid.calibrated(512)
    generator = np.random.default_rng(4)
    meshes = [implant.mesh for implant in make_implants()]
    meshes += [Mesh(np.rint(mesh.vertices), mesh.faces) for mesh in meshes]  # collapsed and flat triangles
    hits = 0.0
    for mesh in meshes:
        pose = cameras.pose_matrix(generator.normal(CROSSING, 20), generator.uniform(-180, 180, 3))
        corners, inverse = np.empty((len(mesh.vertices), 2), np.int64), np.empty(len(mesh.vertices))
        assert project_corners(camera.pixel_matrix(grid) @ pose, mesh.vertices, corners, inverse) > 0
        for snapped in (corners, corners // 65536 * 65536, corners // 32768 * 32768):
            signed, unsigned = np.zeros((512, 512)), np.zeros((512, 512))
            add_triangles(snapped, np.ones(len(corners)), mesh.faces, True, signed)
            add_triangles(snapped, np.ones(len(corners)), mesh.faces, False, unsigned)
            assert not signed.any()
            assert np.all(unsigned % 2 == 0)
            hits += unsigned.sum()
    assert hits > 100_000


def test_a_hole_in_the_mesh_does_leak(cameras: DualPlane) -> None:
    """Counter-check: without one face, entries and exits do not balance."""
    mesh, grid, camera = sphere(30, 2), ImageGrid.calibrated(512), cameras.bs
    corners, inverse = np.empty((len(mesh.vertices), 2), np.int64), np.empty(len(mesh.vertices))
    project_corners(
        camera.pixel_matrix(grid) @ cameras.pose_matrix(CROSSING, [0, 0, 0]), mesh.vertices, corners, inverse
    )
    signed = np.zeros((512, 512))
    add_triangles(corners, np.ones(len(corners)), mesh.faces[1:], True, signed)
    assert signed.any()


def test_two_halves_that_share_a_cut_make_the_whole(cameras: DualPlane) -> None:
    grid, pose = ImageGrid.calibrated(512), cameras.pose_matrix(CROSSING, [10, 20, 30])
    half, aside = box((20, 30, 12)), np.array([10, 0, 0])
    halves = [Mesh(half.vertices - aside, half.faces), Mesh(half.vertices + aside, half.faces)]
    together = sum(cameras.bs.path_length(half, pose, grid) for half in halves)
    whole = cameras.bs.path_length(box((40, 30, 12)), pose, grid)
    np.testing.assert_allclose(together, whole, atol=2e-3)
    assert whole.min() >= 0
    assert whole.max() > 12


def test_never_negative_on_implants(cameras: DualPlane) -> None:
    for implant in make_implants():
        pose = cameras.pose_matrix(CROSSING, [12, -7, 80 + implant.anatomy_id])
        for plane in ("bs", "fs"):
            length = cameras.camera(plane).path_length(implant.mesh, pose, ImageGrid.calibrated(512))
            assert length.min() > -1e-3
            assert 10 < length.max() < 90


def test_crop_is_a_part_of_the_whole(cameras: DualPlane) -> None:
    mesh, pose, whole = sphere(30, 3), cameras.pose_matrix(CROSSING, [0, 0, 0]), ImageGrid.calibrated(512)
    rendered = cameras.fs.path_length(mesh, pose, whole)
    part = cameras.fs.path_length(mesh, pose, whole.cropped(200, 150, 120, 170))
    np.testing.assert_allclose(part, rendered[150:320, 200:320], atol=5e-2)
    beyond = cameras.fs.path_length(mesh, pose, whole.cropped(-40, -30, 100, 90))
    assert beyond.shape == (90, 100)


def test_mesh_off_the_image_leaves_it_black(cameras: DualPlane) -> None:
    for place in ([5000, 0, 381], [-5000, 90_000, 381], [190, 190, 381]):
        length = cameras.bs.path_length(sphere(30, 2), cameras.pose_matrix(place, [0, 0, 0]), ImageGrid.calibrated(512))
        assert not length[:300, :300].any()


def test_mesh_at_the_source_is_rejected(cameras: DualPlane) -> None:
    with pytest.raises(ValueError, match="extends to the X-ray source"):
        cameras.bs.path_length(sphere(30, 1), cameras.pose_matrix([0, 0, 1860], [0, 0, 0]), ImageGrid.calibrated(64))


def test_default_planes_are_the_published_ones() -> None:
    planes = InterPlane()
    np.testing.assert_allclose(planes.bs.horizontal, [1, 0, 0])
    np.testing.assert_allclose(planes.fs.normal, [-0.940, 0, 0.342], atol=5e-4)
    np.testing.assert_allclose(planes.fs.horizontal, [0.342, 0, 0.940], atol=5e-4)
    np.testing.assert_allclose(planes.fs.centre_mm, [360, 0, 250])


def test_source_is_above_the_principal_point(cameras: DualPlane) -> None:
    np.testing.assert_allclose(cameras.bs.source_mm, [2.7, -6.1, 1860])
    plane = cameras.fs.plane
    expected = plane.centre_mm - 10.2 * plane.horizontal + 1.9 * plane.vertical + 1851 * plane.normal
    np.testing.assert_allclose(cameras.fs.source_mm, expected)


def test_points_on_a_plane_project_to_themselves(cameras: DualPlane) -> None:
    on_plane = np.array([[12.0, -40.0], [-100.0, 3.0]])
    for camera in (cameras.bs, cameras.fs):
        world = camera.plane.to_world[:3, :2] @ on_plane.T + camera.plane.centre_mm[:, None]
        np.testing.assert_allclose(camera.project(world.T), on_plane, atol=1e-9)


def test_magnification_and_directions(cameras: DualPlane) -> None:
    bs = Camera(cameras.bs.plane, np.zeros(2), 1800.0)
    np.testing.assert_allclose(bs.project([[10, 0, 600], [0, 10, 600]]), [[15, 0], [0, 15]])
    pixels = ImageGrid.calibrated(1600).to_pixels([[0, 0], [22.5, 0], [0, 22.5]])
    np.testing.assert_allclose(pixels, [[800, 800], [900, 800], [800, 700]])


def test_smaller_grids_cover_the_same_field() -> None:
    full = ImageGrid.calibrated(1600)
    for size in (512, 256, 100):
        grid, ratio = ImageGrid.calibrated(size), 1600 / size
        outer = np.array([[-0.5, -0.5], [size - 0.5, size - 0.5]])
        np.testing.assert_allclose(full.to_pixels(to_mm(grid, outer)), (outer + 0.5) * ratio - 0.5, atol=1e-9)
        np.testing.assert_allclose(grid.to_pixels(to_mm(grid, outer)), outer, atol=1e-9)


def test_pose_frames(cameras: DualPlane) -> None:
    numbers = ([1.0, 2.0, 300.0], [20.0, -10.0, 70.0])
    world = cameras.pose_matrix(*numbers)
    np.testing.assert_allclose(world[:3, 3], numbers[0])
    at_source = cameras.pose_matrix([1 - 2.7, 2 + 6.1, 300 - 1860], numbers[1], PoseFrame.SOURCE_BS)
    np.testing.assert_allclose(at_source, world)
    in_fs = cameras.pose_matrix(*numbers, frame=PoseFrame.FS)
    np.testing.assert_allclose(in_fs, cameras.fs.plane.to_world @ world)
    # R = Rz Rx Ry: a rotation about y alone does not change the implant's y axis.
    np.testing.assert_allclose(cameras.pose_matrix([0, 0, 0], [0, 0, 33])[:3, 1], [0, 1, 0], atol=1e-12)
    many = cameras.pose_matrix(np.zeros((5, 3)), np.zeros((5, 3)), PoseFrame.FS)
    assert many.shape == (5, 4, 4)


def test_calibration_rows() -> None:
    row = dict.fromkeys(SourceIntensifier.__dataclass_fields__, "1.5") | {"id": 3, "sid_bs": 1860.5, "sid_fs": "1851.5"}
    assert SourceIntensifier.from_row(row).sid_bs == 1860.5
    with pytest.raises(DataError, match="no column 'sid_fs'"):
        SourceIntensifier.from_row({name: value for name, value in row.items() if name != "sid_fs"})
    with pytest.raises(DataError, match="not a number"):
        SourceIntensifier.from_row(row | {"sid_fs": "far"})
    with pytest.raises(DataError, match="positive distances"):
        SourceIntensifier.from_row(row | {"sid_fs": -5})
    for name, value in (("sid_bs", 1.86), ("sid_bs", 1.86e6), ("principalp_h_fs", 1e308), ("principalp_v_bs", "nan")):
        with pytest.raises(DataError, match=f"{name} is .* mm, expected"):
            SourceIntensifier.from_row(row | {name: value})


def test_planes_must_be_orthonormal() -> None:
    with pytest.raises(DataError, match="perpendicular unit vectors"):
        Plane(np.zeros(3), np.array([0, 0, 1.0]), np.array([0, 0.9, 0.1]))
    with pytest.raises(DataError, match="3 finite numbers"):
        Plane(np.zeros(2), np.array([0, 0, 1.0]), np.array([0, 1.0, 0]))


def test_real_source_calibrations_make_cameras(real_data) -> None:  # type: ignore[no-untyped-def]
    import pandas as pd

    table = pd.read_csv(real_data / "veriserum" / "csv_files" / "source_int_calibration_reloaded.csv")
    for _, row in table.iterrows():
        pair = DualPlane.from_calibration(SourceIntensifier.from_row(row))
        assert 1800 < pair.bs.source_mm[2] < 1900
        # Both sources project the crossing point of the planes' axes near the centre of their images.
        for camera in (pair.bs, pair.fs):
            assert np.linalg.norm(camera.project([CROSSING])) < 12


def test_inter_plane_geometry_is_read_or_rejected(tmp_path: Path) -> None:
    path = tmp_path / "planes.json"
    path.write_text('{"fs": {"centre_mm": [1, 2, 3], "normal": [1, 0, 0], "vertical": [0, 1, 0]}}')
    planes = read_inter_plane(path)
    assert planes.fs.centre_mm.tolist() == [1, 2, 3]
    assert planes.bs.normal.tolist() == [0, 0, 1]
    far = '{"fs": {"centre_mm": [1e308, 2, 3], "normal": [1, 0, 0], "vertical": [0, 1, 0]}}'
    for text in (
        '{"left": {}}',
        "[1]",
        "{",
        '{"fs": {"centre_mm": [1, 2, 3]}}',
        far,
        far.replace("1e308, ", ""),
        "[" * 9999,
    ):
        path.write_text(text)
        with pytest.raises(DataError, match="is not an inter-plane geometry"):
            read_inter_plane(path)
