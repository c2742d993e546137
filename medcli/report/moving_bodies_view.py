"""The components of a knee over time, reduced to a size that can be embedded in a page."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medcli.core.errors import quantity
from medcli.core.mesh import Mesh
from medcli.core.rigid_transforms import invert_rigid
from medcli.report.blocks import MovingBodies
from medcli.report.point_cloud_view import pack_numbers, simplify

Array = NDArray[np.float64]
MOST_FACES, MOST_FRAMES = 4_000, 400
_COLOURS = ("--mesh", "--s5")
_MARKS = ("--s2", "--s3")
_FULL = 65535


def moving_bodies(
    meshes: Sequence[Mesh], names: Sequence[str], poses: Array, marks: Array, labels: Sequence[str], caption: str
) -> MovingBodies:
    """A view of bodies that move.

    Args:
        meshes: one a body, in mm, each in the coordinates that its poses transform; those of the last are right,
            anterior, proximal.
        names: of the bodies.
        poses: (N, B, 4, 4) from each body's coordinates to a common frame.
        marks: (N, P, 3) points in the coordinates of the last body, mm.
        labels: of the frames.
        caption: of the figure.
    """
    chosen = np.unique(np.linspace(0, len(poses) - 1, min(MOST_FRAMES, len(poses))).round().astype(int))
    first = invert_rigid(poses[chosen[0], -1])  # the common frame: the last body's in the first frame
    vertices, faces, bodies, start = [], [], [], 0
    for mesh, name, colour in zip(meshes, names, _COLOURS, strict=True):
        points, triangles = simplify(mesh.triangles, MOST_FACES)
        low, size = points.min(axis=0), np.maximum(np.ptp(points, axis=0), 1e-3)
        vertices.append(np.round((points - low) / size * _FULL))
        faces.append(triangles + start)
        start += len(points)
        box = {"low": [round(float(v), 3) for v in low], "size": [round(float(v), 3) for v in size]}
        bodies.append({"name": name, "count": len(points), "colour": colour, **box})
    return MovingBodies(
        vertices=pack_numbers(np.concatenate(vertices), "<u2"),
        faces=pack_numbers(np.concatenate(faces), "<u2"),
        bodies=bodies,
        poses=pack_numbers((first @ poses[chosen])[..., :3, :], "<f4"),
        points=pack_numbers(np.nan_to_num(marks[chosen], nan=1e6), "<f4"),
        colours=_MARKS,
        labels=[labels[i] for i in chosen],
        names=("R", "A", "P"),
        view=[round(float(v), 5) for v in _first_view().ravel()],
        alt=f"The {' and the '.join(names)} in three dimensions over {quantity(len(poses), 'frame')}.",
        caption=caption,
    )


def _first_view() -> Array:
    """(3, 3): from the front and a little from the side and above; rows are across, up and towards the viewer."""
    towards = np.array([0.55, 1.0, 0.35])
    towards /= np.linalg.norm(towards)
    across = np.cross([0.0, 0.0, 1.0], towards)
    across /= np.linalg.norm(across)
    return np.stack([across, np.cross(towards, across), towards])
