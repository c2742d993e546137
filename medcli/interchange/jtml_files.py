"""Poses and cameras in the form of JointTrack and JointTrack Machine Learning (JTML): ``.jts``, ``.jtak``, calibration.

A text file of poses begins with ``JT_EULER_312`` (``.jts``, JointTrack) or ``JTA_EULER_KINEMATICS`` (``.jtak``, JTML,
which reads both); the second line names the columns; then one line an image: x, y, z in millimetres and the angles
about z, x and y in degrees, R = Rz Rx Ry, separated by commas. ``NOT_OPTIMIZED`` in place of x: no pose.

A calibration is ``JT_INTCALIB`` and four lines: distance of source and image, offset of the principal point from the
centre of the image to the right and up, and size of a pixel, all in millimetres.

Frame: origin at the X-ray source, x to the right and y up in the image, z from the image towards the source: implants
have negative z. That is one plane's; the other plane has files of its own. (JTML also reads a calibration of two
planes, ``JTA_INTCALIB_BIPLANE``, which its source calls not working; it is not written.)

Source: JTML (ajensen1234/JTML): ``pose_file_io.cpp`` (headers, columns, missing poses), ``session_controller.cpp`` (the
calibration) and ``render_engine.cu`` (rotation, projection, pixels), and the reader of ``jts`` files in public scripts
of JointTrack's authors (R = Rz Rx Ry; it knows no ``NOT_OPTIMIZED``). The centre of an image lies at its middle, half a
pixel from the grid point that calibrated images call (0, 0).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medcli.core.errors import DataError, printable
from medcli.core.files import write_text
from medcli.core.plausibility import PRINCIPAL_POINT_MM, SOURCE_DISTANCE_MM, pose_bounds, problem_of
from medcli.core.rigid_transforms import invert_rigid
from medcli.core.tables import read_table_text
from medcli.veriserum.dataset.folder_index import POSE_COLUMNS
from medcli.veriserum.dataset.pose_tables import matrices_of, pose_numbers
from medcli.veriserum.geometry.biplane import Camera, ImageGrid

HEADERS = {"jts": "JT_EULER_312", "jtak": "JTA_EULER_KINEMATICS"}
_CALIBRATIONS = ("JT_INTCALIB", "JTA_INTCALIB")
_NO_POSE = "NOT_OPTIMIZED"
_COLUMNS = ("x_tran", "y_tran", "z_tran", "z_rot", "x_rot", "y_rot")
_BOUNDS = pose_bounds(POSE_COLUMNS)


@dataclass(frozen=True)
class JointTrackCamera:
    """A calibration as its file says it, millimetres: distance, principal point from the image's centre, pixel."""

    distance_mm: float
    right_mm: float
    up_mm: float
    pixel_mm: float


def source_to_world(camera: Camera) -> NDArray[np.float64]:
    """(4, 4): from the frame of a plane's files, at its source, to the world."""
    matrix = camera.plane.to_world.copy()
    matrix[:3, 3] = camera.source_mm
    return matrix


def write_jts(path: Path, poses: NDArray[np.float64], camera: Camera) -> None:
    """Write poses (N, 4, 4), implant to world; NaN: none. The ending of the name chooses the form.

    The angles of a pose are those of Veriserum's own tables, so that its numbers reappear but for the origin.
    """
    local = invert_rigid(source_to_world(camera)) @ poses
    lines = [HEADERS[path.suffix[1:]], ",".join(f"{name:>17}" for name in _COLUMNS)]
    for pose in local:
        if np.isfinite(pose).all():
            lines.append(",".join(f"{value:17.9f}" for value in pose_numbers(pose)))
        else:
            lines.append(",".join([f"{_NO_POSE:>17}", *(f"{0:17.9f}" for _ in range(5))]))
    write_text(path, "\n".join(lines) + "\n")


def read_jts(path: Path, camera: Camera) -> NDArray[np.float64]:
    """Poses (N, 4, 4), implant to world, of a ``.jts`` or ``.jtak`` file; NaN: an image without a pose.

    Raises:
        DataError: it is no such file, or a line is no pose; names the line.
    """
    lines = read_table_text(path, "file of poses").splitlines()
    if not lines or lines[0].strip() not in HEADERS.values():
        begins = printable(lines[0].strip()) if lines else "nothing"
        raise DataError(f"{path} begins with {begins}, expected {' or '.join(HEADERS.values())}")
    numbers = [_pose_in(line, place, path) for place, line in enumerate(lines[2:], start=3) if line.strip()]
    if not numbers:
        raise DataError(f"{path} has no pose: its two lines of a header are followed by none")
    values = np.array(numbers, np.float64)
    there = np.isfinite(values).all(axis=1)
    poses = np.full((len(values), 4, 4), np.nan)
    poses[there] = source_to_world(camera) @ matrices_of(values[there])
    return poses


def _pose_in(line: str, place: int, path: Path) -> list[float]:
    words = [word.strip() for word in (line.split(",") if "," in line else line.split())]
    words = words[:-1] if words and not words[-1] else words
    if words and words[0] == _NO_POSE:
        return [np.nan] * 6
    try:
        values = [float(word) for word in words]
    except ValueError:
        values = []
    if len(values) != 6:
        raise DataError(f"{path}, line {place}: expected six numbers, got {printable(line.strip())}")
    if problem := problem_of(dict(zip(POSE_COLUMNS, values, strict=True)), _BOUNDS):
        raise DataError(f"{path}, line {place}: {problem}", "the lengths of these files are millimetres")
    return values


def joint_track_camera(camera: Camera, grid: ImageGrid) -> JointTrackCamera:
    """The calibration of a plane for images on ``grid``."""
    centre = np.array(
        [
            grid.left_mm + (grid.columns - 1) / 2 * grid.pixel_mm,
            grid.top_mm - (grid.rows - 1) / 2 * grid.pixel_mm,
        ]
    )
    right, up = camera.principal_point_mm - centre
    return JointTrackCamera(camera.distance_mm, float(right), float(up), grid.pixel_mm)


def write_jointtrack_calibration(path: Path, camera: Camera, grid: ImageGrid) -> None:
    """Write the calibration of a plane for images on ``grid``."""
    found = joint_track_camera(camera, grid)
    numbers = (found.distance_mm, found.right_mm, found.up_mm, found.pixel_mm)
    write_text(path, "\n".join([_CALIBRATIONS[0], *(f"{value:.9g}" for value in numbers)]) + "\n")


def read_jointtrack_calibration(path: Path) -> JointTrackCamera:
    """A calibration of one plane.

    Raises:
        DataError: it is none, or a number cannot be right.
    """
    words = read_table_text(path, "calibration").replace(",", " ").split()
    if not words or words[0] not in _CALIBRATIONS:
        begins = printable(words[0]) if words else "nothing"
        raise DataError(f"{path} begins with {begins}, expected {' or '.join(_CALIBRATIONS)}")
    try:
        numbers = [float(word) for word in words[1:5]]
    except ValueError:
        numbers = []
    if len(numbers) < 4:
        raise DataError(f"{path}: expected distance, two offsets and the size of a pixel after {words[0]}")
    found = JointTrackCamera(*numbers)
    names = {"distance": found.distance_mm, "offset to the right": found.right_mm, "offset up": found.up_mm}
    bounds = dict(zip(names, (SOURCE_DISTANCE_MM, PRINCIPAL_POINT_MM, PRINCIPAL_POINT_MM), strict=True))
    problem = problem_of(names, bounds)
    if problem or not 0 < found.pixel_mm < 10:
        raise DataError(f"{path}: {problem or f'the size of a pixel is {found.pixel_mm:g} mm'}")
    return found
