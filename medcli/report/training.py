"""Reports of ``medcli train seg`` and ``medcli train pose``, finished or still running, and of cross-validation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medcli.core.errors import quantity
from medcli.report.blocks import Block, Chart, Key, KeyValues, Note, Section, Table, number
from medcli.report.charts import Axes, Curve, draw
from medcli.report.run_files import (
    Json,
    ProvenanceRecord,
    RunReport,
    column,
    duration,
    failures_note,
    read_json,
    read_rows,
    sentence,
    to_float,
)
from medcli.training.run_folder import METRICS, RESULT, is_early
from medcli.training.settings import SETTINGS_FILE
from medcli.workspace.run_figures import TRAINING_MEASURES

_SEG, _POSE = "medcli.train_seg.v1", "medcli.train_pose.v1"
_PANELS: Mapping[str, Sequence[tuple[str, str, Mapping[str, str]]]] = {
    _SEG: (
        ("Loss", "", {"train_loss": "training", "val_loss": "validation"}),
        ("Dice", "", {"val_dice": "validation"}),
        ("Prediction to label", "mm", {"val_chamfer_mm": "mean distance", "val_hausdorff_95_mm": "95 % distance"}),
    ),
    _POSE: (
        ("Loss", "", {"train_loss": "training", "val_loss": "validation"}),
        ("Translation", "mm", {"val_in_plane_mm": "in plane bs", "val_out_of_plane_mm": "out of plane bs"}),
        ("Rotation", "degrees", {"val_rotation_deg": "geodesic angle"}),
    ),
}
_MOST_ROWS = 200


def read_training(folder: Path, provenance: ProvenanceRecord) -> RunReport | None:
    """The report of a training; None if the folder contains none."""
    result, settings = _read_if_there(folder / RESULT), _read_if_there(folder / SETTINGS_FILE)
    schema = result.get("schema") or (_POSE if "backbone" in settings else _SEG if "encoder" in settings else "")
    if schema not in _PANELS:
        return None
    is_pose = schema == _POSE
    history = read_rows(folder / METRICS)
    what = "an implant pose network" if is_pose else "a bone segmentation network"
    return RunReport(
        title=f"Training of {what}",
        lead=_lead(settings, result, history, is_pose),
        figures=_figures(result, history, settings, is_pose),
        notes=[*_notes(result, settings, history), *failures_note(result, "items")],
        sections=[
            Section("Training curves", _curves(schema, history, result)),
            Section("Validation", _validation(result, history)),
            Section("Data and split", [_split(result, settings)]),
        ],
        settings=settings,
        seconds=result.get("seconds"),
    )


def _read_if_there(path: Path) -> Json:
    return read_json(path) if path.is_file() else {}


def _lead(settings: Json, result: Json, history: Sequence[Any], is_pose: bool) -> str:
    network = settings.get("backbone") if is_pose else f"{settings.get('arch')} on {settings.get('encoder')}"
    items = "pairs" if is_pose else "frames"
    done = result.get("epochs") or len(history)
    size = (
        f", trained on {quantity(result[f'train_{items}'], items.removesuffix('s'))}"
        if f"train_{items}" in result
        else ""
    )
    return f"{network}{size} for {done} of {_planned_epochs(settings)}."


def _figures(result: Json, history: Sequence[Mapping[str, str]], settings: Json, is_pose: bool) -> dict[str, str]:
    last = {name: to_float(value) for name, value in history[-1].items()} if history else {}
    best: Mapping[str, Any] = result.get("best_metrics") or last
    of = f"epoch {result['best_epoch']}" if "best_epoch" in result else "last epoch"
    if is_pose:
        shown = {
            f"in plane, {of}": number(best.get("val_in_plane_mm"), 2, "mm"),
            f"out of plane, {of}": number(best.get("val_out_of_plane_mm"), 2, "mm"),
            f"rotation, {of}": number(best.get("val_rotation_deg"), 1, "°"),
        }
    else:
        shown = {
            f"validation Dice, {of}": number(best.get("val_dice")),
            f"mean distance, {of}": number(best.get("val_chamfer_mm"), 2, "mm"),
            f"95 % distance, {of}": number(best.get("val_hausdorff_95_mm"), 2, "mm"),
        }
    epochs = f"{len(history)} of {settings.get('epochs', '?')}"
    return {**shown, "epochs": epochs, "time": duration(result.get("seconds"))}


def _planned_epochs(settings: Json) -> str:
    planned = settings.get("epochs")
    return quantity(planned, "epoch") if isinstance(planned, int) else "? epochs"


def _notes(result: Json, settings: Json, history: Sequence[Any]) -> list[Note]:
    notes = [Note(sentence(str(text)), "warning") for text in result.get("warnings") or []]
    if not result:
        state = f"{len(history)} of {_planned_epochs(settings)} done" if history else "no epoch is done yet"
        text = (
            f"This run is not finished: {state}. It is still running or was interrupted; the same command resumes it."
        )
        notes.insert(0, Note(text, "info"))
    if is_early(result):
        notes.append(Note(sentence(str(result["ended"])), "info"))
    notes += [Note(f"Resumed from another run: {text}") for text in settings.get("resumed_from") or []]
    return notes


def _curves(schema: str, history: Sequence[Mapping[str, str]], result: Json) -> list[Block]:
    if not history:
        return [Note(f"There is no {METRICS} yet: it is written after the first epoch.")]
    epochs = column(history, "epoch")
    panels, keys = [], []
    style = 0
    for title, unit, metrics in _PANELS[schema]:
        drawn = []
        for name, label in metrics.items():
            values = column(history, name)
            drawn.append(Curve(label, epochs, values, style=style, dashed=name == "train_loss"))
            keys.append(Key(style, f"{title}, {label}", name == "train_loss"))
            style += 1
        words = "; ".join(f"{curve.label} from {_first(curve.y)} to {_first(curve.y[::-1])}" for curve in drawn)
        panels.append(draw(Axes(f"{title}, {unit}" if unit else title, "epoch", whole_x=True), drawn, f"{words}."))
    by = TRAINING_MEASURES.get(result.get("monitor", "val_loss"), "validation loss").partition(",")[0]
    best = f" The best epoch, by {by}, is {result['best_epoch']}." if "best_epoch" in result else ""
    return [Chart(panels, keys, f"Every epoch of the run.{best}", _epochs(history))]


def panels_of(is_pose: bool) -> list[tuple[str, str]]:
    """Title with unit, and column of ``metrics.csv``, of each curve of a training."""
    return [
        (f"{title}, {label}{f', {unit}' if unit else ''}", name)
        for title, unit, metrics in _PANELS[_POSE if is_pose else _SEG]
        for name, label in metrics.items()
    ]


def _first(values: Sequence[float]) -> str:
    return number(next((value for value in values if math.isfinite(value)), math.nan))


def _epochs(history: Sequence[Mapping[str, str]]) -> Table:
    names = [name for name in TRAINING_MEASURES if any(row.get(name) for row in history)]
    rows = [
        [row.get("epoch", ""), *(number(to_float(row.get(name))) for name in names)] for row in history[-_MOST_ROWS:]
    ]
    shown = f", the last {_MOST_ROWS}" if len(history) > _MOST_ROWS else ""
    return Table(
        ["epoch", *(TRAINING_MEASURES[name] for name in names)],
        rows,
        f"All numbers of these curves{shown}",
        folded=True,
    )


def _validation(result: Json, history: Sequence[Mapping[str, str]]) -> list[Block]:
    if not result:
        return [Note("The table of the best epoch is written at the end of the run.")]
    mean_pose = result.get("mean_pose_metrics") or {}
    best, last = result["best_metrics"], result["last_metrics"]
    names = [name for name in TRAINING_MEASURES if name in best and name != "train_loss"]
    header = ["measure", f"best (epoch {result['best_epoch']})", f"last (epoch {result['epochs']})"]
    if mean_pose:
        header.append("always the mean pose")
    rows = [
        [
            TRAINING_MEASURES[name],
            *(number(to_float(row.get(name))) for row in ([best, last, mean_pose] if mean_pose else [best, last])),
        ]
        for name in names
    ]
    return [Table(header, rows, "Validation of the weights in best.safetensors and last.safetensors")]


def _split(result: Json, settings: Json) -> KeyValues:
    rows = {
        "training specimens": _words(result.get("train_specimens", settings.get("train_specimens"))),
        "validation specimens": _words(result.get("val_specimens", settings.get("val_specimens"))),
        "training frames": _count(result.get("train_frames")),
        "validation frames": _count(result.get("val_frames")),
        "training pairs": _count(result.get("train_pairs")),
        "validation pairs": _count(result.get("val_pairs")),
        "test pairs, not used": _count(result.get("test_pairs")),
        "trials kept together by": str(result.get("split_rule") or ""),
        "images": str(result.get("images") or ""),
        "frames and their digest": str(settings.get("data") or ""),
    }
    return KeyValues({name: text for name, text in rows.items() if text})


def read_cross_validation(folder: Path, provenance: ProvenanceRecord) -> RunReport | None:
    """The report of a cross-validation; None if it is not finished."""
    result = _read_if_there(folder / RESULT)
    if not result:
        return None
    folds = result["folds"]
    names = [name for name in TRAINING_MEASURES if name in result["mean_metrics"]]
    rows = [
        [
            _words(fold["val_specimens"]),
            number(fold["best_epoch"]),
            *(number(to_float(fold["best_metrics"].get(n))) for n in names),
        ]
        for fold in folds
    ]
    rows.append(["mean", "", *(number(to_float(result["mean_metrics"][name])) for name in names)])
    header = ["specimen left out", "best epoch", *(TRAINING_MEASURES[name] for name in names)]
    mean = result["mean_metrics"]
    return RunReport(
        title="Cross-validation of a bone segmentation network",
        lead=f"{quantity(len(folds), 'training')}, each validated on the specimen left out.",
        figures={
            "mean validation Dice": number(mean.get("val_dice")),
            "mean distance": number(mean.get("val_chamfer_mm"), 2, "mm"),
            "95 % distance": number(mean.get("val_hausdorff_95_mm"), 2, "mm"),
        },
        notes=[
            Note(sentence(str(text)), "warning")
            for text in dict.fromkeys(w for fold in folds for w in fold["warnings"])
        ],
        sections=[
            Section("Folds", [Table(header, rows, "Best epoch of each fold; each fold also has a separate report")])
        ],
        seconds=sum(to_float(fold["seconds"]) for fold in folds),
    )


def _count(value: Any) -> str:
    return number(value) if isinstance(value, int) else ""


def _words(values: Any) -> str:
    return ", ".join(map(str, values)) if isinstance(values, (list, tuple)) else ""
