"""Implant surfaces by ``anatomy_id``, and their outline in X-ray images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medcli.core.errors import DataError
from medcli.core.mesh import Mesh, check_millimetres, read_stl
from medcli.core.plausibility import IMPLANT_EXTENT_MM
from medcli.veriserum.dataset.remembered import Remembered


@dataclass(frozen=True, eq=False)
class Implant:
    """An implant's surface and its outline as seen from a point.

    Attributes:
        mesh: closed, millimetres.
    """

    mesh: Mesh

    @cached_property
    def _normals(self) -> NDArray[np.float64]:
        corners = self.mesh.vertices[self.mesh.faces]
        return np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])

    @cached_property
    def _edges(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(E, 2) vertices of each edge and (E, 2) its two adjacent faces."""
        faces = np.asarray(self.mesh.faces, np.int64)
        edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
        owner = np.tile(np.arange(len(faces)), 3)
        order = np.lexsort((edges[:, 1], edges[:, 0]))
        edges, owner = edges[order], owner[order]
        pair = np.flatnonzero((edges[:-1] == edges[1:]).all(axis=1))
        return edges[pair], np.stack([owner[pair], owner[pair + 1]], axis=1)

    def outline(self, source_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Points where rays from a source touch the surface: vertices of edges between lit and unlit faces.

        Args:
            source_mm: (3,), the source in the implant's coordinates.

        Returns:
            (N, 3) millimetres, in the implant's coordinates; the outer outline and those of inner rims.
        """
        first = self.mesh.vertices[self.mesh.faces[:, 0]]
        is_lit = np.einsum("ij,ij->i", self._normals, source_mm - first) > 0
        edges, beside = self._edges
        return np.asarray(self.mesh.vertices[np.unique(edges[is_lit[beside[:, 0]] != is_lit[beside[:, 1]]])])


@dataclass(eq=False)
class Surfaces:
    """The implants of a folder; each surface is read on first use, and kept.

    Attributes:
        root: the folder that was searched.
        files: ``anatomy_id`` -> STL file.
    """

    root: Path
    files: dict[int, Path]

    def __post_init__(self) -> None:
        self._read: Remembered[int, Implant] = Remembered(lambda anatomy: _read_implant(self.files[anatomy]))

    def implant(self, anatomy: int) -> Implant:
        """The implant of an anatomy.

        Raises:
            DataError: it has no surface, or one that is not closed or cannot be read.
        """
        if anatomy not in self.files:
            raise DataError(
                f"no surface of anatomy {anatomy}: expected ana_{anatomy:06d}.stl in {self.root}",
                "download it: medcli download veriserum",
            )
        return self._read(anatomy)


def _read_implant(path: Path) -> Implant:
    mesh = read_stl(path)
    check_millimetres(mesh, path, IMPLANT_EXTENT_MM)
    return Implant(mesh)
