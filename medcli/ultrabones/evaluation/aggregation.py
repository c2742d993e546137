"""From the scores of frames to the result of an evaluation: means, intervals, and each specimen by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medcli.ultrabones.dataset.splits import DonorOverlap
from medcli.ultrabones.evaluation.metrics import REGIONS, THRESHOLDS_MM, FrameScore

Curves = dict[str, list[float]]
"""Region (``all``, ``visible``, ``invisible``) to one value for each threshold."""
CURVES = ("precision", "recall", "f1")
_DRAWS = 2000
_CSV_THRESHOLDS = (5, 10, 20)


@dataclass(frozen=True)
class Interval:
    """The 95 % bootstrap interval of each curve, specimens drawn with replacement: lower and upper end."""

    precision: dict[str, list[list[float]]]
    recall: dict[str, list[list[float]]]
    f1: dict[str, list[list[float]]]


@dataclass(frozen=True)
class SpecimenResult:
    """Means over the frames of one specimen."""

    donor: str
    frames: int
    frames_skipped: int
    precision: Curves
    recall: Curves
    f1: Curves
    dice: float
    assd_mm: float
    hd95_mm: float


@dataclass(frozen=True)
class SegmentationResult:
    """What ``medcli evaluate seg`` answers for one protocol; a value that does not exist is NaN (null in JSON).

    Attributes:
        protocol: ``paper`` or ``strict`` (see :mod:`medcli.ultrabones.evaluation.metrics`).
        source: the mask folder or the checkpoint.
        labels: ``partial``, ``full`` or a mask folder.
        specimens: what was evaluated.
        frames: frames that count in the means.
        frames_skipped: frames left out: without any predicted or label pixel (paper), with an empty label (strict).
        visible_grey: grey value from which a pixel is visible.
        thresholds_mm: 0.0, 0.1 … 2.0.
        precision, recall, f1: mean over frames; each mean leaves out the frames in which its own value is undefined.
        dice, assd_mm, hd_mm, hd95_mm: means over the frames that have them.
        frames_without_prediction: counted frames in which nothing was predicted.
        false_positive_rate: share of the frames with an empty label in which something was predicted.
        interval_95: strict only, and with two specimens or more.
        per_specimen: the same means for each specimen.
        donor_overlap: donors with a leg in training too; None when it is not known what the model was trained on.
        failures: frames that could not be read, one line each.
    """

    protocol: str
    source: str
    labels: str
    specimens: list[int]
    frames: int
    frames_skipped: int
    visible_grey: float
    thresholds_mm: list[float]
    precision: Curves
    recall: Curves
    f1: Curves
    dice: float
    assd_mm: float
    hd_mm: float
    hd95_mm: float
    frames_without_prediction: int
    false_positive_rate: float
    interval_95: Interval | None
    per_specimen: dict[int, SpecimenResult]
    donor_overlap: list[DonorOverlap] | None
    failures: list[str]
    schema: str = "medcli.evaluate.seg.v1"


@dataclass(frozen=True)
class EvaluationContext:
    """What a result says besides scores; see :class:`SegmentationResult`."""

    source: str
    labels: str
    visible_grey: float
    donor_overlap: list[DonorOverlap] | None
    failures: list[str]


def summarise_frames(
    protocol: str,
    frames: pd.DataFrame,
    scores: Sequence[FrameScore | None],
    about: EvaluationContext,
) -> SegmentationResult:
    """Mean scores of one protocol.

    Args:
        protocol: ``paper`` or ``strict``.
        frames: the index rows of ``scores``.
        scores: one for each row, None where the protocol leaves the frame out.
        about: what does not come from the scores.
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
        precision=_mean_curve(kept, "precision"),
        recall=_mean_curve(kept, "recall"),
        f1=_mean_curve(kept, "f1"),
        dice=_mean(kept, "dice"),
        assd_mm=_mean(kept, "assd_mm"),
        hd_mm=_mean(kept, "hd_mm"),
        hd95_mm=_mean(kept, "hd95_mm"),
        frames_without_prediction=sum(not score.predicted for score in kept),
        false_positive_rate=float(np.mean([score.predicted for score in empty])) if empty else np.nan,
        interval_95=_interval(kept, specimens[counted]) if protocol == "strict" else None,
        per_specimen=_per_specimen(frames, scores, counted),
        source=about.source,
        labels=about.labels,
        visible_grey=about.visible_grey,
        donor_overlap=about.donor_overlap,
        failures=about.failures,
    )


def frame_table(frames: pd.DataFrame, scores: Sequence[FrameScore | None]) -> pd.DataFrame:
    """One row a frame: which it is, whether it counts, and its scores at 0.5, 1.0 and 2.0 mm."""
    table = frames[["specimen", "donor", "anatomy", "record", "timestamp", "image"]].reset_index(drop=True)
    table["counted"] = [score is not None and score.labelled for score in scores]
    table["predicted"] = [score is not None and score.predicted for score in scores]
    for name in ("dice", "assd_mm", "hd_mm", "hd95_mm"):
        table[name] = [getattr(score, name) if score else np.nan for score in scores]
    for name in CURVES:
        for r, region in enumerate(REGIONS):
            for k in _CSV_THRESHOLDS:
                values = [getattr(score, name)[r, k] if score else np.nan for score in scores]
                table[f"{name}.{region}@{k / 10}"] = values
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
            precision=_mean_curve(kept, "precision"),
            recall=_mean_curve(kept, "recall"),
            f1=_mean_curve(kept, "f1"),
            dice=_mean(kept, "dice"),
            assd_mm=_mean(kept, "assd_mm"),
            hd95_mm=_mean(kept, "hd95_mm"),
        )
    return results


def _mean(scores: Sequence[FrameScore], name: str) -> float:
    values = np.array([getattr(score, name) for score in scores], dtype=np.float64)
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else np.nan


def _mean_curve(scores: Sequence[FrameScore], name: str) -> Curves:
    means = _means(_stack(scores, name))
    return {region: means[i].tolist() for i, region in enumerate(REGIONS)}


def _stack(scores: Sequence[FrameScore], name: str) -> NDArray[np.float64]:
    """(frames, 3, 21)."""
    return np.array([getattr(score, name) for score in scores]).reshape(-1, len(REGIONS), len(THRESHOLDS_MM))


def _means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the first axis of what is not NaN; NaN where nothing is left."""
    there = ~np.isnan(values)
    count = there.sum(axis=0)
    return np.where(count > 0, np.where(there, values, 0).sum(axis=0) / np.maximum(count, 1), np.nan)


def _interval(scores: Sequence[FrameScore], specimens: NDArray[np.int64]) -> Interval | None:
    """Specimens, not frames, are drawn: frames of one leg are much alike."""
    numbers = np.unique(specimens)
    if len(numbers) < 2:
        return None
    draws = np.random.default_rng(0).integers(0, len(numbers), (_DRAWS, len(numbers)))
    weights = np.stack([(draws == i).sum(axis=1) for i in range(len(numbers))], axis=1).astype(np.float64)
    ends = {}
    for name in CURVES:
        values = _stack(scores, name)
        there = ~np.isnan(values)
        sums = np.stack([np.where(there, values, 0)[specimens == n].sum(axis=0) for n in numbers])
        counts = np.stack([there[specimens == n].sum(axis=0) for n in numbers])
        total, count = np.tensordot(weights, sums, 1), np.tensordot(weights, counts, 1)
        means = np.where(count > 0, total / np.maximum(count, 1), np.nan)
        ends[name] = {region: _percentiles(means[:, i]) for i, region in enumerate(REGIONS)}
    return Interval(**ends)


def _percentiles(means: NDArray[np.float64]) -> list[list[float]]:
    """Lower and upper end for each threshold; draws without any value are left out."""
    ends = np.full((2, means.shape[1]), np.nan)
    for k in range(means.shape[1]):
        column = means[~np.isnan(means[:, k]), k]
        if len(column):
            ends[:, k] = np.percentile(column, [2.5, 97.5])
    return [row.tolist() for row in ends]
