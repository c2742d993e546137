from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2.functional import resize

from medcli.core import image_io
from medcli.core.image_formats.few_images import FewImages
from medcli.ultrabones.segmentation import preprocessing

SIZES = [(811, 950), (256, 256), (100, 700), (257, 255), (3, 5), (1, 1), (1080, 1920), (256, 950)]


def torchvision_frame(grey: np.ndarray) -> np.ndarray:
    """The published resize, in grey levels, before any rounding."""
    tensor = torch.from_numpy(grey[None].astype(np.float64))
    return resize(tensor, [256, 256], antialias=True)[0].numpy()


def torchvision_label(label: np.ndarray) -> np.ndarray:
    return resize(torch.from_numpy(label[None]), [256, 256], interpolation=InterpolationMode.NEAREST_EXACT)[0].numpy()


@pytest.mark.parametrize("shape", SIZES)
def test_frame_is_the_rounded_torchvision_resize(shape: tuple[int, int]) -> None:
    grey = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    exact = torchvision_frame(grey)
    found = preprocessing.resize_frame(grey)
    assert found.shape == (256, 256)
    assert found.dtype == np.uint8
    assert np.abs(found - exact).max() <= 0.501
    assert (found == np.floor(exact + 0.5)).mean() > 0.9999


def test_frame_on_real_images(real_data: Path) -> None:
    for path in sorted((real_data / "ultrabones-images").glob("*.png"))[:6]:
        grey = image_io.read_grey(path)
        assert np.abs(preprocessing.resize_frame(grey) - torchvision_frame(grey)).max() <= 0.501


def test_extreme_grey_levels_do_not_wrap_around() -> None:
    white = np.full((811, 950), 255, np.uint8)
    assert (preprocessing.resize_frame(white) == 255).all()
    assert (preprocessing.resize_frame(white * 0) == 0).all()


def test_a_view_that_is_not_contiguous() -> None:
    grey = np.random.default_rng(2).integers(0, 256, (1900, 811), dtype=np.uint8)
    view = grey[::2].T
    np.testing.assert_array_equal(preprocessing.resize_frame(view), preprocessing.resize_frame(view.copy()))


@pytest.mark.parametrize("shape", SIZES)
def test_label_is_the_torchvision_nearest_exact(shape: tuple[int, int]) -> None:
    label = np.random.default_rng(3).integers(0, 256, shape, dtype=np.uint8)
    np.testing.assert_array_equal(preprocessing.resize_label(label), torchvision_label(label))


def test_nearest_indices_for_every_length() -> None:
    for length in range(1, 2100, 7):
        line = torch.arange(length, dtype=torch.float32)[None, None]
        expected = torch.nn.functional.interpolate(line, 256, mode="nearest-exact")[0, 0].numpy()
        np.testing.assert_array_equal(preprocessing.nearest_indices(length, 256), expected)


def test_mask_at_size_equals_torch_bilinear() -> None:
    probability = np.random.default_rng(4).random((256, 256), dtype=np.float32)
    enlarged = torch.nn.functional.interpolate(torch.from_numpy(probability)[None, None], (811, 950), mode="bilinear")
    clear = np.abs(enlarged[0, 0].numpy() - 0.5) > 1e-3
    found = preprocessing.mask_at_size(probability, 811, 950)
    assert set(np.unique(found)) == {0, 255}
    np.testing.assert_array_equal(found[clear] == 255, (enlarged[0, 0].numpy() > 0.5)[clear])


def test_the_threshold_itself_is_not_bone() -> None:
    probability = np.array([[0.5, 0.50001]], np.float32)
    assert preprocessing.mask_at_size(probability, 1, 2).tolist() == [[0, 255]]


def test_normalise() -> None:
    grey = torch.tensor([[[0, 255]]], dtype=torch.uint8)
    expected = [[[[-1.0606882, 5.0087683]]]]
    np.testing.assert_allclose(preprocessing.normalise(grey).numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("wrong", [np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.float32)])
def test_what_is_no_grey_frame_is_refused(wrong: np.ndarray) -> None:
    with pytest.raises(ValueError, match="frame must be"):
        preprocessing.resize_frame(wrong)


@pytest.mark.parametrize("shape", [(811, 950), (100, 90), (1, 700), (300, 256)])
def test_the_first_frames_are_resized_like_all_others(shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    grey = np.random.default_rng(3).integers(0, 256, shape).astype(np.uint8)
    compiled = preprocessing.resize_frame_exactly(grey)
    monkeypatch.setattr(FewImages, "next_is_one", lambda _: True)
    np.testing.assert_array_equal(preprocessing.resize_frame_exactly(grey), compiled)
