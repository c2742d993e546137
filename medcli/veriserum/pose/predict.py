"""Estimate the poses of implants in X-ray pairs: ``medcli predict pose``."""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medcli import __version__
from medcli.core.contact_sheet import contact_sheet
from medcli.core.errors import DataError, UsageError
from medcli.core.files import make_output_folder, write_text
from medcli.core.image_io import write_image
from medcli.core.progress import SILENT, Progress
from medcli.core.run_provenance import note_run
from medcli.training.weights import find_newest
from medcli.veriserum.dataset import folder_index
from medcli.veriserum.dataset.implant_surfaces import Surfaces
from medcli.veriserum.dataset.pose_tables import PUBLISHED_COLUMNS
from medcli.veriserum.dataset.publication import ABOUT
from medcli.veriserum.geometry.biplane import DualPlane
from medcli.veriserum.geometry.outline_overlay import ESTIMATE, draw_planes
from medcli.veriserum.pose.estimates import estimate
from medcli.veriserum.pose.inference import PosePredictor, load_predictor
from medcli.veriserum.pose.metrics import euler_deg
from medcli.veriserum.pose.pair_images import (
    STACK,
    Doubles,
    ImageFiles,
    PairFiles,
    PairReader,
    find_calibrated,
    find_originals,
    parse_name,
)

_LOG = logging.getLogger(__name__)
_SHEET_PAIRS = 6
_OVERLAY_SIZE = 512


@dataclass(frozen=True)
class PosePredictSettings:
    """How poses are estimated.

    Attributes:
        calibration: id of the distortion calibration of originals without a row in a pose table.
        anatomy: ``anatomy_id`` of pairs without a row in a pose table; None: the network's, if it has one only.
        overlay: draw the implant's outline on every pair.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        batch_size: pairs in one forward pass; None: by device.
    """

    calibration: int | None = None
    anatomy: int | None = None
    overlay: bool = False
    device: str = "auto"
    batch_size: int | None = None


@dataclass(frozen=True)
class PosePrediction:
    """What ``medcli predict pose`` did.

    Attributes:
        out: the table of poses, with the published columns.
        checkpoint, device: what estimated them, and where.
        pairs: estimated.
        overlays: folder of the pictures, None without ``--overlay``.
        contact_sheet: some of the pictures on one sheet.
        seconds: of reading, estimating and writing.
        failures: pairs without a pose, a line each.
    """

    out: Path
    checkpoint: Path
    device: str
    pairs: int
    overlays: Path | None
    contact_sheet: Path | None
    seconds: float
    failures: tuple[str, ...] = ()
    schema: str = "medcli.predict.pose.v1"


def predict_pose(
    inputs: Sequence[Path],
    out: Path,
    checkpoint: Path | None = None,
    root: Path = Path("data/veriserum"),
    settings: PosePredictSettings | None = None,
    progress: Progress = SILENT,
) -> PosePrediction:
    """Estimate poses and write them as a table with the published columns.

    Args:
        inputs: images (either plane of a pair, as recorded or calibrated) or folders; none: all of ``root``.
        out: CSV file to write; replaced as a whole.
        checkpoint: the network; None: the newest ``runs/pose/*/best.safetensors``.
        root: folder with the tables: originals are calibrated by the pose table's calibration.

    Raises:
        DataError: no pair among the inputs, or none could be read.
    """
    settings = settings or PosePredictSettings()
    started = time.monotonic()
    path = checkpoint or find_newest(Path("runs"), "pose")
    predictor = load_predictor(path, settings.device, settings.batch_size)
    make_output_folder(out.parent)
    tables = _Tables.read(root)
    files, failures = _find(inputs or [root], tables, settings)
    if not files:
        raise DataError(
            f"no pair to estimate: {failures[0] if failures else 'no bs_NNNNNN and fs_NNNNNN images'}",
            "give images, folders or --root",
        )
    reader = PairReader(predictor.metadata.size, tables.distortions)
    found = estimate(predictor, reader, list(files.values()), "estimating", progress)
    failures += found.failures
    if not len(found.ids):
        raise DataError(f"none of {len(files)} pairs could be read: {failures[0]}")
    done = [files[number] for number in found.ids.tolist()]
    rows = _rows(done, found.poses, tables, predictor, settings)
    overlays = sheet = None
    if settings.overlay:
        overlays, sheet = _draw(out, done, found.poses, rows, tables, failures, progress)
    text = io.StringIO()
    rows.to_csv(text, index=False, lineterminator="\n")
    write_text(out, text.getvalue())
    seconds = round(time.monotonic() - started, 3)
    result = PosePrediction(out, path, predictor.device, len(done), overlays, sheet, seconds, tuple(failures))
    note_run(out, "predict pose", ABOUT, root if root.is_dir() else None, settings, result, predictor.device)
    return result


@dataclass(frozen=True)
class _Tables:
    """What the dataset's folder says of the pairs; any part may be missing."""

    root: Path
    poses: pd.DataFrame
    distortions: pd.DataFrame | None
    sources: pd.DataFrame | None

    @classmethod
    def read(cls, root: Path) -> _Tables:
        if not root.is_dir():
            return cls(root, pd.DataFrame(), None, None)
        contents = folder_index.scan(root, leave_out=root / "calibrated")
        found: list[pd.DataFrame | None] = []
        for kind in (folder_index.POSES, folder_index.DISTORTIONS, folder_index.SOURCES):
            try:
                found.append(folder_index.find_and_read(contents, kind, None)[0])
            except DataError as error:
                _LOG.debug("%s", error.message)
                found.append(None)
        return cls(root, pd.DataFrame() if found[0] is None else found[0], found[1], found[2])

    def value(self, number: int, column: str) -> Any:
        """A cell of the pose table; None where there is none."""
        if column not in self.poses.columns or number not in self.poses.index:
            return None
        cell: Any = self.poses.at[number, column]
        return None if bool(pd.isna(cell)) else cell

    def cameras(self, number: int) -> DualPlane:
        calibration = self.value(number, "source_int_calibration_id")
        if self.sources is None or calibration is None:
            raise DataError("no source-intensifier calibration is known")
        return DualPlane.from_table(self.sources, int(calibration))


def _find(
    inputs: Sequence[Path], tables: _Tables, settings: PosePredictSettings
) -> tuple[dict[int, PairFiles], list[str]]:
    """Pairs among the inputs by id, in its order; calibrated images are taken where both kinds of a pair are there."""
    calibrated: ImageFiles = {}
    originals: ImageFiles = {}
    doubles: dict[bool, Doubles] = {True: {}, False: {}}
    for path in inputs:
        if path.is_dir():
            _merge(calibrated, find_calibrated(path), doubles[True])
            _merge(originals, find_originals(path), doubles[False])
            continue
        parsed = parse_name(path.name)
        if parsed is None:
            raise UsageError(f"{path} is neither a folder nor named bs_NNNNNN or calibrated_bs_NNNNNN (or fs)")
        if not path.is_file():
            raise DataError(f"there is no file {path}")
        _merge(calibrated if parsed[0] else originals, _with_partner(path, parsed), doubles[parsed[0]])
    files: dict[int, PairFiles] = {}
    failures = []
    for number in sorted({*calibrated, *originals}):
        try:
            found = calibrated.get(number, {}), originals.get(number, {})
            files[number] = _pair(number, *found, doubles, tables, settings)
        except DataError as error:
            failures.append(f"pair {number}: {error.message}")
    return files, failures


def _merge(into: ImageFiles, found: tuple[ImageFiles, Doubles], doubles: Doubles) -> None:
    """Add images that were found; those of an earlier input stay, and further files of one image become doubles."""
    for number, planes in found[0].items():
        for plane, path in planes.items():
            others = [path, *found[1].get((number, plane), ())]
            kept = into.setdefault(number, {}).setdefault(plane, path)
            if others := [other for other in others if other != kept]:
                doubles.setdefault((number, plane), []).extend(others)


def _with_partner(path: Path, parsed: tuple[bool, str, int]) -> tuple[ImageFiles, Doubles]:
    """The file, and the other plane's beside it if it is there."""
    is_calibrated, plane, number = parsed
    planes: dict[str, str] = {plane: str(path)}
    doubles: Doubles = {}
    for beside in sorted(path.parent.iterdir()):
        other = parse_name(beside.name)
        if not other or (other[0], other[2]) != (is_calibrated, number) or other[1] == plane:
            continue
        if planes.setdefault(other[1], str(beside)) != str(beside):
            doubles.setdefault((number, other[1]), []).append(str(beside))
    return {number: planes}, doubles


def _pair(
    number: int,
    calibrated: dict[str, str],
    originals: dict[str, str],
    doubles: dict[bool, Doubles],
    tables: _Tables,
    settings: PosePredictSettings,
) -> PairFiles:
    if len(calibrated) == 2:
        return PairFiles.of(number, calibrated, doubles[True])
    if len(originals) < 2:
        raise DataError("one plane's image is missing: both are needed")
    calibration = settings.calibration or tables.value(number, "distortion_calibration_id")
    if calibration is None or tables.distortions is None:
        raise DataError("its distortion calibration is not known: name --root, --calibration ID, or calibrate it first")
    return PairFiles.of(number, originals, doubles[False], int(calibration))


def _rows(
    done: list[PairFiles],
    poses: NDArray[np.float64],
    tables: _Tables,
    predictor: PosePredictor,
    settings: PosePredictSettings,
) -> pd.DataFrame:
    """The table to write; cells that are not known stay empty, so the same pairs give the same file."""
    trained_on = predictor.metadata.anatomies
    default = settings.anatomy or (trained_on[0] if len(trained_on) == 1 else None)
    copied = ("measurement_id", "anatomy_id", "source_int_calibration_id", "distortion_calibration_id")
    numbers = np.concatenate([poses[:, :3, 3], euler_deg(poses)], axis=1).round(5)
    rows = []
    for item, pose in zip(done, numbers, strict=True):
        row: dict[str, Any] = dict.fromkeys(PUBLISHED_COLUMNS)
        row |= {"id": item.id, "obsolete": 0, "git_repo": f"medcli {__version__}"}
        row |= {name: _whole(tables.value(item.id, name)) for name in copied}
        row["anatomy_id"] = row["anatomy_id"] if row["anatomy_id"] is not None else default
        row["distortion_calibration_id"] = item.calibration or row["distortion_calibration_id"]
        rows.append(row | dict(zip(folder_index.POSE_COLUMNS, pose.tolist(), strict=True)))
    table = pd.DataFrame(rows, columns=list(PUBLISHED_COLUMNS))
    wrong = sorted({int(a) for a in table["anatomy_id"].dropna()} - set(trained_on))
    if wrong:
        _LOG.warning("anatomy %s: the network was trained on %s", wrong, list(trained_on))
    return table.astype(dict.fromkeys(copied, "Int64"))


def _whole(value: Any) -> int | None:
    number = float("nan") if value is None else float(pd.to_numeric(value, errors="coerce"))
    return int(number) if np.isfinite(number) else None


def _draw(
    out: Path,
    done: list[PairFiles],
    poses: NDArray[np.float64],
    rows: pd.DataFrame,
    tables: _Tables,
    failures: list[str],
    progress: Progress,
) -> tuple[Path | None, Path | None]:
    """A picture a pair with the implant's outline, and some of them on one sheet."""
    folder = make_output_folder(out.with_name(f"{out.stem}_overlays"))
    surfaces = Surfaces.find(tables.root)
    reader = PairReader(_OVERLAY_SIZE, tables.distortions)
    shown: list[tuple[list[NDArray[np.uint8]], str]] = []
    pick = {int(i) for i in np.linspace(0, len(done) - 1, min(_SHEET_PAIRS, len(done)))}
    with progress.task("drawing", len(done), "pairs") as advance:
        for i, item in enumerate(done):
            try:
                anatomy = rows["anatomy_id"].iloc[i]
                if pd.isna(anatomy):
                    raise DataError("its anatomy is not known: name --anatomy ID")
                mesh, both = surfaces.implant(int(anatomy)).mesh, tables.cameras(item.id)
                pictures = dict(zip(STACK, reader.read(item), strict=True))
                planes = draw_planes(pictures, both, mesh, [(poses[i], ESTIMATE)])
            except (DataError, ValueError) as error:
                failures.append(f"pair {item.id}: no overlay: {getattr(error, 'message', error)}")
                continue
            finally:
                advance(1)
            write_image(folder / f"pose_{item.id:06d}.jpg", np.concatenate(planes, axis=1))
            if i in pick:
                shown.append((planes, f"id {item.id}"))
    if not shown:
        return folder, None
    sheet = folder / "contact_sheet.jpg"
    write_image(sheet, contact_sheet([planes for planes, _ in shown], STACK, [note for _, note in shown]))
    return folder, sheet
