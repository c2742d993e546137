"""What turns frames into bone probabilities, whichever program computes the network."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager

import numpy as np
from numpy.typing import NDArray

from medcli.ultrabones.segmentation.checkpoint_metadata import Metadata
from medcli.ultrabones.segmentation.preprocessing import resize_frame, resize_probability

BATCH_SIZE_CPU = 2
"""Two frames share one pass over the weights and still fit the cache of a core (measured: bench_predict.py)."""


class FrameSegmenter(ABC):
    """A network on one device. May be called from several threads at once.

    Attributes:
        metadata: the network's description.
        engine: the program that computes it, ``torch`` or ``onnx`` (ONNX Runtime).
        device: where the network runs, as ``cpu`` or ``cuda:0``.
        precision: ``32`` or ``bf16``, the type in which convolutions are computed.
        batch_size: frames in one forward pass.
        flips: average the probabilities of each frame and of its mirror image (left to right).
    """

    metadata: Metadata
    engine: str
    device: str
    precision: str
    batch_size: int
    flips: bool = False

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probability of bone of every pixel.

        Args:
            images: one grey image (H, W) uint8 of any size; or (N, size, size) uint8, as ``preprocessing.resize_frame``
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
            if self.flips:
                mirrored = self._forward(np.ascontiguousarray(images[batch, :, ::-1]))
                probabilities[batch] = 0.5 * (probabilities[batch] + mirrored[..., ::-1])
        return probabilities

    @abstractmethod
    def on_workers(self, workers: int, cores: int) -> AbstractContextManager[None]:
        """While ``workers`` threads call the network on the CPU at once, each computes on its share of ``cores``.

        Networks side by side on one thread each do the same work as one on all threads, but never wait for each other.
        """

    @abstractmethod
    def _forward(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities of one batch, (N, size, size)."""
