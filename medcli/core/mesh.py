"""Triangle meshes and the STL files they live in (binary and ASCII)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medcli.core.errors import DataError, quantity
from medcli.core.files import read_whole, write_bytes
from medcli.core.plausibility import MESH_EXTENT_MM, Bound, mesh_problem

_RECORD = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh.

    Attributes:
        vertices: (V, 3) float64, millimetres.
        faces: (F, 3) int64, rows of vertex indices, counter-clockwise seen from outside.
    """

    vertices: NDArray[np.float64]
    faces: NDArray[np.int64]

    @property
    def triangles(self) -> NDArray[np.float64]:
        """Corners of each face, (F, 3, 3): face, corner, xyz in millimetres."""
        return self.vertices[self.faces]

    @property
    def bounds(self) -> NDArray[np.float64]:
        """(2, 3): smallest and largest coordinate along x, y, z in millimetres."""
        return np.stack([self.vertices.min(axis=0), self.vertices.max(axis=0)])

    @property
    def volume(self) -> float:
        """Signed volume in mm³: positive for a closed mesh whose faces point outwards."""
        a, b, c = np.moveaxis(self.triangles, 1, 0)
        return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6)

    def is_watertight(self) -> bool:
        """Whether every directed edge is met by exactly one edge in the other direction."""
        forward, backward = map(np.sort, self._edges())
        return bool(len(forward) > 0 and np.array_equal(forward, backward) and np.all(np.diff(forward) > 0))

    def open_edges(self) -> float:
        """Share of the directed edges that no edge in the other direction meets, 0 for a closed mesh."""
        forward, backward = self._edges()
        return float(np.mean(~np.isin(forward, backward))) if len(forward) else 1.0

    def _edges(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(3 F,) a number of each directed edge, and of the same edge the other way round."""
        start, end = self.faces.ravel(), np.roll(self.faces, -1, axis=1).ravel()
        count = np.int64(len(self.vertices))
        return start * count + end, end * count + start

    def transformed(self, matrix: NDArray[np.float64]) -> Mesh:
        """The mesh transformed by a 4 x 4 matrix."""
        from medcli.core.rigid_transforms import transform_points

        return Mesh(transform_points(matrix, self.vertices), self.faces)


def merge_vertices(triangles: NDArray[np.floating]) -> Mesh:
    """A mesh from loose triangles (F, 3, 3), with equal corners made one vertex."""
    corners = np.ascontiguousarray(triangles, dtype=np.float64).reshape(-1, 3)
    order = np.lexsort(corners.T[::-1])  # as numpy.unique orders rows, at a fraction of its time
    ordered = corners[order]
    is_first = np.ones(len(corners), np.bool_)
    is_first[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    index = np.empty(len(corners), np.int64)
    index[order] = np.cumsum(is_first) - 1
    return Mesh(ordered[is_first], index.reshape(-1, 3))


def merge_meshes(meshes: Sequence[Mesh]) -> Mesh:
    """Several meshes as one, side by side."""
    starts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes[:-1])])
    faces = [mesh.faces + start for mesh, start in zip(meshes, starts, strict=True)]
    return Mesh(np.concatenate([mesh.vertices for mesh in meshes]), np.concatenate(faces))


def read_stl(path: Path | str) -> Mesh:
    """Read a binary or ASCII STL file; equal corners become one vertex.

    Raises:
        DataError: the file is missing, empty, truncated, not STL, or holds coordinates that are not finite.
    """
    path = Path(path)
    try:
        content = read_whole(path)
    except OSError as error:
        raise DataError(f"cannot read mesh {path}: {error.strerror or error}") from error
    count = int.from_bytes(content[80:84], "little") if len(content) >= 84 else -1
    if count >= 0 and len(content) >= 84 + 50 * count > 84:
        triangles = np.frombuffer(content, _RECORD, count, offset=84)["corners"].astype(np.float64)
    elif content[:512].lstrip().lower().startswith(b"solid"):
        triangles = _parse_ascii(content, path)
    else:
        raise DataError(_not_stl(path, len(content), count))
    if not np.isfinite(triangles).all():
        raise DataError(f"mesh {path} holds coordinates that are not finite numbers")
    return merge_vertices(triangles)


def check_millimetres(mesh: Mesh, path: Path | str, bound: Bound = MESH_EXTENT_MM) -> None:
    """Raise :class:`DataError` for a mesh that cannot be a bone or an implant (``bound``) in millimetres; says why."""
    problem, hint = mesh_problem(mesh.vertices, bound)
    if problem:
        raise DataError(f"mesh {path} {problem}" if problem[0].isalpha() else f"mesh {path}: {problem}", hint)


def write_stl(mesh: Mesh, path: Path | str) -> None:
    """Write a binary STL file (coordinates as float32), whole or not at all."""
    triangles = mesh.triangles
    normals = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    records = np.zeros(len(triangles), _RECORD)
    records["normal"] = np.divide(normals, lengths, out=np.zeros_like(normals), where=lengths > 0)
    records["corners"] = triangles
    header = b"medcli".ljust(80) + len(records).to_bytes(4, "little")
    write_bytes(Path(path), header + records.tobytes())


def _not_stl(path: Path, size: int, count: int) -> str:
    """Why a file is not a mesh; ``count`` is the number of triangles in its header, -1 when there is none."""
    if size == 0:
        return f"mesh {path} is empty"
    if count < 0:
        found = f"{path} is not an STL mesh: {quantity(size, 'byte')}"
        return f"{found}, a binary one has at least 84 and a text one starts with solid"
    if count == 0:
        return f"mesh {path} holds no triangle"
    wanted = 84 + 50 * count
    found = f"{path} is not an STL mesh or is truncated: {quantity(size, 'byte')}"
    return f"{found}, {wanted:,} expected for {quantity(count, 'triangle')}"


def _parse_ascii(content: bytes, path: Path) -> NDArray[np.float64]:
    lines = (line.split() for line in content.splitlines())
    try:
        values = [[float(word) for word in words[1:4]] for words in lines if words and words[0].lower() == b"vertex"]
        corners = np.array(values, dtype=np.float64).reshape(-1, 3, 3)
    except ValueError as error:
        raise DataError(f"{path} is a broken ASCII STL mesh: {error}") from error
    if len(corners) == 0:
        raise DataError(f"mesh {path} holds no triangle")
    return corners
