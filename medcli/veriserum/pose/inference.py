"""Inference of poses from calibrated pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from medcli.training.devices import choose_device
from medcli.veriserum.pose.checkpoint import load_pose_network
from medcli.veriserum.pose.checkpoint_metadata import PoseMetadata
from medcli.veriserum.pose.network import PoseNetwork, as_input
from medcli.veriserum.pose.rotation_6d import six_to_matrix


class PosePredictor:
    """Estimates poses of pairs by a network on one device.

    Attributes:
        metadata: the checkpoint's description.
        device: device of the network, such as ``cpu`` or ``cuda:0``.
        batch_size: pairs in one forward pass.
    """

    def __init__(
        self, network: PoseNetwork, metadata: PoseMetadata, device: str = "auto", batch_size: int | None = None
    ) -> None:
        self.metadata = metadata
        self.device = choose_device(device)
        self.batch_size = batch_size or (32 if self.device != "cpu" else 4)
        model: Any = network.eval().requires_grad_(False)
        self._model = model.to(self.device, memory_format=torch.channels_last)

    @classmethod
    def load(cls, path: Path, device: str = "auto", batch_size: int | None = None) -> PosePredictor:
        """A network ready to predict.

        Raises:
            DataError: the checkpoint does not exist or is damaged.
            UsageError: the device does not exist.
        """
        choose_device(device)  # before the weights are read
        return cls(*load_pose_network(path), device, batch_size)

    def predict(self, planes: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Poses of pairs.

        Args:
            planes: (N, 2, S, S) uint8, bs and fs, as :class:`medcli.veriserum.pose.pair_images.PairReader` gives them.

        Returns:
            (N, 4, 4), implant to the frame of the training's pose table.
        """
        size = self.metadata.size
        if planes.ndim != 4 or planes.shape[1:] != (2, size, size) or planes.dtype != np.uint8:
            raise ValueError(f"planes must be (N, 2, {size}, {size}) uint8, got {planes.shape} {planes.dtype}")
        matrices = np.tile(np.eye(4), (len(planes), 1, 1))
        for start in range(0, len(planes), self.batch_size):
            batch = slice(start, start + self.batch_size)
            numbers = self._forward(planes[batch])
            matrices[batch, :3, 3] = numbers[:, :3].double().numpy()
            matrices[batch, :3, :3] = six_to_matrix(numbers[:, 3:].double()).numpy()
        return matrices

    def _forward(self, planes: NDArray[np.uint8]) -> torch.Tensor:
        with torch.inference_mode():
            inputs = as_input(torch.from_numpy(np.ascontiguousarray(planes)).to(self.device))
            output: torch.Tensor = self._model(inputs.contiguous(memory_format=torch.channels_last)).float().cpu()
            return output
