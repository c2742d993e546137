"""Validation metrics against SciPy and against their formulas."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt

from medcli.ultrabones.dataset.constants import LABEL_RADIUS_PX, PAPER_SCALE_MM
from medcli.ultrabones.segmentation.augmentation.filters import thicken_batch
from medcli.ultrabones.segmentation.validation_metrics import (
    dice_scores,
    distance_maps,
    distance_maps_by_rows,
    one_sided_distances,
    one_sided_distances_at_once,
)


def _masks(seed: int, share: float, shape: tuple[int, ...] = (4, 1, 30, 41)) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random(shape) < share)


@pytest.mark.parametrize("shape", [(3, 30, 41), (1, 256, 256), (2, 1, 9), (2, 9, 1)])
@pytest.mark.parametrize("ways", [distance_maps, distance_maps_by_rows])
def test_both_ways_give_the_exact_distance(
    ways: Callable[[torch.Tensor], torch.Tensor], shape: tuple[int, ...]
) -> None:
    labels = _masks(1, 0.01, shape)
    labels[:, 0, 0] = True
    expected = np.stack([distance_transform_edt(~label) for label in labels.numpy()])
    found = ways(labels).numpy()
    assert np.array_equal(np.rint(found.astype(np.float64) ** 2), np.rint(expected**2))
    np.testing.assert_allclose(found, expected, rtol=2e-7)


def test_distances_are_the_published_ones() -> None:
    predictions, labels = _masks(2, 0.1), _masks(3, 0.02)
    found = one_sided_distances(predictions, labels).numpy()
    for frame in range(4):
        apart = distance_transform_edt(~labels[frame, 0].numpy())[predictions[frame, 0].numpy()] * PAPER_SCALE_MM
        expected = [apart.mean(), apart.max(), np.quantile(apart, 0.95)]
        np.testing.assert_allclose(found[frame], expected, rtol=1e-5)


def test_frames_without_prediction_or_label_have_no_distance() -> None:
    predictions, labels = _masks(2, 0.1), _masks(3, 0.02)
    predictions[1] = False
    labels[2] = False
    nothing = torch.isnan(one_sided_distances(predictions, labels))
    assert nothing.all(1).tolist() == [False, True, True, False]
    assert nothing.any(1).tolist() == [False, True, True, False]


@pytest.mark.parametrize("shift", [0, 1, 4])
def test_distances_run_from_the_prediction_to_the_thickened_label(shift: int) -> None:
    label = torch.zeros(1, 1, 256, 256, dtype=torch.bool)
    label[..., 100, 20:220] = True
    prediction = torch.roll(label, shift + LABEL_RADIUS_PX, dims=2)
    found = one_sided_distances(prediction, thicken_batch(label, LABEL_RADIUS_PX))
    assert found[0].tolist() == pytest.approx([shift * PAPER_SCALE_MM] * 3)


def test_scale_is_the_published_one() -> None:
    assert pytest.approx(0.185730, abs=1e-6) == PAPER_SCALE_MM


def test_dice() -> None:
    predictions, labels = _masks(4, 0.3), _masks(5, 0.3)
    labels[1] = False
    predictions[2] = False
    predictions[3] = labels[3]
    scores = dice_scores(predictions, labels)
    both = (predictions[0] & labels[0]).sum() / (predictions[0].sum() + labels[0].sum())
    assert scores[0].item() == pytest.approx(2 * both.item())
    assert torch.isnan(scores[1])
    assert scores[2:].tolist() == [0.0, 1.0]


def test_all_frames_at_once_are_frame_by_frame() -> None:
    """The way taken on a GPU, where nothing may wait for a single frame."""
    labels, predictions = torch.rand((2, 6, 1, 40, 30)) < 0.03
    labels[4], predictions[5] = False, False
    predictions[3] = False
    predictions[3, 0, 2, 2] = True  # one pixel: mean, maximum and quantile are the same
    found, expected = one_sided_distances_at_once(predictions, labels), one_sided_distances(predictions, labels)
    torch.testing.assert_close(found, expected, equal_nan=True)
