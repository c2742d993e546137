"""Filters and thickening against their definitions and the codec."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt, median_filter

from medcli.ultrabones.segmentation.augmentation import filters


@pytest.mark.parametrize("radius", [0, 1, 2, 3, 4, 7])
def test_thickening_is_a_threshold_of_the_distance_map(radius: int) -> None:
    random = np.random.default_rng(radius)
    labels = random.random((3, 1, 40, 50)) < 0.01
    labels[0, 0, [0, 0, -1, -1], [0, -1, 0, -1]] = True
    labels[2] = False
    thick = filters.thicken_batch(torch.from_numpy(labels), radius).numpy()
    for frame in range(2):
        assert np.array_equal(thick[frame, 0], distance_transform_edt(~labels[frame, 0]) <= radius)
    assert not thick[2].any()


def test_thickening_reaches_over_a_image_smaller_than_the_disk() -> None:
    label = torch.zeros((1, 1, 2, 3), dtype=torch.bool)
    label[..., 0, 0] = True
    assert filters.thicken_batch(label, 3).all()


def test_median_of_copies_is_the_codec_one() -> None:
    """The way taken on a GPU equals the one taken on the CPU."""
    levels = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (2, 1, 30, 41), dtype=np.uint8))
    expected = torch.stack(
        [torch.from_numpy(median_filter(frame.numpy(), (1, 7, 7), mode="nearest")) for frame in levels]
    )
    assert torch.equal(filters._median_of_copies(levels), expected)
    assert torch.equal(filters.median_7x7(levels.float() / 255), expected.float() / 255)


def test_equalizing_a_flat_image_changes_nothing() -> None:
    flat = torch.full((2, 1, 8, 8), 77 / 255)
    flat[1] = 0
    assert torch.equal(filters.equalize(flat), flat)


def test_a_gpu_that_cannot_run_the_kernels_is_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """There is no GPU here that they could run on."""
    monkeypatch.setattr(filters, "find_spec", lambda name: object())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    filters.kernels_work.cache_clear()
    try:
        if not Path("/dev/nvidiactl").exists():
            assert not filters.kernels_work()
            assert not filters.kernels_work()
            assert caplog.text.count("augmented without Triton") == 1
    finally:
        filters.kernels_work.cache_clear()


def test_without_triton_nothing_is_said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Windows has none, and nobody can change that."""
    monkeypatch.setattr(filters, "find_spec", lambda name: None)
    filters.kernels_work.cache_clear()
    try:
        assert not filters.kernels_work()
        assert not caplog.text
    finally:
        filters.kernels_work.cache_clear()
