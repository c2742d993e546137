"""What the ``settings.json`` of a training says: the command that resumes it, and what chose its best epoch."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medcli.core.shell import spell
from medcli.training.monitors import Monitor

_FIRST = ("root",)
"""Always given, and before the others."""
_SPELLED = {"loggers": "--logger"}
_NO_CACHE = "use_cache"
_FROM_PYTHON = "transform"
"""Has no option: a run with it is resumed from Python, and the command says that the settings differ."""


def resume_command(task: str, folder: Path, saved: Mapping[str, Any]) -> str:
    """``medcli train seg --root … --out …`` with every option that differs from its default.

    Args:
        task: ``seg`` or ``pose``.
        folder: the run's folder.
        saved: content of its ``settings.json``, see :func:`medcli.training.settings.read_settings`.
    """
    return spell("medcli", "train", task, *_options(task, saved), "--out", folder)


def monitor_of(task: str, saved: Mapping[str, Any]) -> Monitor:
    """What chose the best epoch of a training of ``seg`` or ``pose`` with these settings."""
    from medcli.ultrabones.segmentation.settings import MONITORS
    from medcli.veriserum.pose.settings import MONITORS as POSE_MONITORS

    monitors = MONITORS if task == "seg" else POSE_MONITORS
    return monitors.get(saved.get("monitor", "loss"), monitors["loss"])


def resume_cross_validation(folder: Path, folds: Sequence[Mapping[str, Any]]) -> str:
    """The same for ``--cv loo``, which saves the settings in its folds; ``folds`` are sorted by name."""
    all_folds = {**folds[0], "train_specimens": _all_specimens(folds), "val_specimens": None}
    return spell("medcli", "train", "seg", "--cv", "loo", *_options("seg", all_folds), "--out", folder)


def _all_specimens(folds: Sequence[Mapping[str, Any]]) -> list[int]:
    """The specimens of the cross-validation, in an order consistent with the training specimens of each fold."""
    left_out, others = folds[0]["val_specimens"][0], list(folds[0]["train_specimens"])
    orders = [[*others[:i], left_out, *others[i:]] for i in range(len(others) + 1)]
    fitting = (order for order in orders if all(_is_fold_of(order, fold) for fold in folds))
    return next(fitting, orders[0])


def _is_fold_of(order: list[int], fold: Mapping[str, Any]) -> bool:
    return [number for number in order if number not in fold["val_specimens"]] == list(fold["train_specimens"])


def _options(task: str, saved: Mapping[str, Any]) -> list[str]:
    """Values that differ from the defaults, and those whose default is overridden by the environment."""
    words: list[str] = []
    for name, default in _defaults(task).items():
        value = saved.get(name) if name != _FROM_PYTHON else None
        if name == "compile" and isinstance(value, bool):  # as version 0.1.0 wrote it
            value = "on" if value else None
        is_default = value == default and name not in _FIRST and f"MEDCLI_{name.upper()}" not in os.environ
        if value is not None and not is_default:
            words += _option(name, value)
    return words


def _option(name: str, value: Any) -> list[str]:
    if name == _NO_CACHE:
        return [] if value else ["--no-cache"]
    flag = _SPELLED.get(name, f"--{name.replace('_', '-')}")
    if isinstance(value, bool):
        return [flag] if value else []
    return [flag, *map(str, value)] if isinstance(value, list) else [flag, str(value)]


def _defaults(task: str) -> dict[str, Any]:
    """The defaults of a training's settings as ``settings.json`` has them; they are those of the command."""
    from medcli.training.settings import FitSettings, as_dict

    settings: FitSettings
    if task == "seg":
        from medcli.ultrabones.segmentation.settings import SegmentationSettings

        settings = SegmentationSettings()
    else:
        from medcli.veriserum.pose.settings import PoseSettings

        settings = PoseSettings()
    values = as_dict(settings)
    return {name: values[name] for name in sorted(values, key=lambda name: name not in _FIRST)}
