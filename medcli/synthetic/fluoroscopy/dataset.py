"""Synthetic Veriserum data: image pairs with ground truth, in the published layout.

::

    ROOT/veriserum_collection_compressed/bs_000001.jpg, fs_000001.jpg, …      native 1664 x 1600, grey
    ROOT/csv_files/veriserum_pose_reloaded_refined_all.csv                    one row per id
    ROOT/csv_files/distortion_calibration_reloaded.csv, source_int_calibration_reloaded.csv
    ROOT/veriserumSqlite3_refined.db                                          the same tables
    ROOT/veriserum_anatomies/ana_000001.stl, …                                2 femoral, 5 tibial components
    ROOT/grid_phantom/grid_bs_01.png, …                                       bead grid of each calibration

The data depend on a seed alone: the same settings give the same images for any number of workers, and
:class:`Study` reproduces the undistorted, noise-free image of any pair.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from medcli.core.errors import MedcliError, quantity
from medcli.core.files import make_output_folder, remove_leftovers, replacing, usable_cores, write_text
from medcli.core.image_io import use_single_threaded_codecs, write_image
from medcli.core.mesh import write_stl
from medcli.core.progress import SILENT, Progress
from medcli.core.run_provenance import SYNTHETIC
from medcli.core.tables import csv_text
from medcli.core.threads import run_in_threads
from medcli.synthetic.fluoroscopy import xray
from medcli.synthetic.fluoroscopy.calibrations import TIMESTAMP, Calibration, draw_calibrations
from medcli.synthetic.fluoroscopy.grid_phantom import grid_image
from medcli.synthetic.fluoroscopy.implants import SyntheticImplant, make_implants
from medcli.synthetic.fluoroscopy.motion import KneePose, draw_trial, pose_cells
from medcli.veriserum.calibration.distortion_model import DistortionModel
from medcli.veriserum.dataset.detector import PLANES
from medcli.veriserum.geometry.biplane import DualPlane

IMAGE_FOLDER = "veriserum_collection_compressed"
GRID_FOLDER = "grid_phantom"
DATABASE = "veriserumSqlite3_refined.db"
_JPEG_QUALITY = 90


@dataclass(frozen=True)
class FluoroscopySettings:
    """Settings of a synthetic study.

    Attributes:
        pairs: number of image pairs, ids 1 to ``pairs``.
        seed: of the random numbers.
        frames_per_trial: consecutive pairs of one motion, which share their ``measurement_id``.
        calibrations: number of calibrations, used by the trials in rotation.
        anatomies: ``anatomy_id`` used by the trials in rotation (1, 2 femora; 3 to 7 tibiae).
        companion: also show the other component of the knee.
        noise: factor on the noise; 0 for none.
        obsolete_every: every n-th pose is marked obsolete; 0 for none.
        both_poses: the pose table has a row for the other component, too, under the same id: what knee motion needs.
    """

    pairs: int = 24
    seed: int = 0
    frames_per_trial: int = 6
    calibrations: int = 3
    anatomies: tuple[int, ...] = (1, 3, 2, 6, 4, 5, 7)
    companion: bool = True
    noise: float = 1.0
    obsolete_every: int = 20
    both_poses: bool = False

    def __post_init__(self) -> None:
        if min(self.pairs, self.frames_per_trial, self.calibrations) < 1 or not self.anatomies:
            raise ValueError(f"pairs, frames per trial, calibrations and anatomies must be at least one, got {self}")
        if not set(self.anatomies) <= set(range(1, 8)):
            raise ValueError(f"anatomies are 1 to 7, got {self.anatomies}")


@dataclass(frozen=True)
class SyntheticPair:
    """One image pair: its row in the tables and the poses of both components."""

    id: int
    measurement_id: int
    anatomy_id: int
    companion_id: int
    calibration_id: int
    obsolete: bool
    knee: KneePose


@dataclass(frozen=True)
class Study:
    """A synthetic study with its ground truth; images are rendered on request."""

    settings: FluoroscopySettings

    @cached_property
    def implants(self) -> dict[int, SyntheticImplant]:
        """``anatomy_id`` -> component."""
        return {implant.anatomy_id: implant for implant in make_implants()}

    @cached_property
    def calibrations(self) -> dict[int, Calibration]:
        """Calibration id -> calibration."""
        drawn = draw_calibrations(self.settings.calibrations, self.settings.seed)
        return {calibration.id: calibration for calibration in drawn}

    @cached_property
    def frames(self) -> dict[int, SyntheticPair]:
        """Pose id -> frame, in the order of ids."""
        settings = self.settings
        frames: dict[int, SyntheticPair] = {}
        for trial in range(-(-settings.pairs // settings.frames_per_trial)):
            generator = np.random.default_rng([settings.seed, 2, trial])
            anatomy = settings.anatomies[trial % len(settings.anatomies)]
            others = [i for i, implant in self.implants.items() if implant.kind != self.implants[anatomy].kind]
            companion = int(generator.choice(others))
            for knee in draw_trial(settings.frames_per_trial, generator):
                number = len(frames) + 1
                is_obsolete = settings.obsolete_every > 0 and number % settings.obsolete_every == 13
                calibration = trial % settings.calibrations + 1
                frames[number] = SyntheticPair(number, trial + 1, anatomy, companion, calibration, is_obsolete, knee)
        return {number: frames[number] for number in range(1, settings.pairs + 1)}

    def cameras(self, number: int) -> DualPlane:
        """Both cameras of pair ``number``."""
        return DualPlane.from_calibration(self.calibrations[self.frames[number].calibration_id].source)

    def truth(self, number: int, plane: str, size: int = 1600) -> xray.Image:
        """The undistorted, noise-free image that calibrating pair ``number`` should give.

        Args:
            number: the pose id.
            plane: ``bs`` or ``fs``.
            size: pixels along each side; each is the mean over its footprint on the 1600 x 1600 grid.

        Returns:
            (size, size) float32, in 0 to 1 of the native image's full scale (not divided by the image's maximum).
        """
        frame = self.frames[number]
        shown = [frame.anatomy_id, frame.companion_id] if self.settings.companion else [frame.anatomy_id]
        implants = [self.implants[anatomy] for anatomy in shown]
        bodies = xray.leg_bodies(frame.knee.femur, frame.knee.tibia)
        bodies += [
            xray.AttenuatingBody(i.mesh, frame.knee.of(i.kind), xray.METAL_PER_MM, is_sharp=True) for i in implants
        ]
        image = xray.render_xray(bodies, self.cameras(number).camera(plane))
        return image if size == len(image) else cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)

    def native(self, number: int, plane: str) -> NDArray[np.uint8]:
        """The native image (1600, 1664) of a pair: the ground truth, distorted, with noise."""
        calibration = self.calibrations[self.frames[number].calibration_id]
        distorted = xray.to_native(self.truth(number, plane), _lattice(calibration.distortion(plane)))
        generator = np.random.default_rng([self.settings.seed, 3, number, PLANES.index(plane)])
        return xray.digitise(distorted, generator, self.settings.noise)

    def grid(self, calibration_id: int, plane: str) -> NDArray[np.uint8]:
        """The native image (1600, 1664) of the bead grid for a calibration."""
        generator = np.random.default_rng([self.settings.seed, 4, calibration_id, PLANES.index(plane)])
        distortion = self.calibrations[calibration_id].distortion(plane)
        return grid_image(distortion, generator, self.settings.noise)

    def pose_rows(self, number: int) -> list[dict[str, Any]]:
        """The rows of a pair in the pose table: its own, and that of the other component with ``both_poses``."""
        frame = self.frames[number]
        anatomies = [frame.anatomy_id, frame.companion_id] if self.settings.both_poses else [frame.anatomy_id]
        return [self.pose_row(number, anatomy) for anatomy in anatomies]

    def pose_row(self, number: int, anatomy: int | None = None) -> dict[str, Any]:
        """A row of the pose table, with the published column names; of the pair's own component without ``anatomy``."""
        frame = self.frames[number]
        anatomy = anatomy or frame.anatomy_id
        return {
            "id": number,
            "measurement_id": frame.measurement_id,
            "anatomy_id": anatomy,
            "update_timestamp": TIMESTAMP,
            "obsolete": int(frame.obsolete),
            "git_hash": "synthetic",
            "git_repo": "medcli",
            "source_int_calibration_id": frame.calibration_id,
            "distortion_calibration_id": frame.calibration_id,
            **pose_cells(frame.knee.of(self.implants[anatomy].kind)),
        }


@dataclass(frozen=True)
class SyntheticVeriserum:
    """A synthetic study on disk.

    Attributes:
        root: its folder, the ``--root`` of the Veriserum commands.
        study: its ground truth.
        written: number of image files written by this run.
        skipped: number of image files that already existed.
    """

    root: Path
    study: Study
    written: int
    skipped: int


def make_veriserum(
    root: Path | str,
    pairs: int = 24,
    seed: int = 0,
    *,
    workers: int | None = None,
    progress: Progress = SILENT,
    **settings: Any,
) -> SyntheticVeriserum:
    """Write a synthetic study in the published layout.

    Existing images with the same settings are kept; those with other settings are replaced.

    Args:
        root: the folder, created if necessary.
        pairs, seed: see :class:`FluoroscopySettings`, which has further ``settings``.
        workers: number of threads; default: one per usable core.

    Raises:
        MedcliError: the folder contains images that are not synthetic, or is not writable.
    """
    root = Path(root)
    study = Study(FluoroscopySettings(pairs=pairs, seed=seed, **settings))
    _prepare(root, study.settings)
    _write_tables(root, study)
    for implant in study.implants.values():
        write_stl(implant.mesh, root / "veriserum_anatomies" / f"ana_{implant.anatomy_id:06d}.stl")
    files = _image_files(root, study)
    missing = [path for path in files if not path.exists()]
    use_single_threaded_codecs()
    with progress.task("making images", len(missing), "images") as advance:
        make = partial(_write_file, files)
        for _ in run_in_threads(make, missing, workers or usable_cores()):
            advance(1)
    return SyntheticVeriserum(root, study, len(missing), len(files) - len(missing))


def _image_files(root: Path, study: Study) -> dict[Path, Callable[[], NDArray[np.uint8]]]:
    """Every image file of a study, and the function that renders it."""
    files: dict[Path, Callable[[], NDArray[np.uint8]]] = {}
    for number in study.calibrations:
        for plane in PLANES:
            files[root / GRID_FOLDER / f"grid_{plane}_{number:02d}.png"] = partial(study.grid, number, plane)
    for number in study.frames:
        for plane in PLANES:
            files[root / IMAGE_FOLDER / f"{plane}_{number:06d}.jpg"] = partial(study.native, number, plane)
    return files


def _write_file(files: Mapping[Path, Callable[[], NDArray[np.uint8]]], path: Path) -> None:
    write_image(path, files[path](), _JPEG_QUALITY)


def _prepare(root: Path, settings: FluoroscopySettings) -> None:
    """Create the folders; remove synthetic images with other settings, but never any other images."""
    images, marker = root / IMAGE_FOLDER, root / SYNTHETIC
    make_output_folder(root)
    for folder in (images, root / GRID_FOLDER, root / "csv_files", root / "veriserum_anatomies"):
        folder.mkdir(exist_ok=True)
    text = json.dumps(asdict(settings), indent=2) + "\n"
    if marker.is_file() and marker.read_text(encoding="utf-8") == text:
        remove_leftovers(images)
        remove_leftovers(root / GRID_FOLDER)
        return
    old = [path for folder in (images, root / GRID_FOLDER) for path in folder.iterdir()]
    if old and not marker.is_file():
        raise MedcliError(
            f"{root} contains {quantity(len(old), 'image')} that are not synthetic", "choose another folder"
        )
    for path in old:
        path.unlink()
    write_text(marker, text)


def _write_tables(root: Path, study: Study) -> None:
    tables = {
        "Poses": ("veriserum_pose_reloaded_refined_all", [row for n in study.frames for row in study.pose_rows(n)]),
        "Distortion_calibration": (
            "distortion_calibration_reloaded",
            [calibration.distortion_row() for calibration in study.calibrations.values()],
        ),
        "Source_int_calibration": (
            "source_int_calibration_reloaded",
            [calibration.source_row() for calibration in study.calibrations.values()],
        ),
    }
    for name, rows in tables.values():
        write_text(root / "csv_files" / f"{name}.csv", csv_text(rows, list(rows[0])))
    _write_database(root / DATABASE, {table: rows for table, (_, rows) in tables.items()})


def _write_database(path: Path, tables: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """A sqlite3 database with one table for each name; column types follow from the values."""
    with replacing(path) as part:
        part.unlink(missing_ok=True)  # left by a killed process
        connection = sqlite3.connect(part)
        try:
            for table, rows in tables.items():
                columns = ", ".join(f'"{column}"' for column in rows[0])
                places = ", ".join("?" for _ in rows[0])
                connection.execute(f'CREATE TABLE "{table}" ({columns})')
                connection.executemany(
                    f'INSERT INTO "{table}" VALUES ({places})', [tuple(row.values()) for row in rows]
                )
            connection.commit()
        finally:
            connection.close()


@lru_cache(maxsize=6)
def _lattice(distortion: DistortionModel) -> NDArray[np.float32]:
    """Grid position (column, row) of every native pixel, (1600, 1664, 2)."""
    return distortion.grid_positions().astype(np.float32)
