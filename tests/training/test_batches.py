"""Order and size of batches: every frame once, the same in every run, fair among processes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from medcli.core.errors import UsageError
from medcli.training.batches import (
    DeviceFrames,
    HostFrames,
    TransformedFrames,
    place_frames,
    spread,
    training_batches,
    validation_batches,
)
from medcli.training.seeds import random_stream


@pytest.mark.parametrize(("frames", "batch_size"), [(10, 4), (12, 4), (3, 8), (1, 4), (5, 1)])
def test_training_sees_every_frame_once_an_epoch(frames: int, batch_size: int) -> None:
    batches = training_batches(frames, batch_size, seed=1, epoch=0)
    assert sorted(np.concatenate(batches).tolist()) == list(range(frames))
    assert all(len(batch) == batch_size for batch in batches[:-1])


def test_last_batch_of_one_frame_is_left_out() -> None:
    assert [len(batch) for batch in training_batches(9, 4, seed=1, epoch=0)] == [4, 4]
    assert [len(batch) for batch in validation_batches(9, 4)] == [4, 4, 1]


def test_order_follows_from_seed_and_epoch_alone() -> None:
    first, again = (np.concatenate(training_batches(50, 8, 3, epoch=2)) for _ in range(2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, np.concatenate(training_batches(50, 8, 3, epoch=1)))
    assert not np.array_equal(first, np.concatenate(training_batches(50, 8, 4, epoch=2)))


@pytest.mark.parametrize("world", [2, 3, 4])
def test_processes_share_an_epoch_evenly(world: int) -> None:
    parts = [training_batches(50, 5, 3, 0, rank, world) for rank in range(world)]
    assert len({tuple(map(len, part)) for part in parts}) == 1
    seen = np.concatenate([batch for part in parts for batch in part])
    assert set(seen.tolist()) == set(range(50))
    assert len(seen) == -(-50 // world) * world


@pytest.mark.parametrize("world", [1, 2, 3])
def test_validation_sees_every_frame_once_in_equally_many_batches(world: int) -> None:
    parts = [validation_batches(65, 8, rank, world) for rank in range(world)]
    assert len({len(part) for part in parts}) == 1
    seen = np.concatenate([batch for part in parts for batch in part])
    assert sorted(seen.tolist()) == list(range(65))


def test_spread_takes_frames_from_everywhere() -> None:
    rows = np.arange(100, 200)
    assert spread(rows, 4).tolist() == [100, 125, 150, 175]
    assert spread(rows, None) is rows
    assert spread(rows, 500) is rows


def test_what_a_transform_returns_is_checked() -> None:
    """A function that returns another type or shape is named, and the arrays of the dataset stay as they are."""

    def as_float(image: Any, label: Any, random: np.random.Generator) -> tuple[Any, Any]:
        return image / 255, label

    images = np.full((2, 3, 3), 9, np.uint8)
    with pytest.raises(UsageError, match=r"as_float returned float64 \(3, 3\), uint8 \(3, 3\), expected uint8"):
        TransformedFrames(HostFrames(images, images, transform=as_float), random_stream).take(np.array([1]))

    def clear(image: Any, label: Any, random: np.random.Generator) -> tuple[Any, Any]:
        image[:] = 0
        return image, label

    taken = TransformedFrames(HostFrames(images, images, transform=clear), random_stream).take(np.array([1]))
    assert (int(taken[0].max()), int(taken[1].max()), int(images.min())) == (0, 9, 9)


def test_frames_on_a_device_are_those_of_the_host() -> None:
    random = np.random.default_rng(0)
    images, labels = random.integers(0, 256, (2, 11, 8, 8), dtype=np.uint8)
    host = HostFrames(images, labels)
    device = DeviceFrames(host, torch.device("cpu"), piece=4)
    positions = np.array([10, 0, 3])
    for ours, theirs, expected in zip(device.take(positions), host.take(positions), (images, labels), strict=True):
        assert torch.equal(ours, theirs)
        assert np.array_equal(ours.numpy(), expected[positions])
    assert place_frames(host, torch.device("cpu")) is host
