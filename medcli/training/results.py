"""What a training leaves, as a dataclass and as JSON."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_PLACE = ("epoch", "best", "seconds_left")


@dataclass(frozen=True)
class RunResult:
    """Results of every training; the datasets' packages add their own fields.

    Attributes:
        out: the run's folder.
        best, last: checkpoints; ``best`` is the best epoch by ``monitor``.
        epochs: epochs done.
        best_epoch: the epoch of ``best``, counted from 1.
        best_metrics, last_metrics: validation at those epochs; a metric that no frame has is null.
        monitor: the metric that chose ``best``, see ``--monitor``.
        ended: why the run ended: all epochs were trained, or an early stop.
    """

    out: Path
    best: Path
    last: Path
    epochs: int
    best_epoch: int
    best_metrics: dict[str, float | None]
    last_metrics: dict[str, float | None]
    monitor: str = field(default="val_loss", kw_only=True)
    ended: str = field(default="", kw_only=True)


def finite(row: Mapping[str, float]) -> dict[str, float | None]:
    """A row of metrics without its place in the run; None for a metric that no frame has."""
    return {name: value if math.isfinite(value) else None for name, value in row.items() if name not in _PLACE}


def from_json(kind: type[Any], values: Mapping[str, Any]) -> Any:
    """The result's dataclass from its JSON: tuples for lists, and paths where the field's annotation requires."""
    annotations = {entry.name: str(entry.type) for entry in dataclasses.fields(kind)}
    known = {name: value for name, value in values.items() if name in annotations}
    return kind(**{name: _as(annotations[name], value) for name, value in known.items()})


def _as(annotation: str, value: Any) -> Any:
    if annotation == "Path":
        return Path(value)
    return tuple(value) if isinstance(value, list) else value
