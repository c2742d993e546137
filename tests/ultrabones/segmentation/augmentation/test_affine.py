"""The compiled sampling against its twin in torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medcli.ultrabones.segmentation.augmentation.affine import warp, warp_by_torch
from medcli.ultrabones.segmentation.augmentation.plan import compose, draw_plan, first_geometric


@pytest.mark.parametrize(("height", "width"), [(64, 64), (40, 70), (1, 5)])
@pytest.mark.parametrize("seed", range(3))
def test_kernel_is_its_twin(height: int, width: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand((24, 1, height, width), generator=generator)
    labels = torch.rand((24, 1, height, width), generator=generator) < 0.3
    plan = draw_plan(24, np.random.default_rng(seed))
    assert (first_geometric(plan.operations) < plan.operations.shape[1]).any()
    maps, crops = (torch.from_numpy(part).float() for part in compose(plan, (width, height)))
    assert crops.shape[1] >= 2
    before = images.clone(), labels.clone()
    image, bone = warp(images, labels, maps, crops)
    expected_image, expected_bone = warp_by_torch(images, labels, maps, crops)
    # A pixel whose place is on an edge to the last digit may be kept by one and lost by the other.
    apart = (image - expected_image).abs() > 1e-4
    assert apart.float().mean() < 1e-3
    assert (bone != expected_bone).float().mean() < 1e-3
    assert 0.3 < (expected_image > 0).float().mean() < 1
    assert torch.equal(images, before[0])
    assert torch.equal(labels, before[1])


def test_flips_and_whole_pixels_are_exact() -> None:
    images = torch.rand((1, 1, 6, 9))
    labels = images > 0.5
    nothing = torch.zeros((1, 0, 2, 3))
    flip = torch.tensor([[[-1.0, 0, 0], [0, -1, 0]]])
    image, bone = warp(images, labels, flip, nothing)
    assert torch.equal(image, images.flip(-1, -2))
    assert torch.equal(bone, labels.flip(-1, -2))
    shift = torch.tensor([[[1.0, 0, -2], [0, 1, 1]]])
    image, bone = warp(images, labels, shift, nothing)
    assert torch.equal(image[..., :5, 2:], images[..., 1:, :-2])
    assert torch.equal(bone[..., :5, 2:], labels[..., 1:, :-2])
    assert not image[..., 5, :].any()
    assert not image[..., :2].any()
