"""Poses and cameras in the form of Autoscoper and XMALab: ``.tra`` and MayaCam 2.0.

A ``.tra`` file has one line a frame: the 16 numbers of the matrix from the body to the world, row by row, separated by
commas, in millimetres; 16 times ``NaN`` is a frame without a pose (Autoscoper's export as matrix, row, comma, mm).

A MayaCam 2.0 file is a pinhole camera as OpenCV has it: ``image size`` (width, height), ``camera matrix`` K,
``rotation`` R and ``translation`` t: x = K (R p + t), with pixels counted from the centre of the top-left one, x to the
right, y down, z away from the source. The source is at -R' t. Autoscoper turns this camera round for its renderer; the
world stays as it is, here that of plane bs.

Source: ``save_tracking_results``, ``CoordFrame::to_matrix_row_order`` and ``Camera::loadMayaCam2`` of
BrownBiomechanics/Autoscoper, the page *Camera Calibration File Format* of its documentation, and XMALab's wiki.
Autoscoper's own renderers take pixel numbers from the corner, half a pixel aside; the file follows XMALab. There the
body is a volume: its file places that volume's own corner, so multiply by where the volume lies in the coordinates of
the mesh.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medcli.core.errors import DataError, printable
from medcli.core.files import write_text
from medcli.core.plausibility import POSITION_MM, PRINCIPAL_POINT_MM, SOURCE_DISTANCE_MM, problem_of
from medcli.core.tables import read_table_text
from medcli.veriserum.dataset.detector import GRID_SPAN_MM
from medcli.veriserum.geometry.biplane import Camera, ImageGrid, Plane

_RIGID_TO = 1e-4
_TITLES = ("image size", "camera matrix", "rotation", "translation")
_ROWS = (1, 3, 3, 3)


@dataclass(frozen=True)
class MayaCam:
    """A camera as its file says it.

    Attributes:
        width, height: of the image, pixels.
        matrix: K, (3, 3), pixels.
        rotation: R, (3, 3); ``translation``: t, (3,), millimetres.
    """

    width: int
    height: int
    matrix: NDArray[np.float64]
    rotation: NDArray[np.float64]
    translation: NDArray[np.float64]


def maya_cam(camera: Camera, grid: ImageGrid) -> MayaCam:
    """The camera of a plane for images on ``grid``."""
    plane = camera.plane
    rotation = np.stack([plane.horizontal, -plane.vertical, -plane.normal])
    focal = camera.distance_mm / grid.pixel_mm
    column, row = grid.to_pixels(camera.principal_point_mm)
    matrix = np.array([[focal, 0, column], [0, focal, row], [0, 0, 1]])
    return MayaCam(grid.columns, grid.rows, matrix, rotation, -rotation @ camera.source_mm)


def camera_of(found: MayaCam, path: Path) -> Camera:
    """The plane of a MayaCam whose image is a calibrated one, 360 mm wide: the inverse of :func:`maya_cam`.

    Raises:
        DataError: its pixels are not square, or a distance cannot be right.
    """
    if found.width != found.height:
        raise DataError(f"{path}: the image is {found.width} x {found.height} pixels, calibrated ones are square")
    (fx, skew, column), (_, fy, row) = found.matrix[:2]
    if abs(fx / fy - 1) > 1e-3 or abs(skew) > 1e-6 * fx:
        raise DataError(f"{path}: pixels are not square (focal lengths {fx:g} and {fy:g}, skew {skew:g})")
    grid = ImageGrid.calibrated(found.width)
    right, up = grid.left_mm + column * grid.pixel_mm, grid.top_mm - row * grid.pixel_mm
    distance = (fx + fy) / 2 * grid.pixel_mm
    names = {"distance of the source": distance, "principal point, right": right, "principal point, up": up}
    bounds = dict(zip(names, (SOURCE_DISTANCE_MM, PRINCIPAL_POINT_MM, PRINCIPAL_POINT_MM), strict=True))
    if problem := problem_of(names, bounds):
        hint = f"the image is taken to be {GRID_SPAN_MM:g} mm wide, as calibrated ones are"
        raise DataError(f"{path}: {problem}", hint)
    horizontal, vertical, normal = found.rotation[0], -found.rotation[1], -found.rotation[2]
    source = -found.rotation.T @ found.translation
    centre = source - right * horizontal - up * vertical - distance * normal
    return Camera(Plane(centre, normal, vertical), np.array([right, up]), float(distance))


def write_maya_cam(path: Path, camera: Camera, grid: ImageGrid) -> None:
    """Write the camera of a plane for images on ``grid``, MayaCam 2.0."""
    found = maya_cam(camera, grid)
    parts = (
        [f"{found.width},{found.height}"],
        [_row(row) for row in found.matrix],
        [_row(row) for row in found.rotation],
        [f"{value:.15g}" for value in found.translation + 0.0],
    )
    blocks = ("\n".join([title, *lines]) for title, lines in zip(_TITLES, parts, strict=True))
    write_text(path, "\n\n".join(blocks) + "\n")


def read_maya_cam(path: Path) -> MayaCam:
    """A camera in a MayaCam 2.0 file.

    Raises:
        DataError: it is none, or its rotation is mirrored or no rotation.
    """
    lines = [line.strip() for line in read_table_text(path, "camera").splitlines() if line.strip()]
    values: list[NDArray[np.float64]] = []
    for title, rows in zip(_TITLES, _ROWS, strict=True):
        if not lines or lines[0].lower() != title:
            there = printable(lines[0]) if lines else "its end"
            raise DataError(f"{path} is no MayaCam 2.0 file: expected the line {title!r}, got {there}")
        try:
            values.append(np.array([[float(word) for word in line.split(",")] for line in lines[1 : 1 + rows]]))
        except ValueError as error:
            raise DataError(f"{path}: {title} is not {rows} lines of numbers: {error}") from error
        lines = lines[1 + rows :]
    shapes = [found.shape for found in values]
    if shapes != [(1, 2), (3, 3), (3, 3), (3, 1)] or not all(np.isfinite(found).all() for found in values):
        raise DataError(f"{path} is no MayaCam 2.0 file: expected 1 x 2, 3 x 3, 3 x 3 and 3 x 1 numbers, got {shapes}")
    size, matrix, rotation, translation = values
    _check_rotation(rotation, f"{path}: rotation")
    if size.min() < 1 or matrix[0, 0] <= 0 or matrix[1, 1] <= 0:
        raise DataError(f"{path}: image size and focal lengths must be above 0")
    return MayaCam(int(size[0, 0]), int(size[0, 1]), matrix, rotation, translation[:, 0])


def write_tra(path: Path, poses: NDArray[np.float64]) -> None:
    """Write poses (N, 4, 4), implant to world in millimetres; NaN: none."""
    lines = [_row(pose.ravel()) if np.isfinite(pose).all() else ",".join(["NaN"] * 16) for pose in poses]
    write_text(path, "\n".join(lines) + "\n")


def read_tra(path: Path) -> NDArray[np.float64]:
    """Poses (N, 4, 4) of a ``.tra`` file of matrices by rows, separated by commas or blanks; NaN: none.

    Raises:
        DataError: a line is no rigid transform, or mirrored; names the line.
    """
    poses = []
    for place, line in enumerate(read_table_text(path, "file of poses").splitlines(), start=1):
        if not (words := line.replace(",", " ").split()):
            continue
        try:
            values = np.array([float(word) for word in words])
        except ValueError:
            values = np.empty(0)
        if len(values) != 16:
            hint = (
                "export from Autoscoper as matrix, row, mm; six numbers (xyzypr) are not read" if len(values) else None
            )
            raise DataError(f"{path}, line {place}: expected 16 numbers, got {printable(line.strip())}", hint)
        pose = values.reshape(4, 4)
        if not np.isnan(values).any():
            _check_pose(pose, f"{path}, line {place}")
        poses.append(pose if np.isfinite(values).all() else np.full((4, 4), np.nan))
    if not poses:
        raise DataError(f"{path} has no pose")
    return np.stack(poses)


def _check_pose(pose: NDArray[np.float64], where: str) -> None:
    if not np.allclose(pose[3], [0, 0, 0, 1]):
        is_columns = np.allclose(pose[:3, 3], 0) and np.allclose(pose[3, 3], 1)
        hint = "it looks like columns: export from Autoscoper as matrix, row" if is_columns else None
        raise DataError(f"{where}: the last row is {pose[3].tolist()}, expected 0 0 0 1", hint)
    _check_rotation(pose[:3, :3], where)
    if not POSITION_MM.holds(pose[:3, 3]).all():
        raise DataError(f"{where}: {POSITION_MM.problem(float(np.abs(pose[:3, 3]).max()))}", "lengths are millimetres")


def _check_rotation(rotation: NDArray[np.float64], where: str) -> None:
    if np.abs(rotation.T @ rotation - np.eye(3)).max() > _RIGID_TO:
        raise DataError(f"{where}: it is no rotation: its axes are not perpendicular unit vectors")
    if np.linalg.det(rotation) < 0:
        raise DataError(f"{where}: it is mirrored (determinant -1): no implant can be moved like that")


def _row(values: NDArray[np.float64]) -> str:
    return ",".join(f"{value:.15g}" for value in values + 0.0)  # which makes -0 0
