"""Start poses of a registration, with images, cameras and implants."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medcli.core import image_io
from medcli.core.errors import DataError, UsageError, printable, quantity, spaced
from medcli.veriserum.calibration.distortion_table import DistortionTable
from medcli.veriserum.calibration.undistorted_pairs import Undistorter
from medcli.veriserum.dataset import folder_index
from medcli.veriserum.dataset.detector import PLANES
from medcli.veriserum.dataset.folder_index import DISTORTIONS, POSE_COLUMNS, POSES, SOURCES
from medcli.veriserum.dataset.id_components import one_row_an_id
from medcli.veriserum.dataset.image_doubles import check_single
from medcli.veriserum.dataset.pose_tables import (
    ID_COLUMNS,
    matrices_of,
    pose_matrices,
    pose_numbers,
    pose_problem,
    unit_problem,
)
from medcli.veriserum.dataset.stated_sides import AXES_FILE, conflicts_with_axes, side_conflicts
from medcli.veriserum.dataset.study import VeriserumStudy
from medcli.veriserum.geometry.biplane import PoseFrame, read_inter_plane
from medcli.veriserum.geometry.pair_geometry import PairGeometry

_LOG = logging.getLogger(__name__)
FROM_TABLE = Path("table")
"""``--start table``: the poses of the pose table are the start poses."""
_ON_THE_FLY_SIZE = 512
_CARRIED = ("obsolete", "update_timestamp")


@dataclass(frozen=True)
class Sources:
    """Input files and folders; None: found below ``root``.

    Attributes:
        start: CSV file of start poses; ``table``: the pose table; None: none, the implants are searched for, and the
            pose table only names the implant and the calibrations of each id.
        calibrated: folder of calibrated images; missing ones are calibrated from the native images.
        implants: folder of ``ana_NNNNNN.stl``.
        inter_plane: JSON file with the inter-plane geometry; None: the published one.
        planes: those to match, both or one.
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
    planes: tuple[str, ...] = PLANES


class StartPoses:
    """The start poses of a study with their geometry; images are read pair by pair.

    Args:
        sources: input files and folders.
        anatomies: of an id with poses of several components, one of these; None: the one with the smallest
            ``anatomy_id``, with a warning.

    Attributes:
        study: the dataset.
        table: the start poses by id, completed from the pose table.
        geometry: cameras and implants.
        has_starts: whether the table's poses are to be used as start poses.

    Raises:
        DataError: a table is missing or cannot be read.
    """

    def __init__(self, sources: Sources, anatomies: Collection[int] | None = ()) -> None:
        files = {POSES: sources.poses, DISTORTIONS: sources.distortion, SOURCES: sources.source_calibration}
        self.study = VeriserumStudy(sources.root, sources.calibrated, sources.implants, files)
        self.has_starts, self.planes = sources.start is not None, sources.planes
        self.table = _start_poses(self.study, sources.start, anatomies)
        self.study.table(SOURCES)  # raises once, here, if it is missing
        self.geometry = PairGeometry(self.study, self.table, read_inter_plane(sources.inter_plane), sources.frame)
        self._distortions = DistortionTable(self.study)
        self._undistorter = Undistorter(_ON_THE_FLY_SIZE, "area")

    def has_images(self, number: int) -> bool:
        """Whether there is any image of an id."""
        return number in self.study.contents.images or number in self.study.calibrated_images

    def side_conflicts(self, ids: Collection[int]) -> list[str]:
        """What the pose table says of sides, for these ids, against itself and against a file of axes here."""
        try:
            every = self.study.every_pose
        except DataError:
            return []
        every = every[~folder_index.is_obsolete(every)] if "obsolete" in every.columns else every
        mine = every.index.isin(list(ids))
        if "measurement_id" in every.columns:  # the other component may stand under another id
            mine |= every["measurement_id"].isin(every["measurement_id"][mine].dropna()).to_numpy()
        files = dict.fromkeys(folder / AXES_FILE for folder in (self.study.root, Path()))
        return [*side_conflicts(every[mine]), *conflicts_with_axes(every[mine], list(files))]

    def refuse_other_anatomies(self, there: Mapping[int, Any], out: Path) -> None:
        """Raise :class:`UsageError` where ``out`` has the other component of an id, which would pass for this one.

        Args:
            there: anatomies in the file, by id.
        """
        for number, cell in there.items():
            found, wanted = (str(one).removesuffix(".0") for one in (cell, self.table.at[number, "anatomy_id"]))
            if found != wanted:
                raise UsageError(
                    f"{out} has a pose of anatomy {printable(found)} for id {number}, not of {wanted}",
                    "write each component into a table of its own (--out), or track both: medcli register trial",
                )

    def pose(self, number: int) -> NDArray[np.float64]:
        """The start pose, (4, 4) implant to world.

        Raises:
            DataError: it has a number that is not finite, or not plausible.
        """
        row = self.table.loc[[number], list(POSE_COLUMNS)].apply(pd.to_numeric, errors="coerce")
        if not np.isfinite(row.to_numpy(np.float64)).all():
            values = ", ".join(f"{value:g}" for value in row.to_numpy(np.float64)[0])
            raise DataError(f"its start pose is not six numbers: {values}")
        if problem := pose_problem(row):
            raise DataError(f"its start pose cannot be right: {problem}")
        return np.asarray(self.geometry.to_world(np.array([number]), pose_matrices(row))[0])

    def pose_cells(self, number: int, pose: NDArray[np.float64]) -> dict[str, float]:
        """The columns tx … ry of a pose (4, 4) implant to world, in the frame of the start poses."""
        values = self.numbers(number, pose)
        return {name: round(value, 6) for name, value in zip(POSE_COLUMNS, values.tolist(), strict=True)}

    def numbers(self, number: int, pose: NDArray[np.float64]) -> NDArray[np.float64]:
        """(6,) tx … ry of a pose (4, 4) implant to world, in the frame of the start poses."""
        return np.asarray(pose_numbers(self.geometry.from_world(number, pose)))

    def matrix(self, number: int, cells: Mapping[str, Any]) -> NDArray[np.float64]:
        """The pose (4, 4) implant to world of the cells tx … ry, the inverse of :meth:`pose_cells`."""
        pose = matrices_of([float(cells[name]) for name in POSE_COLUMNS])
        return np.asarray(self.geometry.to_world(np.array([number]), pose[None])[0])

    def images(self, number: int) -> dict[str, NDArray[np.uint8]]:
        """Calibrated images of the planes, (S, S) each.

        Raises:
            DataError: one is missing, unreadable or a part of an image, or there are two different files of it.
        """
        return {plane: self.image(number, plane) for plane in self.planes}

    def image(self, number: int, plane: str) -> NDArray[np.uint8]:
        """Calibrated image of a plane, (S, S); raises as :meth:`images`."""
        if path := self.study.calibrated_images.get(number, {}).get(plane):
            check_single(path, self.study.doubles.get(path, ()))
            image = image_io.read_grey(path)
            if image.shape[0] != image.shape[1]:
                raise DataError(f"{path} is {image.shape[1]} x {image.shape[0]} pixels; calibrated images are square")
            return image
        native = self.study.contents.images.get(number, {}).get(plane)
        if native is None:
            raise DataError(f"the image {folder_index.expected_name(number, plane)} is missing")
        check_single(native, self.study.doubles.get(native, ()))
        model = self._distortions.get(self.geometry.number(number, "distortion_calibration_id"), plane)
        image = image_io.read_grey(native)
        self._distortions.check_size(image, native)
        return self._undistorter.map_of(model).apply(image, 0.0)


def select(starts: StartPoses, ids: Sequence[tuple[int, int]] | None, anatomy: int | None) -> tuple[list[int], int]:
    """The ids to register, and the number omitted because they have no image.

    Args:
        ids: (first, last) ranges, both included; these are kept even if images are missing. None: all with images.
        anatomy: only poses of this implant; None: all.

    Raises:
        DataError: none is left.
    """
    table = starts.table[~folder_index.is_obsolete(starts.table)]
    if anatomy is not None:
        table = table[table["anatomy_id"] == anatomy]
    what = "start pose" if starts.has_starts else "row of the pose table"
    if table.empty and anatomy is not None:
        there = spaced(sorted(set(starts.table["anatomy_id"].dropna()))) or "none"
        raise DataError(f"no {what} is of anatomy {anatomy}; there are: {there}", "choose with --anatomy")
    chosen = folder_index.select_ids(table.index.tolist(), ids)
    present = chosen if ids else [number for number in chosen if starts.has_images(number)]
    if not present:
        of = f" of anatomy {anatomy}" if anatomy is not None else ""
        fault = "has images" if table.index.empty or not ids else "has one of these ids"
        options = "--root, --ids, --start" if starts.has_starts else "--root, --ids, --poses"
        raise DataError(f"no {what}{of} {fault} in {starts.study.root}", f"check {options}")
    without_images = len(chosen) - len(present)
    if without_images:
        several = "start poses have" if starts.has_starts else "rows of the pose table have"
        count = quantity(without_images, f"{what} has", several)
        _LOG.warning("%s no image: left out", count)
    for line in starts.side_conflicts(present):
        _LOG.warning("%s; one knee has one side", line)
    return present, without_images


def _start_poses(study: VeriserumStudy, file: Path | None, anatomies: Collection[int] | None) -> pd.DataFrame:
    """Start poses completed from the pose table."""
    if file is None or file == FROM_TABLE:
        table, path = study.poses_of(anatomies).copy(), study.table_file(POSES)
    else:
        table, path = _filled(_read_starts(file, anatomies), study, anatomies), file
        starts = table[list(POSE_COLUMNS)].apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
        if units := unit_problem(starts):
            _LOG.warning("%s: %s", path, units)
    missing = [name for name in (*POSE_COLUMNS, *ID_COLUMNS[1:]) if name not in table.columns]
    if missing:
        raise DataError(f"{path} has no column {', '.join(missing)}")
    for name in ID_COLUMNS:
        if name in table.columns:  # whole numbers, even if some are missing
            table[name] = folder_index.whole_numbers(table[name])
    return table


def _read_starts(file: Path, anatomies: Collection[int] | None) -> pd.DataFrame:
    """The poses of a file, one row an id."""
    rows, repeated = folder_index.read_rows_once(file, folder_index.POSE_FILE)
    for note in repeated.notes(str(file), "the first of each is used"):
        _LOG.warning("%s", note)
    return one_row_an_id(rows, anatomies, str(file))


def _filled(table: pd.DataFrame, study: VeriserumStudy, anatomies: Collection[int] | None) -> pd.DataFrame:
    """Start poses of a file; missing columns and empty cells are filled from the pose table.

    The pose table also states whether an id is obsolete.
    """
    absent = [name for name in ID_COLUMNS if name not in table.columns]
    if not absent and not study.files.get(POSES) and folder_index.locate(study.contents, POSES) is None:
        return table
    stated = folder_index.whole_numbers(table["anatomy_id"]) if "anatomy_id" in table.columns else None
    known = study.poses_of(anatomies if stated is None or stated.isna().all() else stated)
    for name in (*ID_COLUMNS, *_CARRIED):
        if name in known.columns:
            of_table = known[name].reindex(table.index)
            own = table[name] if name in table.columns else of_table
            # An entirely empty column has another type, which would convert integers to floats.
            table[name] = of_table if own.isna().all() else own.where(own.notna(), of_table)
    return table
