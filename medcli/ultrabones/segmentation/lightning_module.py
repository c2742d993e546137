"""The segmentation network under training: augmentation, loss, optimiser, and what validation logs."""

from __future__ import annotations

import torch
from torch import Tensor

from medcli.training.device_step.recorded_module import RecordedModule
from medcli.training.device_step.upsampling import UpsamplingByProducts
from medcli.training.seeds import random_stream
from medcli.training.validation_means import Totals
from medcli.ultrabones.dataset.constants import LABEL_RADIUS_PX
from medcli.ultrabones.segmentation.augmentation.filters import thicken_batch
from medcli.ultrabones.segmentation.augmentation.trivial import as_bone, augment, draw_plan, to_unit
from medcli.ultrabones.segmentation.losses import LOSSES
from medcli.ultrabones.segmentation.preprocessing import normalise_unit
from medcli.ultrabones.segmentation.settings import SegmentationSettings
from medcli.ultrabones.segmentation.validation_metrics import DISTANCES, dice_scores, one_sided_distances

SKELETON_RADIUS_PX = 1
LR_STEP_EPOCHS = 10
LR_FACTOR = 0.8
"""The learning rate is multiplied by this every :data:`LR_STEP_EPOCHS` epochs."""

Batch = tuple[Tensor, Tensor]
"""Images and labels, (B, H, W) uint8 each."""


class SegmentationModule(RecordedModule):
    """Trains a network as published (Wu et al., Comput. Biol. Med. 194 (2025) 110435).

    Args:
        model: (N, 1, H, W) normalised grey to (N, 1, H, W) logits.
        settings: loss, learning rate, augmentation, seed.
    """

    def __init__(self, model: torch.nn.Module, settings: SegmentationSettings) -> None:
        super().__init__(settings.compile)
        # Half the time of the other memory format on a CPU, and what tensor cores want.
        self.model = model.to(memory_format=torch.channels_last)
        self.settings = settings
        self.loss = LOSSES[settings.loss]
        self._totals = Totals()

    def forward(self, inputs: Tensor) -> Tensor:
        with UpsamplingByProducts():
            logits: Tensor = self.network(inputs.contiguous(memory_format=torch.channels_last))
        return logits

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        images, labels = batch
        if self.settings.augment == "trivial":
            place = (self.current_epoch, batch_idx, self.global_rank)
            plan = draw_plan(len(images), random_stream(self.settings.seed, *place))
            inputs, bones = augment(images, labels, plan)
        else:
            inputs, bones = to_unit(images), as_bone(labels)
        loss = self.step(inputs, bones)
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(images), sync_dist=True)
        return loss

    def step_loss(self, *inputs: Tensor) -> Tensor:
        images, bones = inputs
        return self._loss(self(normalise_unit(images)), bones)

    def on_validation_epoch_start(self) -> None:
        self._totals = Totals()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        images, labels = batch
        bones = as_bone(labels)
        logits = self(normalise_unit(to_unit(images)))
        predictions, thick = logits > 0, thicken_batch(bones, LABEL_RADIUS_PX)
        self._totals.add("val_loss", self._loss(logits, bones).expand(len(images)))
        self._totals.add("val_dice", dice_scores(predictions, thick))
        for name, values in zip(DISTANCES, one_sided_distances(predictions, thick).T, strict=True):
            self._totals.add(f"val_{name}", values)

    def on_validation_epoch_end(self) -> None:
        self._totals.log(self)

    def on_train_epoch_start(self) -> None:
        # From the epoch alone, so that a resumed run needs no scheduler's state.
        for group in self.optimizers().param_groups:  # type: ignore[union-attr]
            group["lr"] = self.settings.lr * LR_FACTOR ** (self.current_epoch // LR_STEP_EPOCHS)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=self.settings.lr, fused=self.device.type == "cuda" or None)

    def _loss(self, logits: Tensor, bones: Tensor) -> Tensor:
        label, skeleton = thicken_batch(bones, LABEL_RADIUS_PX), thicken_batch(bones, SKELETON_RADIUS_PX)
        return self.loss(logits, label, skeleton, self.settings.loss_weights)
