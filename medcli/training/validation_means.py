"""Means of metrics over a validation, of which some frames may have no value."""

from __future__ import annotations

import lightning.pytorch as pl
import torch
from torch import Tensor

from medcli.training.devices import widest_float


class Totals:
    """Sums and counts of metrics that some frames do not have (NaN)."""

    def __init__(self) -> None:
        self.sums: dict[str, tuple[Tensor, Tensor]] = {}

    def add(self, name: str, values: Tensor) -> None:
        """Add the values of a batch, one a frame."""
        values = values.detach().to(widest_float(values.device))
        total, count = self.sums.get(name, (values.new_zeros(()), values.new_zeros(())))
        self.sums[name] = (total + values.nansum(), count + (~values.isnan()).sum())

    def log(self, module: pl.LightningModule) -> None:
        """Log the mean of each metric over all processes."""
        for name, (total, count) in self.sums.items():
            both = torch.stack([total, count.to(total.dtype)])
            total, count = module.trainer.strategy.reduce(both, reduce_op="sum")
            module.log(name, total / count)
