"""The numbers of a run by name, from its files: what ``medcli runs compare`` sets side by side."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from medcli.core.errors import DataError
from medcli.core.json_text import read_object
from medcli.training.run_folder import RESULT, read_history
from medcli.training.settings import read_settings
from medcli.workspace import runs
from medcli.workspace.bone_figures import reconstructions, recovery_figures, registration_figures
from medcli.workspace.motion_figures import agreement_figures, motion_figures
from medcli.workspace.pose_table_header import read_pose_table
from medcli.workspace.resume import monitor_of
from medcli.workspace.run_listing import read_note
from medcli.workspace.runs import Run

Figures = dict[str, float | None]
TRAINING_MEASURES: Mapping[str, str] = {
    "train_loss": "training loss",
    "val_loss": "validation loss",
    "val_dice": "validation Dice",
    "val_chamfer_mm": "mean distance, mm",
    "val_hausdorff_mm": "Hausdorff distance, mm",
    "val_hausdorff_95_mm": "95 % distance, mm",
    "val_in_plane_mm": "in plane bs, mm",
    "val_out_of_plane_mm": "out of plane bs, mm",
    "val_rotation_deg": "rotation, degrees",
}
"""Titles of the columns of ``metrics.csv``."""


def run_figures(run: Run) -> Figures:
    """Every number of a run that can be compared with that of another, in the order of its tables; None: no value.

    Raises:
        DataError: a file of the run is damaged.
    """
    try:
        figures = _READERS.get(run.kind, _noted)(run)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise DataError(
            f"a file in {run.path} is damaged, or of another version of medcli: {type(error).__name__} {error}",
            "run the command that wrote it again",
        ) from error
    return {name: _finite(value) for name, value in figures.items()}


def _training(run: Run) -> Mapping[str, Any]:
    result = read_object(run.path / RESULT)
    rows = read_history(run.path)
    best, last = result.get("best_metrics") or {}, result.get("last_metrics") or (rows[-1] if rows else {})
    if not best and rows:
        best = rows[monitor_of(run.kind.split()[1], read_settings(run.path)).best_of(rows) or 0]
    return {
        "epochs": result.get("epochs", len(rows)),
        "best epoch": result.get("best_epoch", best.get("epoch")),
        **{f"{title}, best": best[name] for name, title in TRAINING_MEASURES.items() if name in best},
        **{f"{title}, last": last[name] for name, title in TRAINING_MEASURES.items() if name in last},
        "time, s": result.get("seconds"),
    }


def _cross_validation(run: Run) -> Mapping[str, Any]:
    result = read_object(run.path / RESULT)
    mean = result.get("mean_metrics") or {}
    return {
        **{f"{title}, best": mean[name] for name, title in TRAINING_MEASURES.items() if name in mean},
        "time, s": sum(fold["seconds"] for fold in result.get("folds") or []),
    }


def _evaluate_seg(run: Run) -> Mapping[str, Any]:
    from medcli.ultrabones.evaluation.metrics import LISTED, REGIONS, curve_measures, scalar_measures

    found = read_object(run.path / runs.EVALUATION)
    by_protocol = {name: found[name] for name in ("paper", "strict") if name in found} or {found["protocol"]: found}
    figures: dict[str, Any] = {}
    for protocol, one in by_protocol.items():
        for measure in scalar_measures():
            figures[f"{protocol}: {measure.title_with_unit}"] = one.get(measure.key)
        for measure in curve_measures():
            for region, k in ((region, k) for region in REGIONS for k in LISTED):
                values = (one.get(measure.key) or {}).get(region)
                where = "" if region == "all" else f" of {region} bone"
                if values:
                    figures[f"{protocol}: {measure.title}{where} at {k / 10:g} mm"] = values[k]
        figures[f"{protocol}: frames"] = one["frames"]
        figures[f"{protocol}: frames without prediction"] = one.get("frames_without_prediction")
    return figures


def _evaluate_pose(run: Run) -> Mapping[str, Any]:
    from medcli.veriserum.pose.metrics import POSE_MEASURES

    found = read_object(run.path / runs.EVALUATION)
    shown = {"mean": "mean", "median": "median", "p90": "90 %", "p95": "95 %"}
    figures = {
        f"{measure.title}, {measure.unit}, {words}": found["errors"][measure.name].get(key)
        for measure in POSE_MEASURES
        if measure.name in found["errors"]
        for key, words in shown.items()
    }
    return {**figures, "pairs": found["pairs"]}


def _reconstruct(run: Run) -> Mapping[str, Any]:
    records = [content["reconstruction"] for content in reconstructions(run.path)]
    known = [record["distance_mm"] for record in records if record["distance_mm"]]
    shown = {"mean": "mean", "median": "median", "percentile_95": "95 %", "maximum": "largest"}
    figures = {
        f"{words} distance to the CT, mm": _mean([one[key] for one in known])
        for key, words in shown.items()
        if all(key in one for one in known)
    }
    return {**figures, "points": sum(record["points"] for record in records), "records": len(records)}


def _table(run: Run) -> Mapping[str, Any]:
    rows = read_pose_table(run.path)
    names = {
        "similarity_before": "similarity at the start, mean",
        "similarity_after": "similarity after, mean",
        "displacement_mm": "displacement, mm, mean",
        "rotation_deg": "rotation, degrees, mean",
    }
    return {"poses": len(rows), **_means(rows, names)}


def _tracked(run: Run) -> Mapping[str, Any]:
    """Poses by status, and the means of their quality, of ``medcli register trial``."""
    rows = read_pose_table(run.path)
    names = {
        "similarity_bs": "similarity bs, mean",
        "similarity_fs": "similarity fs, mean",
        "margin": "margin over the runner-up, mean",
        "se_mm": "standard error, mm, mean",
        "se_deg": "standard error, degrees, mean",
    }
    return {"poses": len(rows), **Counter(row["status"] for row in rows), **_means(rows, names)}


def _noted(run: Run) -> Mapping[str, Any]:
    """The numbers of a result that is in the provenance record only."""
    result = read_note(run).get("result") or {}
    names = {name: value for name, value in result.items() if isinstance(value, (int, float)) and name != "schema"}
    return {name.replace("_", " "): value for name, value in names.items() if not isinstance(value, bool)}


def _means(rows: Sequence[Mapping[str, str]], names: Mapping[str, str]) -> dict[str, float]:
    """The mean of each column that has a value, by its title."""
    means = {title: _mean([float(row[name]) for row in rows if row.get(name)]) for name, title in names.items()}
    return {title: value for title, value in means.items() if value is not None}


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _finite(value: Any) -> float | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return value if is_number else None


_READERS: Mapping[str, Callable[[Run], Mapping[str, Any]]] = {
    runs.TRAIN_SEG: _training,
    runs.TRAIN_POSE: _training,
    runs.CROSS_VALIDATION: _cross_validation,
    runs.EVALUATE_SEG: _evaluate_seg,
    runs.EVALUATE_POSE: _evaluate_pose,
    runs.RECONSTRUCT: _reconstruct,
    runs.KINEMATICS: lambda run: motion_figures(read_object(run.path / runs.MOTION)),
    runs.EVALUATE_KINEMATICS: lambda run: agreement_figures(read_object(run.path / runs.EVALUATION)),
    runs.PREDICT_POSE: _table,
    runs.REGISTER: _table,
    runs.REGISTER_TRIAL: _tracked,
    runs.REGISTER_BONE: lambda run: registration_figures(run.path),
    runs.EVALUATE_REGISTRATION: lambda run: recovery_figures(read_object(run.path / runs.EVALUATION)),
}
