"""Pairs of X-ray images with all that is needed to match an implant to them: pictures, cameras, implant, start pose."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from medcli.core import image_io
from medcli.core.errors import DataError
from medcli.core.mesh import Mesh
from medcli.core.rigid_transforms import invert_rigid
from medcli.veriserum.calibration.distortion_model import PLANES, Distortion
from medcli.veriserum.calibration.undistort_plan import OUTPUT_PREFIX
from medcli.veriserum.calibration.undistortion_map import load_or_build
from medcli.veriserum.dataset import folder_index
from medcli.veriserum.dataset.implant_surfaces import Surfaces
from medcli.veriserum.geometry.biplane import DualPlane, InterPlane, Plane, PoseFrame

_LOG = logging.getLogger(__name__)
POSE_FILE = folder_index.TableKind("poses file", "poses", ("id", *folder_index.POSE_COLUMNS), "--start")
_ON_THE_FLY_SIZE = 512
_FROM_POSE_TABLE = ("measurement_id", "anatomy_id", "source_int_calibration_id", "distortion_calibration_id")
_CARRIED = ("obsolete", "update_timestamp")


@dataclass(frozen=True)
class Sources:
    """Where things are; None: found below ``root``.

    Attributes:
        start: CSV file of start poses; None: the pose table.
        calibrated: folder of calibrated images; what is not there is calibrated from the native images.
        implants: folder of ``ana_NNNNNN.stl``.
        inter_plane: JSON file with the places of the planes; None: the published ones.
    """

    root: Path
    start: Path | None = None
    poses: Path | None = None
    distortion: Path | None = None
    source_calibration: Path | None = None
    calibrated: Path | None = None
    implants: Path | None = None
    inter_plane: Path | None = None
    frame: PoseFrame = PoseFrame.WORLD


@dataclass
class Recordings:
    """All that the tables and folders say; images are read pair by pair."""

    sources: Sources
    contents: folder_index.Contents
    start: pd.DataFrame
    source_table: pd.DataFrame
    distortion_table: pd.DataFrame | None
    inter_plane: InterPlane
    surfaces: Surfaces

    @classmethod
    def open(cls, sources: Sources) -> Recordings:
        """Read the tables and list the files.

        Raises:
            DataError: a table is missing or cannot be read.
        """
        contents = folder_index.scan(sources.root)
        start = _start_poses(contents, sources)
        table, _ = folder_index.find_and_read(contents, folder_index.SOURCES, sources.source_calibration)
        distortion_file = sources.distortion or folder_index.locate(contents, folder_index.DISTORTIONS)
        distortions = folder_index.read_table(distortion_file, folder_index.DISTORTIONS) if distortion_file else None
        surfaces = Surfaces.find(sources.implants or sources.root)
        return cls(sources, contents, start, table, distortions, read_inter_plane(sources.inter_plane), surfaces)

    def has_images(self, number: int) -> bool:
        """Whether there is any image of an id."""
        return number in self.contents.images or any(self._calibrated_files(number, plane) for plane in PLANES)

    def cameras(self, number: int) -> DualPlane:
        """Both cameras of an id.

        Raises:
            DataError: its source-intensifier calibration is not known.
        """
        calibration = self._whole(number, "source_int_calibration_id")
        return DualPlane.from_table(self.source_table, calibration, self.inter_plane)

    def mesh(self, number: int) -> Mesh:
        """The implant of an id.

        Raises:
            DataError: it has no surface, or one that is not closed.
        """
        return self.surfaces.implant(self._whole(number, "anatomy_id")).mesh

    def pose(self, number: int) -> NDArray[np.float64]:
        """The start pose, (4, 4) implant to world.

        Raises:
            DataError: it has a number that is not finite.
        """
        values = np.array([_number(self.start.loc[number], name) for name in folder_index.POSE_COLUMNS])
        if not np.isfinite(values).all():
            raise DataError(f"its start pose is not made of six numbers: {values.tolist()}")
        return self.cameras(number).pose_matrix(values[:3], values[3:], self.sources.frame)

    def pose_numbers(self, number: int, pose: NDArray[np.float64]) -> dict[str, float]:
        """The columns tx … ry of a pose (4, 4) implant to world, in the frame that the start poses are in."""
        local = invert_rigid(self.cameras(number).frame_to_world(self.sources.frame)) @ pose
        angles = Rotation.from_matrix(local[:3, :3]).as_euler("ZXY", degrees=True)  # geometry.VERISERUM_EULER
        values = [*local[:3, 3], *angles]
        return {name: round(float(value), 6) for name, value in zip(folder_index.POSE_COLUMNS, values, strict=True)}

    def pictures(self, number: int) -> dict[str, NDArray[np.uint8]]:
        """Calibrated images of both planes, (S, S) each.

        Raises:
            DataError: one is missing or unreadable.
        """
        return {plane: self._picture(number, plane) for plane in PLANES}

    def _picture(self, number: int, plane: str) -> NDArray[np.uint8]:
        if found := self._calibrated_files(number, plane):
            path = found[0]
            folder_index.check_single(str(path), [str(other) for other in found[1:]])
            image = image_io.read_grey(path)
            if image.shape[0] != image.shape[1]:
                raise DataError(f"{path} is {image.shape[1]} x {image.shape[0]} pixels; calibrated images are square")
            return image
        native = self.contents.images.get(number, {}).get(plane)
        if native is None:
            raise DataError(f"the image {folder_index.expected_name(number, plane)} is missing")
        folder_index.check_single(native, self.contents.doubles.get((number, plane), ()))
        calibration = self._whole(number, "distortion_calibration_id")
        distortion = Distortion.from_table(self.distortion_table, calibration, plane)
        return _map(distortion.to_text()).apply(image_io.read_grey(native), 0.0)

    def _calibrated_files(self, number: int, plane: str) -> list[Path]:
        folder = self.sources.calibrated or self.sources.root / "calibrated"
        names = (f"{OUTPUT_PREFIX}{folder_index.expected_name(number, plane)}.{suffix}" for suffix in ("jpg", "png"))
        return [folder / name for name in names if (folder / name).is_file()]

    def _whole(self, number: int, column: str) -> int:
        value = _number(self.start.loc[number], column)
        if not np.isfinite(value):
            raise DataError(f"its {column} is not known", "add the column, or name the pose table with --poses")
        return int(value)


def read_inter_plane(path: Path | None) -> InterPlane:
    """Where the planes stand, from a JSON file; None: the published places.

    The file holds ``{"fs": {"centre_mm": [x, y, z], "normal": [x, y, z], "vertical": [x, y, z]}}`` and ``bs`` likewise;
    a plane that is left out stands where it was published.

    Raises:
        DataError: it cannot be read or is not of this form.
    """
    if path is None:
        return InterPlane()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not content or not set(content) <= set(PLANES):
            raise ValueError(f"its keys are {', '.join(content)}, not bs or fs")
        return InterPlane(
            **{name: Plane(**{k: np.array(v, float) for k, v in content[name].items()}) for name in content}
        )
    except (OSError, ValueError, TypeError, AttributeError) as error:
        example = '{"fs": {"centre_mm": [360, 0, 250], "normal": [-0.939693, 0, 0.342020], "vertical": [0, 1, 0]}}'
        raise DataError(f"{path} is no inter-plane geometry: {error}", f"expected {example}") from error


def select(recordings: Recordings, ids: Sequence[tuple[int, int]] | None, anatomy: int | None) -> tuple[list[int], int]:
    """The ids to work on, and how many were left out because they have no image.

    Args:
        ids: (first, last) ranges, both included; those are wanted even where images are missing. None: all with images.
        anatomy: only poses of this implant; None: all.

    Raises:
        DataError: none is left.
    """
    start = recordings.start[~folder_index.is_obsolete(recordings.start)]
    if anatomy is not None:
        start = start[pd.to_numeric(start["anatomy_id"], errors="coerce") == anatomy]
    chosen = folder_index.select_ids(start.index.tolist(), ids)
    present = chosen if ids else [number for number in chosen if recordings.has_images(number)]
    if not present:
        what = f" of anatomy {anatomy}" if anatomy is not None else ""
        raise DataError(f"no start pose{what} has images in {recordings.sources.root}", "check --root, --ids, --start")
    without_images = len(chosen) - len(present)
    if without_images:
        _LOG.warning("%d start poses have no image and are left out", without_images)
    return present, without_images


def _start_poses(contents: folder_index.Contents, sources: Sources) -> pd.DataFrame:
    """Start poses with what the pose table knows of their ids."""
    if sources.start is None:
        table, path = folder_index.find_and_read(contents, folder_index.POSES, sources.poses)
    else:
        table, path = folder_index.read_table(sources.start, POSE_FILE), sources.start
        table = _filled(table, contents, sources)
    missing = [name for name in (*folder_index.POSE_COLUMNS, *_FROM_POSE_TABLE[1:]) if name not in table.columns]
    if missing:
        raise DataError(f"{path} has no column {', '.join(missing)}")
    for name in _FROM_POSE_TABLE:
        if name in table.columns:  # whole numbers, also where some are not known
            table[name] = pd.to_numeric(table[name], errors="coerce").astype("Int64")
    return table


def _filled(table: pd.DataFrame, contents: folder_index.Contents, sources: Sources) -> pd.DataFrame:
    """Start poses of a file of their own; columns that it lacks and cells that are empty come from the pose table.

    Whether an id is obsolete is the pose table's to say, too.
    """
    absent = [name for name in _FROM_POSE_TABLE if name not in table.columns]
    if not absent and sources.poses is None and folder_index.locate(contents, folder_index.POSES) is None:
        return table
    known, _ = folder_index.find_and_read(contents, folder_index.POSES, sources.poses)
    for name in (*_FROM_POSE_TABLE, *_CARRIED):
        if name in known.columns:
            of_table = known[name].reindex(table.index)
            own = table[name] if name in table.columns else of_table
            # A column that is empty all over has another type, which would turn whole numbers into decimal ones.
            table[name] = of_table if own.isna().all() else own.where(own.notna(), of_table)
    return table


def _number(row: Any, column: str) -> float:
    """A cell as a number; NaN if it is none."""
    value = pd.to_numeric(row.get(column), errors="coerce")
    return float("nan") if pd.isna(value) else float(value)


@lru_cache(maxsize=20)
def _map(distortion_text: str) -> Any:
    distortion = Distortion.from_text(distortion_text)
    distortion.check_invertible()
    return load_or_build(distortion, _ON_THE_FLY_SIZE, "area")
