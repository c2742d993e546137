"""Training augmentation on whole batches: "TrivialTransform" of Wu et al., Comput. Biol. Med. 194 (2025) 110435.

Every frame draws 5 of 14 operations without replacement, in random order. The published loader resamples the image
once for each geometric operation, in Python, frame by frame. Here

* all geometric operations of a frame become **one** affine map, applied with one sampling for the image (bilinear)
  and one for the label (nearest), at the place of the frame's *first* geometric operation. What an earlier operation
  pushed over the edge stays lost, as in the published order;
* intensity operations run in the order drawn, each on the part of the batch that drew it.

So a frame whose geometric operations follow each other directly equals the published sequence up to the rounding of
the repeated resampling; intensity operations drawn *between* two geometric ones act after both instead.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medcli.ultrabones.segmentation.augmentation.affine import warp
from medcli.ultrabones.segmentation.augmentation.filters import equalize, gaussian_blur_3x3, kernels_work, median_7x7
from medcli.ultrabones.segmentation.augmentation.plan import CODES, AugmentationPlan, compose, first_geometric


def augment(images: Tensor, labels: Tensor, plan: AugmentationPlan) -> tuple[Tensor, Tensor]:
    """Apply ``plan`` to a batch, on its device.

    Args:
        images: (B, H, W) uint8 or (B, 1, H, W) float in [0, 1].
        labels: (B, H, W) uint8 or bool; in uint8 the value 255 is bone.
        plan: one row for each of the B frames.

    Returns:
        Images (B, 1, H, W) float32 in [0, 1] and labels (B, 1, H, W) bool.
    """
    if images.device.type == "cuda" and images.dtype == labels.dtype == torch.uint8 and kernels_work():
        return augment_on_gpu(images, labels, plan)
    return augment_by_operations(images, labels, plan)


def augment_on_gpu(images: Tensor, labels: Tensor, plan: AugmentationPlan) -> tuple[Tensor, Tensor]:
    """:func:`augment` for uint8 frames by one copy to the GPU and eleven kernels, whatever was drawn."""
    from medcli.ultrabones.segmentation.augmentation.kernels import augment_by_kernels
    from medcli.ultrabones.segmentation.augmentation.table import plan_table

    table = torch.from_numpy(plan_table(plan, (images.shape[-1], images.shape[-2])))
    if images.is_cuda:  # from pinned memory the copy does not wait
        table = table.pin_memory().to(images.device, non_blocking=True)
    return augment_by_kernels(images.contiguous(), labels.contiguous(), table)


def augment_by_operations(images: Tensor, labels: Tensor, plan: AugmentationPlan) -> tuple[Tensor, Tensor]:
    """:func:`augment` in torch operations and, on the CPU, compiled sampling: each on the frames that drew it."""
    inputs, bones = to_unit(images), as_bone(labels)
    maps, crops = compose(plan, (inputs.shape[-1], inputs.shape[-2]))
    first = first_geometric(plan.operations)
    for slot in range(plan.operations.shape[1]):
        moved = np.flatnonzero(first == slot)
        if len(moved):
            rows = _on_device(moved, inputs)
            moving = (_on_device(maps[moved], inputs), _on_device(crops[moved], inputs))
            inputs[rows], bones[rows] = warp(inputs[rows], bones[rows], *moving)
        for name, change in INTENSITY.items():
            drawn = np.flatnonzero(plan.operations[:, slot] == CODES[name])
            if len(drawn):
                rows = _on_device(drawn, inputs)
                inputs[rows] = change(inputs[rows], _on_device(plan.magnitudes[drawn, slot], inputs))
    return inputs, bones


def to_unit(images: Tensor) -> Tensor:
    """(B, H, W) uint8 to a new (B, 1, H, W) float32 tensor in [0, 1]; a float batch is copied as it is."""
    if images.dtype == torch.uint8:
        return images[:, None].float().div_(255)
    return images.float().clone()


def as_bone(labels: Tensor) -> Tensor:
    """(B, H, W) labels to a new (B, 1, H, W) bool tensor: 255 is bone, every other value of a uint8 label is not."""
    return (labels == 255 if labels.dtype == torch.uint8 else labels.bool()).clone()[:, None]


def _on_device(values: NDArray[np.float64] | NDArray[np.int64], like: Tensor) -> Tensor:
    """An index stays int64, numbers become float32; the copy to a GPU does not wait."""
    tensor = torch.from_numpy(values)
    return tensor.to(like.device, tensor.dtype if tensor.dtype == torch.int64 else torch.float32, non_blocking=True)


def _column(magnitudes: Tensor) -> Tensor:
    return magnitudes.view(-1, 1, 1, 1)


def _brightness(images: Tensor, factors: Tensor) -> Tensor:
    return (images * _column(factors)).clamp_(0, 1)


def _contrast(images: Tensor, factors: Tensor) -> Tensor:
    mean = images.mean((1, 2, 3), keepdim=True)
    return torch.lerp(mean, images, _column(factors)).clamp_(0, 1)


INTENSITY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "brightness": _brightness,
    "contrast": _contrast,
    "gaussian_blur": gaussian_blur_3x3,
    "equalize": lambda images, _: equalize(images),
    "median_blur": lambda images, _: median_7x7(images),
}
"""Operations that change the image's (b, 1, H, W) values in [0, 1] only. Identity changes nothing, and neither does
saturation on grey."""
