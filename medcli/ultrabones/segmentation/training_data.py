"""Which frames a training sees, and the Lightning data module that hands them out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medcli.core.errors import DataError
from medcli.core.progress import SILENT, Progress
from medcli.training.batches import HostFrames, spread
from medcli.training.decoded_store import file_stamp
from medcli.training.settings import data_fingerprint
from medcli.ultrabones.dataset.constants import TEST_SPECIMENS
from medcli.ultrabones.dataset.frame_index import index_frames
from medcli.ultrabones.segmentation.frame_cache import LABEL_COLUMNS, FrameCache, default_folder
from medcli.ultrabones.segmentation.settings import SegmentationSettings


@dataclass(frozen=True)
class TrainingFrames:
    """The frames of a training.

    Attributes:
        index: every frame of the data folder, see :func:`medcli.ultrabones.dataset.frame_index.index_frames`.
        train, val: (n,) rows of ``index``, in its order.
        donor_overlap: donors with a leg on either side.
        warnings: what to keep in mind when quoting metrics of this split.
    """

    index: pd.DataFrame
    train: NDArray[np.int64]
    val: NDArray[np.int64]
    donor_overlap: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def train_specimens(self) -> tuple[int, ...]:
        return self._specimens(self.train)

    @property
    def val_specimens(self) -> tuple[int, ...]:
        return self._specimens(self.val)

    def as_dict(self) -> dict[str, Any]:
        """For the checkpoint's description."""
        return {
            "train": list(self.train_specimens),
            "val": list(self.val_specimens),
            "train_frames": len(self.train),
            "val_frames": len(self.val),
            "donor_overlap": list(self.donor_overlap),
            "warnings": list(self.warnings),
        }

    def fingerprint(self, labels: str) -> str:
        """Tells whether another run sees the same frames: their names, and the sizes of their files."""
        rows = self.index.iloc[np.concatenate([self.train, self.val])]
        names = zip(rows["specimen"], rows["anatomy"], rows["record"], rows["timestamp"], strict=True)
        files = zip(rows["image"], rows[LABEL_COLUMNS[labels]], strict=True)
        frames = [
            f"{'/'.join(map(str, name))} {file_stamp(image)[1]} {file_stamp(label)[1]}"
            for name, (image, label) in zip(names, files, strict=True)
        ]
        return data_fingerprint(frames, {"training frames": len(self.train), "validation frames": len(self.val)})

    def _specimens(self, rows: NDArray[np.int64]) -> tuple[int, ...]:
        return tuple(sorted(set(self.index["specimen"].to_numpy()[rows].tolist())))


def choose_frames(settings: SegmentationSettings) -> TrainingFrames:
    """Find the frames that ``settings`` ask for: those with an image, a label and a row in the tracking table.

    Raises:
        DataError: there is no such frame on one of the sides; says which specimens are there.
    """
    index = index_frames(settings.root)
    usable = (index[LABEL_COLUMNS[settings.labels]] != "").to_numpy() & (index["tracking"] >= 0).to_numpy()
    train, val = (
        _rows_of(index, usable, specimens, settings, side)
        for specimens, side in ((settings.train_specimens, "training"), (settings.val_specimens, "validation"))
    )
    overlap = _shared_donors(index, train, val)
    return TrainingFrames(index, train, val, overlap, tuple(_warnings(index, settings, train, val, overlap)))


@dataclass(frozen=True)
class SplitFrames:
    """The decoded frames of a split.

    Attributes:
        train, val: frames at 256 x 256, without those that cannot be read.
        failures: the frames left out, one line each.
    """

    train: HostFrames
    val: HostFrames
    failures: tuple[str, ...]


def open_frames(settings: SegmentationSettings, split: TrainingFrames, progress: Progress = SILENT) -> SplitFrames:
    """Open the frames of ``split``: from the cache, which decodes what it does not hold yet, or from PNG files.

    Several processes may call this at once; one decodes and the others wait.

    Raises:
        DataError: not one frame of a side can be read.
    """
    folder = default_folder(split.index, settings.labels)

    def open_side(rows: NDArray[np.int64], name: str) -> FrameCache:
        frames = split.index.iloc[rows]
        if not settings.use_cache:
            return FrameCache.without_files(frames, settings.labels)
        cache = FrameCache.open_or_build(frames, folder, progress=progress, labels=settings.labels)
        if not len(cache):
            raise DataError(f"none of the {len(frames)} {name} frames can be read: {cache.failures[0]}")
        return cache

    train, val = open_side(split.train, "training"), open_side(split.val, "validation")
    return SplitFrames(
        HostFrames(train.images, train.labels), HostFrames(val.images, val.labels), train.failures + val.failures
    )


def _rows_of(
    index: pd.DataFrame,
    usable: NDArray[np.bool_],
    specimens: tuple[int, ...],
    settings: SegmentationSettings,
    side: str,
) -> NDArray[np.int64]:
    rows = np.flatnonzero(usable & index["specimen"].isin(specimens).to_numpy()).astype(np.int64)
    if not len(rows):
        asked = " ".join(map(str, specimens))
        there = " ".join(map(str, sorted(set(index["specimen"][usable].tolist())))) or "none"
        option = "--train-specimens" if side == "training" else "--val-specimens"
        raise DataError(
            f"no frame with {settings.labels} label for {side} (specimens {asked}) under {settings.root}",
            f"specimens with such labels there: {there}; choose with {option}, or --labels",
        )
    return spread(rows, settings.limit_frames)


def _shared_donors(index: pd.DataFrame, train: NDArray[np.int64], val: NDArray[np.int64]) -> tuple[str, ...]:
    donors = index["donor"].to_numpy()
    return tuple(sorted((set(donors[train].tolist()) & set(donors[val].tolist())) - {""}))


def _warnings(
    index: pd.DataFrame,
    settings: SegmentationSettings,
    train: NDArray[np.int64],
    val: NDArray[np.int64],
    overlap: tuple[str, ...],
) -> list[str]:
    specimens = index["specimen"].to_numpy()
    found = set(specimens[train].tolist()) | set(specimens[val].tolist())
    warnings = []
    for donor in overlap:
        legs = sorted(set(specimens[index["donor"].to_numpy() == donor].tolist()) & found)
        warnings.append(
            f"specimens {' and '.join(map(str, legs))} are two legs of donor {donor} on both sides of the split: "
            "validation is not independent of training"
        )
    missing = sorted((set(settings.train_specimens) | set(settings.val_specimens)) - found)
    if missing:
        warnings.append(f"no usable frame of specimens {' '.join(map(str, missing))}: they take no part")
    if set(settings.val_specimens) & set(TEST_SPECIMENS):
        warnings.append(
            "validation uses specimens of the published test split: best is chosen on them, so quote last, or "
            "validate on others with --val-specimens or --cv loo"
        )
    return warnings
