"""One step of the training, without a trainer."""

from __future__ import annotations

import pytest
import torch

from medcli.ultrabones.segmentation.augmentation.filters import thicken_batch
from medcli.ultrabones.segmentation.lightning_module import SKELETON_RADIUS_PX, SegmentationModule
from medcli.ultrabones.segmentation.losses import LOSSES
from medcli.ultrabones.segmentation.preprocessing import normalise
from medcli.ultrabones.segmentation.settings import SegmentationSettings


@pytest.mark.parametrize("name", LOSSES)
def test_the_loss_is_of_the_thickened_label(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = torch.nn.Conv2d(1, 1, 3, padding=1)
    module = SegmentationModule(model, SegmentationSettings(loss=name, augment="none"))
    logged: dict[str, float] = {}
    monkeypatch.setattr(module, "log", lambda metric, value, **_: logged.update({metric: value}))
    images = torch.randint(0, 256, (2, 32, 32), dtype=torch.uint8)
    labels = torch.zeros(2, 32, 32, dtype=torch.uint8)
    labels[:, 12, 5:25], labels[0, 20, 20] = 255, 254  # 254 is no bone
    loss = module.training_step((images, labels), 0)
    bones = (labels == 255)[:, None]
    expected = LOSSES[name](
        model(normalise(images)),
        thicken_batch(bones, 3),
        thicken_batch(bones, SKELETON_RADIUS_PX),
        tuple(LOSSES[name].terms.values()),
    )
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert logged["train_loss"] == loss
