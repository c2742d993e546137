"""What must be known of a segmentation network besides its weights; stored in the header of each checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from medcli import __version__
from medcli.core.errors import MedcliError, UsageError
from medcli.core.json_text import to_json
from medcli.core.shell import install_extra
from medcli.training.checkpoint_files.checkpoint_file import check_checkpoint_file, check_pickled_file
from medcli.training.description import NAME, OBJECT, TEXT, Rule, are_splits, between, read_described, whole
from medcli.training.weights import SUFFIX, find_newest, read_description
from medcli.ultrabones.dataset.constants import IMAGE_MEAN, IMAGE_STD, INPUT_SIZE
from medcli.ultrabones.dataset.published_networks import UNKNOWN_TRAINING, UNTRAINED, training_origin
from medcli.ultrabones.segmentation.network import ARCH, ENCODER

_FAMILY = "medcli.segmenter."
SCHEMA = f"{_FAMILY}v1"
CITATION = "Wu et al., Computers in Biology and Medicine 194 (2025) 110435"
LICENCE = "CC BY 4.0 (UltraBones100k)"
GRAPH_SUFFIX = ".onnx"
"""Of graphs, which ``medcli export seg`` writes and ONNX Runtime computes."""


@dataclass(frozen=True)
class Metadata:
    """Description of a segmentation network.

    Attributes:
        arch, encoder: names as :func:`medcli.ultrabones.segmentation.network.build_model` takes them.
        mean, std: normalisation of grey / 255.
        input_size: rows and columns of the input, pixels.
        threshold: a pixel is bone where its probability is above it.
        settings: the options of the training that made it.
        splits: specimens of ``train`` and ``val`` and what was noticed about them.
        metrics: what validation said of these weights.
        source: where the weights come from.
    """

    arch: str = ARCH
    encoder: str = ENCODER
    mean: float = IMAGE_MEAN
    std: float = IMAGE_STD
    input_size: int = INPUT_SIZE
    threshold: float = 0.5
    settings: Mapping[str, Any] = field(default_factory=dict)
    splits: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    source: str = "medcli train seg"
    licence: str = LICENCE
    citation: str = CITATION
    medcli_version: str = __version__
    schema: str = SCHEMA

    @property
    def train_specimens(self) -> tuple[int, ...] | None:
        """Specimens trained on: none for an untrained network; None where they are unknown."""
        train = self.splits.get("train")
        return tuple(train) if train else (() if self.source == UNTRAINED else None)

    def to_json(self) -> str:
        """The description as JSON; numbers that are not finite become null."""
        return to_json(self)

    @classmethod
    def from_json(cls, text: str, name: Path | str) -> Metadata:
        """Read a description back; fields of a later version are left out.

        Raises:
            DataError: it is not a description, of a schema that this version does not know, or a field is not what it
                must be.
        """
        return cls(**read_described(text, _FAMILY, SCHEMA, _RULES, name, "segmentation"))


def read_metadata(path: Path) -> Metadata:
    """The description in one of our checkpoints, without reading the weights.

    Raises:
        DataError: the file is missing or is not one of ours.
    """
    hint = "use one that medcli train seg or medcli checkpoint convert wrote"
    return Metadata.from_json(read_description(path, hint), path)


def find_newest_best(runs_root: Path = Path("runs")) -> Path:
    """The newest ``<runs_root>/seg/*/best.safetensors``.

    Raises:
        DataError: there is none.
    """
    return find_newest(Path(runs_root), "seg")


def check_segmentation_checkpoint(
    path: Path | None, runs_root: Path = Path("runs"), takes_graphs: bool = False
) -> Path:
    """The checkpoint to use, ``path`` or the newest one, which is there and describes its network.

    Args:
        takes_graphs: a graph (``.onnx``) of ``medcli export seg`` will do as well; it is not opened here.

    Raises:
        DataError: there is none, or its description cannot be read.
        MedcliError: see :func:`check_graph_runtime`.
    """
    path = path or find_newest_best(runs_root)
    check_checkpoint_file(path, "train one: medcli train seg")
    if takes_graphs and path.suffix == GRAPH_SUFFIX:
        check_graph_runtime(path)
    elif path.suffix == SUFFIX:
        read_metadata(path)
    else:
        check_pickled_file(path)
    return path


def check_graph_runtime(path: Path) -> None:
    """Make sure that ONNX Runtime, which reads a graph, is installed.

    Raises:
        MedcliError: it is not.
    """
    if find_spec("onnxruntime") is None:
        raise MedcliError(f"reading {path} needs onnxruntime", install_extra("onnx"))


def splits_of_training(train: Sequence[int] | None) -> dict[str, Any]:
    """The field ``splits`` of a network that was trained elsewhere: on ``train``, or nobody knows on what (None)."""
    return {"train": sorted(set(train))} if train else {"warnings": [UNKNOWN_TRAINING]}


def pickled_metadata(path: Path, arch: str, encoder: str) -> Metadata:
    """The description of a pickled network, which has none: what is known of it from where the file lies."""
    origin = training_origin(path)
    source = f"{path.name} (pickled network)" + (f", {origin.evidence}" if origin else "")
    splits = splits_of_training(origin.train if origin else None)
    return Metadata(arch=arch, encoder=encoder, source=source, splits=splits)


def training_specimens_of(path: Path) -> tuple[int, ...] | None:
    """Specimens that the network of a checkpoint was trained on, without reading its weights; None if unknown.

    Raises:
        DataError: see :func:`read_metadata`.
    """
    if path.suffix == SUFFIX:
        return read_metadata(path).train_specimens
    origin = training_origin(path)
    return origin.train if origin else None


def check_threshold(threshold: float | None) -> None:
    """Make sure that a threshold, if one is given, is a probability.

    Raises:
        UsageError: it does not lie between 0 and 1.
    """
    if threshold is not None and not 0.0 < threshold < 1.0:
        raise UsageError(f"--threshold must lie between 0 and 1, got {threshold}")


_RULES: dict[str, Rule] = {
    "arch": NAME,
    "encoder": NAME,
    "mean": between(0, 1),
    "std": between(1e-4, 1e4),
    "input_size": whole(32, 8192),
    "threshold": between(0, 1),
    "settings": OBJECT,
    "splits": ("a JSON object with lists of specimens", are_splits),
    "metrics": OBJECT,
    **dict.fromkeys(("source", "licence", "citation", "medcli_version", "schema"), TEXT),
}
