"""Pose checkpoints: safetensors weights with an embedded description (:mod:`medcli.training.weights`)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medcli.core.json_text import to_json
from medcli.training.weights import build_and_load, save_weights
from medcli.veriserum.pose.checkpoint_metadata import PoseMetadata, read_pose_metadata
from medcli.veriserum.pose.network import PoseNetwork, build_pose_network


@dataclass(frozen=True)
class PoseCheckpoint:
    """Result of ``medcli checkpoint show`` for a pose network.

    Attributes:
        path: the file.
        parameters: number of trained parameters.
        metadata: its description.
    """

    path: Path
    parameters: int
    metadata: PoseMetadata
    schema: str = "medcli.pose_checkpoint.v1"


def save_pose_checkpoint(path: Path, network: PoseNetwork, metadata: PoseMetadata) -> Path:
    """Write weights and description, each atomically."""
    return save_weights(path, network, to_json(metadata))


def load_pose_network(path: Path) -> tuple[PoseNetwork, PoseMetadata]:
    """The network of a checkpoint, on the CPU and in evaluation mode, and its description.

    Raises:
        DataError: the file is missing, damaged, or does not fit its network.
    """
    metadata = read_pose_metadata(path)
    network = build_and_load(lambda: build_pose_network(metadata.backbone), path, metadata.backbone)
    return network.eval(), metadata


def describe_pose_checkpoint(path: Path) -> PoseCheckpoint:
    """Load and describe a pose checkpoint.

    Raises:
        DataError: see :func:`load_pose_network`.
    """
    network, metadata = load_pose_network(path)
    return PoseCheckpoint(path, sum(parameter.numel() for parameter in network.parameters()), metadata)
