"""Find the runs below a folder: kind, state and headline number of each.

A run is recognised by its output files. :data:`KINDS` defines how, for ``medcli info`` and ``medcli report``; the
report has a reader for each command (:mod:`medcli.report.runs`). Reading is tolerant: a damaged file marks its run
``damaged`` and raises nothing. No heavy library is imported.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from medcli.core.errors import DataError, numbered, quantity
from medcli.core.json_text import read_object
from medcli.core.locks import is_in_use
from medcli.core.run_provenance import NAME as PROVENANCE
from medcli.training.checkpoint_files.stored_zip import is_archive
from medcli.training.monitors import EARLY_STOP
from medcli.training.run_folder import BEST, METRICS, RESULT, RESUMABLE, is_early, read_metrics
from medcli.training.settings import SETTINGS_FILE, read_settings
from medcli.workspace import bone_figures
from medcli.workspace.motion_figures import motion_in_words
from medcli.workspace.pose_table_header import columns_of_poses, read_pose_table
from medcli.workspace.resume import monitor_of, resume_command, resume_cross_validation
from medcli.workspace.run_damage import find_damage

TRAIN_SEG, TRAIN_POSE, CROSS_VALIDATION = "train seg", "train pose", "train seg --cv loo"
EVALUATE_SEG, EVALUATE_POSE = "evaluate seg", "evaluate pose"
KINEMATICS, EVALUATE_KINEMATICS = "kinematics veriserum", "evaluate kinematics"
PREDICT_SEG, PREDICT_POSE = "predict seg", "predict pose"
RECONSTRUCT, REGISTER, CALIBRATE = "reconstruct ultrabones", "register pose", "calibrate veriserum"
REGISTER_TRIAL, LABEL = "register trial", "label ultrabones"
REGISTER_BONE, EVALUATE_REGISTRATION = "register bone", "evaluate registration"
FINISHED, INTERRUPTED, FAILED, DAMAGED = "finished", "interrupted", "failed", "damaged"
UNDER_WAY = "under way"

EVALUATION = "evaluation.json"
MASKS, CALIBRATED, LABELS = "predictions.json", "medcli_calibration.json", "labels.json"
MOTION = "kinematics.json"
_OBJECTS = (SETTINGS_FILE, RESULT, EVALUATION, MASKS, CALIBRATED, MOTION)
_SCHEMAS = {
    "medcli.train_seg.v1": TRAIN_SEG,
    "medcli.train_pose.v1": TRAIN_POSE,
    "medcli.train_seg_cv.v1": CROSS_VALIDATION,
}
_NOTHING_BELOW = (PREDICT_SEG, CALIBRATE, RECONSTRUCT, CROSS_VALIDATION, KINEMATICS)
"""Commands whose folders contain no other run, but often thousands of files."""
_EVALUATED = {"pose": EVALUATE_POSE, "kinematics": EVALUATE_KINEMATICS, "registration": EVALUATE_REGISTRATION}
_DEEPEST, _MOST_FOLDERS = 4, 5000


@dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
        path: its folder, or its table.
        kind: the command that made it, such as ``train seg``.
        state: ``finished``, ``under way`` (a process on this machine is running it), ``interrupted``, ``failed``
            (before the first epoch) or ``damaged``.
        detail: its progress, or what is wrong.
        headline: its most important number as text; empty if there is none yet.
        changed: local time of its last change, ISO.
        checkpoint: the weights of its best epoch, None if there are none.
        source: what an evaluation evaluated: a checkpoint or a folder or table of predictions.
        resume: the command that resumes it; None if it is finished.
    """

    path: Path
    kind: str
    state: str
    detail: str = ""
    headline: str = ""
    changed: str = ""
    checkpoint: Path | None = None
    source: str = ""
    resume: str | None = None


def find_runs(root: Path) -> list[Run]:
    """Every run below ``root``, latest change first; empty if the folder does not exist."""
    found = [run for path in _places(root) if (run := find_run(path)) is not None]
    return sorted(found, key=lambda run: (run.changed, str(run.path)), reverse=True)


def run_kind(path: Path) -> str | None:
    """The command that made a folder or table, for those that ``medcli info`` lists; None if it is not a run.

    A training whose settings cannot be read counts as ``train seg``, unless its parent folder is named ``pose``.
    """
    return next((command for command in commands_of(path) if command in _READERS), None)


def commands_of(path: Path) -> Iterator[str]:
    """The commands that wrote the files in a folder, or the table ``path``."""
    yield from (command for kind in KINDS if (command := kind.recognise(path)))


def find_run(path: Path) -> Run | None:
    """The run in a folder or table; None if there is none."""
    kind = run_kind(path)
    if kind is None:
        return None
    try:
        run = _READERS[kind](path, kind)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, DataError):
        run = Run(path, kind, DAMAGED, "its files cannot be read, or are of another version", changed=_changed(path))
    return replace(run, state=DAMAGED, detail=damage) if (damage := _damage(path, kind)) else run


def _damage(path: Path, kind: str) -> str:
    names = [file.name for file in path.glob("*.json")] if kind == RECONSTRUCT else _OBJECTS
    folds = _folds(path) if kind == CROSS_VALIDATION else []
    within = (f"{fold.name}: {damage}" for fold in folds if (damage := find_damage(fold, TRAIN_SEG, _OBJECTS)))
    return find_damage(path, kind, names) or next(within, "")


def find_run_folders(root: Path) -> list[Path]:
    """Folders below ``root`` with files of a run or a provenance record; the nearest first."""
    places = [place for place in _places(root) if place.is_dir()]
    found = [place for place in places if any(commands_of(place)) or any(place.glob(f"*{PROVENANCE}"))]
    return sorted(found, key=lambda place: (len(place.parts), place))


def _places(root: Path) -> Iterator[Path]:
    """Folders and tables below ``root`` that may be runs."""
    if not root.is_dir():
        return
    for count, (folder, subfolders, files) in enumerate(os.walk(root)):
        place = Path(folder)
        depth = len(place.relative_to(root).parts)
        if place != root:
            yield place
        yield from (place / name for name in sorted(files) if name.lower().endswith(".csv"))
        kind = run_kind(place) if place != root else None
        if depth >= _DEEPEST or count > _MOST_FOLDERS or kind in _NOTHING_BELOW:
            subfolders.clear()
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))


def _training(folder: Path, kind: str) -> Run:
    saved, result = read_settings(folder), read_object(folder / RESULT)
    rows = read_metrics(folder)
    best = folder / BEST if (folder / BEST).is_file() else None
    changed = _changed(folder, RESULT, METRICS, RESUMABLE, SETTINGS_FILE)
    if result:
        headline = _in_words(kind, result["best_metrics"], f"epoch {result['best_epoch']} of {result['epochs']}")
        done = quantity(result["epochs"], "epoch") + (f", {EARLY_STOP}" if is_early(result) else "")
        return Run(folder, kind, FINISHED, done, headline, changed, best)
    if not saved:
        return Run(folder, kind, DAMAGED, f"{SETTINGS_FILE} cannot be read", "", changed, best)
    if is_in_use(folder):
        return Run(folder, kind, UNDER_WAY, f"epoch {len(rows)} of {saved['epochs']}", "", changed, best)
    command = resume_command(kind.split()[1], folder, saved)
    if not rows:
        return Run(folder, kind, FAILED, "no epoch was completed", "", changed, best, resume=command)
    resumable = is_archive(folder / RESUMABLE)
    detail = f"epoch {len(rows)} of {saved['epochs']}"
    if not resumable:
        detail, command = f"{detail}; {RESUMABLE} is missing or damaged", f"{command} --overwrite"
    row = rows[monitor_of(kind.split()[1], saved).best_of(rows) or 0]
    headline = _in_words(kind, row, f"epoch {row['epoch']:.0f}")
    return Run(folder, kind, INTERRUPTED, detail, headline, changed, best, resume=command)


def _cross_validation(folder: Path, kind: str) -> Run:
    folds, result = _folds(folder), read_object(folder / RESULT)
    changed = max(_changed(place, RESULT, METRICS, SETTINGS_FILE) for place in folds or [folder])
    if result:
        headline = _in_words(TRAIN_SEG, result["mean_metrics"], quantity(len(result["folds"]), "fold"), "mean")
        return Run(folder, kind, FINISHED, quantity(len(result["folds"]), "fold"), headline, changed)
    settings = [read_settings(fold) for fold in folds]
    done = sum(bool(read_object(fold / RESULT)) for fold in folds)
    total = len(settings[0]["train_specimens"]) + 1
    command = resume_cross_validation(folder, settings)
    return Run(folder, kind, INTERRUPTED, f"{done} of {quantity(total, 'fold')}", "", changed, resume=command)


def _evaluate_seg(folder: Path, kind: str) -> Run:
    found = _evaluation(folder)
    name, one = ("paper", found["paper"]) if "paper" in found else (found["protocol"], found)
    f1 = one["f1"]["all"][one["thresholds_mm"].index(1.0)]
    headline = f"F1 at 1 mm {_number(f1, 3)}, Dice {_number(one['dice'], 3)} ({name})"
    if not one["frames"]:
        headline = f"no score, since all frames are left out ({name})"
    detail = f"{quantity(one['frames'], 'frame')} of {numbered('specimen', one['specimens'])}"
    return Run(folder, kind, FINISHED, detail, headline, _changed(folder, EVALUATION), source=one["source"])


def _evaluate_pose(folder: Path, kind: str) -> Run:
    found = _evaluation(folder)
    names = {"in plane": ("in_plane_bs_mm", "mm"), "rotation": ("rotation_deg", "degrees")}
    values = [f"{words} {_number(found['errors'][n]['median'], 2)} {unit}" for words, (n, unit) in names.items()]
    headline = f"median {', '.join(values)}"
    changed = _changed(folder, EVALUATION)
    return Run(folder, kind, FINISHED, quantity(found["pairs"], "pair"), headline, changed, source=found["source"])


def _predict_seg(folder: Path, kind: str) -> Run:
    made = read_object(folder / MASKS)
    masks = sum(entry.name.endswith("_label_pred.png") for entry in os.scandir(folder))
    return Run(folder, kind, FINISHED, quantity(masks, "mask"), "", _changed(folder, MASKS), source=made["checkpoint"])


def _calibrate(folder: Path, kind: str) -> Run:
    images = sum(entry.name.startswith("calibrated_") for entry in os.scandir(folder))
    return Run(folder, kind, FINISHED, quantity(images, "image"), "", _changed(folder, CALIBRATED))


def _bones(folder: Path, kind: str) -> Run:
    detail, headline = bone_figures.in_words(folder, kind == RECONSTRUCT)
    return Run(folder, kind, FINISHED, detail, headline, _changed(folder))


def _poses(path: Path, kind: str) -> Run:
    rows = read_pose_table(path)
    headline = ""
    if kind == REGISTER_TRIAL:
        good = sum(row["status"] == "good" for row in rows)
        headline = f"{good:,} of {quantity(len(rows), 'pose')} good"
    if kind == REGISTER and rows:
        values = [float(row["similarity_after"]) for row in rows if row["similarity_after"]]
        headline = f"mean similarity {_number(sum(values) / len(values), 3)}" if values else ""
    return Run(path, kind, FINISHED, quantity(len(rows), "pose"), headline, _changed(path))


def _motion(folder: Path, kind: str) -> Run:
    name = MOTION if kind == KINEMATICS else EVALUATION
    found = read_object(folder / name)
    is_bone = kind == EVALUATE_REGISTRATION
    detail, headline = (bone_figures.recovery_in_words if is_bone else motion_in_words)(found)
    source = found["settings"]["mask"] if is_bone else found["poses"]
    return Run(folder, kind, FINISHED, detail, headline, _changed(folder, name), source=source)


_READERS: Mapping[str, Callable[[Path, str], Run]] = {
    TRAIN_SEG: _training,
    TRAIN_POSE: _training,
    CROSS_VALIDATION: _cross_validation,
    EVALUATE_SEG: _evaluate_seg,
    EVALUATE_POSE: _evaluate_pose,
    PREDICT_SEG: _predict_seg,
    PREDICT_POSE: _poses,
    REGISTER: _poses,
    REGISTER_TRIAL: _poses,
    REGISTER_BONE: _bones,
    RECONSTRUCT: _bones,
    CALIBRATE: _calibrate,
    KINEMATICS: _motion,
    EVALUATE_KINEMATICS: _motion,
    EVALUATE_REGISTRATION: _motion,
}
"""What ``medcli info`` lists; labels are stored with the data, and are counted there."""


def _trained(folder: Path) -> str | None:
    if (folder / SETTINGS_FILE).is_file():
        saved = read_settings(folder)
        is_pose = "backbone" in saved if saved else folder.parent.name == "pose"
        return TRAIN_POSE if is_pose else TRAIN_SEG
    return CROSS_VALIDATION if _folds(folder) else _SCHEMAS.get(str(read_object(folder / RESULT).get("schema")))


def _evaluated(folder: Path) -> str | None:
    if not (folder / EVALUATION).is_file():
        return None
    made_by = str(_evaluation(folder).get("schema") or read_object(folder / PROVENANCE).get("verb"))
    return next((one for word, one in _EVALUATED.items() if word in made_by), EVALUATE_SEG)


def _in_space(folder: Path) -> str | None:
    if next(bone_figures.registrations(folder), None):
        return REGISTER_BONE
    return RECONSTRUCT if next(bone_figures.reconstructions(folder), None) else None


def _poses_written(path: Path) -> str | None:
    columns = columns_of_poses(path)
    if not columns:
        return None
    if {"intersection_mm", "similarity_after"} & columns:
        return REGISTER_TRIAL if "intersection_mm" in columns else REGISTER
    made_by = read_object(path.with_name(f"{path.stem}.{PROVENANCE}")).get("verb")  # the data's own tables have none
    return PREDICT_POSE if made_by == PREDICT_POSE else None


def _with_file(name: str, command: str) -> Callable[[Path], str | None]:
    return lambda folder: command if (folder / name).is_file() else None


@dataclass(frozen=True)
class RunKind:
    """A kind of run: ``recognise`` returns the command whose files (``files``, as text) are in a folder, or None."""

    verb: str
    files: str
    recognise: Callable[[Path], str | None]


KINDS = (
    RunKind("train", f"{SETTINGS_FILE} or {RESULT}", _trained),
    RunKind("evaluate", EVALUATION, _evaluated),
    RunKind("predict seg", MASKS, _with_file(MASKS, PREDICT_SEG)),
    RunKind("calibrate", CALIBRATED, _with_file(CALIBRATED, CALIBRATE)),
    RunKind("label", LABELS, _with_file(LABELS, LABEL)),
    RunKind("kinematics", MOTION, _with_file(MOTION, KINEMATICS)),
    RunKind("reconstruct, register bone", "a record's or transform's .json", _in_space),
    RunKind("predict pose, register", "a table of poses", _poses_written),
)
"""Every kind of run, in the order in which a folder is tested."""


def _folds(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.glob(f"specimen*/{SETTINGS_FILE}"))


def _evaluation(folder: Path) -> dict[str, Any]:
    return read_object(folder / EVALUATION)


def _in_words(kind: str, metrics: Mapping[str, float | None], of: str, which: str = "best") -> str:
    if kind == TRAIN_SEG:
        return f"{which} validation Dice {_number(metrics.get('val_dice'), 3)} ({of})"
    in_plane, rotation = metrics.get("val_in_plane_mm"), metrics.get("val_rotation_deg")
    return f"{which} validation in plane {_number(in_plane, 2)} mm, rotation {_number(rotation, 2)} degrees ({of})"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def _changed(path: Path, *names: str) -> str:
    """Local time of the last change of these files in a folder, or of the path itself, ISO."""
    files = [path / name for name in names if (path / name).exists()] or [path]
    newest = max(file.stat().st_mtime for file in files)
    return datetime.fromtimestamp(newest).isoformat(sep=" ", timespec="milliseconds")
