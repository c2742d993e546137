"""The pose network in training: loss, optimiser and validation metrics."""

from __future__ import annotations

import torch
from torch import Tensor

from medcli.training.device_step.recorded_module import RecordedModule
from medcli.training.validation_means import Totals
from medcli.veriserum.pose.augmentation import augment_pairs, draw_augmentation
from medcli.veriserum.pose.losses import POSE_LOSSES, rotation_errors_deg
from medcli.veriserum.pose.network import PoseNetwork, as_input
from medcli.veriserum.pose.settings import PoseSettings

Batch = tuple[Tensor, ...]
"""Planes (B, 2, S, S) uint8 and targets (B, 9); in training with augmentation also the pairs' geometry (B, 2, 13)."""


class PoseModule(RecordedModule):
    """Trains a pose network with Adam at a constant rate, as published (Wang et al., MICCAI 2025).

    Args:
        model: (B, 3, S, S) to (B, 9).
        settings: loss weights, learning rate.
    """

    def __init__(self, model: PoseNetwork, settings: PoseSettings) -> None:
        super().__init__(settings.compile)
        self.model: PoseNetwork = model.to(memory_format=torch.channels_last)
        self.settings, self._loss = settings, POSE_LOSSES[settings.loss]
        self._totals = Totals()

    def forward(self, planes: Tensor) -> Tensor:
        output: Tensor = self.network(as_input(planes).contiguous(memory_format=torch.channels_last))
        return output

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        planes, targets, *numbers = batch
        if numbers:
            place = (self.current_epoch, batch_idx, self.global_rank)
            plan = draw_augmentation(len(planes), self.settings.seed, *place)
            planes, targets = augment_pairs(planes, targets, numbers[0], plan)
        loss = self.step(planes, targets)
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(planes), sync_dist=True)
        return loss

    def step_loss(self, *inputs: Tensor) -> Tensor:
        planes, targets = inputs
        return self._loss(self(planes), targets, self.settings.loss_weights).mean()

    def on_train_epoch_start(self) -> None:
        for group in self.optimizers().param_groups:  # type: ignore[union-attr]
            group["lr"] = self.settings.lr  # not that of the resumed checkpoint

    def on_validation_epoch_start(self) -> None:
        self._totals = Totals()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        planes, targets, *_ = batch
        estimates = self(planes).float()
        away = estimates[:, :3] - targets[:, :3]
        self._totals.add("val_loss", self._loss(estimates, targets, self.settings.loss_weights))
        self._totals.add("val_in_plane_mm", away[:, :2].norm(dim=1))
        self._totals.add("val_out_of_plane_mm", away[:, 2].abs())
        self._totals.add("val_rotation_deg", rotation_errors_deg(estimates, targets))

    def on_validation_epoch_end(self) -> None:
        self._totals.log(self)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.settings.lr, fused=self.device.type == "cuda" or None)
