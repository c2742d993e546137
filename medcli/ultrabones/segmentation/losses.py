"""Losses of the segmentation training, by the names that ``--loss`` takes.

A new loss is one function of logits, labels and skeletons, (B, 1, H, W) float32 each, and the weights of its terms, and
one entry in :data:`LOSSES`. It must be finite for every batch, also where augmentation pushed the bone out of all
frames.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from medcli.training.losses import TrainingLoss

if TYPE_CHECKING:
    from torch import Tensor


def published_loss(
    logits: Tensor, labels: Tensor, skeletons: Tensor, dice: float, bce: float, skeleton: float
) -> Tensor:
    """The loss of Wu et al., Comput. Biol. Med. 194 (2025) 110435.

    loss = dice * Dice + bce * BCE - skeleton * mean over frames of sum(p * skeleton) / sum(skeleton)
    """
    probabilities = logits.sigmoid()
    loss = _dice_and_bce(logits, probabilities, labels, dice, bce)
    return loss - skeleton * skeleton_recall(probabilities, skeletons)


def dice_bce_loss(logits: Tensor, labels: Tensor, skeletons: Tensor, dice: float, bce: float) -> Tensor:
    """Dice and binary cross-entropy: the published loss without its skeleton term."""
    return _dice_and_bce(logits, logits.sigmoid(), labels, dice, bce)


def dice_focal_loss(logits: Tensor, labels: Tensor, skeletons: Tensor, dice: float, focal: float) -> Tensor:
    """Dice and the focal loss with exponent 2 (Lin et al., ICCV 2017), in which pixels that are right count little."""
    from segmentation_models_pytorch.losses import BINARY_MODE, FocalLoss

    focal_loss: Tensor = FocalLoss(BINARY_MODE)(logits, labels)
    return dice * dice_loss(logits.sigmoid(), labels) + focal * focal_loss


LOSSES: dict[str, TrainingLoss] = {
    "published": TrainingLoss(
        published_loss, {"Dice": 1.0, "BCE": 1.0, "skeleton": 0.1}, "Dice, cross-entropy and skeleton term"
    ),
    "dice-bce": TrainingLoss(dice_bce_loss, {"Dice": 1.0, "BCE": 1.0}, "Dice and cross-entropy"),
    "dice-focal": TrainingLoss(dice_focal_loss, {"Dice": 1.0, "focal": 1.0}, "Dice and focal loss"),
}
PUBLISHED = "published"


def dice_loss(probabilities: Tensor, labels: Tensor) -> Tensor:
    """1 - 2 sum(p g) / (sum(p) + sum(g)) with one sum over the whole batch; 0 for a batch without any bone.

    The binary Dice loss of segmentation-models-pytorch, which the published code uses.
    """
    bone = labels.sum()
    score = 2 * (probabilities * labels).sum() / (probabilities.sum() + (bone + 1e-7))
    return (1 - score) * (bone > 0)


def skeleton_recall(probabilities: Tensor, skeletons: Tensor) -> Tensor:
    """Mean over frames of the mean probability on the skeleton; a frame without skeleton contributes 0.

    The published code divides 0 by 0 there, which turns every weight into NaN.
    """
    pixels = skeletons.sum((1, 2, 3), keepdim=True).clamp(min=1)
    return (probabilities * (skeletons / (pixels * len(skeletons)))).sum()


def _dice_and_bce(logits: Tensor, probabilities: Tensor, labels: Tensor, dice: float, bce: float) -> Tensor:
    from torch.nn.functional import binary_cross_entropy_with_logits

    return dice * dice_loss(probabilities, labels) + bce * binary_cross_entropy_with_logits(logits, labels)
