"""The X-ray geometry of Veriserum's two planes, and the rendering of implants.

Conventions (lengths in millimetres):

- **World**: plane *bs* is at the origin with its normal along +z, towards its source, and its vertical along +y.
  Seen from the source, x runs right and y up.
- **A plane** has a centre c, a unit normal n towards its source and a unit vertical v; its horizontal is h = v x n.
  Its source is at c + pp_h h + pp_v v + sid n, with the principal point (pp_h, pp_v) and the source-intensifier
  distance sid of the ``source_int_calibration`` table.
- **Plane fs** by the published default: c = (360, 0, 250), v = (0, 1, 0), n = (0, 0, 1) rotated by -70 degrees about y.
- **A pose** (tx ty tz, rz rx ry) maps an implant's STL coordinates to the world: p_world = Rz Rx Ry p_stl + t. Other
  frames that a recording may use are listed in :class:`PoseFrame`; check with an overlay on a real image.
- **Images** are the calibrated ones: 1600 x 1600 pixels of 0.225 mm, pixel (column, row) at h = (column - 800) 0.225
  and v = (800 - row) 0.225. A smaller image follows the convention of resizing: its pixel covers 1600 / size of these,
  so that its centre is at h = ((column + 0.5) 1600 / size - 0.5 - 800) 0.225.

A closed mesh is rendered from its surface alone: the path length along a ray is the sum of its exit depths minus the
sum of its entry depths.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medcli.core.errors import DataError
from medcli.core.mesh import Mesh
from medcli.core.plausibility import POSITION_MM, PRINCIPAL_POINT_MM, SOURCE_DISTANCE_MM, problem_of
from medcli.core.rigid_transforms import VERISERUM_EULER, rigid_transform
from medcli.veriserum.dataset.contents_check import no_inter_plane, read_inter_plane_file
from medcli.veriserum.dataset.detector import GRID_SIZE, PIXEL_MM, PLANES


@dataclass(frozen=True)
class Plane:
    """An image plane in the world: centre, unit normal towards the source, unit vertical, each (3,)."""

    centre_mm: NDArray[np.float64]
    normal: NDArray[np.float64]
    vertical: NDArray[np.float64]

    def __post_init__(self) -> None:
        for name in ("centre_mm", "normal", "vertical"):
            value = np.asarray(getattr(self, name), dtype=np.float64)
            if value.shape != (3,) or not np.isfinite(value).all():
                raise DataError(f"{name} of an image plane must be 3 finite numbers, got {getattr(self, name)}")
            object.__setattr__(self, name, value)
        if not POSITION_MM.holds(self.centre_mm).all():
            limits = f"{POSITION_MM.low:g} to {POSITION_MM.high:g} mm"
            raise DataError(f"centre_mm of an image plane is {self.centre_mm.tolist()}, expected {limits}")
        lengths = np.linalg.norm(self.normal), np.linalg.norm(self.vertical)
        if not np.allclose(lengths, 1, atol=1e-6) or abs(self.normal @ self.vertical) > 1e-6:
            raise DataError(f"normal {self.normal} and vertical {self.vertical} must be perpendicular unit vectors")

    @property
    def horizontal(self) -> NDArray[np.float64]:
        """Unit vector to the right as seen from the source, (3,)."""
        return np.cross(self.vertical, self.normal)

    @property
    def to_world(self) -> NDArray[np.float64]:
        """(4, 4): from plane coordinates (h, v, n) in millimetres to the world."""
        matrix = np.eye(4)
        matrix[:3, :3] = np.stack([self.horizontal, self.vertical, self.normal], axis=1)
        matrix[:3, 3] = self.centre_mm
        return matrix


def _published_fs_plane() -> Plane:
    angle = np.deg2rad(-70.0)
    return Plane(np.array([360.0, 0, 250]), np.array([np.sin(angle), 0, np.cos(angle)]), np.array([0.0, 1, 0]))


@dataclass(frozen=True)
class InterPlane:
    """Relative geometry of the two planes; the default is the published one."""

    bs: Plane = field(default_factory=lambda: Plane(np.zeros(3), np.array([0.0, 0, 1]), np.array([0.0, 1, 0])))
    fs: Plane = field(default_factory=_published_fs_plane)


def read_inter_plane(path: Path | None) -> InterPlane:
    """The inter-plane geometry from a JSON file; None: the published geometry.

    The file contains ``{"fs": {"centre_mm": [x, y, z], "normal": [x, y, z], "vertical": [x, y, z]}}``, likewise for
    ``bs``; a plane that is omitted has its published geometry.

    Raises:
        DataError: it cannot be read or is not of this form.
    """
    if path is None:
        return InterPlane()
    content = read_inter_plane_file(path)
    try:
        return InterPlane(
            **{name: Plane(**{k: np.array(v, float) for k, v in content[name].items()}) for name in content}
        )
    except (DataError, ValueError, TypeError, AttributeError) as error:
        raise no_inter_plane(path, error) from error


_SOURCE_BOUNDS = {f"principalp_{axis}_{plane}": PRINCIPAL_POINT_MM for axis in "hv" for plane in PLANES} | {
    f"sid_{plane}": SOURCE_DISTANCE_MM for plane in PLANES
}


@dataclass(frozen=True)
class SourceIntensifier:
    """One row of the ``source_int_calibration`` table: the sources' positions over their planes, in millimetres."""

    principalp_h_bs: float
    principalp_v_bs: float
    sid_bs: float
    principalp_h_fs: float
    principalp_v_fs: float
    sid_fs: float

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> SourceIntensifier:
        """From a table row with the published column names.

        Raises:
            DataError: a column is missing or not a number, or a distance is not positive.
        """
        try:
            values = {name: float(row[name]) for name in cls.__dataclass_fields__}
        except KeyError as error:
            raise DataError(f"source-intensifier calibration has no column {error}") from error
        except (TypeError, ValueError) as error:
            raise DataError(
                f"source-intensifier calibration {dict(row)} contains a value that is not a number"
            ) from error
        if problem := problem_of(values, _SOURCE_BOUNDS):
            raise DataError(f"source-intensifier calibration, in mm with positive distances: {problem}")
        return cls(**values)


class PoseFrame(str, Enum):
    """The coordinate frame of a pose.

    ``world`` is plane bs's (the published default); ``fs`` is plane fs's (h, v, n at its centre); ``source-bs`` has
    world axes with the origin at the bs source, so that implants have negative z.
    """

    WORLD = "world"
    FS = "fs"
    SOURCE_BS = "source-bs"


@dataclass(frozen=True)
class ImageGrid:
    """Pixel positions on the detector: (column, row) at h = left_mm + column pixel_mm, v = top_mm - row pixel_mm."""

    columns: int
    rows: int
    pixel_mm: float
    left_mm: float
    top_mm: float

    @classmethod
    def calibrated(cls, size: int = GRID_SIZE) -> ImageGrid:
        """The grid of a calibrated image of ``size`` x ``size`` pixels."""
        if size < 1:
            raise ValueError(f"an image has at least one pixel, got size {size}")
        ratio = GRID_SIZE / size
        first_mm = (0.5 * ratio - 0.5 - GRID_SIZE / 2) * PIXEL_MM
        return cls(size, size, ratio * PIXEL_MM, first_mm, -first_mm)

    def cropped(self, first_column: int, first_row: int, columns: int, rows: int) -> ImageGrid:
        """The part of this grid that starts at a pixel; it may extend beyond the edges."""
        left_mm = self.left_mm + first_column * self.pixel_mm
        return replace(
            self, columns=columns, rows=rows, left_mm=left_mm, top_mm=self.top_mm - first_row * self.pixel_mm
        )

    def to_pixels(self, points_mm: ArrayLike) -> NDArray[np.float64]:
        """Detector points (..., 2), right and up in millimetres, to (..., 2), column and row."""
        points = np.asarray(points_mm, dtype=np.float64)
        return np.stack(
            [(points[..., 0] - self.left_mm) / self.pixel_mm, (self.top_mm - points[..., 1]) / self.pixel_mm], axis=-1
        )


@dataclass(frozen=True)
class Camera:
    """Perspective projection of one plane: rays from the source to the points of the image plane.

    Attributes:
        plane: the image plane.
        principal_point_mm: (2,), orthogonal projection of the source onto the plane, right and up.
        distance_mm: from the source to the plane, along the normal.
    """

    plane: Plane
    principal_point_mm: NDArray[np.float64]
    distance_mm: float

    @property
    def source_mm(self) -> NDArray[np.float64]:
        """The source in the world, (3,)."""
        return np.asarray((self.plane.to_world @ np.array([*self.principal_point_mm, self.distance_mm, 1.0]))[:3])

    @cached_property
    def matrix(self) -> NDArray[np.float64]:
        """(3, 4): world points in millimetres to (h w, v w, w); w is the depth from the source along the normal."""
        right, up = self.principal_point_mm
        far = self.distance_mm
        # In the plane's coordinates (h, v, n): w = far - n, and h_detector = right + (h - right) far / w.
        to_detector = np.array([[far, 0, -right, 0], [0, far, -up, 0], [0, 0, -1, far]])
        rotation_t = self.plane.to_world[:3, :3].T
        from_world = np.eye(4)
        from_world[:3, :3] = rotation_t
        from_world[:3, 3] = -rotation_t @ self.plane.centre_mm
        matrix: NDArray[np.float64] = to_detector @ from_world
        matrix.flags.writeable = False  # shared by all callers
        return matrix

    def pixel_matrix(self, grid: ImageGrid) -> NDArray[np.float64]:
        """(3, 4): world points in millimetres to (column w, row w, w) on ``grid``."""
        scale = 1 / grid.pixel_mm
        to_pixels = np.array([[scale, 0, -grid.left_mm * scale], [0, -scale, grid.top_mm * scale], [0, 0, 1]])
        return to_pixels @ self.matrix

    def project(self, points_mm: ArrayLike) -> NDArray[np.float64]:
        """World points (N, 3) to the detector, (N, 2), right and up in millimetres from the plane's centre."""
        projected = np.asarray(points_mm, dtype=np.float64) @ self.matrix[:, :3].T + self.matrix[:, 3]
        return projected[:, :2] / projected[:, 2:]

    def path_length(self, mesh: Mesh, pose: NDArray[np.float64], grid: ImageGrid) -> NDArray[np.float32]:
        """Path length of each pixel's ray inside a closed mesh, in millimetres.

        Args:
            mesh: closed, faces outward; several closed parts may be in one mesh (where they overlap, lengths add).
            pose: (4, 4), from the mesh's coordinates to the world.
            grid: the pixels.

        Returns:
            (rows, columns) float32; 0 where the ray misses the mesh.

        Raises:
            ValueError: the mesh extends to the source.
        """
        from medcli.veriserum.geometry.rasterizer import along_rays  # loads Numba

        difference = self._accumulate(mesh, pose, grid, signed=True)
        length = np.empty(difference.shape, np.float32)
        first_mm = np.array([grid.left_mm, grid.top_mm]) - self.principal_point_mm
        along_rays(difference, first_mm, grid.pixel_mm, self.distance_mm, length)
        return length

    def silhouette(self, mesh: Mesh, pose: NDArray[np.float64], grid: ImageGrid) -> NDArray[np.bool_]:
        """Pixels whose ray hits the mesh, (rows, columns); arguments and errors as :meth:`path_length`."""
        return self._accumulate(mesh, pose, grid, signed=False) > 0

    def _accumulate(self, mesh: Mesh, pose: NDArray[np.float64], grid: ImageGrid, signed: bool) -> NDArray[np.float64]:
        """Sums of depths (along the normal, millimetres) of all triangles over each pixel, (rows, columns)."""
        from medcli.veriserum.geometry.rasterizer import add_triangles, project_corners

        matrix = np.ascontiguousarray(self.pixel_matrix(grid) @ pose)
        corners = np.empty((len(mesh.vertices), 2), dtype=np.int64)
        inverse_depth = np.empty(len(mesh.vertices))
        if project_corners(matrix, mesh.vertices, corners, inverse_depth) <= 0:
            raise ValueError("the mesh extends to the X-ray source; is its pose in millimetres and in this frame?")
        image = np.zeros((grid.rows, grid.columns))
        add_triangles(corners, inverse_depth, mesh.faces, signed, image)
        return image


@dataclass(frozen=True)
class DualPlane:
    """Both cameras of a recording."""

    bs: Camera
    fs: Camera

    @classmethod
    def from_calibration(cls, calibration: SourceIntensifier, inter_plane: InterPlane | None = None) -> DualPlane:
        """The cameras of a source-intensifier calibration, with the published inter-plane geometry by default."""
        planes = inter_plane or InterPlane()
        at_bs = np.array([calibration.principalp_h_bs, calibration.principalp_v_bs])
        at_fs = np.array([calibration.principalp_h_fs, calibration.principalp_v_fs])
        return cls(Camera(planes.bs, at_bs, calibration.sid_bs), Camera(planes.fs, at_fs, calibration.sid_fs))

    def camera(self, plane: str) -> Camera:
        """The camera of plane ``bs`` or ``fs``."""
        if plane not in PLANES:
            raise ValueError(f"plane must be bs or fs, got {plane!r}")
        return self.bs if plane == "bs" else self.fs

    def frame_to_world(self, frame: PoseFrame) -> NDArray[np.float64]:
        """(4, 4): from the frame of the poses to the world."""
        if frame is PoseFrame.FS:
            return self.fs.plane.to_world
        matrix = np.eye(4)
        if frame is PoseFrame.SOURCE_BS:
            matrix[:3, 3] = self.bs.source_mm
        return matrix

    def pose_matrix(
        self, translation_mm: ArrayLike, angles_deg: ArrayLike, frame: PoseFrame = PoseFrame.WORLD
    ) -> NDArray[np.float64]:
        """(..., 4, 4): implant to world, from (..., 3) tx ty tz in millimetres and (..., 3) rz rx ry in degrees."""
        return self.frame_to_world(frame) @ rigid_transform(translation_mm, angles_deg, VERISERUM_EULER)
