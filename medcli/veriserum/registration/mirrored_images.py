"""Whether both images of a pair are mirrored left to right, which nearly gives the images of another pose.

Seen along two horizontal directions from far away, an implant that is turned by half about the vertical gives exactly
the mirrored images: only the sources' finite distance tells them apart. So the pose is turned, refined on the images
mirrored back, and both matches are compared.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from medcli.core.errors import quantity
from medcli.core.mesh import Mesh
from medcli.veriserum.geometry.biplane import DualPlane
from medcli.veriserum.registration.gradient_matching import ImplantView
from medcli.veriserum.registration.pose_search import COARSE, CONVERGED, FINE, FINER, Hypothesis, SearchLadder

_LOG = logging.getLogger(__name__)
Matrix = NDArray[np.float64]
_SURE = 0.015
"""Difference at 1.6 mm blur beyond which the finest level, which takes as long again, changes nothing."""


def gain_by_mirroring(view: ImplantView, pose: Matrix, per_mm: float) -> float:
    """How much better an implant matches both images when these are mirrored left to right; -1 where it does not.

    Args:
        view: the implant in both planes.
        pose: (4, 4) where it was found.
        per_mm: attenuation there, 1/mm.

    Returns:
        Difference of gradient correlations after the same stages of refinement, negative for images as they are.
    """
    if len(view.images) < 2:
        return -1.0
    images = {plane: np.ascontiguousarray(image[:, ::-1]) for plane, image in view.images.items()}
    beside = view.beside and replace(view.beside, pose=_turned(view.beside.pose, view.beside.mesh, view.cameras))
    ladders = (SearchLadder(view), SearchLadder(replace(view, images=images, beside=beside)))
    found: list[list[Hypothesis]] = [[(0.0, pose, per_mm)], [(0.0, _turned(pose, view.mesh, view.cameras), per_mm)]]
    gain = -1.0
    for stage in (COARSE, FINER, CONVERGED, FINE):
        found = [ladder.refined(ranked, stage) for ladder, ranked in zip(ladders, found, strict=True)]
        if not all(found):
            return -1.0
        gain = found[1][0][0] - found[0][0][0]
        if stage is CONVERGED and gain < -_SURE:
            break
    return gain


def _turned(pose: Matrix, mesh: Mesh, cameras: DualPlane) -> Matrix:
    """The pose whose images are nearly the mirrored ones: turned by half about the vertical, at the mirrored place."""
    vertical = np.cross(cameras.bs.plane.normal, cameras.fs.plane.normal)
    vertical /= np.linalg.norm(vertical)
    middle, normal, right = mesh.bounds.mean(axis=0), np.zeros((3, 3)), np.zeros(3)
    place = pose[:3, :3] @ middle + pose[:3, 3]
    for camera in (cameras.bs, cameras.fs):
        h, v = camera.project(place[None])[0]
        along = (camera.plane.to_world @ np.array([-h, v, 0.0, 1.0]))[:3] - camera.source_mm
        across = np.eye(3) - np.outer(along, along) / (along @ along)
        normal, right = normal + across, right + across @ camera.source_mm
    turned = np.eye(4)
    turned[:3, :3] = (2 * np.outer(vertical, vertical) - np.eye(3)) @ pose[:3, :3]
    turned[:3, 3] = np.linalg.solve(normal, right) - turned[:3, :3] @ middle
    return turned


def warn_of_mirrored(ids: Sequence[int], what: str) -> int:
    """Warn of what matches better when both images are mirrored, and return how many those are.

    Args:
        ids: of the pairs, or first ones of the trials.
        what: ``pose`` or ``trial``.
    """
    if ids:
        count = quantity(len(ids), f"{what} matches", f"{what}s match")
        _LOG.warning(
            "%s better when both images are mirrored left to right, first id %d, and so %s doubtful: are the files "
            "mirrored, or the planes exchanged? look with: medcli check veriserum --figure sheet.png",
            *(count, min(ids), "is" if len(ids) == 1 else "are"),
        )
    return len(ids)
