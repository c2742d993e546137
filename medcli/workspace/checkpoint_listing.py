"""What a checkpoint is, told from the first bytes of its file: quick, without torch, and without reading weights.

What medcli wrote into the header (:mod:`medcli.training.weights`) says it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medcli.core.errors import DataError, printable
from medcli.training.checkpoint_file import check_checkpoint_file
from medcli.training.description import are_splits, parse_description
from medcli.training.safetensors_header import read_safetensors_header
from medcli.training.weights import HEADER_KEY, SUFFIX

if TYPE_CHECKING:
    from medcli.ultrabones.segmentation.checkpoint import Checkpoint
    from medcli.veriserum.pose.checkpoint import PoseCheckpoint

SEGMENTATION, POSE, OTHER, DAMAGED = "segmentation", "pose", "other", "damaged"
KINDS = {"medcli.segmenter.v1": SEGMENTATION, "medcli.pose_network.v1": POSE}


@dataclass(frozen=True)
class Header:
    """What stands at the beginning of a safetensors file.

    Attributes:
        description: what medcli wrote of the network; empty where another program wrote the file.
        parameters: numbers that the file holds.
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
        what: the network, or what is wrong with the file.
        splits: what the network learnt from, as its description says.
    """

    path: Path
    kind: str
    what: str
    splits: dict[str, Any] = field(default_factory=dict)


def read_header(path: Path) -> Header:
    """Read the beginning of a safetensors file, and look whether the rest is as long as it says.

    Raises:
        DataError: the file is missing, is none, is cut off, or describes its network in a way that cannot be shown.
    """
    header = read_safetensors_header(path)
    try:
        description = parse_description(header.metadata.get(HEADER_KEY, "{}"))
    except ValueError as error:
        raise DataError(f"{path} does not describe its network: {error}") from error
    return Header(description, header.parameters)


def find_checkpoints(weights: Path, of_runs: Iterable[Path]) -> list[FoundCheckpoint]:
    """The checkpoints in ``weights``, then those ``of_runs``; damaged ones are named as such."""
    paths = sorted(weights.glob(f"*{SUFFIX}")) if weights.is_dir() else []
    return [inspect_checkpoint(path) for path in [*paths, *of_runs]]


def inspect_checkpoint(path: Path) -> FoundCheckpoint:
    """What a checkpoint is; a file that cannot be used is an answer, not an error."""
    try:
        header = read_header(path)
    except DataError as error:
        return FoundCheckpoint(path, DAMAGED, error.message.replace(f"{path} ", ""))
    said = header.description
    anatomies = said.get("anatomies")
    numbers = [str(number) for number in anatomies if type(number) is int] if isinstance(anatomies, list) else []
    words = {
        SEGMENTATION: f"{_text(said.get('arch'))} on {_text(said.get('encoder'))}",
        POSE: f"{_text(said.get('backbone'))}, anatomy {' '.join(numbers) or '?'}",
        OTHER: "weights of another program",
    }[header.kind]
    splits = said.get("splits")
    if header.kind == SEGMENTATION and not are_splits(splits or {}):
        return FoundCheckpoint(path, DAMAGED, "does not describe its network: splits are no lists of specimens")
    return FoundCheckpoint(path, header.kind, words, splits if isinstance(splits, dict) else {})


def describe_checkpoint(path: Path) -> Checkpoint | PoseCheckpoint:
    """Load a checkpoint of any kind, and say what it is (``medcli checkpoint show``); executes nothing in it.

    Raises:
        DataError: the file is missing, damaged, hostile, or does not fit the network it names.
    """
    from medcli.ultrabones.segmentation import checkpoint as segmentation
    from medcli.veriserum.pose import checkpoint as pose

    check_checkpoint_file(path, "name a .safetensors file, or a published .pth")
    if path.suffix == SUFFIX and read_header(path).kind == POSE:
        return pose.describe_pose_checkpoint(path)
    return segmentation.describe_segmentation_checkpoint(path)


def _text(value: Any) -> str:
    return printable(value) if isinstance(value, str) else "?"
