"""Two pose tables compared as motion: ``medcli evaluate kinematics``."""

from __future__ import annotations

import dataclasses
import logging
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from medcli.core.errors import DataError, quantity, spaced
from medcli.core.files import make_output_folder, write_json, write_text
from medcli.core.progress import SILENT, Progress
from medcli.core.run_provenance import note_run
from medcli.core.run_records.earlier_run import refuse_other_run
from medcli.veriserum.dataset.anatomies import KINDS
from medcli.veriserum.dataset.publication import ABOUT
from medcli.veriserum.dataset.study import VeriserumStudy
from medcli.veriserum.kinematics.agreement import Agreement, agreement_of, draw_agreement
from medcli.veriserum.kinematics.joint_coordinates import COORDINATES
from medcli.veriserum.kinematics.kinematics import ComputedMotion, KinematicsSettings, compute_motion, without_time
from medcli.veriserum.kinematics.low_points import CONDYLES
from medcli.veriserum.kinematics.motion import MISSING, VALUE_COLUMNS

VERB, RESULT = "evaluate kinematics", "evaluation.json"
_LOG = logging.getLogger(__name__)
COMPARED = {
    **{one.name: (one.title, one.unit) for one in COORDINATES},
    **{f"{condyle}_low_ap_mm": (f"{condyle} low point AP", "mm") for condyle in CONDYLES},
    **{f"{condyle}_low_height_mm": (f"{condyle} low height", "mm") for condyle in CONDYLES},
}
"""Column -> title and unit of what is compared."""
_FRAME = ["femur_id", "tibia_id"]


@dataclass(frozen=True)
class OverTrials:
    """The RMS of each trial over all trials: mean, standard deviation (NaN for one trial), and the largest."""

    mean_rms: float
    sd_rms: float
    largest_rms: float
    largest_in: str


@dataclass(frozen=True)
class MotionComparison:
    """Result of ``medcli evaluate kinematics``; differences are those of ``poses`` minus ``reference``.

    Attributes:
        frames: with motion in both tables; ``only_poses`` and ``only_reference`` have it in one of them.
        axes: which axes were used, for both.
        overall: column -> agreement over all frames; :data:`COMPARED` has titles and units.
        per_trial: trial -> column -> agreement.
        over_trials: column -> RMS of the trials.
        out: folder with ``evaluation.json``, ``differences.csv`` and ``bland_altman.png``.
    """

    poses: str
    reference: str
    frames: int
    only_poses: int
    only_reference: int
    axes: str
    overall: dict[str, Agreement]
    per_trial: dict[str, dict[str, Agreement]]
    over_trials: dict[str, OverTrials]
    out: Path
    seconds: float
    warnings: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()
    schema: str = "medcli.evaluate.kinematics.v1"


def compare_motion(
    root: Path | str,
    poses: Path | str,
    reference: Path | str | None,
    out: Path | str,
    settings: KinematicsSettings | None = None,
    progress: Progress = SILENT,
    overwrite: bool = False,
) -> MotionComparison:
    """Compare the motion by two pose tables, with the same axes and side, frame by frame.

    Args:
        root: the dataset's folder.
        poses: table to evaluate.
        reference: table to compare with; None: the dataset's own.
        out: folder of the results.
        settings: of both; its ``poses`` is not used.
        overwrite: replace the results of other tables or settings.

    Raises:
        UsageError: ``out`` has such results.
        DataError: no frame has motion in both, or of the same implants; or as
            :func:`medcli.veriserum.kinematics.kinematics.compute_motion`.
    """
    settings, root, out = settings or KinematicsSettings(), Path(root), Path(out)
    started = time.perf_counter()
    tables = {"poses": Path(poses), "reference": Path(reference) if reference else None}
    options = {"root": root, **vars(settings), **tables}
    refuse_other_run(out, RESULT, VERB, options, overwrite)
    make_output_folder(out)
    study = VeriserumStudy(root, implants=settings.implants)
    one = compute_motion(study, dataclasses.replace(settings, poses=tables["poses"]), progress)
    other = compute_motion(study, dataclasses.replace(settings, poses=tables["reference"]), progress)
    usable = [_usable(found) for found in (one, other)]
    alike, other_implants = _of_same_implants(usable[0], usable[1], one.source, other.source)
    differences = match_frames(alike, usable[1])
    if differences.empty:
        raise DataError(
            f"no frame has motion by both {one.source} and {other.source}",
            "the frames are matched by the ids of femur and tibia: are the tables of the same recordings?",
        )
    warnings = tuple(
        dict.fromkeys((*one.warnings, *other.warnings, *_without_motion(one), *_without_motion(other), *other_implants))
    )
    for warning in warnings:
        _LOG.warning("%s", warning)
    per_trial = {str(trial): _agreements(mine) for trial, mine in differences.groupby("trial", sort=False)}
    result = MotionComparison(
        poses=one.source,
        reference=other.source,
        frames=len(differences),
        only_poses=len(usable[0]) - len(differences),
        only_reference=len(usable[1]) - len(differences),
        axes=other.known.source,
        overall=_agreements(differences),
        per_trial=per_trial,
        over_trials={name: _over_trials(per_trial, name) for name in COMPARED},
        out=out,
        seconds=round(time.perf_counter() - started, 3),
        warnings=warnings,
        failures=tuple(dict.fromkeys((*one.failures, *other.failures))),
    )
    write_json(out / RESULT, without_time(result))
    write_text(out / "differences.csv", differences.round(6).to_csv(index=False, lineterminator="\n"))
    draw_agreement(differences, result.overall, COMPARED, out / "bland_altman.png")
    note_run(out, VERB, ABOUT, root, options)
    return result


def _usable(found: ComputedMotion) -> pd.DataFrame:
    """The frames with motion.

    Raises:
        DataError: there are none; names the reason.
    """
    table = found.motion.table
    usable = table[table["status"] != MISSING]
    if usable.empty:
        reasons = "; ".join(_without_motion(found)) or found.source
        raise DataError(f"no frame has motion: {reasons}", "correct the table")
    return pd.DataFrame(usable)


def _without_motion(found: ComputedMotion) -> list[str]:
    """A line on the frames of a table that have rows, but no motion; none where there are none."""
    table = found.motion.table
    lost = table[(table["status"] == MISSING) & (table["femur_id"].notna() | table["tibia_id"].notna())]
    if lost.empty:
        return []
    first = lost.iloc[0]
    number = first["femur_id"] if pd.notna(first["femur_id"]) else first["tibia_id"]
    count = quantity(len(lost), "frame has rows but no motion and is", "frames have rows but no motion and are")
    return [f"{found.source}: {count} omitted, the first of id {number}: {first['reason']}"]


def _of_same_implants(
    one: pd.DataFrame, other: pd.DataFrame, source: str, reference: str
) -> tuple[pd.DataFrame, list[str]]:
    """The frames of ``one`` without those that ``other`` has of other implants, and a line on these.

    Raises:
        DataError: all that are in both are of other implants.
    """
    names = [f"{kind}_anatomy" for kind in KINDS]
    both = one.reset_index().merge(other, on=_FRAME, suffixes=("", "_other"))
    apart = both[np.logical_or.reduce([both[name] != both[f"{name}_other"] for name in names])]
    if apart.empty:
        return one, []
    first = apart.iloc[0]
    there, wanted = (spaced(first[f"{name}{end}"] for name in names) for end in ("", "_other"))
    said = f"{source} has anatomies {there} at femur id {first['femur_id']}, {reference} {wanted}"
    if len(apart) == len(both):
        raise DataError(f"all frames are of other implants: {said}", "correct the column anatomy_id")
    kept = one.drop(index=apart["index"].tolist())
    return kept, [f"{quantity(len(apart), 'frame')} of other implants omitted: {said}"]


def match_frames(one: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """Differences of the frames with motion in both tables, matched by the ids of femur and tibia.

    Returns:
        trial and frame of ``other``, the ids, and for each column of values its difference ``NAME``, its mean
        ``mean_NAME`` and the standard error of the difference ``se_NAME``; angles differ by at most 180 degrees.
    """
    both = one.merge(other, on=_FRAME, suffixes=("_one", "_other"))
    found = pd.DataFrame({"trial": both["trial_other"], "frame": both["frame_other"], **{n: both[n] for n in _FRAME}})
    columns: dict[str, pd.Series] = {}
    for name in VALUE_COLUMNS:
        a, b = both[f"{name}_one"], both[f"{name}_other"]
        apart = a - b
        if name.endswith("_deg"):
            apart = (apart + 180) % 360 - 180
        columns[name], columns[f"mean_{name}"] = apart, b + apart / 2
        squared = [both[f"se_{name}_{which}"].fillna(0) ** 2 for which in ("one", "other")]
        known = both[f"se_{name}_one"].notna() | both[f"se_{name}_other"].notna()
        columns[f"se_{name}"] = ((squared[0] + squared[1]) ** 0.5).where(known)
    return pd.concat([found, pd.DataFrame(columns)], axis=1)


def _agreements(differences: pd.DataFrame) -> dict[str, Agreement]:
    trials = differences["trial"].astype(str).to_numpy()
    numbers = {name: differences[name].to_numpy(np.float64) for one in COMPARED for name in (one, f"se_{one}")}
    return {name: agreement_of(numbers[name], numbers[f"se_{name}"], trials) for name in COMPARED}


def _over_trials(per_trial: dict[str, dict[str, Agreement]], name: str) -> OverTrials:
    values = {trial: found[name].rms for trial, found in per_trial.items() if found[name].frames}
    if not values:
        return OverTrials(float("nan"), float("nan"), float("nan"), "")
    rms = np.array(list(values.values()))
    largest = max(values, key=lambda trial: values[trial])
    sd = float(rms.std(ddof=1)) if len(rms) > 1 else float("nan")
    return OverTrials(float(rms.mean()), sd, values[largest], largest)
