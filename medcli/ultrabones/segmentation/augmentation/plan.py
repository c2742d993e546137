"""What is drawn for each frame of a batch, and the geometric operations as maps.

Coordinates of the maps: pixels from the centre of the image, x right, y down; pixel (row 0, column 0) of a 256 x 256
image lies at (-127.5, -127.5).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
