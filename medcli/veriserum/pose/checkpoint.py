"""Pose checkpoints: safetensors weights with an embedded description (:mod:`medcli.training.weights`)."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medcli import __version__
from medcli.core.errors import DataError
from medcli.core.json_text import to_json
from medcli.training.weights import load_into, read_description, save_weights
from medcli.veriserum.pose.network import PoseNetwork, build_pose_network

_FAMILY = "medcli.pose_network."
SCHEMA = f"{_FAMILY}v1"
CITATION = "Wang et al., Veriserum, MICCAI 2025, doi:10.3929/ethz-b-000701146"
LICENCE = "In Copyright - Non-Commercial Use Permitted (trained on Veriserum)"
_HINT = "use one that medcli train pose wrote"


@dataclass(frozen=True)
class PoseMetadata:
    """Description of a pose network.

    Attributes:
        backbone: name for :func:`medcli.veriserum.pose.network.build_pose_network`.
        size: rows and columns of each plane, pixels.
        anatomies: ``anatomy_id`` that it was trained on.
        mean_pose: tx ty tz (mm) and rz rx ry (degrees), mean of its training pairs: the baseline estimate
            without an image.
        images: kind of its training images, ``calibrated`` or ``originals``.
        settings: the options of its training.
        splits: ids of ``train``, ``val`` and ``test`` as ranges, the rule that defined the trials, warnings.
        metrics: validation metrics of these weights.
    """

    backbone: str
    size: int
    anatomies: tuple[int, ...]
    mean_pose: tuple[float, ...]
    images: str = "originals"
    settings: Mapping[str, Any] = field(default_factory=dict)
    splits: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    source: str = "medcli train pose"
    licence: str = LICENCE
    citation: str = CITATION
    medcli_version: str = __version__
    schema: str = SCHEMA


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


def read_pose_metadata(path: Path) -> PoseMetadata:
    """The description in a checkpoint, without reading the weights.

    Raises:
        DataError: the file is missing or is not a pose checkpoint.
    """
    if not path.is_file():
        raise DataError(f"no checkpoint {path}", "train one: medcli train pose")
    try:
        values = json.loads(read_description(path, _HINT))
        schema = values["schema"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} does not describe a pose network", _HINT) from error
    if not str(schema).startswith(_FAMILY):
        raise DataError(f"{path} contains another kind of network ({schema}), expected one of medcli train pose")
    if schema != SCHEMA:
        raise DataError(f"{path} is of schema {schema}, expected {SCHEMA}", "a newer medcli may read it")
    known = {entry.name for entry in dataclasses.fields(PoseMetadata)}
    lists = {name: tuple(values[name]) for name in ("anatomies", "mean_pose")}
    return PoseMetadata(**({key: value for key, value in values.items() if key in known} | lists))


def load_pose_network(path: Path) -> tuple[PoseNetwork, PoseMetadata]:
    """The network of a checkpoint, on the CPU and in evaluation mode, and its description.

    Raises:
        DataError: the file is missing, damaged, or does not fit its network.
    """
    metadata = read_pose_metadata(path)
    network = build_pose_network(metadata.backbone)
    load_into(network, path, metadata.backbone)
    network.eval()
    return network, metadata


def describe_pose_checkpoint(path: Path) -> PoseCheckpoint:
    """Load and describe a pose checkpoint.

    Raises:
        DataError: see :func:`load_pose_network`.
    """
    network, metadata = load_pose_network(path)
    return PoseCheckpoint(path, sum(parameter.numel() for parameter in network.parameters()), metadata)
