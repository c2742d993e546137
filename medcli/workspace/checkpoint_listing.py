"""Identify checkpoints from the header of the file: fast, without torch, and without reading weights.

A safetensors file begins with the length of its header (8 bytes, little-endian) and the header as JSON: the offsets of
each tensor, and under ``__metadata__`` the description written by medcli (:mod:`medcli.training.weights`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medcli.core.errors import DataError
from medcli.training.weights import HEADER_KEY, SUFFIX

if TYPE_CHECKING:
    from medcli.ultrabones.segmentation.checkpoint import Checkpoint
    from medcli.veriserum.pose.checkpoint import PoseCheckpoint

SEGMENTATION, POSE, OTHER, DAMAGED = "segmentation", "pose", "other", "damaged"
KINDS = {"medcli.segmenter.v1": SEGMENTATION, "medcli.pose_network.v1": POSE}
_LONGEST_HEADER = 100_000_000  # bytes; the limit of the format


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
    """

    path: Path
    kind: str
    what: str
    splits: dict[str, Any] = field(default_factory=dict)


def read_header(path: Path) -> Header:
    """Read the header of a safetensors file, and check that the file has the length that it states.

    Raises:
        DataError: the file is missing, is not a safetensors file, or is truncated.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(_LONGEST_HEADER, size - 8):
                raise DataError(f"{path} is not a safetensors file, or it is truncated ({size:,} bytes)")
            header = json.loads(file.read(length))
        tensors = {name: value for name, value in header.items() if name != "__metadata__"}
        needed = 8 + length + max((value["data_offsets"][1] for value in tensors.values()), default=0)
        description = json.loads(header.get("__metadata__", {}).get(HEADER_KEY, "{}"))
        parameters = sum(math.prod(value["shape"]) for value in tensors.values())
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise DataError(f"{path} is not a safetensors file: its header cannot be read") from error
    if size < needed:
        raise DataError(f"{path} is truncated: it has {size:,} of {needed:,} bytes")
    return Header(description if isinstance(description, dict) else {}, parameters)


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
    words = {
        SEGMENTATION: f"{description.get('arch')} on {description.get('encoder')}",
        POSE: f"{description.get('backbone')}, anatomy {' '.join(map(str, description.get('anatomies') or ['?']))}",
        OTHER: "weights of another program",
    }[header.kind]
    splits = description.get("splits")
    return FoundCheckpoint(path, header.kind, words, splits if isinstance(splits, dict) else {})


def describe_checkpoint(path: Path) -> Checkpoint | PoseCheckpoint:
    """Load a checkpoint of any kind and describe it (``medcli checkpoint show``); no code in it is executed.

    Raises:
        DataError: the file is missing, damaged, hostile, or does not fit the network it names.
    """
    from medcli.ultrabones.segmentation import checkpoint as segmentation
    from medcli.veriserum.pose import checkpoint as pose

    if not path.is_file():
        raise DataError(f"no checkpoint {path}", "name a .safetensors file, or a published .pth")
    if path.suffix == SUFFIX and read_header(path).kind == POSE:
        return pose.describe_pose_checkpoint(path)
    return segmentation.describe_segmentation_checkpoint(path)
