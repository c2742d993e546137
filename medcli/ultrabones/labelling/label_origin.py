"""What the masks of a record were made from: ``labels.json`` in its folder, written by ``medcli label``.

One entry for each folder of labels or overlays: ``poses`` (``initial`` or ``optimized``), ``pose_digest`` of their
numbers, ``meshes``, ``probe`` (a digest of another calibration than the published one), and a ``fingerprint`` of
all that a label depends on.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path

from medcli.core.errors import DataError
from medcli.core.files import read_whole, write_text
from medcli.core.json_text import parse_json
from medcli.core.made_with import fingerprint
from medcli.ultrabones.dataset.folder_layout import FULL_LABEL_FOLDERS, PARTIAL_LABEL_FOLDERS
from medcli.ultrabones.dataset.probe import ULTRABONES100K, Probe
from medcli.ultrabones.dataset.records import INITIAL, OPTIMIZED, Poses, Sweep, read_poses
from medcli.ultrabones.dataset.tracking_table import has_optimized_poses, tracking_file
from medcli.ultrabones.pose_refinement.refine_record import ORIGINAL_ENDING
from medcli.ultrabones.pose_refinement.refinement_report import REPORT

STAMP = "labels.json"
UNFINISHED = "unfinished"
"""Fingerprint of a folder whose files are being replaced."""

logger = logging.getLogger(__name__)

Stamp = Mapping[str, object]


def read_stamps(path: Path) -> dict[str, dict[str, object]]:
    """The stamps of a record by folder; none where the file is missing.

    Raises:
        DataError: the file is damaged.
    """
    try:
        stamps = parse_json(read_whole(path))
        return {name: {"poses": "unknown", "fingerprint": "", **stamp} for name, stamp in stamps.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise DataError(f"{path} is damaged: {error}", "remove it, and label with --overwrite") from error


def write_stamps(path: Path, stamps: Mapping[str, Stamp]) -> None:
    """Write the stamps of a record, if there are any and they differ from the file's."""
    if not stamps:
        return
    text = json.dumps(stamps, indent=2, sort_keys=True) + "\n"
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)


def stamp_of_probe(probe: Probe | None) -> dict[str, str]:
    """What a stamp says of the probe: nothing for that of UltraBones100k; None: what nothing means."""
    if probe is None:
        return {"probe": ULTRABONES100K.digest}
    return {} if probe.is_published else {"probe": probe.digest}


def pose_digest(poses: Poses) -> str:
    """A short text that changes when any pose or pixel spacing does."""
    return fingerprint(poses.pose.astype("<f8").tobytes(), poses.spacing_mm.astype("<f8").tobytes())


def poses_of_masks(sweep: Sweep, folder: str, asked: str | None = None) -> Poses:
    """The poses to put a folder of masks into space with: those that the masks were made from.

    Labels that this package made say so in ``labels.json``. Published labels do not; they belong to the poses that
    were published with them, so to the tracked ones where ``--refine`` added the optimised ones later. Masks that were
    not cut from a mesh (predictions, drawings) fit any pose and take the optimised ones where there are any. Poses
    asked for are taken as they are; whatever does not fit is warned of.

    Args:
        folder: name of the folder of masks in the record.
        asked: ``initial``, ``optimized``, or None to choose.

    Raises:
        DataError: no poses of that kind, or a damaged ``labels.json``.
    """
    stamp = read_stamps(sweep.folder / STAMP).get(folder)
    if stamp is not None and stamp["poses"] in (INITIAL, OPTIMIZED):
        poses = read_poses(sweep, asked or str(stamp["poses"]))
        _warn_of_stamp(sweep, folder, stamp, poses)
        return poses
    is_label = folder in (*PARTIAL_LABEL_FOLDERS, *FULL_LABEL_FOLDERS)
    if not is_label or not has_optimized_poses(sweep.folder):
        return read_poses(sweep, asked)
    chosen = asked or (INITIAL if _optimized_here(sweep.folder) else OPTIMIZED)
    other = OPTIMIZED if chosen == INITIAL else INITIAL
    logger.warning(
        "%s: %s does not say from which poses its labels were made (published labels do not); taking the %s poses%s",
        sweep.name,
        folder,
        chosen,
        "" if asked else f", --poses {other} takes the others",
    )
    return read_poses(sweep, chosen)


def _warn_of_stamp(sweep: Sweep, folder: str, stamp: Stamp, poses: Poses) -> None:
    where = f"{sweep.name}: the masks in {folder}"
    if stamp.get("probe", ULTRABONES100K.digest) != sweep.probe.digest:
        raise DataError(
            f"{where} were made with another calibration of the probe than that of {sweep.probe.name}",
            "name the calibration that they were made with (--probe), or make them again with this one",
        )
    if stamp["fingerprint"] == UNFINISHED:
        logger.warning("%s are partly of other poses or meshes: medcli label --overwrite was stopped", where)
    elif stamp["poses"] != poses.kind:
        logger.warning(
            "%s were made from the %s poses, but the %s ones were asked for: points lie beside the bone",
            where,
            stamp["poses"],
            poses.kind,
        )
    elif stamp.get("pose_digest", pose_digest(poses)) != pose_digest(poses):
        logger.warning(
            "%s were made from %s poses that have changed since (medcli label --overwrite makes them again)",
            where,
            poses.kind,
        )


def _optimized_here(record_dir: Path) -> bool:
    """Whether ``--refine`` added the optimised poses of a record to a table that had none."""
    path = tracking_file(record_dir)
    if path is None or not (record_dir / REPORT).exists():
        return False
    original = path.with_name(path.stem + ORIGINAL_ENDING + path.suffix)
    return not (original.exists() and has_optimized_poses(record_dir, original))
