"""Identify checkpoints from the header of the file: fast, without torch, and without reading weights.

The description that medcli writes into the header (:mod:`medcli.training.weights`) is enough.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medcli.core.errors import DataError, printable
from medcli.core.run_provenance import synthetic_training
from medcli.training.checkpoint_files.checkpoint_file import check_checkpoint_file
from medcli.training.checkpoint_files.safetensors_header import read_safetensors_header
from medcli.training.description import are_splits, parse_description
from medcli.training.weights import HEADER_KEY, SUFFIX
from medcli.ultrabones.dataset.published_networks import UNTRAINED

if TYPE_CHECKING:
    from medcli.ultrabones.segmentation.checkpoint import Checkpoint
    from medcli.veriserum.pose.checkpoint import PoseCheckpoint

SEGMENTATION, POSE, OTHER, DAMAGED = "segmentation", "pose", "other", "damaged"
KINDS = {"medcli.segmenter.v1": SEGMENTATION, "medcli.pose_network.v1": POSE}


@dataclass(frozen=True)
class Header:
    """The header of a safetensors file.

    Attributes:
        description: medcli's description of the network; empty if another program wrote the file.
        parameters: number of parameters in the file.
    """

    description: dict[str, Any]
    parameters: int

    @property
    def kind(self) -> str:
        """``segmentation``, ``pose``, or ``other``."""
        return KINDS.get(str(self.description.get("schema")), OTHER)


@dataclass(frozen=True)
class FoundCheckpoint:
    """A checkpoint that ``medcli info`` lists.

    Attributes:
        path: the file.
        kind: ``segmentation``, ``pose``, ``other``, or ``damaged``.
        what: the network, or the damage of the file.
        splits: the data split that the network was trained on, from its description.
        train_specimens: specimens that a segmentation network was trained on; None if unknown, or of another kind.
    """

    path: Path
    kind: str
    what: str
    splits: dict[str, Any] = field(default_factory=dict)
    train_specimens: list[int] | None = None


def read_header(path: Path) -> Header:
    """Read the header of a safetensors file, and check that the file has the length that it states.

    Raises:
        DataError: the file is missing, is not a safetensors file, is truncated, or its description is malformed.
    """
    header = read_safetensors_header(path)
    try:
        description = parse_description(header.metadata.get(HEADER_KEY, "{}"))
    except ValueError as error:
        raise DataError(f"{path} does not describe its network: {error}") from error
    return Header(description, header.parameters)


def find_checkpoints(weights: Path, of_runs: Iterable[Path]) -> list[FoundCheckpoint]:
    """The checkpoints in ``weights``, then those ``of_runs``; damaged ones are marked as such."""
    paths = sorted(weights.glob(f"*{SUFFIX}")) if weights.is_dir() else []
    return [inspect_checkpoint(path) for path in [*paths, *of_runs]]


def inspect_checkpoint(path: Path) -> FoundCheckpoint:
    """Identify a checkpoint; an unusable file is reported, not an error."""
    try:
        header = read_header(path)
    except DataError as error:
        return FoundCheckpoint(path, DAMAGED, error.message.replace(f"{path} ", ""))
    description = header.description
    anatomies = description.get("anatomies")
    numbers = [str(number) for number in anatomies if type(number) is int] if isinstance(anatomies, list) else []
    words = {
        SEGMENTATION: f"{_text(description.get('arch'))} on {_text(description.get('encoder'))}",
        POSE: f"{_text(description.get('backbone'))}, anatomy {' '.join(numbers) or '?'}",
        OTHER: "weights of another program",
    }[header.kind]
    splits = description.get("splits")
    if header.kind == SEGMENTATION and not are_splits(splits or {}):
        return FoundCheckpoint(path, DAMAGED, "does not describe its network: splits are not lists of specimens")
    splits = splits if isinstance(splits, dict) else {}
    train = splits.get("train") or ([] if description.get("source") == UNTRAINED else None)
    return FoundCheckpoint(path, header.kind, words, splits, train if header.kind == SEGMENTATION else None)


def describe_checkpoint(path: Path) -> Checkpoint | PoseCheckpoint:
    """Load a checkpoint of any kind and describe it (``medcli checkpoint show``); no code in it is executed.

    One of a training on synthetic data, as the note beside it says, has nobody's licence, whatever is stated in it.

    Raises:
        DataError: the file is missing, damaged, hostile, or does not fit the network it names.
    """
    check_checkpoint_file(path, "name a .safetensors file, or a published .pth")
    from medcli.ultrabones.segmentation import checkpoint as segmentation
    from medcli.veriserum.pose import checkpoint as pose

    is_pose = path.suffix == SUFFIX and read_header(path).kind == POSE
    found = pose.describe_pose_checkpoint(path) if is_pose else segmentation.describe_segmentation_checkpoint(path)
    if about := synthetic_training(path):
        metadata: Any = replace(found.metadata, licence=about.licence, citation=about.citation)
        found = replace(found, metadata=metadata)
    return found


def _text(value: Any) -> str:
    return printable(value) if isinstance(value, str) else "?"
