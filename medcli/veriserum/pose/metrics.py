"""Errors of estimated poses, as usual in X-ray registration.

With plane coordinates (h to the right, v up, n towards the source; see ``geometry.biplane``), an error
of translation has an *in-plane* part (h, v), to which one image is sensitive, and an *out-of-plane* part (n), to which
it is not. Rotation errors are the geodesic angle between both rotations, and the differences of the Euler angles
rz, rx, ry. The *outline* error is the mean distance on the detector, in millimetres, between the projections of the
implant's outline points by estimate and reference (the mean projection distance of van de Kraats et al. 2005).

A new measure is one entry of :data:`POSE_MEASURES`; files, tables, figures and the report then include it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medcli.core.rigid_transforms import invert_rigid, rotation_angle_deg
from medcli.veriserum.dataset.implant_surfaces import Implant
from medcli.veriserum.dataset.pose_tables import pose_numbers
from medcli.veriserum.geometry.biplane import Camera, DualPlane, InterPlane

Values = NDArray[np.float64]


@dataclass(frozen=True)
class PoseComparison:
    """Estimated and reference poses of N pairs, with their implants and cameras.

    Attributes:
        estimates, references: (N, 4, 4), implant to world.
        implants, cameras: of each pair, None where unknown; empty: all unknown.
        planes: the inter-plane geometry; the published one by default.
    """

    estimates: Values
    references: Values
    implants: Sequence[Implant | None] = ()
    cameras: Sequence[DualPlane | None] = ()
    planes: InterPlane = field(default_factory=InterPlane)

    @cached_property
    def away_mm(self) -> Values:
        """(N, 3) errors of translation in the world."""
        return self.estimates[:, :3, 3] - self.references[:, :3, 3]

    @cached_property
    def in_bs_mm(self) -> Values:
        """(N, 3) errors of translation along h, v, n of plane bs."""
        return self.away_mm @ self.planes.bs.to_world[:3, :3]

    @cached_property
    def in_fs_mm(self) -> Values:
        """(N, 3) errors of translation along h, v, n of plane fs."""
        return self.away_mm @ self.planes.fs.to_world[:3, :3]

    @cached_property
    def angle_differences_deg(self) -> Values:
        """(N, 3) differences of rz, rx, ry, estimate minus reference, within ±180 degrees."""
        difference = pose_numbers(self.estimates)[:, 3:] - pose_numbers(self.references)[:, 3:]
        return np.asarray((difference + 180) % 360 - 180)

    @property
    def angles_deg(self) -> Values:
        """(N, 3) absolute differences of rz, rx, ry, at most 180 degrees."""
        return np.abs(self.angle_differences_deg)

    def rotation_deg(self) -> Values:
        """(N,) geodesic angles between both rotations."""
        return rotation_angle_deg(self.estimates[:, :3, :3] @ np.swapaxes(self.references[:, :3, :3], 1, 2))

    def outline_mm(self, plane: str) -> Values:
        """(N,) outline errors on a plane; NaN where implant or cameras are unknown."""
        errors = np.full(len(self.estimates), np.nan)
        for i, (implant, both) in enumerate(zip(self.implants, self.cameras, strict=True)):
            if implant is not None and both is not None:
                errors[i] = outline_error_mm(implant, both.camera(plane), self.estimates[i], self.references[i])
        return errors


@dataclass(frozen=True)
class PoseMeasure:
    """One unsigned error measure of a pose.

    Attributes:
        name: in files; its suffix, ``_mm`` or ``_deg``, is the unit.
        title: in tables and figures.
        errors: (N,) of the N pairs of a comparison; NaN where unknown.
        panel: its panel in the figure of distributions, None: none.
        is_main: one of the few that summarise an evaluation; the report shows them first.
        single_plane: percentile -> published error of deep single-plane implant pose, to compare with.
        is_printed: in the command's table, too, and not only in files and the report.
    """

    name: str
    title: str
    errors: Callable[[PoseComparison], Values]
    panel: str | None = None
    is_main: bool = False
    single_plane: Mapping[int, float] = field(default_factory=dict)
    is_printed: bool = True

    @property
    def unit(self) -> str:
        """``mm`` or ``deg``."""
        return self.name.rpartition("_")[2]


_TRANSLATION, _ROTATION, _OUTLINE = "translation, mm", "rotation, degrees", "outline at the detector, mm"
POSE_MEASURES = [
    PoseMeasure("x_mm", "in plane bs, right", lambda p: np.abs(p.in_bs_mm[:, 0])),
    PoseMeasure("y_mm", "in plane bs, up", lambda p: np.abs(p.in_bs_mm[:, 1])),
    PoseMeasure(
        "in_plane_bs_mm", "in plane bs", lambda p: _in_plane(p.in_bs_mm), _TRANSLATION, True, {50: 0.75, 90: 1.5}
    ),
    PoseMeasure(
        "out_of_plane_bs_mm",
        "out of plane bs",
        lambda p: np.abs(p.in_bs_mm[:, 2]),
        _TRANSLATION,
        True,
        {50: 25.0, 90: 30.0},
    ),
    PoseMeasure("in_plane_fs_mm", "in plane fs", lambda p: _in_plane(p.in_fs_mm)),
    PoseMeasure("out_of_plane_fs_mm", "out of plane fs", lambda p: np.abs(p.in_fs_mm[:, 2])),
    PoseMeasure("distance_mm", "distance in space", lambda p: np.linalg.norm(p.away_mm, axis=1), is_printed=False),
    PoseMeasure("rotation_deg", "rotation", PoseComparison.rotation_deg, _ROTATION, True, {50: 2.0, 90: 4.0}),
    PoseMeasure("rz_deg", "rz", lambda p: p.angles_deg[:, 0], _ROTATION),
    PoseMeasure("rx_deg", "rx", lambda p: p.angles_deg[:, 1], _ROTATION),
    PoseMeasure("ry_deg", "ry", lambda p: p.angles_deg[:, 2], _ROTATION),
    PoseMeasure("outline_bs_mm", "outline on bs", lambda p: p.outline_mm("bs"), _OUTLINE, True),
    PoseMeasure("outline_fs_mm", "outline on fs", lambda p: p.outline_mm("fs"), _OUTLINE, True),
]
"""Every measure; x and y are the in-plane axes of plane bs, right and up. Single-plane errors: Vogl et al. 2022, PLoS
ONE 17(6) e0270596 (its 90 % of rotations is 3 to 4 degrees)."""

SIGNED = {
    "signed_x_mm": "plane bs, right",
    "signed_y_mm": "plane bs, up",
    "signed_z_mm": "plane bs, to the source",
    "signed_rz_deg": "rz",
    "signed_rx_deg": "rx",
    "signed_ry_deg": "ry",
}
"""Column -> title of the signed differences, estimate minus reference: along the axes of plane bs, and of the Euler
angles."""


@dataclass(frozen=True)
class PoseBias:
    """Mean and standard deviation of a signed difference over the pairs; ``sd`` is NaN for one pair."""

    mean: float
    sd: float


@dataclass(frozen=True)
class Summary:
    """One measure over all pairs that have it; NaN where none has."""

    mean: float
    median: float
    p90: float
    p95: float
    pairs: int


def pose_errors(poses: PoseComparison) -> pd.DataFrame:
    """One row per pose, one column for each of :data:`POSE_MEASURES`, and of :data:`SIGNED`."""
    signed = np.concatenate([poses.in_bs_mm, poses.angle_differences_deg], axis=1)
    return pd.DataFrame(
        {measure.name: measure.errors(poses) for measure in POSE_MEASURES} | dict(zip(SIGNED, signed.T, strict=True))
    )


def outline_error_mm(implant: Implant, camera: Camera, estimate: Values, reference: Values) -> float:
    """Mean distance at the detector between the outline's points projected by estimate and reference.

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


def _in_plane(errors_mm: Values) -> Values:
    return np.hypot(errors_mm[:, 0], errors_mm[:, 1])


def summarise_errors(errors: pd.DataFrame) -> dict[str, Summary]:
    """Each measure over the rows of a table of errors."""
    return {measure.name: _summary(errors[measure.name].to_numpy(np.float64)) for measure in POSE_MEASURES}


def bias_of(errors: pd.DataFrame) -> dict[str, PoseBias]:
    """Bias of each of :data:`SIGNED` over the rows of a table of errors."""
    return {name: PoseBias(float(errors[name].mean()), float(errors[name].std(ddof=1))) for name in SIGNED}


def _summary(values: Values) -> Summary:
    known = values[~np.isnan(values)]
    if not len(known):
        nothing = float("nan")
        return Summary(nothing, nothing, nothing, nothing, 0)
    median, p90, p95 = np.percentile(known, [50, 90, 95])
    return Summary(float(known.mean()), float(median), float(p90), float(p95), len(known))
