from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medcli.core.errors import DataError
from medcli.core.mesh import Mesh, merge_vertices, read_stl, write_stl


@pytest.fixture
def box() -> Mesh:
    """A closed box of 2 x 3 x 4 mm, faces outwards."""
    corners = np.array([[x, y, z] for x in (0, 2) for y in (0, 3) for z in (0, 4)], float)
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    faces = [face for a, b, c, d in quads for face in ((a, b, c), (a, c, d))]
    return Mesh(corners, np.array(faces))


def ascii_stl(mesh: Mesh) -> str:
    lines = ["solid box"]
    for triangle in mesh.triangles:
        lines += [" facet normal 0 0 0", "  outer loop"]
        lines += [f"   vertex {x} {y} {z}" for x, y, z in triangle]
        lines += ["  endloop", " endfacet"]
    return "\n".join([*lines, "endsolid box", ""])


def test_properties(box: Mesh) -> None:
    assert box.volume == pytest.approx(24)
    assert box.is_watertight()
    np.testing.assert_array_equal(box.bounds, [[0, 0, 0], [2, 3, 4]])
    assert not Mesh(box.vertices, box.faces[1:]).is_watertight()
    assert not Mesh(box.vertices, box.faces[:, ::-1][[0, *range(1, 12)]] * 0).is_watertight()


def test_transformed(box: Mesh) -> None:
    moved = box.transformed(np.array([[0, -1, 0, 5], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]))
    assert moved.volume == pytest.approx(24)
    np.testing.assert_allclose(moved.bounds, [[2, 0, 0], [5, 2, 4]])


def test_binary_round_trip(box: Mesh, tmp_path: Path) -> None:
    write_stl(box, tmp_path / "box.stl")
    again = read_stl(tmp_path / "box.stl")
    assert (len(again.vertices), len(again.faces), again.volume) == (8, 12, pytest.approx(24))
    assert again.is_watertight()
    content = (tmp_path / "box.stl").read_bytes()
    normals = np.frombuffer(content[84:], np.dtype([("n", "<f4", 3), ("rest", "V38")]))["n"]
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1)


def test_binary_that_begins_with_solid(box: Mesh, tmp_path: Path) -> None:
    write_stl(box, tmp_path / "box.stl")
    content = (tmp_path / "box.stl").read_bytes()
    (tmp_path / "box.stl").write_bytes(b"solid" + content[5:])
    assert read_stl(tmp_path / "box.stl").volume == pytest.approx(24)


def test_ascii(box: Mesh, tmp_path: Path) -> None:
    (tmp_path / "box.stl").write_text(ascii_stl(box))
    again = read_stl(tmp_path / "box.stl")
    np.testing.assert_allclose(
        np.sort(again.triangles.reshape(-1, 9), axis=0), np.sort(box.triangles.reshape(-1, 9), axis=0)
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"hello", "not an STL mesh: 5 bytes"),
        (b"\0" * 80 + (3).to_bytes(4, "little") + b"\0" * 60, "truncated: 144 bytes, 234 expected for 3 triangles"),
        (b"\0" * 84, "holds no triangle"),
        (b"solid x\nendsolid x\n", "holds no triangle"),
        (b"solid x\nvertex 1 2 z\nendsolid", "broken ASCII"),
        (b"solid x\nvertex 1 2 3\nendsolid", "broken ASCII"),
    ],
)
def test_broken_files(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "mesh.stl").write_bytes(content)
    with pytest.raises(DataError, match=said):
        read_stl(tmp_path / "mesh.stl")


def test_not_finite_and_missing(box: Mesh, tmp_path: Path) -> None:
    broken = box.vertices.copy()
    broken[0, 0] = np.nan
    write_stl(Mesh(broken, box.faces), tmp_path / "nan.stl")
    with pytest.raises(DataError, match="not finite"):
        read_stl(tmp_path / "nan.stl")
    with pytest.raises(DataError, match="cannot read mesh"):
        read_stl(tmp_path / "absent.stl")


def test_merge_vertices_keeps_the_triangles(box: Mesh) -> None:
    merged = merge_vertices(box.triangles)
    assert len(merged.vertices) == 8
    np.testing.assert_array_equal(merged.triangles, box.triangles)


@pytest.mark.parametrize("count", [0, 1, 500])
def test_merged_corners_are_in_the_order_of_numpy(count: int) -> None:
    generator = np.random.default_rng(3)
    triangles = generator.integers(-2, 3, (count, 3, 3)) * 0.5
    merged = merge_vertices(triangles)
    vertices, index = np.unique(triangles.reshape(-1, 3), axis=0, return_inverse=True)
    np.testing.assert_array_equal(merged.vertices, vertices)
    np.testing.assert_array_equal(merged.faces, index.reshape(-1, 3))


def test_published_mesh(real_data: Path) -> None:
    mesh = read_stl(real_data / "ultrabones-example/specimen90/CT_bone_segmentations/fibula.stl")
    assert len(mesh.faces) > 1000
    assert 200 < np.ptp(mesh.vertices, axis=0).max() < 500, "a fibula in millimetres"
