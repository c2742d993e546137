"""Where predictions come from: masks on disk, which need no model and no torch, or a checkpoint."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medcli.core.errors import DataError
from medcli.core.image_io import read_grey
from medcli.ultrabones.dataset.frame_index import mask_path
from medcli.ultrabones.dataset.presence import no_masks
from medcli.ultrabones.segmentation.frame_io import read_mask
from medcli.ultrabones.segmentation.prediction_folders import mask_origin
from medcli.ultrabones.segmentation.preprocessing import (
    mask_at_size,
    resize_frame,
    resize_frame_exactly,
    resize_label,
    resize_probability,
    round_grey,
)

logger = logging.getLogger(__name__)

if TYPE_CHECKING:
    from medcli.ultrabones.segmentation.frame_segmenter import FrameSegmenter


@dataclass(frozen=True)
class LoadedFrame:
    """One frame as the metrics need it.

    Attributes:
        row: its place in the table of frames.
        grey: (256, 256) float32, 0 to 255, resized and not rounded.
        label: (H, W) native mask.
        stored: (H, W) native prediction, None when a model makes it.
        network_input: (size, size) uint8, what a model sees.
    """

    row: int
    grey: NDArray[np.float32]
    label: NDArray[np.bool_]
    stored: NDArray[np.bool_] | None = None
    network_input: NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class Prediction:
    """A predicted bone surface at 256 x 256 and at the frame's own size."""

    small: NDArray[np.bool_]
    native: NDArray[np.bool_]


class PredictionSource(Protocol):
    """Where predictions come from.

    Attributes:
        name: the mask folder or the checkpoint.
        train: specimens that the model was trained on, None if unknown.
        validated: specimens whose frames chose the model among its epochs, as far as is known.
        is_network: a network made the predictions, as far as is known.
        device: where it runs, empty for masks.
        unmarked: paths of the masks and labels read so far that have pixels, but none of 255.
    """

    name: str
    train: tuple[int, ...] | None
    validated: tuple[int, ...]
    is_network: bool
    device: str
    unmarked: set[str]

    def attach(self, frames: pd.DataFrame) -> None:
        """Get ready for these frames."""

    def load(self, row: int, image: str, label: str) -> LoadedFrame:
        """Read one frame; called from several threads at once."""
        ...

    def predict(self, frames: Sequence[LoadedFrame]) -> list[Prediction]:
        """Predict on a batch; called from one thread."""
        ...


class StoredMasks:
    """Masks on disk, in a folder of each record such as ``Labels_pred``."""

    def __init__(self, kind: str) -> None:
        self.name = kind
        self.train: tuple[int, ...] | None = None
        self.validated: tuple[int, ...] = ()
        self.is_network = False
        self.device = ""
        self.unmarked: set[str] = set()
        self._paths: list[str] = []

    def attach(self, frames: pd.DataFrame) -> None:
        """Find the masks of these frames.

        Raises:
            DataError: no frame has one; names the mask folders that are there.
        """
        self._paths = mask_path(frames, self.name).tolist()
        if not any(self._paths):
            records = frames["record_dir"].unique()
            raise no_masks(self.name, len(records), {folder.name for one in records for folder in _mask_folders(one)})
        origins = [mask_origin(Path(record, self.name)) for record in frames["record_dir"].unique()]
        networks = [origin for origin in origins if origin is not None]
        self.is_network = bool(networks)
        known = [train for origin in networks for train in origin]
        if networks and len(networks) == len(origins) and None not in known:
            self.train = tuple(sorted({number for train in known if train for number in train}))

    def load(self, row: int, image: str, label: str) -> LoadedFrame:
        if not self._paths[row]:
            raise DataError(f"no mask in {self.name}")
        frame = load_frame(row, image, label, unmarked=self.unmarked)
        mask = read_mask(self._paths[row], _shape(frame.label), self.unmarked)
        return LoadedFrame(row, frame.grey, frame.label, mask)

    def predict(self, frames: Sequence[LoadedFrame]) -> list[Prediction]:
        native = [frame.stored for frame in frames if frame.stored is not None]
        return [Prediction(shrink_mask(mask), mask) for mask in native]


class Model:
    """A trained network."""

    def __init__(self, segmenter: FrameSegmenter, name: str) -> None:
        self.name = name
        self.device = segmenter.device
        self._segmenter = segmenter
        self.train = segmenter.metadata.train_specimens
        self.validated = tuple(segmenter.metadata.splits.get("val") or ())
        self.is_network = True
        self.unmarked: set[str] = set()

    @staticmethod
    def from_checkpoint(
        path: Path | None, device: str = "auto", runs: Path = Path("runs"), engine: str = "auto", tta: bool = False
    ) -> Model:
        """Load ``path``, or the newest best checkpoint under ``runs/seg``, for ``onnx_graph.engine.load_segmenter``.

        Args:
            tta: average the probabilities of each frame and of its mirror image.

        Raises:
            DataError: there is none, or it cannot be read.
        """
        from medcli.ultrabones.segmentation.checkpoint_metadata import find_newest_best
        from medcli.ultrabones.segmentation.onnx_graph.engine import load_segmenter

        if path is None:
            path = find_newest_best(runs)
            logger.info("evaluating %s", path)
        segmenter = load_segmenter(path, device, engine=engine)
        segmenter.flips = tta
        return Model(segmenter, str(path))

    def attach(self, frames: pd.DataFrame) -> None:
        pass

    def load(self, row: int, image: str, label: str) -> LoadedFrame:
        return load_frame(row, image, label, self._segmenter.metadata.input_size, self.unmarked)

    def predict(self, frames: Sequence[LoadedFrame]) -> list[Prediction]:
        if not frames:
            return []
        threshold = self._segmenter.metadata.threshold
        maps: Any = self._segmenter.predict(
            np.stack([frame.network_input for frame in frames if frame.network_input is not None])
        )
        return [
            Prediction(
                resize_probability(found, *frame.grey.shape) > threshold,
                mask_at_size(found, *_shape(frame.label), threshold) > 0,
            )
            for found, frame in zip(maps, frames, strict=True)
        ]


def load_frame(
    row: int, image: str, label: str, input_size: int | None = None, unmarked: set[str] | None = None
) -> LoadedFrame:
    """Read image and label of one frame.

    Args:
        input_size: of the network; None: there is none.
        unmarked: gets the label's path where that has pixels, but none of 255.

    Raises:
        DataError: one of them is missing or damaged, or their sizes differ.
    """
    grey = read_grey(image)
    small, mask = resize_frame_exactly(grey), read_mask(label, _shape(grey), unmarked)
    if input_size is None:
        return LoadedFrame(row, small, mask)
    seen = round_grey(small) if small.shape == (input_size, input_size) else resize_frame(grey, input_size)
    return LoadedFrame(row, small, mask, network_input=seen)


def shrink_mask(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A native mask at 256 x 256, nearest-exact."""
    return resize_label(mask.view(np.uint8)).view(np.bool_)


def _shape(array: NDArray[Any]) -> tuple[int, int]:
    return int(array.shape[0]), int(array.shape[1])


def _mask_folders(record: str) -> list[Path]:
    return [path for path in Path(record).iterdir() if path.is_dir() and path.name.lower().startswith("label")]
