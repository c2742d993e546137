"""Upsampling by matrix products against PyTorch's own, values and gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional

from medcli.training.device_step.upsampling import UpsamplingByProducts, upsample, weights


@pytest.mark.parametrize(
    "asked", [{"scale_factor": 2.0}, {"scale_factor": (3, 2)}, {"size": (9, 31)}, {"size": 11}, {"scale_factor": 1.0}]
)
def test_values_and_gradients_are_those_of_torch(asked: dict[str, Any]) -> None:
    images = torch.rand((2, 3, 8, 5), requires_grad=True)
    expected = functional.interpolate(images, mode="bilinear", align_corners=True, **asked)
    with UpsamplingByProducts(also_on_cpu=True):
        found = functional.interpolate(images, mode="bilinear", align_corners=True, **asked)
    assert type(found.grad_fn) is not type(expected.grad_fn)  # it is another way
    torch.testing.assert_close(found, expected)
    towards = torch.rand_like(expected)
    one, other = (torch.autograd.grad(result, images, towards)[0] for result in (found, expected))
    torch.testing.assert_close(one, other)


def test_other_interpolation_and_the_cpu_are_left_to_torch() -> None:
    images = torch.rand((1, 1, 4, 4))
    for given in ({"mode": "nearest"}, {"mode": "bilinear"}, {"mode": "bicubic", "align_corners": True}):
        expected = functional.interpolate(images, scale_factor=2.0, **given)
        with UpsamplingByProducts(also_on_cpu=True):
            assert torch.equal(functional.interpolate(images, scale_factor=2.0, **given), expected)
    expected = functional.interpolate(images, scale_factor=2.0, mode="bilinear", align_corners=True)
    with UpsamplingByProducts():
        found = functional.interpolate(images, scale_factor=2.0, mode="bilinear", align_corners=True)
    assert torch.equal(found, expected)


def test_one_pixel_is_repeated_and_shares_sum_to_one() -> None:
    assert torch.equal(upsample(torch.full((1, 2, 1, 1), 3.0), (4, 5)), torch.full((1, 2, 4, 5), 3.0))
    assert weights(7, 20).sum(1) == pytest.approx(1)


def test_a_prediction_before_a_training_does_not_spoil_it() -> None:
    """Matrices are kept: one that was made in inference mode could not be used in a training."""
    with torch.inference_mode():
        upsample(torch.rand((1, 1, 13, 17)), (26, 34))
    images = torch.rand((1, 1, 13, 17), requires_grad=True)
    upsample(images, (26, 34)).sum().backward()
    assert images.grad is not None
