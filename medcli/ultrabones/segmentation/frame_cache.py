"""Frames and labels decoded once to the network's size, uint8, memory-mapped (:mod:`medcli.training.decoded_store`).

The two big files are ``images.u8`` and ``labels.u8``; a slot's stamp is modification time and size of image and label.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medcli.core.files import cache_folder
from medcli.core.progress import SILENT, Progress
from medcli.training.decoded_store import DecodedStore, RowsOnDemand, file_stamp
from medcli.ultrabones.dataset.constants import INPUT_SIZE
from medcli.ultrabones.dataset.folder_layout import LABEL_COLUMNS
from medcli.ultrabones.segmentation.frame_io import read_image, read_label

_VERSION = "3"  # raised when files are read in another way, so that frames are decoded anew


@dataclass(frozen=True)
class FrameCache:
    """Frames at the size that the network sees.

    Attributes:
        images: (N, size, size) uint8, a memory map where the rows lie together in the file, else an object that is read
            like one (``len``, ``shape``, integers, slices, index arrays).
        labels: the same for the labels, 0 or 255; zero where a row has no label.
        rows: the index rows, numbered from 0, without the frames that cannot be read.
        failures: the frames left out, one line each.
    """

    images: Any
    labels: Any
    rows: pd.DataFrame
    failures: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    @staticmethod
    def open_or_build(
        frames: pd.DataFrame,
        folder: Path | None = None,
        workers: int | None = None,
        progress: Progress = SILENT,
        labels: str = "partial",
        size: int = INPUT_SIZE,
    ) -> FrameCache:
        """Decode what is new or changed in ``frames``, and open the rest as it is.

        Args:
            frames: rows of :func:`medcli.ultrabones.dataset.frame_index.index_frames`, any selection in any order.
            folder: place of the cache; default: :func:`default_folder`.
            workers: threads that decode; default: one for each usable core.
            progress: shows how far decoding is.
            labels: ``partial`` or ``full``.
            size: rows and columns of the decoded frames; a ``folder`` holds those of one size.

        Raises:
            MedcliError: not enough disk space for the cache, or it cannot be written.
        """
        keys = _keys(frames, labels)
        store = DecodedStore(folder or default_folder(frames, labels, size), _VERSION, _parts(size), stamp_size=4)

        def decode(i: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
            return read_image(keys[i][0], size), read_label(keys[i][1], size)

        found = store.open(["\t".join(key) for key in keys], _stamp_files(keys), decode, workers, progress)
        failures = tuple(_failure(keys[i][0], found.reasons[i]) for i in found.bad.tolist())
        images, masks = found.parts
        return FrameCache(images, masks, frames.iloc[found.good].reset_index(drop=True), failures)

    @staticmethod
    def without_files(frames: pd.DataFrame, labels: str = "partial", size: int = INPUT_SIZE) -> FrameCache:
        """The same object that reads the PNGs each time it is asked and writes nothing."""
        keys = _keys(frames, labels)
        images = RowsOnDemand.one_by_one([image for image, _ in keys], (size, size), partial(read_image, size=size))
        masks = RowsOnDemand.one_by_one([label for _, label in keys], (size, size), partial(read_label, size=size))
        return FrameCache(images, masks, frames.reset_index(drop=True))


def default_folder(frames: pd.DataFrame, labels: str, size: int = INPUT_SIZE) -> Path:
    """The place in the user's cache for the data folder that ``frames`` come from."""
    records = sorted({str(Path(path).parent) for path in frames["record_dir"]})
    root = os.path.commonpath(records) if records else ""
    kind = labels if size == INPUT_SIZE else f"{labels}-{size}"
    return cache_folder("ultrabones") / f"{hashlib.sha256(os.fsencode(root)).hexdigest()[:12]}-{kind}"


def _parts(size: int) -> dict[str, tuple[int, int]]:
    return {"images": (size, size), "labels": (size, size)}


def _failure(image: str, reason: str) -> str:
    """A line that begins with the frame, also where the reason names its label."""
    return f"{image}: {reason.removeprefix(image).strip()}"


def _keys(frames: pd.DataFrame, labels: str) -> list[tuple[str, str]]:
    if labels not in LABEL_COLUMNS:
        raise ValueError(f"labels must be one of {', '.join(LABEL_COLUMNS)}, got {labels!r}")
    return list(zip(frames["image"].tolist(), frames[LABEL_COLUMNS[labels]].tolist(), strict=True))


def _stamp_files(keys: list[tuple[str, str]]) -> NDArray[np.int64]:
    """Modification time and size of image and label, (N, 4); -1 for a file that is not there."""
    stamps = np.zeros((len(keys), 4), np.int64)
    for column in (0, 1):
        stamps[:, 2 * column : 2 * column + 2] = [file_stamp(key[column]) for key in keys] or np.zeros((0, 2), np.int64)
    return stamps
