"""Folders as commands leave them, made in no time: for tests of what reads them."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medcli.core.files import write_json, write_text
from medcli.training.run_folder import BEST, METRICS, RESULT, RESUMABLE
from medcli.training.settings import FitSettings, save_settings
from medcli.training.weights import save_weights
from medcli.ultrabones.segmentation.checkpoint_metadata import Metadata
from medcli.veriserum.pose.checkpoint_metadata import SCHEMA as POSE_SCHEMA

SEG_ROWS = "epoch,val_loss,val_dice\n1,0.9,0.25\n2,0.5,0.75\n3,0.6,0.5\n"
POSE_ROWS = "epoch,val_loss,val_in_plane_mm,val_rotation_deg\n1,9.0,8.5,20.25\n2,4.0,3.5,10.25\n"


def write_training(
    folder: Path, settings: FitSettings, finished: bool = True, split: Mapping[str, Any] | None = None
) -> Path:
    """A training after three (seg) or two (pose) epochs; the second is its best."""
    folder.mkdir(parents=True)
    save_settings(folder, settings, "some data")
    is_pose = hasattr(settings, "backbone")
    rows = POSE_ROWS if is_pose else SEG_ROWS
    write_text(folder / METRICS, rows)
    write_checkpoint(folder / BEST, is_pose, split)
    with zipfile.ZipFile(folder / RESUMABLE, "w") as content:
        content.writestr("data.pkl", "")
    if finished:
        names, _, best = (line.split(",") for line in rows.splitlines()[:3])
        metrics = {name: float(value) for name, value in zip(names[1:], best[1:], strict=True)}
        result = {"epochs": len(rows.splitlines()) - 1, "best_epoch": 2, "best_metrics": metrics}
        write_json(folder / RESULT, result)
    return folder


def write_checkpoint(path: Path, is_pose: bool = False, split: Mapping[str, Any] | None = None) -> Path:
    """A checkpoint that says what it is, with weights of no network."""
    import torch

    path.parent.mkdir(parents=True, exist_ok=True)
    splits = dict(split or {"train": [1], "val": [2, 7, 8]})
    if is_pose:
        description = json.dumps({"schema": POSE_SCHEMA, "backbone": "resnet18", "anatomies": [1], "splits": splits})
    else:
        description = Metadata(splits=splits).to_json()
    return save_weights(path, torch.nn.Linear(3, 2), description)


def write_evaluation(folder: Path, source: Path | str, both: bool = False) -> Path:
    """What ``medcli evaluate seg`` leaves, as far as its readers look."""
    folder.mkdir(parents=True)
    curve = [round(0.04 * i, 2) for i in range(21)]
    one = {
        "protocol": "paper",
        "source": str(source),
        "specimens": [2, 7, 8],
        "frames": 11,
        "thresholds_mm": [round(0.1 * i, 1) for i in range(21)],
        "f1": {"all": curve},
        "dice": 0.625,
        "schema": "medcli.evaluate.seg.v1",
    }
    write_json(folder / "evaluation.json", {"paper": one, "strict": one} if both else one)
    return folder


def write_pose_evaluation(folder: Path, source: Path | str) -> Path:
    """The same of ``medcli evaluate pose``."""
    folder.mkdir(parents=True)
    errors = {"in_plane_bs_mm": {"median": 5.45}, "rotation_deg": {"median": 9.163}}
    content = {"source": str(source), "pairs": 70, "errors": errors, "schema": "medcli.evaluate.pose.v1"}
    write_json(folder / "evaluation.json", content)
    return folder
