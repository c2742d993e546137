"""Resizing equals torchvision's, and the kernel equals a plain matrix product."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medcli.core.image_io import read_grey, write_image
from medcli.ultrabones.segmentation.frame_io import read_label
from medcli.ultrabones.segmentation.preprocessing import (
    nearest_indices,
    resize_frame,
    resize_frame_exactly,
    resize_label,
)

SHAPES = [(811, 950), (829, 884), (100, 120), (256, 256), (300, 1999), (7, 5)]


def slow_matrix(length: int, size: int) -> np.ndarray:
    """Weights (size, length): a triangle of half-width max(length / size, 1) about each output pixel's centre."""
    matrix = np.zeros((size, length))
    for i in range(size):
        centre, reach = (i + 0.5) * length / size, max(length / size, 1.0)
        for j in range(length):
            matrix[i, j] = max(0.0, 1 - abs(j + 0.5 - centre) / reach)
        matrix[i] /= matrix[i].sum()
    return matrix


@pytest.mark.parametrize("shape", SHAPES)
def test_image_equals_the_plain_definition(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)
    expected = slow_matrix(shape[0], 256) @ image @ slow_matrix(shape[1], 256).T
    np.testing.assert_allclose(resize_frame_exactly(image), expected, atol=2e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_both_equal_torchvision(shape: tuple[int, int]) -> None:
    torch = pytest.importorskip("torch")
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2 import functional as published

    random = np.random.default_rng(2)
    image = random.integers(0, 256, shape).astype(np.uint8)
    theirs = published.resize(torch.from_numpy(image)[None].float() / 255, [256, 256], antialias=True)[0].numpy()
    np.testing.assert_allclose(resize_frame_exactly(image) / 255, theirs, atol=1e-6)
    assert np.abs(resize_frame(image) - np.round(theirs * 255)).max() <= 1
    mask = ((random.random(shape) < 0.3) * 255).astype(np.uint8)
    nearest = published.resize(torch.from_numpy(mask)[None], [256, 256], interpolation=InterpolationMode.NEAREST_EXACT)
    np.testing.assert_array_equal(resize_label(mask), nearest[0].numpy())


@pytest.mark.parametrize("shape", SHAPES)
def test_masks_equal_opencv_nearest_exact(shape: tuple[int, int]) -> None:
    import cv2

    mask = ((np.random.default_rng(3).random(shape) < 0.3) * 255).astype(np.uint8)
    np.testing.assert_array_equal(
        resize_label(mask), cv2.resize(mask, (256, 256), interpolation=cv2.INTER_NEAREST_EXACT)
    )


def test_only_255_counts_in_labels(tmp_path: Path) -> None:
    write_image(tmp_path / "label.png", np.array([[0, 1], [254, 255]], np.uint8))
    label = read_label(str(tmp_path / "label.png"))
    assert (label[128:, 128:] == 255).all()
    assert label.astype(int).sum() == 255 * 128 * 128
    assert nearest_indices(4, 2).tolist() == [1, 3]


def test_real_frames_equal_torchvision(real_data: Path) -> None:
    torch = pytest.importorskip("torch")
    from torchvision.transforms.v2 import functional as published

    for path in sorted((real_data / "ultrabones-images").glob("*.png"))[::9]:
        image = read_grey(path)
        theirs = published.resize(torch.from_numpy(image)[None].float() / 255, [256, 256], antialias=True)[0].numpy()
        np.testing.assert_array_equal(resize_frame(image), np.round(theirs * 255).astype(np.uint8))
