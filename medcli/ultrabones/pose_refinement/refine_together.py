"""Refine the poses of a whole sweep together: one smooth correction curve, in place of one optimum for each frame.

The error of tracking is smooth in time, and most of a frame's own optimum is noise: four fifths of its gain can be had
from the neighbours alone. The same pixels, weights and bounds as in the published, frame-wise refinement.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from medcli.core.errors import DataError
from medcli.core.image_io import read_grey
from medcli.core.progress import Advance, activity
from medcli.core.rigid_transforms import transform_points
from medcli.core.threads import map_in_threads
from medcli.ultrabones.dataset.constants import PIXEL_SPACING_MM
from medcli.ultrabones.dataset.records import Poses, Sweep
from medcli.ultrabones.geometry.bone_surface import Surface
from medcli.ultrabones.geometry.image_to_ct import check_frame_size, corner_to_probe, pixels_to_image
from medcli.ultrabones.pose_refinement import refine_frame as frame_wise
from medcli.ultrabones.pose_refinement.correction_curve import USUAL_STEP_S, CurveBasis, are_numbers
from medcli.ultrabones.pose_refinement.distance_field import DistanceField
from medcli.ultrabones.pose_refinement.fit_curve import (
    USUAL_STIFFNESS_S,
    CurveProblem,
    Validation,
    choose_stiffness,
    fit_curve,
)
from medcli.ultrabones.pose_refinement.pose_optimizer import NEAR_MM
from medcli.ultrabones.pose_refinement.refine_frame import RefineSettings
from medcli.ultrabones.pose_refinement.refinement_report import FILLED, KEPT, REFINED, Row, as_row
from medcli.ultrabones.pose_refinement.sweep_objective import SweepPixels, published_terms

logger = logging.getLogger(__name__)
SUPPORT_S = 0.5
"""A frame that is left alone takes the curve's value if refined ones lie this near before and after it."""
_DOTS = 40
"""Frames whose own optimum is computed for comparison, at most."""


@dataclass(frozen=True)
class SweepCurve:
    """A sweep's correction.

    Attributes:
        times_s: (frames,), of the frames used, from the first.
        timestamps: (frames,), the same in milliseconds.
        delta: (frames, 6), correction of x, y, z, euler_x, euler_y, euler_z: millimetres and degrees.
        constant: (6,), its mean over the refined frames: an error of calibration or of the CT's registration.
        stiffness_s: of the curve.
        validation: None where there are too few frames for it.
        dots: (n, 7), timestamp and correction of some frames by their own optimum.
        pieces: first and past-the-last timestamp's position of each piece between gaps.
    """

    times_s: tuple[float, ...]
    timestamps: tuple[int, ...]
    delta: tuple[tuple[float, ...], ...]
    constant: tuple[float, ...]
    stiffness_s: float
    validation: Validation | None
    dots: tuple[tuple[float, ...], ...]
    pieces: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class _Seen:
    """A frame that was looked at: its pixels, or why it is left alone, and J at its tracked pose."""

    frame: int
    reason: str
    columns: NDArray[np.int16]
    rows: NDArray[np.int16]
    greys: NDArray[np.uint8]
    before: float = float("nan")


def refine_together(
    sweep: Sweep,
    poses: Poses,
    frames: Sequence[int],
    keys: Sequence[str],
    surfaces: Sequence[Surface],
    field: DistanceField,
    settings: RefineSettings,
    workers: int,
    advance: Advance,
) -> tuple[list[Row], SweepCurve | None, list[str]]:
    """Rows of ``refinement.csv`` for the frames, the curve (None if no frame shows the bone) and failures.

    Args:
        frames: of the sweep, all that are tracked.
        keys: of all frames of the sweep, see :func:`refinement_report.frame_key`.
        advance: is told of ``len(frames)`` units of work.
    """
    seen, failures = _look(sweep, poses, frames, surfaces, settings, workers, advance)
    if not seen:
        return [], None, failures
    shown = np.array([not one.reason for one in seen])
    problem = _problem(sweep, poses, seen, shown, field, settings, workers)
    validation, curve = None, None
    if shown.any():
        validation = choose_stiffness(problem, shown, advance=lambda share: advance(0.5 * share * len(frames)))
        stiffness = validation.stiffness_s if validation else USUAL_STIFFNESS_S
        with activity(f"{sweep.name}: fitting the curve"):
            delta = problem.basis.curve(fit_curve(problem, shown, stiffness))
        dots = _own_optima(sweep, poses, [one.frame for one, use in zip(seen, shown, strict=True) if use], surfaces,
                           field, settings, workers)  # fmt: skip
        curve = SweepCurve(
            tuple(problem.basis.times_s.tolist()),
            tuple(sweep.timestamps[one.frame] for one in seen),
            tuple(map(tuple, delta.tolist())),
            tuple(delta[shown].mean(axis=0).tolist()),
            stiffness,
            validation,
            dots,
            problem.basis.pieces,
        )
    objection = validation.objection if validation else ""
    helpful = curve is not None and not objection
    support = _supported(problem.basis, shown)

    def judge(k: int) -> Row:
        frame = seen[k].frame
        moved = problem.tracked[k] + np.array(curve.delta[k]) if curve else problem.tracked[k]
        one = seen[k] if helpful or seen[k].reason else replace(seen[k], reason=objection)
        found = _judged(sweep, poses, one, moved, surfaces, helpful and bool(support[k]))
        status = KEPT if np.array_equal(found.pose, problem.tracked[k]) else REFINED if shown[k] else FILLED
        return as_row(found, problem.tracked[k], settings.bound, keys[frame], status)

    return list(map_in_threads(judge, range(len(seen)), workers)), curve, failures


def _look(
    sweep: Sweep,
    poses: Poses,
    frames: Sequence[int],
    surfaces: Sequence[Surface],
    settings: RefineSettings,
    workers: int,
    advance: Advance,
) -> tuple[list[_Seen], list[str]]:
    """The pixels of each usable frame, and why the others are not."""
    none = (np.empty(0, np.int16), np.empty(0, np.int16), np.empty(0, np.uint8))

    def look(frame: int) -> _Seen | str:
        try:
            image = _read(sweep, poses, frame)
        except DataError as error:
            return _failed(sweep, frame, error)
        grey = frame_wise.odd_pixels(image)
        spacing = float(poses.spacing_mm[frame])
        used = frame_wise.usable_pixels(grey, poses.pose[frame], spacing, surfaces, settings, sweep.probe)
        if isinstance(used, str):
            return _Seen(frame, used, *none)
        rows, columns = (2 * positions + 1 for positions in used.positions)
        before = -float(used.weights[used.distance < NEAR_MM].sum())
        return _Seen(frame, "", columns.astype(np.int16), rows.astype(np.int16), image[rows, columns], before)

    seen, failures = [], []
    for one in map_in_threads(look, frames, workers):
        if isinstance(one, str):
            failures.append(one)
        else:
            seen.append(one)
        advance(0.5)
    return seen, failures


def unreadable(sweep: Sweep, poses: Poses, frames: Sequence[int]) -> list[str]:
    """Why some of the frames cannot be refined, one line for each that cannot."""
    failures = []
    for frame in frames:
        try:
            _read(sweep, poses, frame)
        except DataError as error:
            failures.append(_failed(sweep, frame, error))
    return failures


def _failed(sweep: Sweep, frame: int, error: DataError) -> str:
    return f"{sweep.name} {sweep.timestamps[frame]}: {error.message}"


def _read(sweep: Sweep, poses: Poses, frame: int) -> NDArray[np.uint8]:
    problem = poses.problem(frame)
    if problem:
        raise DataError(problem)
    image = read_grey(sweep.images[frame])
    check_frame_size(image.shape, float(poses.spacing_mm[frame]), sweep.images[frame], sweep.probe)
    return image


def _problem(
    sweep: Sweep,
    poses: Poses,
    seen: Sequence[_Seen],
    shown: NDArray[np.bool_],
    field: DistanceField,
    settings: RefineSettings,
    workers: int,
) -> CurveProblem:
    frames = [one.frame for one in seen]
    spacing = poses.spacing_mm[frames]
    starts = np.concatenate([[0], np.cumsum([len(one.greys) for one in seen])]).astype(np.int64)
    columns, rows, greys = (
        np.concatenate([getattr(one, name) for one in seen]) for name in ("columns", "rows", "greys")
    )
    pixels = SweepPixels(
        starts, columns, rows, greys, spacing, (spacing / PIXEL_SPACING_MM) ** 2, corner_to_probe(sweep.probe)
    )
    tracked = np.ascontiguousarray(poses.pose[frames])
    weight = published_terms(pixels, tracked, shown, field, workers)
    scale = max(float(weight.sum()) / max(int(shown.sum()), 1), 1.0)
    timestamps = [sweep.timestamps[frame] for frame in frames]
    if are_numbers(timestamps):
        logger.warning("%s: timestamps number the frames; they are taken to be %g s apart", sweep.name, USUAL_STEP_S)
    basis = CurveBasis.of(timestamps)
    return CurveProblem(basis, tracked, pixels, field, scale, settings.bound, workers)


def _supported(basis: CurveBasis, shown: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(frames,): whether frames that show the bone hold the curve: the frame itself, or neighbours on both sides."""
    support = shown.copy()
    for start, end in basis.pieces:
        own, times = np.flatnonzero(shown[start:end]) + start, basis.times_s
        for frame in range(start, end):
            before, after = own[own < frame], own[own > frame]
            if len(before) and len(after):
                far = max(times[frame] - times[before[-1]], times[after[0]] - times[frame])
                support[frame] |= bool(far <= SUPPORT_S)
    return support


def _judged(
    sweep: Sweep,
    poses: Poses,
    seen: _Seen,
    moved: NDArray[np.float64],
    surfaces: Sequence[Surface],
    use: bool,
) -> frame_wise.Refinement:
    """The row's numbers by exact distances; the tracked pose where the curve is not used."""
    frame, reason = seen.frame, seen.reason
    tracked, spacing, timestamp = poses.pose[frame], float(poses.spacing_mm[frame]), sweep.timestamps[frame]
    if not use:
        return frame_wise.Refinement(timestamp, False, reason, tracked)
    grey = frame_wise.odd_pixels(read_grey(sweep.images[frame]))
    after = float("nan")
    if not reason:
        points = transform_points(corner_to_probe(sweep.probe), pixels_to_image(seen.columns, seen.rows, spacing))
        share = (spacing / PIXEL_SPACING_MM) ** 2
        pixels = frame_wise.BonePixels(points, seen.greys / 255.0, np.empty(0), share)
        after = frame_wise.exact_objective(moved, tracked, pixels, surfaces)
    found = frame_wise.judge_change(timestamp, grey, tracked, moved, spacing, surfaces, seen.before, after, sweep.probe)
    return replace(found, refined=not reason, reason=reason)


def _own_optima(
    sweep: Sweep,
    poses: Poses,
    frames: Sequence[int],
    surfaces: Sequence[Surface],
    field: DistanceField,
    settings: RefineSettings,
    workers: int,
) -> tuple[tuple[float, ...], ...]:
    """Timestamp and correction of some frames by the published, frame-wise refinement."""
    count = min(_DOTS, max(len(frames) // 10, min(len(frames), 8)))
    chosen = [frames[i] for i in np.unique(np.linspace(0, len(frames) - 1, count).round().astype(int))]

    def refine(frame: int) -> tuple[float, ...]:
        image, timestamp = read_grey(sweep.images[frame]), sweep.timestamps[frame]
        spacing = float(poses.spacing_mm[frame])
        pose = poses.pose[frame]
        found = frame_wise.refine_frame(image, pose, spacing, surfaces, field, timestamp, settings, sweep.probe)
        return (float(timestamp), *(found.pose - pose).tolist())

    with activity(f"{sweep.name}: refining some frames by themselves"):
        return tuple(map_in_threads(refine, chosen, workers))
