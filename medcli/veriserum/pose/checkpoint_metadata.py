"""What a pose checkpoint says of itself, read without torch (:mod:`medcli.training.weights`)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medcli import __version__
from medcli.core.errors import DataError
from medcli.training.checkpoint_files.checkpoint_file import check_checkpoint_file
from medcli.training.description import NAME, OBJECT, TEXT, Rule, is_finite_number, list_of, read_described, whole
from medcli.training.weights import find_newest, read_description

_FAMILY = "medcli.pose_network."
SCHEMA = f"{_FAMILY}v1"
CITATION = "Wang et al., Veriserum, MICCAI 2025, doi:10.3929/ethz-b-000701146"
LICENCE = "In Copyright - Non-Commercial Use Permitted (trained on Veriserum)"
_HINT = "use one that medcli train pose wrote"
_MOST_IDS = 10_000_000  # a hundred times as many as are published
_RANGES = re.compile(r"(\d{1,9}(-\d{1,9})?(,\d{1,9}(-\d{1,9})?)*)?", re.ASCII)


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


def read_pose_metadata(path: Path) -> PoseMetadata:
    """The description in a checkpoint, without reading the weights.

    Raises:
        DataError: the file is missing or is not a pose checkpoint.
    """
    check_checkpoint_file(path, "train one: medcli train pose")
    values = read_described(read_description(path, _HINT), _FAMILY, SCHEMA, _RULES, path, "pose")
    missing = [name for name in ("backbone", "size", "anatomies", "mean_pose") if name not in values]
    if missing:
        raise DataError(f"{path} does not describe a pose network: no {', no '.join(missing)}", _HINT)
    return PoseMetadata(**values | {name: tuple(values[name]) for name in ("anatomies", "mean_pose")})


def check_pose_checkpoint(path: Path | None, runs_root: Path = Path("runs")) -> None:
    """Make sure that there is a checkpoint, ``path`` or the newest one, and that it describes its network.

    Raises:
        DataError: there is none, or its description cannot be read.
    """
    read_pose_metadata(path or find_newest(runs_root, "pose"))


def _are_splits(value: Any) -> bool:
    if not isinstance(value, dict) or not list_of(str, value.get("warnings")):
        return False
    return all(_are_ranges(value.get(side, "")) for side in ("train", "val", "test"))


def _are_ranges(value: Any) -> bool:
    """Whether ``value`` is ids as ranges, not more than can be."""
    if not isinstance(value, str) or not _RANGES.fullmatch(value):
        return False
    spans = [part.partition("-") for part in value.split(",") if part]
    return sum(max(0, int(last or first) - int(first)) + 1 for first, _, last in spans) <= _MOST_IDS


_RULES: dict[str, Rule] = {
    "backbone": NAME,
    "size": whole(32, 8192),
    "anatomies": ("a list of anatomy_id", lambda value: isinstance(value, list) and list_of(int, value)),
    "mean_pose": (
        "six numbers",
        lambda value: isinstance(value, list) and len(value) == 6 and all(is_finite_number(number) for number in value),
    ),
    "settings": OBJECT,
    "splits": ("a JSON object with ids as ranges", _are_splits),
    "metrics": OBJECT,
    **dict.fromkeys(("images", "source", "licence", "citation", "medcli_version", "schema"), TEXT),
}
