"""Poses of implants that JTML or Autoscoper wrote, as a table that every command reads (``medcli import jtml``)."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcli.core.errors import DataError, UsageError, quantity
from medcli.core.files import write_json, write_text
from medcli.core.folders.whole_folder import replacing_folder
from medcli.core.json_text import read_object
from medcli.core.rigid_transforms import invert_rigid
from medcli.core.tables import csv_text, read_dicts
from medcli.interchange.autoscoper_files import camera_of, read_maya_cam, read_tra
from medcli.interchange.implant_trials import FRAMES
from medcli.interchange.jtml_files import JointTrackCamera, read_jointtrack_calibration, read_jts
from medcli.interchange.notes import NOTES, check_made_folder, write_made_note
from medcli.veriserum.dataset.detector import PIXEL_MM, PLANES
from medcli.veriserum.dataset.folder_index import POSE_COLUMNS, SOURCES
from medcli.veriserum.dataset.pose_tables import pose_numbers
from medcli.veriserum.geometry.biplane import Camera, Plane, read_inter_plane

logger = logging.getLogger(__name__)
TABLE = "poses.csv"
CAMERAS = "source_int_calibration.csv"
INTER_PLANE = "inter_plane.json"
_COMMANDS = {"jtml": "medcli import jtml", "autoscoper": "medcli import autoscoper"}
_COLUMNS = ("id", "measurement_id", "anatomy_id", "source_int_calibration_id", *POSE_COLUMNS)
_DECIMALS = 9


@dataclass(frozen=True)
class ImportedPoses:
    """The answer of ``medcli import jtml`` and ``medcli import autoscoper``.

    Attributes:
        out: folder with ``poses.csv``; of both cameras also ``source_int_calibration.csv`` and ``inter_plane.json``.
        sources: the files, and ``anatomies``: the implant of each.
        numbered: nothing says which ids the rows are of: they are numbered from 1.
        poses: rows of the table; ``missing``: frames without a pose, left out.
    """

    out: Path
    sources: tuple[Path, ...]
    anatomies: tuple[int, ...]
    poses: int
    missing: int
    numbered: bool
    has_cameras: bool
    schema: str = "medcli.import-poses.v1"


def check_pose_files(files: Sequence[Path], anatomies: Sequence[int], out: Path, overwrite: bool, program: str) -> None:
    """Make sure that each file has its implant, and that the folder can be written.

    Args:
        program: whose files they are, ``jtml`` or ``autoscoper``: only what its import made is replaced.

    Raises:
        UsageError: they do not fit, or the folder may not be replaced.
    """
    if len(files) != len(anatomies) or len(set(anatomies)) != len(anatomies):
        raise UsageError(
            f"{quantity(len(files), 'file')} and {quantity(len(anatomies), 'implant')} "
            f"({' '.join(map(str, anatomies)) or 'none'}): each file needs an anatomy_id of its own",
            "--anatomies 1 3 for the files of a femur and a tibia, in their order",
        )
    check_made_folder(out, overwrite, _COMMANDS[program])


def plane_of(files: Sequence[Path], plane: str | None) -> str:
    """The plane that files of JTML belong to: ``plane``, else the one that their folders are named by.

    Raises:
        UsageError: folders ``bs`` and ``fs``, as ``medcli convert jtml`` makes them, say another, or nothing says it.
    """
    named = {name: file for file in files if (name := file.absolute().parent.name.lower()) in PLANES}
    if len(named) > 1:
        raise UsageError(
            f"{' and '.join(map(str, named.values()))} are of different planes, by their folders",
            "name poses and calibration of one plane",
        )
    found = next(iter(named), None)
    if plane and found and plane != found:
        raise UsageError(
            f"--plane is {plane}, {named[found]} lies in a folder of plane {found}", f"leave --plane out for {found}"
        )
    if not (plane or found):
        raise UsageError(
            f"which plane are {files[0]} and its calibration of? no folder bs or fs says it",
            "--plane bs, or --plane fs",
        )
    return plane or found or ""


def _refuse_exchanged(cameras: Sequence[Path]) -> None:
    """Raise :class:`UsageError` where both are named for the other plane (``mayacam_fs.txt mayacam_bs.txt``)."""
    said = [
        set(PLANES) & {*re.split("[^a-z]+", path.stem.lower()), path.absolute().parent.name.lower()} for path in cameras
    ]
    if said == [{"fs"}, {"bs"}]:
        raise UsageError(
            f"{cameras[0]} is named as plane fs, {cameras[1]} as bs", "that of bs comes first: --calibration BS FS"
        )


def _warn_of_exchanged(bs: Camera, fs: Camera) -> None:
    """Warn where the second camera is on the other side of the first than plane fs of bs in the published geometry."""
    published = read_inter_plane(None)
    sides = [
        float(first.horizontal @ second.normal)
        for first, second in ((bs.plane, fs.plane), (published.bs, published.fs))
    ]
    if sides[0] * sides[1] < 0:
        logger.warning(
            "the second camera is on the other side of the first than is published: are bs and fs exchanged?"
        )


def import_jtml(
    files: Sequence[Path],
    anatomies: Sequence[int],
    calibration: Path,
    out: Path,
    plane: str | None = None,
    inter_plane: Path | None = None,
    frames: Path | None = None,
    overwrite: bool = False,
) -> ImportedPoses:
    """Make a table of ``.jts`` or ``.jtak`` files, in the world of plane bs; whole or not at all.

    Args:
        anatomies: the implant of each file.
        calibration: of the plane, as JTML reads it.
        plane: ``bs`` or ``fs``, that the files belong to; None: see :func:`plane_of`.
        inter_plane: geometry of the planes, JSON; None: the published one.
        frames: which id each row is of; None: ``frames.csv`` beside the files or above, else rows are numbered.

    Raises:
        DataError: a file cannot be read, or has another number of rows than ``frames``.
        UsageError: see :func:`check_pose_files` and :func:`plane_of`.
    """
    check_pose_files(files, anatomies, out, overwrite, "jtml")
    geometry = getattr(read_inter_plane(inter_plane), plane_of([*files, calibration], plane))
    camera = _camera_in(read_jointtrack_calibration(calibration), geometry)
    poses = [read_jts(path, camera) for path in files]
    return _write(files, anatomies, poses, out, frames, None)


def import_autoscoper(
    files: Sequence[Path],
    anatomies: Sequence[int],
    cameras: Sequence[Path],
    out: Path,
    frames: Path | None = None,
    overwrite: bool = False,
) -> ImportedPoses:
    """Make a table of ``.tra`` files, with the cameras; the world becomes that of plane bs. Whole or not at all.

    Args:
        cameras: MayaCam 2.0 files of plane bs and plane fs; in whatever world, it is the same for ``files``.

    Raises:
        DataError: a file cannot be read, or has another number of rows than ``frames``.
        UsageError: see :func:`check_pose_files`; or there are not two cameras, or they are exchanged by their names.
    """
    check_pose_files(files, anatomies, out, overwrite, "autoscoper")
    if len(cameras) != len(PLANES):
        raise UsageError(f"{quantity(len(cameras), 'camera')}, expected two", "--calibration BS_FILE FS_FILE")
    _refuse_exchanged(cameras)
    both = [camera_of(read_maya_cam(path), path) for path in cameras]
    _warn_of_exchanged(*both)
    to_world = invert_rigid(both[0].plane.to_world)
    poses = [to_world @ read_tra(path) for path in files]
    return _write(files, anatomies, poses, out, frames, [_moved(camera, to_world) for camera in both])


def _camera_in(found: JointTrackCamera, plane: Plane) -> Camera:
    principal_point = np.array([found.right_mm - PIXEL_MM / 2, found.up_mm + PIXEL_MM / 2])  # for images of any size
    return Camera(plane, principal_point, found.distance_mm)


def _moved(camera: Camera, matrix: NDArray[np.float64]) -> Camera:
    place = matrix @ camera.plane.to_world
    # The world is bs's own: the rounding of its file is not carried on.
    plane = Plane(place[:3, 3].round(9), _unit(place[:3, 2]), _unit(place[:3, 1]))
    return Camera(plane, camera.principal_point_mm, camera.distance_mm)


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    rounded = vector.round(9)
    return np.asarray(rounded / np.linalg.norm(rounded))


def _write(
    files: Sequence[Path],
    anatomies: Sequence[int],
    poses: Sequence[NDArray[np.float64]],
    out: Path,
    frames: Path | None,
    cameras: Sequence[Camera] | None,
) -> ImportedPoses:
    lengths = sorted({len(found) for found in poses})
    if len(lengths) > 1:
        raise DataError(f"the files differ in rows, {' and '.join(map(str, lengths))}: they are of different trials")
    _warn_of_other_implants(files, anatomies)
    known = _read_frames(frames or _beside(files[0], FRAMES), lengths[0])
    numbered = known is None
    if known is None:
        logger.warning("no %s says which ids the rows are of: they are numbered from 1", FRAMES)
        known = [{"id": row + 1} for row in range(lengths[0])]
    rows: list[dict[str, Any]] = []
    for anatomy, found in zip(anatomies, poses, strict=True):
        for frame, pose in zip(known, found, strict=True):
            if np.isfinite(pose).all():
                numbers = np.asarray(pose_numbers(pose)).round(_DECIMALS).tolist()
                cells = dict(zip(POSE_COLUMNS, numbers, strict=True))
                rows.append({**dict.fromkeys(_COLUMNS, ""), **frame, "anatomy_id": anatomy, **cells})
    if not rows:
        raise DataError(f"no frame of {files[0]} has a pose")
    rows.sort(key=lambda row: (row["id"], row["anatomy_id"]))
    result = ImportedPoses(
        out=out,
        sources=tuple(files),
        anatomies=tuple(anatomies),
        poses=len(rows),
        missing=lengths[0] * len(poses) - len(rows),
        numbered=numbered,
        has_cameras=cameras is not None,
    )
    calibration = known[0].get("source_int_calibration_id") or 1
    with replacing_folder(out) as part:
        write_text(part / TABLE, csv_text(rows, _COLUMNS))
        if cameras is not None:
            write_text(part / CAMERAS, _camera_text(cameras, calibration))
            write_json(part / INTER_PLANE, {"fs": _plane_json(cameras[1].plane)})
        write_made_note(part, result, _COMMANDS["jtml" if cameras is None else "autoscoper"])
    return result


def _beside(file: Path, name: str) -> Path | None:
    """A file of the folder that ``medcli convert`` made, in which ``file`` lies, or in a folder of a plane there."""
    places = (file.absolute().parent / name, file.absolute().parent.parent / name)
    return next((path for path in places if path.is_file()), None)


def _warn_of_other_implants(files: Sequence[Path], anatomies: Sequence[int]) -> None:
    for file, anatomy in zip(files, anatomies, strict=True):
        note = _beside(file, NOTES["convert"])
        implants = read_object(note).get("anatomies") if note else None
        converted = implants.get(file.stem) if isinstance(implants, dict) else None
        if converted not in (None, anatomy):
            logger.warning("%s was converted from anatomy %s, --anatomies says %d", file, converted, anatomy)


def _read_frames(path: Path | None, count: int) -> list[dict[str, Any]] | None:
    """The ids of each row, in the order of rows."""
    if path is None:
        return None
    _, rows = read_dicts(path, "table of frames", ("row", "id"))
    if len(rows) != count:
        raise DataError(
            f"{path} has {quantity(len(rows), 'row')}, the files of poses {count:,}", "name another with --frames"
        )
    names = ("row", "id", "measurement_id", "source_int_calibration_id")
    try:
        found = [{name: int(row[name]) for name in names if row.get(name) not in (None, "", "-1")} for row in rows]
    except ValueError as error:
        raise DataError(f"{path} has a cell that is no whole number: {error}") from error
    if any(set(one) < {"row", "id"} for one in found):
        raise DataError(f"{path} has a row without an id")
    found.sort(key=lambda one: one["row"])
    return [{name: value for name, value in one.items() if name != "row"} for one in found]


def _camera_text(cameras: Sequence[Camera], calibration: int) -> str:
    row: dict[str, Any] = {"id": calibration}
    for plane, camera in zip(PLANES, cameras, strict=True):
        right, up = camera.principal_point_mm.round(_DECIMALS).tolist()
        row |= {f"principalp_h_{plane}": right, f"principalp_v_{plane}": up}
        row[f"sid_{plane}"] = round(camera.distance_mm, _DECIMALS)
    return csv_text([row], list(SOURCES.columns))


def _plane_json(plane: Plane) -> dict[str, list[float]]:
    return {
        "centre_mm": plane.centre_mm.tolist(), "normal": plane.normal.tolist(), "vertical": plane.vertical.tolist()
    }  # fmt: skip
