"""Batches of frames without worker processes: from a table in memory, in a file mapped into memory, or on the GPU.

Decoding was done before (see the cache), so that a batch is one gathering of 32 times 65,536 bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medcli.training.seeds import random_stream

Order = NDArray[np.int64]
GPU_SHARE = 0.5
"""Frames live on the GPU when they take at most this share of the memory that is free there."""


class Frames(Protocol):
    """Frames that a batch can be taken from."""

    def __len__(self) -> int: ...

    def take(self, positions: Order) -> tuple[Tensor, Tensor]:
        """Images and labels (B, H, W) uint8 of the frames at ``positions``."""
        ...


class HostFrames:
    """Frames in arrays of the main memory or mapped from a file.

    Args:
        images, labels: (N, H, W) uint8, or anything that gives (B, H, W) for an index (B,).
    """

    def __init__(self, images: Any, labels: Any) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def take(self, positions: Order) -> tuple[Tensor, Tensor]:
        images, labels = (torch.from_numpy(np.array(part[positions])) for part in (self.images, self.labels))
        if torch.cuda.is_available():  # from pinned memory the copy to the GPU does not wait
            return images.pin_memory(), labels.pin_memory()
        return images, labels


class DeviceFrames:
    """Frames on a device as uint8: 131 kB a frame with its label.

    Args:
        frames: where they come from; copied in pieces.
        device: where they go.
    """

    def __init__(self, frames: HostFrames, device: torch.device, piece: int = 1024) -> None:
        count = len(frames)
        first_image, _ = frames.take(np.zeros(1, np.int64))
        shape = (count, *first_image.shape[1:])
        self.images = torch.empty(shape, dtype=torch.uint8, device=device)
        self.labels = torch.empty(shape, dtype=torch.uint8, device=device)
        for start in range(0, count, piece):
            positions = np.arange(start, min(start + piece, count))
            self.images[start : start + piece], self.labels[start : start + piece] = frames.take(positions)

    def __len__(self) -> int:
        return len(self.images)

    def take(self, positions: Order) -> tuple[Tensor, Tensor]:
        index = torch.from_numpy(positions).to(self.images.device, non_blocking=True)
        return self.images[index], self.labels[index]


def place_frames(frames: HostFrames, device: torch.device) -> Frames:
    """Put frames onto the GPU if they fit there with room to spare; on a CPU they stay where they are."""
    if device.type != "cuda" or not len(frames):
        return frames
    free, _ = torch.cuda.mem_get_info(device)
    image, label = frames.take(np.zeros(1, np.int64))
    needed = len(frames) * (image.numel() + label.numel())
    return DeviceFrames(frames, device) if needed <= GPU_SHARE * free else frames


class FrameBatches:
    """One pass over frames, batch by batch.

    Args:
        frames: what to take the batches from.
        split: gives the positions of each batch; asked anew at each pass.
    """

    def __init__(self, frames: Frames, split: Callable[[], list[Order]]) -> None:
        self.frames, self.split = frames, split

    def __len__(self) -> int:
        return len(self.split())

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for positions in self.split():
            yield self.frames.take(positions)


def training_batches(frames: int, batch_size: int, seed: int, epoch: int, rank: int = 0, world: int = 1) -> list[Order]:
    """Positions of one process's batches in one epoch: shuffled by seed and epoch alone.

    Every process gets equally many frames; where they do not divide evenly, the first few of the epoch's order are
    used twice. A last batch of a single frame is left out, as batch normalisation finds no variance there.
    """
    order = random_stream(seed, epoch).permutation(frames).astype(np.int64)
    order = np.concatenate([order, order[: -frames % world]])[rank::world]
    batches = _split(order, batch_size)
    return batches[:-1] if len(batches) > 1 and batch_size > 1 and len(batches[-1]) == 1 else batches


def validation_batches(frames: int, batch_size: int, rank: int = 0, world: int = 1) -> list[Order]:
    """Positions of one process's batches in a validation: every frame once, equally many batches in every process."""
    order = np.arange(frames, dtype=np.int64)[rank::world]
    if world == 1:
        return _split(order, batch_size)
    longest = -(-frames // world)
    return list(np.array_split(order, -(-longest // batch_size)))


def _split(order: Order, batch_size: int) -> list[Order]:
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def spread(rows: Order, limit: int | None) -> Order:
    """At most ``limit`` of ``rows``, evenly over all of them and in their order."""
    if limit is None or limit >= len(rows):
        return rows
    return rows[np.arange(limit) * len(rows) // limit]
