"""The frames of a training: opened, and told from those of another run."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medcli.core.errors import DataError
from medcli.synthetic.ultrasound.dataset import SweepSettings, make_ultrabones
from medcli.training.batches import TransformedFrames
from medcli.training.seeds import random_stream
from medcli.ultrabones.dataset.splits import SpecimenSplit, split_frames
from medcli.ultrabones.segmentation.settings import SegmentationSettings
from medcli.ultrabones.segmentation.training_data import frames_fingerprint, open_frames

SPLIT = SpecimenSplit((1,), (2,))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_ultrabones(tmp_path / "data", (1, 2), settings=SweepSettings(frames=3, scale=0.1))


def test_the_data_folder_may_move_but_its_files_may_not_change(data: Path, tmp_path: Path) -> None:
    before = frames_fingerprint(split_frames(data, SPLIT), "partial")
    assert before.startswith("3 training frames, 3 validation frames, digest ")
    moved = Path(shutil.move(data, tmp_path / "elsewhere"))
    frames = split_frames(moved, SPLIT)
    assert frames_fingerprint(frames, "partial") == before
    assert frames_fingerprint(split_frames(moved, SPLIT, limit=2), "partial") != before
    Path(frames.index["image"][0]).write_bytes(b"another")
    assert frames_fingerprint(frames, "partial") != before


@pytest.mark.parametrize("use_cache", [True, False])
def test_frames_are_opened_from_the_cache_or_from_their_files(data: Path, use_cache: bool) -> None:
    settings = SegmentationSettings(root=data, use_cache=use_cache)
    opened = open_frames(settings, split_frames(data, SPLIT))
    images, labels = opened.train.take(np.arange(3))
    assert images.shape == labels.shape == (3, 256, 256)
    assert len(opened.val) == 3
    assert opened.failures == ()


def test_training_frames_pass_through_your_own_function(data: Path) -> None:
    def blacken(image: Any, label: Any, random: np.random.Generator) -> tuple[Any, Any]:
        return image * 0 + np.uint8(random.integers(1, 200)), label

    opened = open_frames(SegmentationSettings(root=data), split_frames(data, SPLIT), transform=blacken)
    assert opened.train.transform is blacken
    assert opened.val.transform is None
    frames = TransformedFrames(opened.train, lambda position: random_stream(7, 0, position))
    images, labels = frames.take(np.array([2, 0]))
    assert images.shape == (2, 256, 256)
    assert [len(image.unique()) for image in images] == [1, 1]
    assert torch.equal(images[1], frames.take(np.array([0]))[0][0])
    assert torch.equal(labels, opened.train.take(np.array([2, 0]))[1])


def test_frames_of_which_none_can_be_read_are_an_error(data: Path) -> None:
    frames = split_frames(data, SPLIT)
    for path in frames.index["image"][frames.val]:
        Path(path).write_bytes(b"broken")
    with pytest.raises(DataError, match="none of the 3 validation frames can be read"):
        open_frames(SegmentationSettings(root=data), frames)
