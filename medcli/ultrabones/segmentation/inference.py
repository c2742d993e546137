"""A trained network computed by torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medcli.core.errors import UsageError
from medcli.training.devices import check_precision, choose_device
from medcli.ultrabones.segmentation.checkpoint import load_model
from medcli.ultrabones.segmentation.checkpoint_metadata import GRAPH_SUFFIX, Metadata
from medcli.ultrabones.segmentation.frame_segmenter import BATCH_SIZE_CPU, FrameSegmenter
from medcli.ultrabones.segmentation.preprocessing import normalise

if TYPE_CHECKING:
    import torch

PRECISIONS = ("32", "bf16")
_BATCH_SIZE_GPU = 32


class Segmenter(FrameSegmenter):
    """A network of torch, on any device of torch."""

    engine = "torch"

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
        check_precision(self.device, precision)
        self.precision = precision
        self.batch_size = batch_size or (BATCH_SIZE_CPU if self.device == "cpu" else _BATCH_SIZE_GPU)
        network: Any = model.eval().requires_grad_(False)
        is_on_cpu = self.device == "cpu"
        if self.precision == "bf16" and is_on_cpu:
            _convolve_in_bf16(network)
        self._type = torch.bfloat16 if self.precision == "bf16" and is_on_cpu else torch.float32
        # A GPU normalises in one type alone, so that there torch converts between the layers.
        self._converts = self.precision == "bf16" and not is_on_cpu
        self._model = network.to(self.device).to(memory_format=torch.channels_last)

    @classmethod
    def load(
        cls, path: Path | str, device: str = "auto", precision: str = "32", batch_size: int | None = None
    ) -> FrameSegmenter:
        """A network ready to predict.

        Args:
            path: any checkpoint that ``checkpoint.load_model`` reads; or a graph (``.onnx``) that
                ``medcli export seg`` wrote, which runs on the CPU and needs no torch.
            device: ``auto`` (a GPU if there is one), ``cpu``, ``cuda`` or ``cuda:N``.
            precision: ``32``; or ``bf16``, which is faster on hardware that multiplies bfloat16 itself, but moves the
                edges of masks (Dice 0.99 with those of ``32``, single frames 0.94, measured on real frames).
            batch_size: frames in one forward pass; None chooses for the device.

        Raises:
            DataError: see ``checkpoint.load_model`` and ``onnx_graph.run.GraphSegmenter``.
            UsageError: this machine has no such device, or a graph is to run elsewhere than on the CPU.
        """
        if Path(path).suffix == GRAPH_SUFFIX:
            from medcli.ultrabones.segmentation.onnx_graph.run import GraphSegmenter

            return GraphSegmenter(Path(path), device, precision, batch_size)
        choose_device(device)  # before the weights are read
        with _threads(1):  # several wait for each other longer than reading takes
            return cls(*load_model(Path(path)), device, precision, batch_size)

    @contextmanager
    def on_workers(self, workers: int, cores: int) -> Iterator[None]:
        with _threads(max(1, cores // workers)):
            yield

    def _forward(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        import torch

        kind = torch.device(self.device).type
        with torch.inference_mode(), torch.autocast(kind, torch.bfloat16, enabled=self._converts):
            grey = torch.from_numpy(np.ascontiguousarray(images)).to(self.device)
            inputs = normalise(grey, self.metadata.mean, self.metadata.std).to(self._type)
            logits = self._model(inputs.contiguous(memory_format=torch.channels_last))
            return torch.sigmoid(logits[:, 0].float()).cpu().numpy()


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """In the block, torch computes with ``count`` threads on the CPU."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
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
