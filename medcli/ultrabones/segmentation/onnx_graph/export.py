"""The segmentation network as one ONNX graph, from frames of any size to masks of that size."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medcli.core.errors import MedcliError
from medcli.core.files import check_replaceable, make_output_folder, replacing
from medcli.core.shell import install_extra
from medcli.ultrabones.segmentation.checkpoint_metadata import Metadata, find_newest_best

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from medcli.ultrabones.segmentation.inference import Segmenter

logger = logging.getLogger(__name__)

OPSET = 18
LARGEST_NETWORK_DIFFERENCE = 1e-4
"""Probabilities of frames that need no resizing may differ by this from torch; float32 leaves about 1e-6."""
LARGEST_DIFFERENCE = 2e-2
"""The same for frames that are resized: a grey value within 1e-5 of a half may be rounded to either side."""
_EXTRAS = ("onnx", "onnxscript", "onnxruntime")
_CHECKED_SHAPES = ((811, 950), (480, 640), (200, 300))


@dataclass(frozen=True)
class SegExport:
    """What ``medcli export seg`` wrote.

    Attributes:
        checkpoint: the network exported.
        path: the ONNX file.
        bytes: its size.
        opset: version of the ONNX operators.
        network_difference: largest of a probability between ONNX Runtime and torch, on frames of the input's size.
        largest_difference: the same on frames that are resized inside the graph and outside it.
        pixels_differing, pixels_compared: of the masks of those.
    """

    checkpoint: Path
    path: Path
    bytes: int
    opset: int
    network_difference: float
    largest_difference: float
    pixels_differing: int
    pixels_compared: int
    schema: str = "medcli.export.seg.v1"


def export_seg(
    checkpoint: Path | None, out: Path, threshold: float | None = None, overwrite: bool = False
) -> SegExport:
    """Write a checkpoint as ONNX with pre- and post-processing inside, and compare it with torch.

    The graph takes ``frames``, uint8 (N, H, W), any N, H and W, and gives ``probability``, float32, and ``mask``,
    uint8 0 or 255, both (N, H, W).

    Args:
        checkpoint: any that :func:`medcli.ultrabones.segmentation.checkpoint.load_model` reads; None takes the newest
            ``runs/seg/*/best.safetensors``.
        out: the file to write; nothing is written when the graph does not agree with torch.
        threshold: a pixel is bone where its probability is above it; None takes the checkpoint's.
        overwrite: replace an existing file.

    Raises:
        MedcliError: the packages of the extra ``onnx`` are missing, or the graph does not agree with torch.
        UsageError: the file exists.
        DataError: the checkpoint cannot be used.
    """
    from medcli.ultrabones.segmentation.checkpoint import load_model
    from medcli.ultrabones.segmentation.inference import Segmenter

    check_onnx_packages()
    check_replaceable(out, overwrite)
    if checkpoint is None:
        checkpoint = find_newest_best()
        logger.info("checkpoint: %s (the newest)", checkpoint)
    model, metadata = load_model(checkpoint)
    threshold = metadata.threshold if threshold is None else threshold
    make_output_folder(out.absolute().parent)
    with replacing(out) as part:
        _write_graph(model, metadata, threshold, part)
        segmenter = Segmenter(model, metadata, "cpu")
        network, *_ = _compare(part, segmenter, threshold, ((metadata.input_size, metadata.input_size),))
        largest, differing, compared = _compare(part, segmenter, threshold, _CHECKED_SHAPES)
        if not (network <= LARGEST_NETWORK_DIFFERENCE and largest <= LARGEST_DIFFERENCE):
            raise MedcliError(
                f"the exported graph differs from torch by {network:.1e} ({largest:.1e} with resizing); "
                f"{out} is not written"
            )
    return SegExport(Path(checkpoint), out, out.stat().st_size, OPSET, network, largest, differing, compared)


def check_onnx_packages() -> None:
    """Make sure that the packages of the extra ``onnx`` are installed.

    Raises:
        MedcliError: one is missing.
    """
    missing = [name for name in _EXTRAS if find_spec(name) is None]
    if missing:
        raise MedcliError(f"exporting needs {', '.join(missing)}", install_extra("onnx"))


def whole_network(model: torch.nn.Module, metadata: Metadata, threshold: float) -> torch.nn.Module:
    """``model`` between its pre- and post-processing: uint8 (N, H, W) to probability and mask (N, H, W).

    Resizing is two products with matrices of triangle weights made inside the graph from the frame's size: the same
    numbers on every runtime, where an anti-aliased Resize operator is not known to all of them.
    """
    import torch

    from medcli.ultrabones.segmentation.architectures.fpn_resnet import FpnResNet
    from medcli.ultrabones.segmentation.onnx_graph.fewer_operations import FewerOperations
    from medcli.ultrabones.segmentation.preprocessing import normalise_unit

    network = FewerOperations(model) if isinstance(model, FpnResNet) else model

    class WholeNetwork(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            height, width = frames.shape[1], frames.shape[2]
            rows = _triangle_weights(height, metadata.input_size)
            columns = _triangle_weights(width, metadata.input_size)
            small = torch.floor(rows @ frames.to(torch.float32) @ columns.transpose(0, 1) + 0.5)
            inputs = normalise_unit(small / 255.0, metadata.mean, metadata.std)
            small_probability = torch.sigmoid(self.network(inputs.unsqueeze(1)))
            probability = torch.nn.functional.interpolate(
                small_probability, size=(height, width), mode="bilinear", align_corners=False
            ).squeeze(1)
            return probability, (probability > threshold).to(torch.uint8) * 255

    return WholeNetwork().eval()


def _triangle_weights(length: int, size: int) -> torch.Tensor:
    """The filter of :func:`medcli.ultrabones.segmentation.preprocessing.resize_frame` as a matrix (size, length)."""
    import torch

    pixels = torch.arange(length, dtype=torch.float32) + 0.5
    scale = torch.ones_like(pixels).sum() / size  # the length as a tensor, which stays an input of the graph
    support = torch.clamp(scale, min=1.0)
    centres = scale * (torch.arange(size, dtype=torch.float32) + 0.5)
    weights = torch.clamp(1.0 - torch.abs(pixels[None] - centres[:, None]) / support, min=0.0)
    return weights / weights.sum(dim=1, keepdim=True)


def _write_graph(model: torch.nn.Module, metadata: Metadata, threshold: float, path: Path) -> None:
    import onnx
    import torch

    network = whole_network(model, metadata, threshold)
    example = torch.zeros(2, 811, 950, dtype=torch.uint8)
    dim = torch.export.Dim
    shapes = {"frames": {0: dim("frames", min=1), 1: dim("rows", min=2), 2: dim("columns", min=2)}}
    with _quiet(), torch.no_grad():
        program: Any = torch.onnx.export(
            network,
            (example,),
            input_names=["frames"],
            output_names=["probability", "mask"],
            opset_version=OPSET,
            dynamo=True,
            dynamic_shapes=shapes,
            verbose=False,
        )
    graph = program.model_proto
    for key, value in (("medcli", metadata.to_json()), ("threshold", str(threshold))):
        entry = graph.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.checker.check_model(graph)
    path.write_bytes(graph.SerializeToString())


def _compare(
    path: Path, segmenter: Segmenter, threshold: float, shapes: Sequence[tuple[int, int]]
) -> tuple[float, int, int]:
    """Largest difference of a probability, differing pixels and compared pixels, on frames of these sizes."""
    import cv2
    import numpy as np
    import onnxruntime

    from medcli.ultrabones.segmentation.preprocessing import mask_at_size, resize_frame

    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    largest, differing, compared = 0.0, 0, 0
    for shape in shapes:
        frames = _speckle(shape)
        probability, mask = session.run(None, {"frames": frames})
        for frame, found, found_mask in zip(frames, probability, mask, strict=True):
            small = segmenter.predict(resize_frame(frame, segmenter.metadata.input_size)[None])[0]
            expected = cv2.resize(small, shape[::-1], interpolation=cv2.INTER_LINEAR)
            largest = max(largest, float(np.abs(found - expected).max()))
            differing += int((found_mask != mask_at_size(small, *shape, threshold)).sum())
            compared += found_mask.size
    return largest, differing, compared


def _speckle(shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Two frames that resemble ultrasound: speckle of two sizes under a bright band, (2, H, W) uint8."""
    import cv2
    import numpy as np

    generator = np.random.default_rng(0)
    frames = generator.rayleigh(40.0, (2, *shape))
    frames[1] = cv2.GaussianBlur(frames[1], (0, 0), 4.0) * 1.5
    band = np.exp(-0.5 * ((np.arange(shape[0]) - 0.4 * shape[0]) / (0.02 * shape[0])) ** 2)
    return np.asarray(np.clip(frames * (0.5 + 2.0 * band[None, :, None]), 0, 255).astype(np.uint8))


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter talks at length about its own future."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [entry.level for entry in loggers]
    for entry in loggers:
        entry.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for entry, level in zip(loggers, levels, strict=True):
            entry.setLevel(level)
