"""Estimate the poses of implants in X-ray pairs: ``medcli predict pose``."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medcli.core.contact_sheet import contact_sheet
from medcli.core.errors import DataError, UsageError, quantity
from medcli.core.files import check_replaceable, make_output_folder, read_whole, write_text
from medcli.core.image_io import write_image
from medcli.core.json_text import read_object
from medcli.core.made_with import fingerprint
from medcli.core.progress import SILENT, Progress
from medcli.core.run_provenance import note_path, note_run
from medcli.training.weights import find_newest
from medcli.transfer.checksum import of_file
from medcli.veriserum.calibration.distortion_table import DistortionTable
from medcli.veriserum.dataset.contents_check import check_pair_image
from medcli.veriserum.dataset.detector import PLANES
from medcli.veriserum.dataset.folder_index import Images, parse_name, scan
from medcli.veriserum.dataset.image_doubles import Doubles
from medcli.veriserum.dataset.publication import ABOUT
from medcli.veriserum.dataset.study import VeriserumStudy
from medcli.veriserum.geometry.outline_overlay import ESTIMATE, draw_planes
from medcli.veriserum.geometry.pair_geometry import PairGeometry
from medcli.veriserum.pose.checkpoint_metadata import read_pose_metadata
from medcli.veriserum.pose.estimates import estimate, known_ids, table_of_estimates
from medcli.veriserum.pose.inference import PosePredictor
from medcli.veriserum.pose.pair_images import PairFiles, PairReader

_LOG = logging.getLogger(__name__)
_SHEET_PAIRS = 6
_OVERLAY_SIZE = 512


@dataclass(frozen=True)
class PosePredictSettings:
    """Settings of an estimation of poses.

    Attributes:
        calibration: id of the distortion calibration of originals without a row in a pose table.
        anatomy: ``anatomy_id`` of pairs whose pose table has no row of a component that the network was trained on;
            None: the network's, if it has only one.
        overlay: draw the implant's outline on every pair.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        batch_size: pairs in one forward pass; None: by device.
        overwrite: estimate again what is there, and replace a table that was made otherwise.
    """

    calibration: int | None = None
    anatomy: int | None = None
    overlay: bool = False
    device: str = "auto"
    batch_size: int | None = None
    overwrite: bool = False


@dataclass(frozen=True)
class PosePrediction:
    """Result of ``medcli predict pose``.

    Attributes:
        out: the table of poses, with the published columns.
        checkpoint, device: the network and its device.
        pairs: number of estimated pairs.
        overlays: folder of the overlays, None without ``--overlay``.
        contact_sheet: some of the overlays on one sheet.
        seconds: for reading, estimating and writing.
        failures: pairs without a pose, one line each.
        made_from: a digest of network, options, images and tables; empty where a pair failed: it is tried again.
        table: a digest of the table that was written.
        is_earlier: an earlier run wrote the table from the same things; nothing was computed.
    """

    out: Path
    checkpoint: Path
    device: str
    pairs: int
    overlays: Path | None
    contact_sheet: Path | None
    seconds: float
    failures: tuple[str, ...] = ()
    made_from: str = ""
    table: str = ""
    is_earlier: bool = False
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
        out: CSV file to write. One that an earlier run wrote from the same things is left alone.
        checkpoint: the network; None: the newest ``runs/pose/*/best.safetensors``.
        root: folder with the tables: originals are calibrated with the pose table's calibration.

    Raises:
        DataError: no pair among the inputs, or none could be read.
        UsageError: ``out`` is a folder, or was made otherwise, and ``overwrite`` is off.
    """
    settings = settings or PosePredictSettings()
    started = time.monotonic()
    path = checkpoint or find_newest(Path("runs"), "pose")
    check_replaceable(out, overwrite=True)  # what may be replaced is asked once it is known
    make_output_folder(out.parent)
    study = VeriserumStudy(root)
    trained = read_pose_metadata(path)
    known = known_ids(study, trained, settings.anatomy)
    files, failures = _find(inputs or [root], study, known, settings)
    if not files:
        raise DataError(
            f"no pair to estimate: {failures[0] if failures else 'no bs_NNNNNN and fs_NNNNNN images'}",
            "give images, folders or --root",
        )
    made_from = "" if failures else _fingerprint(path, settings, files, root)
    if not settings.overwrite and (earlier := _read_earlier(out, made_from, path, settings.overlay)):
        return earlier
    predictor = PosePredictor.load(path, settings.device, settings.batch_size)
    distortions = DistortionTable(study)
    reader = PairReader(predictor.metadata.size, distortions)
    found = estimate(predictor, reader, list(files.values()), "estimating", progress)
    failures += found.failures
    if not len(found.ids):
        raise DataError(f"none of {quantity(len(files), 'pair')} could be read: {failures[0]}")
    done = [files[number] for number in found.ids.tolist()]
    rows = table_of_estimates(done, found.poses, known, trained, settings.anatomy)
    text = rows.to_csv(index=False, lineterminator="\n")
    if not settings.overwrite and out.exists() and read_whole(out) != text.encode() and not _lacked_pairs(out, path):
        raise _refusal(out)  # a run that was killed before its note left the same table
    overlays = sheet = None
    if settings.overlay:
        world = PairGeometry(study, rows.set_index("id"))
        overlays, sheet = _draw(
            out, done, found.poses, world, PairReader(_OVERLAY_SIZE, distortions), failures, progress
        )
    write_text(out, text)
    seconds = round(time.monotonic() - started, 3)
    result = PosePrediction(
        out,
        path,
        predictor.device,
        len(done),
        overlays,
        sheet,
        seconds,
        tuple(failures),
        "" if failures else made_from,
        fingerprint(text),
    )
    note_run(out, "predict pose", ABOUT, root if root.is_dir() else None, settings, result, predictor.device)
    return result


def _fingerprint(checkpoint: Path, settings: PosePredictSettings, files: dict[int, PairFiles], root: Path) -> str:
    """A digest of what the table depends on: images and tables by size and time of change."""
    paths = [Path(path) for item in files.values() for path in (item.bs, item.fs)]
    states = [(path, path.stat()) for path in (*paths, *sorted(root.glob("*.csv")))]
    changes = [repr((str(path), state.st_size, state.st_mtime_ns, state.st_ctime_ns)) for path, state in states]
    options = repr((settings.calibration, settings.anatomy, sorted(files)))
    return fingerprint(of_file(checkpoint, "sha256"), options, *changes)


def _read_earlier(out: Path, made_from: str, checkpoint: Path, overlay: bool) -> PosePrediction | None:
    """What an earlier run answered that wrote ``out`` from the same things; None where it is to be made.

    Raises:
        UsageError: it wrote ``out`` from other things.
    """
    found = read_object(note_path(out, "predict pose")).get("result") if out.is_file() else None
    if not isinstance(found, dict) or not found.get("made_from") or not made_from:
        return None
    if found["made_from"] != made_from:
        raise _refusal(out)
    overlays, sheet = (Path(found[name]) if found.get(name) else None for name in ("overlays", "contact_sheet"))
    if fingerprint(read_whole(out)) != found.get("table") or (overlay and not (overlays and overlays.is_dir())):
        return None
    return PosePrediction(
        out, checkpoint, str(found["device"]), int(found["pairs"]), overlays, sheet, 0.0, (), made_from,
        str(found["table"]), is_earlier=True,
    )  # fmt: skip


def _lacked_pairs(out: Path, checkpoint: Path) -> bool:
    """Whether an earlier run of the same network wrote ``out``, as it is, without some of the pairs."""
    found = read_object(note_path(out, "predict pose")).get("result")
    if not isinstance(found, dict) or not found.get("failures"):
        return False
    return found.get("table") == fingerprint(read_whole(out)) and found.get("checkpoint") == str(checkpoint)


def _refusal(out: Path) -> UsageError:
    return UsageError(
        f"{out} exists, and was made of other pairs, by another network or with other options",
        "choose another file with --out, or replace it with --overwrite",
    )


def _find(
    inputs: Sequence[Path], study: VeriserumStudy, known: pd.DataFrame, settings: PosePredictSettings
) -> tuple[dict[int, PairFiles], list[str]]:
    """Pairs among the inputs in the order of ids; of a pair in both kinds the calibrated images are used."""
    calibrated: Images = {}
    originals: Images = {}
    doubles: Doubles = {}
    for path in inputs:
        if path.is_dir():
            contents, apart = (study.contents, study.calibrated_images) if path == study.root else (scan(path), {})
            others = study.doubles if path == study.root else contents.doubles
            for into, found in ((calibrated, contents.calibrated), (calibrated, apart), (originals, contents.images)):
                _merge(into, found, others, doubles)
            continue
        parsed = check_pair_image(path)
        _merge(calibrated if parsed[0] else originals, *_with_partner(path, parsed), doubles)
    files: dict[int, PairFiles] = {}
    failures = []
    for number in sorted({*calibrated, *originals}):
        try:
            default = known["distortion_calibration_id"].get(number, pd.NA)
            both = calibrated.get(number, {}), originals.get(number, {})
            files[number] = _pair(number, *both, doubles, settings.calibration or default)
        except DataError as error:
            failures.append(f"pair {number}: {error.message}")
    return files, failures


def _merge(into: Images, found: Images, others: Doubles, doubles: Doubles) -> None:
    """Add images that were found, ``others`` being their doubles.

    Those of an earlier input stay; further files of one image are added to ``doubles``.
    """
    for number, planes in found.items():
        for plane, path in planes.items():
            kept = into.setdefault(number, {}).setdefault(plane, path)
            further = [other for other in (path, *others.get(path, ())) if other != kept]
            if further:
                doubles.setdefault(kept, []).extend(further)


def _with_partner(path: Path, parsed: tuple[bool, str, int]) -> tuple[Images, Doubles]:
    """The file, and the other plane's next to it if it exists."""
    is_calibrated, plane, number = parsed
    planes = {plane: str(path)}
    doubles: Doubles = {}
    for beside in sorted(path.parent.iterdir()):
        other = parse_name(beside.name)
        if not other or (other[0], other[2]) != (is_calibrated, number) or other[1] == plane:
            continue
        if (first := planes.setdefault(other[1], str(beside))) != str(beside):
            doubles.setdefault(first, []).append(str(beside))
    return {number: planes}, doubles


def _pair(
    number: int, calibrated: dict[str, str], originals: dict[str, str], doubles: Doubles, calibration: Any
) -> PairFiles:
    if len(calibrated) == 2:
        return PairFiles.of(number, calibrated, doubles)
    if len(originals) < 2:
        raise DataError("one plane's image is missing: both are needed")
    if pd.isna(calibration):
        raise DataError("its distortion calibration is unknown: give --root, --calibration ID, or calibrate it first")
    return PairFiles.of(number, originals, doubles, int(calibration))


def _draw(
    out: Path,
    done: list[PairFiles],
    poses: NDArray[np.float64],
    world: PairGeometry,
    reader: PairReader,
    failures: list[str],
    progress: Progress,
) -> tuple[Path | None, Path | None]:
    """One image per pair with the implant's outline, and some of them on one sheet."""
    folder = make_output_folder(out.with_name(f"{out.stem}_overlays"))
    shown: list[tuple[list[NDArray[np.uint8]], str]] = []
    pick = {int(i) for i in np.linspace(0, len(done) - 1, min(_SHEET_PAIRS, len(done)))}
    with progress.task("drawing", len(done), "pairs") as advance:
        for i, item in enumerate(done):
            try:
                mesh, both = world.implant(item.id).mesh, world.cameras(item.id)
                images = dict(zip(PLANES, reader.read(item), strict=True))
                planes = draw_planes(images, both, [(mesh, poses[i], ESTIMATE)])
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
    write_image(sheet, contact_sheet([planes for planes, _ in shown], PLANES, [note for _, note in shown]))
    return folder, sheet
