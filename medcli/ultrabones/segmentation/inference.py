"""A trained network that turns frames into bone probabilities."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medcli.core.errors import UsageError
from medcli.training.devices import choose_device
from medcli.ultrabones.segmentation.checkpoint import load_model
from medcli.ultrabones.segmentation.checkpoint_metadata import Metadata
from medcli.ultrabones.segmentation.preprocessing import normalise, resize_frame, resize_probability

if TYPE_CHECKING:
    import torch

PRECISIONS = ("32", "bf16")
_BATCH_SIZE_GPU = 32
_BATCH_SIZE_CPU = 2
"""Two frames share one pass over the weights and still fit the cache of a core (measured: bench_predict.py)."""


class Segmenter:
    """Bone probabilities of frames, by a network on one device. May be called from several threads at once.

    Attributes:
        metadata: the checkpoint's description.
        device: where the network runs, as ``cpu`` or ``cuda:0``.
        precision: ``32`` or ``bf16``, the type in which convolutions are computed.
        batch_size: frames in one forward pass.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        metadata: Metadata,
        device: str = "auto",
        precision: str = "32",
        batch_size: int | None = None,
    ) -> None:
        import torch

        self.metadata = metadata
        if precision not in PRECISIONS:
            raise UsageError(f"no precision '{precision}'", f"one of {', '.join(PRECISIONS)}")
        self.device = choose_device(device)
        self.precision = precision
        self.batch_size = batch_size or (_BATCH_SIZE_CPU if self.device == "cpu" else _BATCH_SIZE_GPU)
        network: Any = model.eval().requires_grad_(False)
        if self.precision == "bf16":
            _convolve_in_bf16(network)
        self._type = torch.bfloat16 if self.precision == "bf16" else torch.float32
        self._model = network.to(self.device).to(memory_format=torch.channels_last)

    @classmethod
    def load(
        cls, path: Path | str, device: str = "auto", precision: str = "32", batch_size: int | None = None
    ) -> Segmenter:
        """A network ready to predict, from any checkpoint that ``checkpoint.load_model`` reads.

        Args:
            path: the checkpoint.
            device: ``auto`` (a GPU if there is one), ``cpu``, ``cuda`` or ``cuda:N``.
            precision: ``32``; or ``bf16``, which is faster on hardware that multiplies bfloat16 itself, but moves the
                edges of masks (Dice 0.99 with those of ``32``, single frames 0.94, measured on real frames).
            batch_size: frames in one forward pass; None chooses for the device.

        Raises:
            DataError: see ``checkpoint.load_model``.
            UsageError: this machine has no such device.
        """
        choose_device(device)  # before the weights are read
        return cls(*load_model(Path(path)), device, precision, batch_size)

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probability of bone of every pixel.

        Args:
            images: one grey image (H, W) uint8 of any size; or (N, 256, 256) uint8, as ``preprocessing.resize_frame``
                gives them.

        Returns:
            float32, 0 to 1, of the shape of ``images``. Bone is where it is above ``metadata.threshold``.
        """
        size = self.metadata.input_size
        if images.ndim == 2:
            return resize_probability(self.predict(resize_frame(images, size)[None])[0], *images.shape)
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
            inputs = normalise(grey, self.metadata.mean, self.metadata.std).to(self._type)
            logits = self._model(inputs.contiguous(memory_format=torch.channels_last))
            return torch.sigmoid(logits[:, 0].float()).cpu().numpy()


@contextmanager
def one_thread_each(workers: int, cores: int) -> Iterator[None]:
    """While ``workers`` threads call networks on the CPU at once, each computes on its share of ``cores``.

    Networks side by side on one thread each do the same work as one on all threads, but never wait for each other.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(max(1, cores // workers))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _convolve_in_bf16(model: torch.nn.Module) -> None:
    """Convolutions and linear layers to bfloat16; normalisation layers keep float32 weights and statistics."""
    import torch

    for module in model.modules():
        if isinstance(module, torch.nn.modules.conv._ConvNd | torch.nn.Linear):
            module.to(torch.bfloat16)
