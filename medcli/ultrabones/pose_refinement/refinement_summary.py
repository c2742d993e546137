"""What a refinement of a record comes to: ``refinement.json`` beside ``refinement.csv``, and sentences about it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medcli.core.errors import quantity
from medcli.core.files import write_text
from medcli.core.json_text import read_object, to_plain
from medcli.ultrabones.dataset.records import Poses, Sweep
from medcli.ultrabones.pose_refinement.correction_curve import GAP_S, split_at_gaps
from medcli.ultrabones.pose_refinement.echo_distance import REACH_MM, SurfaceCheck
from medcli.ultrabones.pose_refinement.fit_curve import objection_to
from medcli.ultrabones.pose_refinement.refine_together import SweepCurve
from medcli.ultrabones.pose_refinement.refinement_report import (
    AT_BOUND,
    DARKER,
    FILLED,
    FRAMES,
    LITTLE_GAIN,
    MOVED,
    REFINED,
    SWEEP,
    Row,
    column_numbers,
    pose_of,
)

SUMMARY = "refinement.json"
SAME_MM = 0.15
"""Constant corrections of two records that differ by less in each component (mm, degrees) and are larger than it."""


@dataclass(frozen=True)
class SweepRefinement:
    """What became of a record's poses.

    Attributes:
        refined: frames whose pose was changed by what they show.
        kept: frames whose pose stays as tracked; the report says why.
        computed: frames refined or looked at by this run; the others were done before.
        displacement_mm: median distance that refined poses moved.
        objective_before: sum of J over refined frames, as tracked.
        objective_after: the same at the refined poses.
        foreign: the table already had optimised poses that this command did not make; they were left alone.
        failures: frames that could not be looked at.
        way: ``frames`` or ``sweep``.
        gain: weight of the bright pixels on the bone over that at the tracked poses, all refined frames together.
        jitter_mm, jitter_deg: median change of the correction from a frame to the next, length of the vector of the
            positions and of the angles.
        at_bound, little_gain, darker: refined frames with that flag, see ``refinement.csv``.
        from_neighbours: frames left alone by the published rules that took the curve's value.
        held_out_gain: gain in frames that the curve was fitted without, NaN without cross-validation.
        held_out_better: share of those frames that gained.
        stiffness_s: of the curve.
        pieces: of the curve: it breaks where the timestamps pause; 0 for ``frames``.
        constant: (6,), mean correction of the record, millimetres and degrees; empty for ``frames``.
        checks: distances of echoes and predictions to the mesh at the tracked and at the refined poses.
        doubt: the question whether the mesh is of another leg; empty where it fits the images.
    """

    refined: int = 0
    kept: int = 0
    computed: int = 0
    displacement_mm: float = 0.0
    objective_before: float = 0.0
    objective_after: float = 0.0
    foreign: bool = False
    failures: tuple[str, ...] = ()
    way: str = FRAMES
    gain: float = math.nan
    jitter_mm: float = math.nan
    jitter_deg: float = math.nan
    at_bound: int = 0
    little_gain: int = 0
    darker: int = 0
    from_neighbours: int = 0
    held_out_gain: float = math.nan
    held_out_better: float = math.nan
    stiffness_s: float = math.nan
    pieces: int = 0
    constant: tuple[float, ...] = ()
    checks: tuple[SurfaceCheck, ...] = ()
    doubt: str = ""

    @property
    def objection(self) -> str:
        """Why the curve was not accepted; empty if it was, or was not validated."""
        return objection_to(self.held_out_gain, self.held_out_better) if self.way == SWEEP else ""

    @property
    def validated_constant(self) -> tuple[float, ...]:
        """The constant part of a curve that held-out frames speak for; else empty."""
        return self.constant if math.isfinite(self.held_out_gain) and not self.objection else ()


def summarise_refinement(
    sweep: Sweep,
    tracked: Poses,
    done: Mapping[int, Row],
    computed: int,
    failures: Sequence[str],
    way: str,
    curve: Mapping[str, object],
    checks: Sequence[SurfaceCheck],
) -> SweepRefinement:
    """The summary of a report's rows.

    Args:
        curve: of ``refinement.json``; empty for frame-wise refinement.
    """
    refined = [row for row in done.values() if row["status"] == REFINED]
    validation = curve.get("validation")
    gains = dict(validation) if isinstance(validation, Mapping) else {}
    before, gain = -column_numbers(refined, "j_before"), column_numbers(refined, "gain")
    jitter_mm, jitter_deg = _jitter(sweep, tracked, done)
    constant, pieces = curve.get("constant"), curve.get("pieces")
    return SweepRefinement(
        refined=len(refined),
        kept=sum(row["status"] not in MOVED for row in done.values()),
        computed=computed,
        displacement_mm=float(np.median(column_numbers(refined, "displacement_mm"))) if refined else 0.0,
        objective_before=float(sum(column_numbers(refined, "j_before"))),
        objective_after=float(sum(column_numbers(refined, "j_after"))),
        failures=tuple(failures),
        way=way,
        gain=float((before * gain).sum() / before.sum()) if before.sum() > 0 else math.nan,
        jitter_mm=jitter_mm,
        jitter_deg=jitter_deg,
        at_bound=sum(AT_BOUND in row["flags"] for row in refined),
        little_gain=sum(LITTLE_GAIN in row["flags"] for row in refined),
        darker=sum(DARKER in row["flags"] for row in refined),
        from_neighbours=sum(row["status"] == FILLED for row in done.values()),
        held_out_gain=_float(gains.get("gain")),
        held_out_better=_float(gains.get("better")),
        stiffness_s=_float(curve.get("stiffness_s")),
        pieces=len(pieces) if isinstance(pieces, (list, tuple)) else 0,
        constant=tuple(map(float, constant)) if isinstance(constant, (list, tuple)) else (),
        checks=tuple(checks),
        doubt=mesh_doubt(checks),
    )


def _float(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else math.nan


def _jitter(sweep: Sweep, tracked: Poses, done: Mapping[int, Row]) -> tuple[float, float]:
    """Median change of the correction between neighbouring frames without a gap between them."""
    frames = [
        frame
        for frame, timestamp in enumerate(sweep.timestamps)
        if timestamp in done and done[timestamp]["status"] in MOVED
    ]
    if len(frames) < 2:
        return math.nan, math.nan
    delta = np.stack([pose_of(done[sweep.timestamps[frame]]) - tracked.pose[frame] for frame in frames])
    times = np.array([sweep.timestamps[frame] for frame in frames]) / 1000.0
    jumps = np.concatenate([np.diff(delta[start:end], axis=0) for start, end in split_at_gaps(times)])
    if not len(jumps):
        return math.nan, math.nan
    return tuple(float(np.median(np.linalg.norm(part, axis=1))) for part in (jumps[:, :3], jumps[:, 3:]))  # type: ignore[return-value]


def curve_entries(curve: SweepCurve | None) -> dict[str, object]:
    """A curve as ``refinement.json`` holds it."""
    if curve is None:
        return {}
    plain: dict[str, object] = to_plain(curve)
    if curve.validation:
        plain["validation"] = {
            "gain": curve.validation.gain,
            "better": curve.validation.better,
            "gains": {f"{s:g}": gain for s, gain in curve.validation.gains.items()},
        }
    return plain


def write_summary(
    folder: Path, made_from: str, made_with: Mapping[str, object], found: SweepRefinement, curve: Mapping[str, object]
) -> None:
    """Write ``refinement.json``: the summary, without what differs from run to run, its ingredients, and the curve."""
    plain = to_plain(found)
    for name in ("computed", "failures", "foreign"):
        del plain[name]
    content = {
        "schema": "medcli.refinement.v1",
        "made_from": made_from,
        "made_with": made_with,
        **plain,
        "curve": dict(curve),
    }
    write_text(folder / SUMMARY, json.dumps(content, indent=1) + "\n")


def read_summary(folder: Path, made_from: str | None = None) -> dict[str, object]:
    """``refinement.json``; empty where there is none, or one made from something else than ``made_from``."""
    found = read_object(folder / SUMMARY)
    return dict(found) if made_from is None or found.get("made_from") == made_from else {}


def read_checks(found: Mapping[str, object]) -> tuple[SurfaceCheck, ...]:
    """The checks in a summary."""
    entries = found.get("checks")
    rows = [dict(one) for one in entries] if isinstance(entries, list) else []
    pairs = ("median_mm", "within_1_mm")
    return tuple(SurfaceCheck(**{**one, **{name: tuple(map(_float, one[name])) for name in pairs}}) for one in rows)


def remarks_on(found: SweepRefinement, rows: Sequence[Row] = ()) -> list[str]:
    """Sentences about a refinement, most important first."""
    lines = []
    for check in found.checks:
        lines.append(describe_check(check))
    if question := mesh_doubt(found.checks):
        lines.insert(0, question)
    if found.way == SWEEP:
        lines += _curve_remarks(found)
    if found.refined:
        flags = [f"{found.at_bound} at a bound", f"{found.little_gain} gained little", f"{found.darker} darker"]
        lines.append(f"weight on bone {found.gain:.3f} times; frames: {', '.join(flags)}")
    if math.isfinite(found.jitter_mm):
        lines.append(f"correction changes from frame to frame by {found.jitter_mm:.3f} mm, {found.jitter_deg:.3f} deg")
    return lines


def _curve_remarks(found: SweepRefinement) -> list[str]:
    lines = []
    if math.isfinite(found.held_out_gain):
        better = f"better in {100 * found.held_out_better:.0f} % of them"
        lines.append(
            f"held-out frames gain {found.held_out_gain:.3f} times, {better} (stiffness {found.stiffness_s:g} s)"
        )
        if found.objection:
            lines.append(f"{found.objection}: the poses stay as tracked")
    elif found.refined:
        lines.append("too few frames for cross-validation: a usual stiffness, gain not checked on held-out frames")
    if found.pieces > 1:
        lines.append(f"the curve is in {found.pieces} pieces (pauses of {GAP_S:g} s or more)")
    if found.from_neighbours:
        lines.append(f"{quantity(found.from_neighbours, 'frame')} without bright bone moved as their neighbours")
    if found.constant and not found.objection:
        x, y, z, a, b, c = found.constant
        lines.append(f"constant part {x:+.2f} {y:+.2f} {z:+.2f} mm, {a:+.2f} {b:+.2f} {c:+.2f} deg")
    return lines


def describe_check(check: SurfaceCheck) -> str:
    """``echoes to mesh: median 0.43 to 0.22 mm, 77 to 88 % within 1 mm``."""
    if not check.points:
        return f"{check.source} to mesh: none of {check.found:,} lies within {REACH_MM:g} mm of it"
    median = " to ".join(f"{value:.2f}" for value in check.median_mm)
    within = " to ".join(f"{100 * value:.0f}" for value in check.within_1_mm)
    return f"{check.source} to mesh: median {median} mm, {within} % within 1 mm"


def mesh_doubt(checks: Sequence[SurfaceCheck]) -> str:
    """The sentence about a mesh that does not fit the images; empty where it does."""
    return next((doubt(check) for check in checks if check.doubtful), "")


def doubt(check: SurfaceCheck) -> str:
    """The sentence about a mesh that does not fit the images."""
    at = f", at a median of {check.median_mm[-1]:.1f} mm" if check.points else ""
    return (
        f"the mesh does not fit the images: {100 * check.share:.0f} % of the {check.source} lie within {REACH_MM:g} mm "
        f"of it{at}; is it the mesh of this leg, not of the other one?"
    )


def shared_constant(constants: Sequence[Sequence[float]]) -> str:
    """A sentence where the constant corrections of several records of a specimen agree; empty where they do not."""
    known = np.array([one for one in constants if one])
    if len(known) < 2:
        return ""
    mean, spread = known.mean(axis=0), np.ptp(known, axis=0)
    alike = (np.abs(mean) > SAME_MM) & (spread < np.abs(mean))
    if not alike.any():
        return ""
    names = ("x", "y", "z", "euler_x", "euler_y", "euler_z")
    units = ("mm",) * 3 + ("deg",) * 3
    parts = [
        f"{name} {value:+.2f} {unit}" for name, value, unit, same in zip(names, mean, units, alike, strict=True) if same
    ]
    return (
        f"the constant part is alike in {quantity(len(known), 'record')} ({', '.join(parts)}): an error of calibration "
        "or of the CT's registration rather than of tracking"
    )
