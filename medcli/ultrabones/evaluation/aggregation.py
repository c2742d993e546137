"""From the scores of frames to the result of an evaluation: means, intervals, and each specimen by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medcli.core.json_text import INLINE
from medcli.ultrabones.dataset.splits import DonorOverlap
from medcli.ultrabones.evaluation.metrics import (
    LISTED,
    REGIONS,
    THRESHOLDS_MM,
    FrameScore,
    curve_measures,
    scalar_measures,
)

Curves = dict[str, list[float]]
"""Region (``all``, ``visible``, ``invisible``) to one value for each threshold."""
Interval = dict[str, dict[str, list[list[float]]]]
"""The 95 % bootstrap interval of each curve and region, specimens drawn with replacement: lower and upper end."""
_DRAWS = 2000


@dataclass(frozen=True)
class SpecimenResult:
    """Means over the frames of one specimen, as in :class:`SegmentationResult`."""

    donor: str
    frames: int
    frames_skipped: int
    curves: dict[str, Curves] = field(metadata=INLINE)
    scalars: dict[str, float] = field(metadata=INLINE)


@dataclass(frozen=True)
class PublishedDifference:
    """A value beside the published one.

    Attributes:
        region: ``all``, ``visible`` or ``invisible``.
        within_mm: the threshold.
        measure: ``precision``, ``recall`` or ``f1``.
        published, found: both values; NaN where there is none.
        difference: found - published.
    """

    region: str
    within_mm: float
    measure: str
    published: float
    found: float
    difference: float = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "difference", self.found - self.published)


@dataclass(frozen=True)
class SegmentationResult:
    """What ``medcli evaluate seg`` answers for one protocol; a value that does not exist is NaN (null in JSON).

    In JSON each measure of ``curves`` and ``scalars`` is a field of the result: ``result["f1"]["all"]``.

    Attributes:
        protocol: ``paper`` or ``strict`` (see :mod:`medcli.ultrabones.evaluation.protocols`).
        source: the mask folder or the checkpoint.
        labels: ``partial``, ``full`` or a mask folder.
        specimens: what was evaluated.
        frames: frames that count in the means.
        frames_skipped: frames left out: without any predicted or label pixel (paper), with an empty label (strict).
        visible_grey: grey value from which a pixel is visible.
        thresholds_mm: 0.0, 0.1 … 2.0.
        curves, scalars: means over frames by key of the measure; each mean leaves out the frames in which its own value
            is undefined. Every frame counts the same unless its measure has a weight (``assd_pooled_mm``).
        frames_without_prediction: labelled frames in which nothing was predicted. Strict counts them, paper leaves
            them out, so there they are among ``frames_skipped``.
        false_positive_rate: share of the frames with an empty label in which something was predicted.
        interval_95: strict only, and with two specimens or more.
        per_specimen: the same means for each specimen.
        donor_overlap: donors with a leg in training too; None when it is not known what the model was trained on.
        failures: frames that could not be read, one line each.
        train_specimens: what the model was trained on; None when that is not known.
        published: differences to the published result at 0.5, 1 and 2 mm, where this is an evaluation of the published
            network's kind: by the paper's protocol, on its test specimens.
        frames_in_mean: by key of a curve's measure and region, how many frames have a value there, and so are in its
            mean.
    """

    protocol: str
    source: str
    labels: str
    specimens: list[int]
    frames: int
    frames_skipped: int
    visible_grey: float
    thresholds_mm: list[float]
    curves: dict[str, Curves] = field(metadata=INLINE)
    scalars: dict[str, float] = field(metadata=INLINE)
    frames_without_prediction: int
    false_positive_rate: float
    interval_95: Interval | None
    per_specimen: dict[int, SpecimenResult]
    donor_overlap: list[DonorOverlap] | None
    failures: list[str]
    train_specimens: list[int] | None = None
    published: list[PublishedDifference] | None = None
    frames_in_mean: dict[str, dict[str, int]] = field(default_factory=dict)
    schema: str = "medcli.evaluate.seg.v1"


@dataclass(frozen=True)
class EvaluationContext:
    """What a result says besides scores; see :class:`SegmentationResult`."""

    source: str
    labels: str
    visible_grey: float
    donor_overlap: list[DonorOverlap] | None
    failures: list[str]
    train_specimens: list[int] | None = None


def summarise_frames(
    protocol: str,
    frames: pd.DataFrame,
    scores: Sequence[FrameScore | None],
    about: EvaluationContext,
    missed: Sequence[bool] | None = None,
) -> SegmentationResult:
    """Mean scores of one protocol.

    Args:
        protocol: ``paper`` or ``strict``.
        frames: the index rows of ``scores``.
        scores: one for each row, None where the protocol leaves the frame out.
        about: what does not come from the scores.
        missed: for each row, whether nothing was predicted in a labelled frame; None: as the scores say.
    """
    counted = np.array([score is not None and score.labelled for score in scores], dtype=bool)
    empty = [score for score in scores if score is not None and not score.labelled]
    kept = [score for score in scores if score is not None and score.labelled]
    specimens = frames["specimen"].to_numpy()
    return SegmentationResult(
        protocol=protocol,
        specimens=sorted({int(number) for number in specimens}),
        frames=len(kept),
        frames_skipped=len(scores) - len(kept),
        thresholds_mm=[round(float(t), 1) for t in THRESHOLDS_MM],
        **_means_of(kept),
        frames_without_prediction=sum(not score.predicted for score in kept) if missed is None else sum(missed),
        frames_in_mean={measure.key: _frames_in_mean(kept, measure.key) for measure in curve_measures()},
        false_positive_rate=float(np.mean([score.predicted for score in empty])) if empty else np.nan,
        interval_95=_interval(kept, specimens[counted]) if protocol == "strict" else None,
        per_specimen=_per_specimen(frames, scores, counted),
        **vars(about),
    )


def frame_table(frames: pd.DataFrame, scores: Sequence[FrameScore | None]) -> pd.DataFrame:
    """One row a frame: which it is, whether it counts, and its scores at 0.5, 1.0 and 2.0 mm."""
    table = frames[["specimen", "donor", "anatomy", "record", "timestamp", "image"]].reset_index(drop=True)
    table["counted"] = [score is not None and score.labelled for score in scores]
    table["predicted"] = [score is not None and score.predicted for score in scores]
    for measure in scalar_measures():
        table[measure.key] = [score.scalars[measure.key] if score else np.nan for score in scores]
        if measure.weight:
            table[f"{measure.key}.weight"] = [score.weights.get(measure.key) if score else np.nan for score in scores]
    for key in (measure.key for measure in curve_measures()):
        for r, region in enumerate(REGIONS):
            for k in LISTED:
                values = [score.curves[key][r, k] if score else np.nan for score in scores]
                table[f"{key}.{region}@{k / 10}"] = values
    return table


def _per_specimen(
    frames: pd.DataFrame, scores: Sequence[FrameScore | None], counted: NDArray[np.bool_]
) -> dict[int, SpecimenResult]:
    specimens, donors = frames["specimen"].to_numpy(), frames["donor"].tolist()
    results = {}
    for number in sorted({int(n) for n in specimens}):
        rows = np.flatnonzero(specimens == number).tolist()
        kept = [score for i in rows if counted[i] and (score := scores[i]) is not None]
        results[number] = SpecimenResult(
            donor=donors[rows[0]],
            frames=len(kept),
            frames_skipped=len(rows) - len(kept),
            **_means_of(kept),
        )
    return results


def _means_of(scores: Sequence[FrameScore]) -> dict[str, Any]:
    """The fields ``curves`` and ``scalars`` of a result."""
    return {
        "curves": {measure.key: _mean_curve(scores, measure.key) for measure in curve_measures()},
        "scalars": {measure.key: _mean_scalar(scores, measure.key) for measure in scalar_measures()},
    }


def _mean_scalar(scores: Sequence[FrameScore], key: str) -> float:
    values = np.array([score.scalars[key] for score in scores], dtype=np.float64)
    there = ~np.isnan(values)
    if not there.any():
        return np.nan
    if not any(key in score.weights for score in scores):
        return float(values[there].mean())
    weights = np.array([score.weights[key] for score in scores], dtype=np.float64)
    return float(np.average(values[there], weights=weights[there]))


def _mean_curve(scores: Sequence[FrameScore], key: str) -> Curves:
    """Mean over the frames with a value; NaN where there is none."""
    values = _stack(scores, key)
    there = ~np.isnan(values)
    count = there.sum(axis=0)
    means = np.where(count > 0, np.where(there, values, 0).sum(axis=0) / np.maximum(count, 1), np.nan)
    return dict(zip(REGIONS, means.tolist(), strict=True))


def _frames_in_mean(scores: Sequence[FrameScore], key: str) -> dict[str, int]:
    """A frame has a value at all thresholds of a region or at none."""
    counts = (~np.isnan(_stack(scores, key)[:, :, -1])).sum(axis=0)
    return dict(zip(REGIONS, counts.tolist(), strict=True))


def _stack(scores: Sequence[FrameScore], key: str) -> NDArray[np.float64]:
    """(frames, 3, 21)."""
    return np.array([score.curves[key] for score in scores]).reshape(-1, len(REGIONS), len(THRESHOLDS_MM))


def _interval(scores: Sequence[FrameScore], specimens: NDArray[np.int64]) -> Interval | None:
    """Specimens, not frames, are drawn: frames of one leg are much alike."""
    numbers = np.unique(specimens)
    if len(numbers) < 2:
        return None
    draws = np.random.default_rng(0).integers(0, len(numbers), (_DRAWS, len(numbers)))
    weights = np.stack([(draws == i).sum(axis=1) for i in range(len(numbers))], axis=1).astype(np.float64)
    ends = {}
    for key in (measure.key for measure in curve_measures()):
        values = _stack(scores, key)
        there = ~np.isnan(values)
        sums = np.stack([np.where(there, values, 0)[specimens == n].sum(axis=0) for n in numbers])
        counts = np.stack([there[specimens == n].sum(axis=0) for n in numbers])
        total, count = np.tensordot(weights, sums, 1), np.tensordot(weights, counts, 1)
        means = np.where(count > 0, total / np.maximum(count, 1), np.nan)
        ends[key] = {region: _percentiles(means[:, i]) for i, region in enumerate(REGIONS)}
    return ends


def _percentiles(means: NDArray[np.float64]) -> list[list[float]]:
    """Lower and upper end for each threshold; draws without any value are left out."""
    ends = np.full((2, means.shape[1]), np.nan)
    for k in range(means.shape[1]):
        column = means[~np.isnan(means[:, k]), k]
        if len(column):
            ends[:, k] = np.percentile(column, [2.5, 97.5])
    return [row.tolist() for row in ends]
