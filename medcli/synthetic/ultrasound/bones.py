"""Closed, bone-like triangle meshes made from formulas: tubes with a varying cross-section and rounded ends."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medcli.core.mesh import Mesh

RINGS, AROUND = 160, 56
"""Vertices along and around a bone: edges of about 2 mm and less, like the published CT meshes."""


@dataclass(frozen=True)
class BoneShape:
    """Shape of a long bone along its own z axis; lengths in millimetres.

    Attributes:
        length_mm: from end to end.
        shaft_mm: mean radius in the middle.
        end_mm: mean radius of the two ends, lower and upper.
        centre_mm: (x, y) of the axis in the leg.
        lower_mm: z of the lower end in the leg.
        bend_mm: how far the middle bows out of the straight line.
        probe_deg: direction about the axis from which a probe faces it.
        cover_mm: soft tissue between skin and bone there.
    """

    length_mm: float
    shaft_mm: float
    end_mm: tuple[float, float]
    centre_mm: tuple[float, float]
    lower_mm: float
    bend_mm: float
    probe_deg: float
    cover_mm: float


SHAPES = {
    "fibula": BoneShape(330.0, 7.0, (11.5, 12.5), (-33.0, -12.0), -10.0, 4.0, 190.0, 13.0),
    "foot": BoneShape(78.0, 17.0, (19.0, 16.0), (-4.0, 22.0), -112.0, 2.0, 160.0, 8.0),
    "tibia": BoneShape(350.0, 12.5, (20.0, 27.0), (0.0, 0.0), 0.0, 5.0, 60.0, 7.0),
}


@dataclass(frozen=True)
class Bone:
    """A bone of one leg: its surface and its axis, in the leg's frame (z up, millimetres)."""

    shape: BoneShape
    mesh: Mesh
    bow_deg: float

    def axis_at(self, along: NDArray[np.float64]) -> NDArray[np.float64]:
        """Points (N, 3) of the axis at fractions ``along`` (N,) of the length, 0 the lower end."""
        bow = self.shape.bend_mm * np.sin(np.pi * along)
        x = self.shape.centre_mm[0] + bow * np.cos(np.radians(self.bow_deg))
        y = self.shape.centre_mm[1] + bow * np.sin(np.radians(self.bow_deg))
        return np.stack([x, y, self.shape.lower_mm + self.shape.length_mm * along], axis=1)

    def radius_at(self, along: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean radius (N,) in millimetres at fractions ``along`` (N,) of the length."""
        return _mean_radius(self.shape, along)


def make_bone(shape: BoneShape, generator: np.random.Generator) -> Bone:
    """A watertight bone of this shape whose details (ridges, twist, bumps, bow) are drawn from ``generator``."""
    bone = Bone(shape, Mesh(np.zeros((0, 3)), np.zeros((0, 3), np.int64)), float(generator.uniform(0, 360)))
    along = (1 - np.cos(np.linspace(0, np.pi, RINGS + 2)[1:-1])) / 2
    along = 0.25 * along + 0.75 * np.linspace(along[0], along[-1], RINGS)
    angle = np.linspace(0, 2 * np.pi, AROUND, endpoint=False)
    radius = _mean_radius(shape, along)[:, None] * _relief(along, angle, generator)
    axis = bone.axis_at(along)
    ring = np.stack([np.cos(angle), np.sin(angle), np.zeros(AROUND)], axis=1)
    side = axis[:, None, :] + radius[:, :, None] * ring[None]
    poles = bone.axis_at(np.array([0.0, 1.0]))
    vertices = np.concatenate([side.reshape(-1, 3), poles])
    return Bone(shape, Mesh(vertices, _tube_faces(RINGS, AROUND)), bone.bow_deg)


def _mean_radius(shape: BoneShape, along: NDArray[np.float64]) -> NDArray[np.float64]:
    """Thin shaft, thick ends, rounded off to zero over the last 60 % of the end's radius."""
    lower = shape.end_mm[0] * np.exp(-((along / 0.16) ** 2))
    upper = shape.end_mm[1] * np.exp(-(((1 - along) / 0.18) ** 2))
    swell = (shape.shaft_mm**4 + lower**4 + upper**4) ** 0.25
    to_end_mm = np.minimum(along, 1 - along) * shape.length_mm
    rounding_mm = 0.6 * np.where(along < 0.5, shape.end_mm[0], shape.end_mm[1])
    inside = np.clip(1 - to_end_mm / rounding_mm, 0, 1)
    return swell * np.sqrt(1 - inside**2)


def _relief(
    along: NDArray[np.float64], angle: NDArray[np.float64], generator: np.random.Generator
) -> NDArray[np.float64]:
    """Relative radius (rings, around): a twisting triangular section with an oval part and shallow bumps."""
    z, theta = along[:, None], angle[None, :]
    twist, start = generator.uniform(-1.2, 1.2), generator.uniform(0, 2 * np.pi)
    relief = 1 + 0.13 * np.cos(3 * (theta - start - twist * z)) + 0.10 * np.cos(2 * (theta - 2 * start + twist * z))
    for _ in range(6):
        height, waves = generator.uniform(-0.025, 0.025), generator.uniform(1, 6)
        relief = relief + height * np.cos(generator.integers(1, 5) * theta + 2 * np.pi * waves * z)
    return relief


def _tube_faces(rings: int, around: int) -> NDArray[np.int64]:
    """Faces of a closed tube whose last two vertices are its lower and upper pole."""
    corner = np.arange(rings * around, dtype=np.int64).reshape(rings, around)
    after = np.roll(corner, -1, axis=1)
    low, low_next, high, high_next = corner[:-1], after[:-1], corner[1:], after[1:]
    side = [np.stack([low, low_next, high_next], axis=-1), np.stack([low, high_next, high], axis=-1)]
    bottom, top = rings * around, rings * around + 1
    caps = [
        np.stack([after[0], corner[0], np.full(around, bottom)], axis=-1),
        np.stack([corner[-1], after[-1], np.full(around, top)], axis=-1),
    ]
    return np.concatenate([faces.reshape(-1, 3) for faces in (*side, *caps)])
