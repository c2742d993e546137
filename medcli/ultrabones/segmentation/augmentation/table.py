"""An augmentation plan as one table of numbers, which crosses to a GPU in one copy.

A row holds, for one frame: the operation of each slot, its strength, whether the frame moves, the map from result to
source, and the crops, (2, 3) each. Slots that change nothing are 0; the map stands at the first geometric operation.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medcli.ultrabones.segmentation.augmentation.trivial import (
    CODES,
    DRAWN,
    IDENTITY,
    OPERATIONS,
    AugmentationPlan,
    compose,
    first_geometric,
)

SLOTS = DRAWN
CROPS = DRAWN - 1
"""Crops of a frame at most: its first geometric operation has none."""
MAP = 2 * SLOTS + 1
"""Place of the map in a row."""
FIELDS = MAP + 6 * (1 + CROPS)
MOVE = 1
"""The code of the geometric operations as a whole; 0 stands for none."""
_CODES = {"brightness": 2, "contrast": 3, "gaussian_blur": 4, "equalize": 5, "median_blur": 6}
_CODE_OF = np.array([_CODES.get(name, 0) for name in OPERATIONS])


def plan_table(plan: AugmentationPlan, size: tuple[int, int]) -> NDArray[np.float32]:
    """(B, FIELDS) float32 for a plan of at most :data:`SLOTS` operations a frame.

    Args:
        size: (width, height) of the frames in pixels.
    """
    frames, drawn = plan.operations.shape
    rows = np.zeros((frames, FIELDS), dtype=np.float32)
    rows[:, :drawn] = _CODE_OF[plan.operations]
    rows[:, SLOTS : SLOTS + drawn] = np.where(
        plan.operations == CODES["gaussian_blur"], _blur_shares(plan.magnitudes), plan.magnitudes
    )
    first = first_geometric(plan.operations)
    moving = np.flatnonzero(first < drawn)
    rows[moving, first[moving]] = MOVE
    rows[moving, MAP - 1] = 1
    maps, crops = compose(plan, size)
    rows[:, MAP : MAP + 6] = maps.reshape(frames, 6)
    rows[:, MAP + 6 :] = np.tile(IDENTITY.ravel(), CROPS)
    rows[:, MAP + 6 : MAP + 6 + 6 * crops.shape[1]] = crops.reshape(frames, -1)
    return rows


def _blur_shares(sigmas: NDArray[np.float64]) -> NDArray[np.float64]:
    """The share of both neighbours in a 3-pixel Gaussian; anything for 0 and below, which no blur has."""
    neighbour = np.exp(-0.5 / np.maximum(np.abs(sigmas), 1e-3) ** 2)
    return np.asarray(2 * neighbour / (1 + 2 * neighbour))
