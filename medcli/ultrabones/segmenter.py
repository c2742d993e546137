"""A trained network that turns frames into bone probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medcli.errors import UsageError
from medcli.ultrabones.preprocess import normalise

if TYPE_CHECKING:
    import torch

    from medcli.ultrabones.checkpoint import Metadata


class Segmenter:
    """Bone probabilities of frames, by a network on one device.

    Attributes:
        metadata: the checkpoint's description.
        device: where the network runs, as ``cpu`` or ``cuda:0``.
        batch_size: frames in one forward pass.
    """

    def __init__(
        self, model: torch.nn.Module, metadata: Metadata, device: str = "auto", batch_size: int | None = None
    ) -> None:
        import torch

        self.metadata = metadata
        self.device = choose_device(device)
        self.batch_size = batch_size or (64 if self.device.startswith("cuda") else 4)
        network: Any = model.eval().to(self.device)
        self._model = network.to(memory_format=torch.channels_last)

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probability of bone of every pixel.

        Args:
            images: (N, 256, 256) uint8 grey levels, as :func:`medcli.ultrabones.preprocess.resize_frame` gives them.

        Returns:
            (N, 256, 256) float32, 0 to 1.
        """
        size = self.metadata.input_size
        if images.ndim != 3 or images.shape[1:] != (size, size) or images.dtype != np.uint8:
            raise ValueError(f"images must be (N, {size}, {size}) uint8, got {images.shape} {images.dtype}")
        probabilities = np.empty(images.shape, np.float32)
        for start in range(0, len(images), self.batch_size):
            batch = slice(start, start + self.batch_size)
            probabilities[batch] = self._forward(images[batch])
        return probabilities

    def _forward(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        import torch

        with torch.inference_mode():
            grey = torch.from_numpy(np.ascontiguousarray(images)).to(self.device)
            inputs = normalise(grey, self.metadata.mean, self.metadata.std)
            logits = self._model(inputs.contiguous(memory_format=torch.channels_last))
            return torch.sigmoid(logits[:, 0].float()).cpu().numpy()


def choose_device(name: str = "auto") -> str:
    """The device that ``--device`` means here: ``auto`` takes a GPU if there is one.

    Raises:
        UsageError: there is no such device.
    """
    import torch

    gpus = torch.cuda.device_count()
    if name == "auto":
        return "cuda:0" if gpus else "cpu"
    if name == "cpu":
        return name
    kind, _, number = name.partition(":")
    if kind != "cuda" or (number and not number.isdecimal()):
        raise UsageError(f"no device '{name}'", "one of auto, cpu, cuda, cuda:N")
    if int(number or 0) >= gpus:
        raise UsageError(f"device {name} asked for, but this machine has {gpus} GPUs", "use --device cpu")
    return f"cuda:{int(number or 0)}"
