"""Training augmentation on whole batches: "TrivialTransform" of Wu et al., Comput. Biol. Med. 194 (2025) 110435.

Every frame draws 5 of 14 operations without replacement, in random order. The published loader resamples the image
once for each geometric operation, in Python, frame by frame. Here

* all geometric operations of a frame become **one** affine map, applied with one sampling for the image (bilinear)
  and one for the label (nearest), at the place of the frame's *first* geometric operation. What an earlier operation
  pushed over the edge stays lost, as in the published order;
* intensity operations run in the order drawn, each on the part of the batch that drew it.

So a frame whose geometric operations follow each other directly equals the published sequence up to the rounding of
the repeated resampling; intensity operations drawn *between* two geometric ones act after both instead.

Coordinates of the maps: pixels from the centre of the image, x right, y down; pixel (row 0, column 0) of a 256 x 256
image lies at (-127.5, -127.5).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medcli.training.device_step.triton_present import can_compile
from medcli.ultrabones.segmentation.augmentation.affine import warp
from medcli.ultrabones.segmentation.augmentation.filters import equalize, gaussian_blur_3x3, median_7x7

OPERATIONS = (
    "identity",
    "horizontal_flip",
    "vertical_flip",
    "rotation",
    "translate_x",
    "translate_y",
    "shear_x",
    "shear_y",
    "brightness",
    "contrast",
    "saturation",
    "gaussian_blur",
    "equalize",
    "median_blur",
)
"""The 14 operations; a plan names them by their place here."""
CODES = {name: code for code, name in enumerate(OPERATIONS)}
GEOMETRIC = np.array([1 <= code <= 7 for code in range(len(OPERATIONS))])
"""(14,) whether an operation moves pixels."""
_LOSES_PIXELS = np.array([3 <= code <= 7 for code in range(len(OPERATIONS))])
DRAWN = 5
"""Operations drawn for a frame."""
MAGNITUDES = {
    "rotation": (-30.0, 30.0),
    "translate_x": (-0.1, 0.1),
    "translate_y": (-0.1, 0.1),
    "shear_x": (-30.0, 30.0),
    "shear_y": (-30.0, 30.0),
    "brightness": (0.5, 1.5),
    "contrast": (0.5, 1.5),
    "gaussian_blur": (0.1, 2.0),
}
"""Ranges that magnitudes are drawn from uniformly: degrees, shares of the image's side (rounded to whole pixels),
factors, and the blur's standard deviation in pixels."""


@dataclass(frozen=True)
class AugmentationPlan:
    """What happens to each frame of a batch.

    Attributes:
        operations: (B, S) int64, places in :data:`OPERATIONS`, in the order they are applied.
        magnitudes: (B, S) float64, in the units of :data:`MAGNITUDES`; 0 where an operation has none.
    """

    operations: NDArray[np.int64]
    magnitudes: NDArray[np.float64]


def draw_plan(frames: int, random: np.random.Generator) -> AugmentationPlan:
    """Draw 5 of the 14 operations for each of ``frames`` frames, without replacement, in random order."""
    ranks = random.random((frames, len(OPERATIONS)))
    operations = np.argsort(ranks, axis=1, kind="stable")[:, :DRAWN].astype(np.int64)
    low, high = np.array([MAGNITUDES.get(name, (0.0, 0.0)) for name in OPERATIONS]).T
    share = random.random((frames, DRAWN))
    return AugmentationPlan(operations, low[operations] + share * (high - low)[operations])


def augment(images: Tensor, labels: Tensor, plan: AugmentationPlan) -> tuple[Tensor, Tensor]:
    """Apply ``plan`` to a batch, on its device.

    Args:
        images: (B, H, W) uint8 or (B, 1, H, W) float in [0, 1].
        labels: (B, H, W) uint8 or bool; in uint8 the value 255 is bone.
        plan: one row for each of the B frames.

    Returns:
        Images (B, 1, H, W) float32 in [0, 1] and labels (B, 1, H, W) bool.
    """
    if images.device.type == "cuda" and images.dtype == labels.dtype == torch.uint8 and can_compile():
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


def sampling_maps(plan: AugmentationPlan, size: tuple[int, int]) -> NDArray[np.float64]:
    """The geometric operations as maps from a pixel of the result to where its value is taken from.

    Args:
        size: (width, height) in pixels; translations are shares of it.

    Returns:
        (B, S, 2, 3), the identity where an operation moves nothing. Conventions of torchvision's ``rotate`` (positive
        is counter-clockwise) and ``affine`` (shears about the centre).
    """
    maps = np.zeros((*plan.operations.shape, 2, 3))
    maps[..., 0, 0] = maps[..., 1, 1] = 1
    width, height = size

    def where(name: str) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        drawn = plan.operations == CODES[name]
        return drawn, plan.magnitudes[drawn]

    maps[where("horizontal_flip")[0], 0, 0] = -1
    maps[where("vertical_flip")[0], 1, 1] = -1
    drawn, degrees = where("rotation")
    angles = np.radians(degrees)
    maps[drawn, 0, 0] = maps[drawn, 1, 1] = np.cos(angles)
    maps[drawn, 0, 1], maps[drawn, 1, 0] = -np.sin(angles), np.sin(angles)
    drawn, share = where("translate_x")
    maps[drawn, 0, 2] = -np.round(share * width)
    drawn, share = where("translate_y")
    maps[drawn, 1, 2] = -np.round(share * height)
    drawn, degrees = where("shear_x")
    maps[drawn, 0, 1] = np.tan(np.radians(degrees))
    drawn, degrees = where("shear_y")
    maps[drawn, 1, 0] = np.tan(np.radians(degrees))
    return maps


def first_geometric(operations: NDArray[np.int64]) -> NDArray[np.int64]:
    """(B,) the slot of each frame's first geometric operation; S where it drew none."""
    moves = GEOMETRIC[operations]
    return np.asarray(np.where(moves.any(1), moves.argmax(1), operations.shape[1]))


def compose(plan: AugmentationPlan, size: tuple[int, int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Chain the geometric operations of each frame.

    Returns:
        The composed map from result to source (B, 2, 3), and the crops (B, C, 2, 3): maps from the result into the
        images between the operations; a pixel that lies outside any of them was lost on the way. Frames with fewer
        than C crops are filled with the identity, which loses nothing.
    """
    single = sampling_maps(plan, size)
    slots = np.arange(plan.operations.shape[1])
    cuts = _LOSES_PIXELS[plan.operations] & (slots > first_geometric(plan.operations)[:, None])
    chain = np.broadcast_to(IDENTITY, (len(single), 2, 3))
    places = np.empty_like(single)
    for slot in reversed(slots):
        chain = _after(single[:, slot], chain)
        places[:, slot] = np.where(cuts[:, slot, None, None], chain, IDENTITY)
    order = np.argsort(~cuts, axis=1, kind="stable")[:, : int(cuts.sum(1).max(initial=0))]
    return chain, np.take_along_axis(places, order[:, :, None, None], axis=1)


IDENTITY = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])


def _after(outer: NDArray[np.float64], inner: NDArray[np.float64]) -> NDArray[np.float64]:
    """(B, 2, 3) ``outer(inner(x))``."""
    linear = outer[:, :, :2] @ inner[:, :, :2]
    shift = outer[:, :, :2] @ inner[:, :, 2:] + outer[:, :, 2:]
    return np.concatenate([linear, shift], axis=2)


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
