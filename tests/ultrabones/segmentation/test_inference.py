"""A network ready to predict: probabilities, inputs, devices and precisions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from medcli.core.errors import UsageError
from medcli.ultrabones.segmentation import checkpoint
from medcli.ultrabones.segmentation.checkpoint_metadata import Metadata
from medcli.ultrabones.segmentation.inference import Segmenter, choose_device
from medcli.ultrabones.segmentation.network import build_model

METADATA = Metadata(
    encoder="resnet18", settings={"epochs": 3, "out": Path("runs/x")}, metrics={"val_loss": float("nan")}
)


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    torch.manual_seed(1)
    return build_model("fpn", "resnet18").eval()


@pytest.fixture
def saved(tmp_path: Path, model: torch.nn.Module) -> Path:
    return checkpoint.save_checkpoint(tmp_path / "best.safetensors", model, METADATA)


def test_segmenter_gives_probabilities_of_the_model(saved: Path, model: torch.nn.Module) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 256, 256), dtype=np.uint8)
    found = Segmenter.load(saved, "cpu").predict(images)
    inputs = (torch.from_numpy(images)[:, None].double() / 255 - METADATA.mean) / METADATA.std
    with torch.inference_mode():
        expected = torch.sigmoid(model(inputs.float()))[:, 0].numpy()
    assert found.shape == (5, 256, 256)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_segmenter_refuses_other_shapes(saved: Path) -> None:
    with pytest.raises(ValueError, match=r"images must be \(N, 256, 256\) uint8"):
        Segmenter.load(saved, "cpu").predict(np.zeros((2, 64, 64), np.uint8))


@pytest.mark.parametrize("name", ["cuda:99", "tpu", "cuda:x"])
def test_devices_that_are_not_here(name: str) -> None:
    with pytest.raises(UsageError, match=name):
        choose_device(name)


def test_precisions_that_are_not_known(saved: Path) -> None:
    with pytest.raises(UsageError, match="no precision '16'"):
        Segmenter.load(saved, "cpu", "16")
