"""The losses against segmentation-models-pytorch and their formulas, and where the bone is gone."""

from __future__ import annotations

import pytest
import torch

from medcli.ultrabones.segmentation.losses import LOSSES, PUBLISHED, dice_loss, skeleton_recall


def _batch(frames: int = 3) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn((frames, 1, 16, 16), generator=generator) * 3
    labels = torch.zeros((frames, 1, 16, 16), dtype=torch.bool)
    skeletons = labels.clone()
    labels[:, :, 5:10, 2:14] = True
    skeletons[:, :, 7:8, 3:13] = True
    return logits, labels, skeletons


def test_dice_term_is_the_one_of_segmentation_models_pytorch() -> None:
    import segmentation_models_pytorch as smp

    logits, labels, _ = _batch()
    reference = smp.losses.DiceLoss(smp.losses.BINARY_MODE, from_logits=True)
    assert dice_loss(logits.sigmoid(), labels.float()).item() == pytest.approx(
        reference(logits, labels.float()).item(), abs=1e-6
    )
    nothing = torch.zeros_like(logits)
    assert dice_loss(logits.sigmoid(), nothing).item() == reference(logits, nothing).item() == 0.0


def test_published_loss_is_its_formula() -> None:
    logits, labels, skeletons = _batch()
    probability = torch.sigmoid(logits.double())
    truth = labels.double()
    dice = 1 - 2 * (probability * truth).sum() / (probability.sum() + truth.sum())
    bce = -(truth * probability.log() + (1 - truth) * (1 - probability).log()).mean()
    recall = torch.stack([probability[i][skeletons[i]].mean() for i in range(3)]).mean()
    expected = 2 * dice + 3 * bce - 0.5 * recall
    loss = LOSSES[PUBLISHED](logits, labels, skeletons, (2.0, 3.0, 0.5))
    assert loss.item() == pytest.approx(expected.item(), abs=1e-6)


def test_published_weights_are_the_default() -> None:
    assert LOSSES[PUBLISHED].terms == {"Dice": 1.0, "BCE": 1.0, "skeleton": 0.1}
    assert next(iter(LOSSES)) == PUBLISHED


def test_dice_and_cross_entropy_is_the_published_loss_without_its_skeleton_term() -> None:
    logits, labels, skeletons = _batch()
    found = LOSSES["dice-bce"](logits, labels, skeletons, (2.0, 3.0))
    assert found.item() == LOSSES[PUBLISHED](logits, labels, skeletons, (2.0, 3.0, 0.0)).item()


def test_dice_and_focal_loss_is_its_formula() -> None:
    logits, labels, skeletons = _batch()
    probability = torch.sigmoid(logits.double())
    of_truth = torch.where(labels, probability, 1 - probability)
    focal = (-((1 - of_truth) ** 2) * of_truth.log()).mean()
    expected = 2 * dice_loss(logits.sigmoid(), labels.float()).item() + 3 * focal.item()
    assert LOSSES["dice-focal"](logits, labels, skeletons, (2.0, 3.0)).item() == pytest.approx(expected, abs=1e-6)


def test_frame_without_bone_contributes_nothing_to_the_skeleton_term() -> None:
    logits, _, skeletons = _batch(2)
    with_bone = skeleton_recall(logits[:1].sigmoid(), skeletons[:1].float())
    skeletons[1] = False
    assert skeleton_recall(logits.sigmoid(), skeletons.float()).item() == pytest.approx(with_bone.item() / 2)


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4, -1e4])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("empty", [0, 1, 3])
@pytest.mark.parametrize("name", LOSSES)
def test_loss_and_gradient_are_always_finite(name: str, scale: float, kind: torch.dtype, empty: int) -> None:
    logits, labels, skeletons = _batch()
    labels[:empty] = False
    skeletons[:empty] = False
    logits = (logits * scale).to(kind).requires_grad_()
    loss = LOSSES[name](logits, labels, skeletons, tuple(LOSSES[name].terms.values()))
    loss.backward()
    assert torch.isfinite(loss)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
