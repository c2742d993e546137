"""The frames of a training, opened, and a fingerprint of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medcli.core.errors import DataError
from medcli.core.progress import SILENT, Progress
from medcli.training.batches import HostFrames, SplitFrames, Transform
from medcli.training.decoded_store import file_stamp
from medcli.training.settings import data_fingerprint
from medcli.ultrabones.dataset.splits import TrainingFrames, label_column
from medcli.ultrabones.segmentation.frame_cache import FrameCache, default_folder
from medcli.ultrabones.segmentation.settings import SegmentationSettings


def frames_fingerprint(split: TrainingFrames, labels: str) -> str:
    """Tells whether another run sees the same frames: their names, and the sizes of their files."""
    rows = split.index.iloc[np.concatenate([split.train, split.val])]
    names = zip(rows["specimen"], rows["anatomy"], rows["record"], rows["timestamp"], strict=True)
    files = zip(rows["image"], rows[label_column(labels)], strict=True)
    frames = [
        f"{'/'.join(map(str, name))} {file_stamp(image)[1]} {file_stamp(label)[1]}"
        for name, (image, label) in zip(names, files, strict=True)
    ]
    return data_fingerprint(frames, {"training frames": len(split.train), "validation frames": len(split.val)})


def open_frames(
    settings: SegmentationSettings,
    split: TrainingFrames,
    progress: Progress = SILENT,
    transform: Transform | None = None,
) -> SplitFrames:
    """Open the frames of ``split``: from the cache, which decodes what it does not hold yet, or from PNG files.

    Several processes may call this at once; one decodes and the others wait.

    Args:
        transform: changes each training frame before the augmentation: image and label (size, size) uint8
            with 255 for bone, and a NumPy generator, to both.

    Raises:
        DataError: not one frame of a side can be read.
    """
    folder = default_folder(split.index, settings.labels, settings.size)

    def open_side(rows: NDArray[np.int64], name: str) -> FrameCache:
        frames = split.index.iloc[rows]
        if not settings.use_cache:
            return FrameCache.without_files(frames, settings.labels, settings.size)
        cache = FrameCache.open_or_build(frames, folder, progress=progress, labels=settings.labels, size=settings.size)
        if not len(cache):
            raise DataError(f"none of the {len(frames)} {name} frames can be read: {cache.failures[0]}")
        return cache

    train, val = open_side(split.train, "training"), open_side(split.val, "validation")
    return SplitFrames(
        HostFrames(train.images, train.labels, transform=transform),
        HostFrames(val.images, val.labels),
        train.failures + val.failures,
    )
