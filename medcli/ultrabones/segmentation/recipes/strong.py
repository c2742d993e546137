"""The recipe ``strong``: a higher learning rate that rises and falls, and an average of the weights.

The rate rises linearly over the first steps and then follows half a cosine to nearly zero (Loshchilov and Hutter,
ICLR 2017). The average is exponential (Polyak and Juditsky, 1992) and follows the weights more closely in the first
steps, so that short runs do not average what came before the training. Both depend on the step alone and the weights,
so that a run resumes exactly from what its checkpoint holds.
"""

from __future__ import annotations

import copy
import math

import torch

from medcli.ultrabones.dataset.constants import INPUT_SIZE
from medcli.ultrabones.segmentation.settings import STRONG, SegmentationSettings

WARM_UP = 0.05
"""Share of the steps in which the rate rises."""
LOWEST = 0.01
"""Share of the highest rate at the end."""
DECAY = 0.999
"""Share of the average that stays in a step."""


def rate_factor(step: int, steps: int) -> float:
    """Share of the highest learning rate in ``step`` (from 0) of ``steps``."""
    rising = max(1, round(WARM_UP * steps))
    if step < rising:
        return (step + 1) / rising
    done = (step - rising) / max(1, steps - rising)
    return LOWEST + (1 - LOWEST) * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


def decay_after(steps: int) -> float:
    """Share of the average that stays in the step after which ``steps`` are done."""
    return min(DECAY, (1 + steps) / (10 + steps))


def averaged_copy(model: torch.nn.Module) -> torch.nn.Module:
    """A copy of ``model`` to hold the average of its weights; it is not trained."""
    return copy.deepcopy(model).requires_grad_(False)


@torch.no_grad()
def update_average(average: torch.nn.Module, model: torch.nn.Module, steps: int) -> None:
    """Move weights and running statistics of ``average`` towards those of ``model``; whole numbers are copied.

    Nothing waits for the device.

    Args:
        steps: of the optimiser, done so far.
    """
    held, new = average.state_dict(), model.state_dict()
    fractions = [name for name, tensor in held.items() if tensor.is_floating_point()]
    torch._foreach_lerp_([held[name] for name in fractions], [new[name] for name in fractions], 1 - decay_after(steps))
    for name in held.keys() - set(fractions):
        held[name].copy_(new[name])


def describe_recipe(settings: SegmentationSettings) -> str:
    """What differs from the published training, as a line for the log; empty where nothing does."""
    parts = [f"input {settings.size} x {settings.size}"]
    if settings.recipe == STRONG:
        parts = [
            f"AdamW, learning rate up to {settings.lr:g}, which rises over {WARM_UP:.0%} of the steps and falls to "
            f"{LOWEST:.0%} along a cosine",
            f"weights averaged (decay {DECAY}) for validation and checkpoints",
            *parts,
        ]
    differs = settings.recipe == STRONG or settings.size != INPUT_SIZE
    return f"recipe {settings.recipe}: {'; '.join(parts)}" if differs else ""
