"""The segmentation network under training: augmentation, loss, optimiser, and what validation logs."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from medcli.training.device_step.recorded_module import RecordedModule
from medcli.training.device_step.upsampling import UpsamplingByProducts
from medcli.training.seeds import random_stream
from medcli.training.validation_means import Totals
from medcli.ultrabones.dataset.constants import INPUT_SIZE, LABEL_RADIUS_PX, PAPER_SCALE_MM
from medcli.ultrabones.segmentation.augmentation.filters import thicken_batch
from medcli.ultrabones.segmentation.augmentation.plan import draw_plan
from medcli.ultrabones.segmentation.augmentation.trivial import as_bone, augment, to_unit
from medcli.ultrabones.segmentation.losses import LOSSES
from medcli.ultrabones.segmentation.preprocessing import normalise_unit
from medcli.ultrabones.segmentation.recipes.strong import averaged_copy, rate_factor, update_average
from medcli.ultrabones.segmentation.settings import STRONG, SegmentationSettings
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
        self.average = averaged_copy(self.model) if settings.recipe == STRONG else None
        scale = settings.size / INPUT_SIZE  # pixels for one at the published size
        self._pixel_mm = PAPER_SCALE_MM / scale
        self._label_radius_px, self._skeleton_radius_px = (
            math.floor(radius * scale + 0.5) for radius in (LABEL_RADIUS_PX, SKELETON_RADIUS_PX)
        )
        self.loss = LOSSES[settings.loss]
        self._totals = Totals()

    @property
    def result(self) -> torch.nn.Module:
        """The network that is validated and saved: the one that is trained, or the average of its weights."""
        return self.average or self.model

    def forward(self, inputs: Tensor) -> Tensor:
        network = self.network if self.training or self.average is None else self.average
        with UpsamplingByProducts():
            logits: Tensor = network(inputs.contiguous(memory_format=torch.channels_last))
        return logits

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        images, labels = batch
        if self.settings.augment == "trivial":
            place = (self.current_epoch, batch_idx, self.global_rank)
            plan = draw_plan(len(images), random_stream(self.settings.seed, *place))
            inputs, bones = augment(images, labels, plan)
        else:
            inputs, bones = self.plain_inputs(images, labels)
        loss = self.step(inputs, bones)
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(images), sync_dist=True)
        return loss

    def plain_inputs(self, *batch: Tensor) -> tuple[Tensor, ...]:
        images, labels = batch
        return to_unit(images), as_bone(labels)

    def step_loss(self, *inputs: Tensor) -> Tensor:
        images, bones = inputs
        return self._loss(self(normalise_unit(images)), bones)

    def on_validation_epoch_start(self) -> None:
        self._totals = Totals()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        images, labels = batch
        bones = as_bone(labels)
        logits = self(normalise_unit(to_unit(images)))
        predictions, thick = logits > 0, thicken_batch(bones, self._label_radius_px)
        self._totals.add("val_loss", self._loss(logits, bones).expand(len(images)))
        self._totals.add("val_dice", dice_scores(predictions, thick))
        for name, values in zip(DISTANCES, one_sided_distances(predictions, thick, self._pixel_mm).T, strict=True):
            self._totals.add(f"val_{name}", values)

    def on_validation_epoch_end(self) -> None:
        self._totals.log(self)

    # Learning rates follow from epoch and step alone, so that a resumed run needs no scheduler's state.

    def on_train_epoch_start(self) -> None:
        self._set_rate(LR_FACTOR ** (self.current_epoch // LR_STEP_EPOCHS))

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        if self.average is not None:
            steps = int(self.trainer.num_training_batches)
            self._set_rate(rate_factor(self.current_epoch * steps + batch_idx, self.settings.epochs * steps))

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        if self.average is not None:
            update_average(self.average, self.model, self.global_step)

    def _set_rate(self, factor: float) -> None:
        for group in self.optimizers().param_groups:  # type: ignore[union-attr]
            group["lr"] = self.settings.lr * factor

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.model.parameters(), lr=self.settings.lr, fused=self.device.type == "cuda" or None)

    def _loss(self, logits: Tensor, bones: Tensor) -> Tensor:
        label, skeleton = (thicken_batch(bones, radius) for radius in (self._label_radius_px, self._skeleton_radius_px))
        return self.loss(logits, label, skeleton, self.settings.loss_weights)
