"""Errors of estimated poses, in the terms that X-ray registration is judged by.

With plane coordinates (h to the right, v up, n towards the source; see ``geometry.biplane``), an error
of translation has an *in-plane* part (h, v), which one picture shows well, and an *out-of-plane* part (n), which it
hardly shows. Rotation errors are the geodesic angle between both rotations, and the differences of the Euler angles
rz, rx, ry. The *outline* error is the mean distance on the detector, in millimetres, between the projections of the
implant's outline points by estimate and reference (the mean projection distance of van de Kraats et al. 2005).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from medcli.core.rigid_transforms import invert_rigid, rotation_angle_deg
from medcli.veriserum.dataset.implant_surfaces import Implant
from medcli.veriserum.geometry.biplane import Camera, DualPlane, InterPlane

SINGLE_PLANE = {
    "in_plane_bs_mm": {50: 0.75, 90: 1.5},
    "out_of_plane_bs_mm": {50: 25.0, 90: 30.0},
    "rotation_deg": {50: 2.0, 90: 4.0},
}
"""Published errors of deep single-plane implant pose by percentile: Vogl et al. 2022, PLoS ONE 17(6) e0270596 (its
90 % of rotations is 3 to 4 degrees)."""
MEASURES = (
    "x_mm",
    "y_mm",
    "in_plane_bs_mm",
    "out_of_plane_bs_mm",
    "in_plane_fs_mm",
    "out_of_plane_fs_mm",
    "distance_mm",
    "rotation_deg",
    "rz_deg",
    "rx_deg",
    "ry_deg",
    "outline_bs_mm",
    "outline_fs_mm",
)
"""Columns of a table of errors; x and y are the in-plane axes of plane bs, right and up."""


@dataclass(frozen=True)
class Summary:
    """One measure over all pairs that have it; NaN where none has."""

    mean: float
    median: float
    p90: float
    p95: float
    pairs: int


def pose_errors(
    estimates: NDArray[np.float64], references: NDArray[np.float64], planes: InterPlane | None = None
) -> pd.DataFrame:
    """Errors of translation and rotation, without sign.

    Args:
        estimates, references: (N, 4, 4), implant to world.
        planes: how the planes stand; the published geometry by default.

    Returns:
        A row a pose, with the columns :data:`MEASURES` but the outline's.
    """
    planes = planes or InterPlane()
    away = estimates[:, :3, 3] - references[:, :3, 3]
    in_bs, in_fs = (away @ plane.to_world[:3, :3] for plane in (planes.bs, planes.fs))
    relative = estimates[:, :3, :3] @ np.swapaxes(references[:, :3, :3], 1, 2)
    turned = np.abs((euler_deg(estimates) - euler_deg(references) + 180) % 360 - 180)
    return pd.DataFrame(
        {
            "x_mm": np.abs(in_bs[:, 0]),
            "y_mm": np.abs(in_bs[:, 1]),
            "in_plane_bs_mm": np.hypot(in_bs[:, 0], in_bs[:, 1]),
            "out_of_plane_bs_mm": np.abs(in_bs[:, 2]),
            "in_plane_fs_mm": np.hypot(in_fs[:, 0], in_fs[:, 1]),
            "out_of_plane_fs_mm": np.abs(in_fs[:, 2]),
            "distance_mm": np.linalg.norm(away, axis=1),
            "rotation_deg": rotation_angle_deg(relative),
            "rz_deg": turned[:, 0],
            "rx_deg": turned[:, 1],
            "ry_deg": turned[:, 2],
        }
    )


def euler_deg(matrices: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, 3) rz, rx, ry in degrees of (N, 4, 4) transforms."""
    return Rotation.from_matrix(matrices[:, :3, :3]).as_euler("ZXY", degrees=True)


def outline_error_mm(
    implant: Implant, camera: Camera, estimate: NDArray[np.float64], reference: NDArray[np.float64]
) -> float:
    """Mean distance at the detector between the outline's points as estimate and reference project them.

    Args:
        implant: the surface.
        camera: the plane's.
        estimate, reference: (4, 4), implant to world.
    """
    source = (invert_rigid(reference) @ np.append(camera.source_mm, 1.0))[:3]
    points = implant.outline(source)
    if not len(points):
        return float("nan")
    here, there = (camera.project(points @ pose[:3, :3].T + pose[:3, 3]) for pose in (estimate, reference))
    return float(np.linalg.norm(here - there, axis=1).mean())


def outline_errors(
    implants: Sequence[Implant | None],
    cameras: Sequence[DualPlane | None],
    estimates: NDArray[np.float64],
    references: NDArray[np.float64],
) -> pd.DataFrame:
    """Columns ``outline_bs_mm`` and ``outline_fs_mm``; NaN where implant or cameras are not known."""
    rows: list[tuple[float, ...]] = []
    for implant, both, estimate, reference in zip(implants, cameras, estimates, references, strict=True):
        if implant is None or both is None:
            rows.append((np.nan, np.nan))
        else:
            rows.append(tuple(outline_error_mm(implant, both.camera(p), estimate, reference) for p in ("bs", "fs")))
    return pd.DataFrame(rows, columns=["outline_bs_mm", "outline_fs_mm"], dtype=float)


def summarise_errors(errors: pd.DataFrame) -> dict[str, Summary]:
    """Each measure over the rows of a table of errors."""
    return {name: _summary(errors[name].to_numpy(np.float64)) for name in MEASURES if name in errors.columns}


def _summary(values: NDArray[np.float64]) -> Summary:
    known = values[~np.isnan(values)]
    if not len(known):
        nothing = float("nan")
        return Summary(nothing, nothing, nothing, nothing, 0)
    median, p90, p95 = np.percentile(known, [50, 90, 95])
    return Summary(float(known.mean()), float(median), float(p90), float(p95), len(known))
