"""Veriserum pairs with their poses, for training and evaluation: selection, splits and pixels."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medcli.core.errors import DataError, UsageError, quantity
from medcli.core.files import cache_folder
from medcli.core.progress import SILENT, Progress
from medcli.training.batches import HostFrames, SplitFrames, Transform, spread
from medcli.training.decoded_store import DecodedStore, RowsOnDemand, file_stamp
from medcli.training.settings import data_fingerprint
from medcli.veriserum.calibration.distortion_table import DistortionTable
from medcli.veriserum.dataset.anatomies import anatomy_ids
from medcli.veriserum.dataset.detector import PLANES
from medcli.veriserum.dataset.folder_index import DISTORTIONS, POSE_COLUMNS, POSES, Images, is_obsolete, whole_numbers
from medcli.veriserum.dataset.image_doubles import Doubles
from medcli.veriserum.dataset.pose_tables import pose_matrices, with_plausible_poses
from medcli.veriserum.dataset.study import VeriserumStudy
from medcli.veriserum.dataset.trial_splits import SPLIT_RULES, Ids, Trials, TrialSplit, find_trials
from medcli.veriserum.geometry.pair_geometry import PairGeometry
from medcli.veriserum.pose.augmentation import pair_numbers
from medcli.veriserum.pose.pair_images import PairFiles, PairReader
from medcli.veriserum.pose.settings import PoseSettings

_LOG = logging.getLogger(__name__)
_VERSION = "pairs 2"
CALIBRATED, ORIGINALS = "calibrated", "originals"


@dataclass(frozen=True)
class Pairs:
    """Pairs that have both images and a pose.

    Attributes:
        study: their dataset.
        poses: the pose table's rows of these pairs, by id in ascending order.
        files: id -> files.
        source: ``calibrated`` or ``originals``.
        distortions: the calibrations of originals.
        trials: the trial of each pair.
        obsolete, incomplete: rows omitted as obsolete, or because an image or calibration is missing.
    """

    study: VeriserumStudy
    poses: pd.DataFrame
    files: dict[int, PairFiles]
    source: str
    distortions: DistortionTable
    trials: Trials
    obsolete: int
    incomplete: int

    def select(self, ids: Ids) -> list[PairFiles]:
        """Files of ``ids``."""
        return [self.files[i] for i in ids.tolist()]

    def reader(self, size: int) -> PairReader:
        """Reads these pairs at ``size`` x ``size`` pixels."""
        return PairReader(size, self.distortions)


def find_pairs(
    study: VeriserumStudy, anatomy: str | None = None, need_images: bool = True, components: pd.Series | None = None
) -> Pairs:
    """Find the pairs of an anatomy; obsolete rows are omitted.

    Args:
        study: the dataset; its calibrated images are used if their folder was given or is complete, else the originals.
        anatomy: ``femur``, ``tibia`` or an ``anatomy_id``; None: all.
        need_images: omit pairs without both images; otherwise all rows are kept.
        components: by id, the ``anatomy_id`` to take of an id with several, where ``anatomy`` names none.

    Raises:
        DataError: no images, no pose table, or no pair of that anatomy.
    """
    contents, table = study.contents, study.poses_of(components if anatomy is None else anatomy_ids(anatomy))
    missing = [name for name in (*POSE_COLUMNS, "anatomy_id") if name not in table.columns]
    if missing:
        raise DataError(f"{study.table_file(POSES)} has no column {', '.join(missing)}: training needs them")
    table = with_plausible_poses(table, study.table_file(POSES).name)
    anatomies = pd.to_numeric(table["anatomy_id"], errors="coerce")
    wanted = anatomies.notna() if anatomy is None else anatomies.isin(anatomy_ids(anatomy))
    if not wanted.any():
        present = ", ".join(map(str, sorted(set(table["anatomy_id"].dropna().tolist()))))
        raise DataError(
            f"{study.table_file(POSES)} has no pose of anatomy {anatomy}; there are: {present or 'none'}",
            "choose with --anatomy",
        )
    obsolete = is_obsolete(table)
    chosen = table[wanted & ~obsolete].sort_index()
    images, source = _find_images(study)
    files = _match(chosen, images, study.doubles, source)
    if need_images and not files:
        which = "" if anatomy is None else f" of anatomy {anatomy}"
        raise DataError(
            f"none of the {quantity(len(chosen), 'pose')}{which} has both images in {study.root} ({source})",
            "download them: medcli download veriserum",
        )
    if source == ORIGINALS and files:
        study.table(DISTORTIONS)  # raises once, here, if it is missing
    kept = chosen.loc[list(files)] if need_images else chosen
    left_out = int((wanted & obsolete).sum()), len(chosen) - len(kept)
    return Pairs(study, kept, files, source, DistortionTable(study), find_trials(table, contents), *left_out)


def choose_pairs(pairs: Pairs, name: str = "trial") -> TrialSplit:
    """Split the pairs by a rule of :data:`medcli.veriserum.dataset.trial_splits.SPLIT_RULES`.

    Raises:
        UsageError: no such rule.
        DataError: there are too few trials or pairs.
    """
    if name not in SPLIT_RULES:
        raise UsageError(f"--split '{name}' is not one of {', '.join(SPLIT_RULES)}")
    return SPLIT_RULES[name](pairs.poses, pairs.trials)


def targets_of(poses: pd.DataFrame) -> NDArray[np.float32]:
    """(N, 9) regression targets: translation (mm) and the first two rows of the rotation matrix."""
    matrices = pose_matrices(poses)
    return np.concatenate([matrices[:, :3, 3], matrices[:, :2, :3].reshape(-1, 6)], axis=1).astype(np.float32)


def open_pairs(
    settings: PoseSettings,
    pairs: Pairs,
    split: TrialSplit,
    progress: Progress = SILENT,
    transform: Transform | None = None,
) -> SplitFrames:
    """Open the pairs of a split: from the cache, which decodes missing pairs, or from the images.

    A pair has planes (2, S, S) uint8 and targets (9,) float32; with augmentation, the training pairs have a third part,
    :func:`medcli.veriserum.pose.augmentation.pair_numbers`. Several processes may call this at once; one decodes and
    the others wait.

    Args:
        transform: changes each training pair before the augmentation: planes (2, S, S) uint8, target (9,) float32 (see
            :func:`targets_of`), and a NumPy generator, to both.

    Raises:
        DataError: no pair of a split can be read, or the geometry that the augmentation needs is unknown.
    """
    sides, failures = [], []
    for name in ("train", "val"):
        ids = spread(getattr(split, name), settings.limit_pairs)
        planes, good, failed = _open_side(settings, pairs, ids, progress)
        if not len(good):
            raise DataError(f"none of the {quantity(len(ids), 'pair')} of {name} can be read: {failed[0]}")
        parts = [planes, targets_of(pairs.poses.loc[ids[good]])]
        if name == "train" and settings.augment != "none":
            cameras = PairGeometry(pairs.study, pairs.poses).cameras
            parts.append(pair_numbers(cameras, ids[good], parts[1][:, :3]))
        sides.append(HostFrames(*parts, transform=transform if name == "train" else None))
        failures += failed
    return SplitFrames(sides[0], sides[1], tuple(failures))


def fingerprint_of(settings: PoseSettings, pairs: Pairs, split: TrialSplit) -> str:
    """Fingerprint of the pairs of a run: their ids and poses, and the sizes of their images."""
    sides = [spread(ids, settings.limit_pairs) for ids in (split.train, split.val)]
    ids = np.concatenate(sides)
    targets = targets_of(pairs.poses.loc[ids])
    lines = [
        f"{item.id} {file_stamp(item.bs)[1]} {file_stamp(item.fs)[1]} {row.tobytes().hex()}"
        for item, row in zip(pairs.select(ids), targets, strict=True)
    ]
    return data_fingerprint(lines, {"training pairs": len(sides[0]), "validation pairs": len(sides[1])})


def _open_side(settings: PoseSettings, pairs: Pairs, ids: Ids, progress: Progress) -> tuple[Any, Ids, list[str]]:
    size = settings.size
    reader, files = pairs.reader(size), pairs.select(ids)
    if not settings.use_cache:
        planes = RowsOnDemand.one_by_one(range(len(files)), (2, size, size), lambda i: reader.read(files[i]))
        return planes, np.arange(len(ids)), []
    ambiguous = {i: reason for i, item in enumerate(files) if (reason := item.ambiguity())}
    clear = np.array([i for i in range(len(files)) if i not in ambiguous], np.int64)
    files = [files[i] for i in clear.tolist()]
    store = DecodedStore(_default_folder(pairs, size), _VERSION, {"planes": (2, size, size)}, stamp_size=6)
    keys = [f"{item.bs}\t{item.fs}" for item in files]
    found = store.open(keys, _stamps(reader, files), lambda i: (reader.read(files[i]),), None, progress)
    failed = [f"pair {ids[i]}: {reason}" for i, reason in ambiguous.items()]
    failed += [f"pair {files[i].id}: {found.reasons[i]}" for i in found.bad.tolist()]
    return found.parts[0], clear[found.good], failed


def _stamps(reader: PairReader, files: Sequence[PairFiles]) -> NDArray[np.int64]:
    """(N, 6): time and size of both images, and the hashes of both planes' calibrations."""
    rows = [
        [*file_stamp(item.bs), *file_stamp(item.fs), *(reader.fingerprint(item.calibration, side) for side in PLANES)]
        for item in files
    ]
    return np.array(rows, np.int64).reshape(-1, 6)


def _default_folder(pairs: Pairs, size: int) -> Path:
    root = hashlib.sha256(os.fsencode(pairs.study.root.resolve())).hexdigest()[:12]
    return cache_folder("veriserum") / f"{root}-{pairs.source}-{size}"


def _find_images(study: VeriserumStudy) -> tuple[Images, str]:
    found, originals = study.calibrated_images, study.contents.images
    calibrated_pairs, pairs = _complete(found), _complete(originals)
    if study.calibrated or (calibrated_pairs and calibrated_pairs >= pairs):
        return found, CALIBRATED
    if found:
        there = len(calibrated_pairs & pairs)
        _LOG.info("%s contains %d of %d pairs: the originals are used", study.root / "calibrated", there, len(pairs))
    return originals, ORIGINALS


def _complete(images: Images) -> set[int]:
    """Ids that have an image of both planes."""
    return {number for number, planes in images.items() if len(planes) == 2}


def _match(poses: pd.DataFrame, images: Images, doubles: Doubles, source: str) -> dict[int, PairFiles]:
    calibrations = whole_numbers(poses["distortion_calibration_id"])
    files = {}
    for number, calibration in zip(poses.index.tolist(), calibrations.tolist(), strict=True):
        planes = images.get(number, {})
        if len(planes) == 2 and source == CALIBRATED:
            files[number] = PairFiles.of(number, planes, doubles)
        elif len(planes) == 2 and not pd.isna(calibration):
            files[number] = PairFiles.of(number, planes, doubles, calibration)
    return files
