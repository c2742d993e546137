"""The published segmentation loss (Wu et al., Comput. Biol. Med. 194 (2025) 110435), finite for every label.

loss = w_dice * Dice + w_bce * BCE - w_skeleton * mean over frames of sum(p * skeleton) / sum(skeleton)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class LossWeights:
    """Weights of the three terms; the paper's by default. ``skeleton`` is subtracted."""

    dice: float = 1.0
    bce: float = 1.0
    skeleton: float = 0.1


def segmentation_loss(logits: Tensor, labels: Tensor, skeletons: Tensor, weights: LossWeights) -> Tensor:
    """The published loss of a batch, computed in float32 whatever the precision of ``logits``.

    Args:
        logits, labels, skeletons: (B, 1, H, W); labels and skeletons are 0 or 1 of any type.

    Returns:
        A scalar. A batch of finite logits gives a finite loss, also where augmentation pushed the bone out of frames.
    """
    logits, labels, skeletons = logits.float(), labels.float(), skeletons.float()
    loss = weights.dice * dice_loss(logits, labels)
    loss = loss + weights.bce * functional.binary_cross_entropy_with_logits(logits, labels)
    return loss - weights.skeleton * skeleton_recall(logits, skeletons)


def dice_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """1 - 2 sum(p g) / (sum(p) + sum(g)) with one sum over the whole batch; 0 for a batch without any bone.

    The binary Dice loss of segmentation-models-pytorch, which the published code uses.
    """
    probabilities = torch.sigmoid(logits)
    total = probabilities.sum() + labels.sum()
    score = 2 * (probabilities * labels).sum() / total.clamp(min=1e-7)
    return (1 - score) * (labels.sum() > 0)


def skeleton_recall(logits: Tensor, skeletons: Tensor) -> Tensor:
    """Mean over frames of the mean probability on the skeleton; a frame without skeleton contributes 0.

    The published code divides 0 by 0 there, which turns every weight into NaN.
    """
    on_skeleton = (torch.sigmoid(logits) * skeletons).flatten(1).sum(1)
    return (on_skeleton / skeletons.flatten(1).sum(1).clamp(min=1)).mean()
