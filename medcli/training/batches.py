"""Batches of frames without worker processes: from arrays in memory, in a file mapped into memory, or on the GPU.

Decoding was done before (see :mod:`medcli.training.decoded_store`), so that a batch is one gathering of bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import lightning.pytorch as pl
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medcli.core.errors import UsageError
from medcli.training.seeds import random_stream

Order = NDArray[np.int64]
Transform: TypeAlias = Callable[[Any, Any, np.random.Generator], tuple[Any, Any]]
"""Your own change of a training frame: its two arrays (image and label, or planes and target) and a random generator
that follows from seed, epoch and frame, to two arrays of the same shapes and types. It may change them in place."""
GPU_SHARE = 0.5
"""Frames live on the GPU when they take at most this share of the memory that is free there."""


class Frames(Protocol):
    """Frames that a batch can be taken from."""

    def __len__(self) -> int: ...

    def take(self, positions: Order) -> tuple[Tensor, ...]:
        """The parts (images, labels, ...) of the frames at ``positions``, each (B, ...) of its own type."""
        ...


class HostFrames:
    """Frames in arrays of the main memory or mapped from a file.

    Args:
        parts: what belongs to a frame: (N, ...) each, or anything that gives (B, ...) for an index (B,).
        transform: applied to the first two parts of each frame of a training, in main memory.
    """

    def __init__(self, *parts: Any, transform: Transform | None = None) -> None:
        self.parts, self.transform = parts, transform

    def __len__(self) -> int:
        return len(self.parts[0])

    def take(self, positions: Order) -> tuple[Tensor, ...]:
        taken = tuple(torch.from_numpy(np.array(part[positions])) for part in self.parts)
        if torch.cuda.is_available():  # from pinned memory the copy to the GPU does not wait
            return tuple(part.pin_memory() for part in taken)
        return taken


@dataclass(frozen=True)
class SplitFrames:
    """The decoded frames of a split: those to train on and those to validate on.

    Attributes:
        failures: the frames left out since they cannot be read, one line each.
    """

    train: HostFrames
    val: HostFrames
    failures: tuple[str, ...]


class DeviceFrames:
    """Frames on a device.

    Args:
        frames: where they come from; copied in pieces.
        device: where they go.
    """

    def __init__(self, frames: HostFrames, device: torch.device, piece: int = 1024) -> None:
        count = len(frames)
        self.parts = tuple(
            torch.empty((count, *part.shape[1:]), dtype=part.dtype, device=device)
            for part in frames.take(np.zeros(1, np.int64))
        )
        for start in range(0, count, piece):
            positions = np.arange(start, min(start + piece, count))
            for there, here in zip(self.parts, frames.take(positions), strict=True):
                there[start : start + piece] = here

    def __len__(self) -> int:
        return len(self.parts[0])

    def take(self, positions: Order) -> tuple[Tensor, ...]:
        index = torch.from_numpy(positions)
        if self.parts[0].is_cuda:  # from pinned memory the copy does not wait
            index = index.pin_memory().to(self.parts[0].device, non_blocking=True)
        return tuple(part[index] for part in self.parts)


class TransformedFrames:
    """Frames that a function of the user changes, one by one, as they are taken.

    Args:
        frames: with their ``transform``.
        stream: the random generator of the frame at a position.
    """

    def __init__(self, frames: HostFrames, stream: Callable[[int], np.random.Generator]) -> None:
        self.frames, self.stream = frames, stream

    def __len__(self) -> int:
        return len(self.frames)

    def take(self, positions: Order) -> tuple[Tensor, ...]:
        first, second, *others = self.frames.take(positions)
        for place, position in enumerate(positions.tolist()):
            pair = (first[place].numpy(), second[place].numpy())
            for there, changed in zip(pair, self._change(*pair, self.stream(position)), strict=True):
                there[...] = changed
        return (first, second, *others)

    def _change(self, *given: Any) -> list[NDArray[Any]]:
        assert self.frames.transform is not None, "made for frames with a transform only"
        wanted = [(part.shape, part.dtype) for part in given[:2]]
        found = [np.asarray(part) for part in self.frames.transform(*given)]
        if [(part.shape, part.dtype) for part in found] != wanted:
            got, expected = (
                ", ".join(f"{dtype} {shape}" for shape, dtype in kinds)
                for kinds in ([(part.shape, part.dtype) for part in found], wanted)
            )
            raise UsageError(f"{name_of(self.frames.transform)} returned {got or 'nothing'}, expected {expected}")
        return found


def name_of(transform: Transform | None) -> str:
    """A function's module and name, by which the settings of a run know it; empty for none."""
    if transform is None:
        return ""
    kind = transform if hasattr(transform, "__qualname__") else type(transform)
    return f"{kind.__module__}.{kind.__qualname__}"


def place_frames(frames: HostFrames, device: torch.device) -> Frames:
    """Move frames to the GPU if they fit with a reserve; on a CPU they stay where they are."""
    if device.type != "cuda" or not len(frames):
        return frames
    free, _ = torch.cuda.mem_get_info(device)
    needed = len(frames) * sum(part.numel() * part.element_size() for part in frames.take(np.zeros(1, np.int64)))
    return DeviceFrames(frames, device) if needed <= GPU_SHARE * free else frames


class FrameBatches:
    """One pass over frames, batch by batch.

    Args:
        frames: what to take the batches from.
        split: gives the positions of each batch; called at each pass.
    """

    def __init__(self, frames: Frames, split: Callable[[], list[Order]]) -> None:
        self.frames, self.split = frames, split

    def __len__(self) -> int:
        return len(self.split())

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        for positions in self.split():
            yield self.frames.take(positions)


class FrameData(pl.LightningDataModule):
    """Hands batches of two sets of frames to a trainer, without worker processes.

    Args:
        train, val: the frames; moved to the GPU where they fit.
        batch_size: frames in a step, on each device.
        seed: decides the order, together with the epoch.
    """

    def __init__(self, train: HostFrames, val: HostFrames, batch_size: int, seed: int) -> None:
        super().__init__()
        self.train, self.val, self.batch_size, self.seed = train, val, batch_size, seed
        self._train: Frames = train
        self._val: Frames = val

    def setup(self, stage: str) -> None:
        device = self._trainer().strategy.root_device
        self._train, self._val = (place_frames(side, device) for side in (self.train, self.val))
        if self.train.transform is not None:
            self._train = TransformedFrames(self.train, self._stream_of)

    def train_dataloader(self) -> FrameBatches:
        return FrameBatches(self._train, self._training_batches)

    def val_dataloader(self) -> FrameBatches:
        return FrameBatches(self._val, self._validation_batches)

    def _stream_of(self, position: int) -> np.random.Generator:
        return random_stream(self.seed, self._trainer().current_epoch, position)

    def _training_batches(self) -> list[Order]:
        trainer = self._trainer()
        place = (trainer.current_epoch, trainer.global_rank, trainer.world_size)
        return training_batches(len(self._train), self.batch_size, self.seed, *place)

    def _validation_batches(self) -> list[Order]:
        trainer = self._trainer()
        return validation_batches(len(self._val), self.batch_size, trainer.global_rank, trainer.world_size)

    def _trainer(self) -> pl.Trainer:
        assert self.trainer is not None, "used by a trainer only"
        return self.trainer


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
