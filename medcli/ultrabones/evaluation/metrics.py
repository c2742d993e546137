"""What is measured of a frame: one table of measures, which every output follows.

A new measure is one function of a :class:`FrameComparison` and one entry in :data:`MEASURES`. It then appears in the
JSON, the printed tables, the table of frames, ``--fail-under``, the figures and the report, for both protocols of
:mod:`medcli.ultrabones.evaluation.protocols`. A value that a frame does not have is NaN.

The *surface* is every pixel of a mask for the shares and distances, and the outline of a mask for the surface Dice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medcli.ultrabones.evaluation.mask_outlines import OutlineDistances, outline_distances

THRESHOLDS_MM = np.arange(0, 2.1, 0.1)
"""The 21 published thresholds, as published (0.30000000000000004 and so on)."""
LISTED = (5, 10, 20)
"""Places of 0.5, 1.0 and 2.0 mm among the thresholds: those that tables list."""
REGIONS = ("all", "visible", "invisible")
_TINY = 1e-10
_MUCH_BETTER = 0.2
"""Where surface Dice exceeds Dice by more than this, the result says why."""

Distances = NDArray[np.int64]
"""(N,) squared distances in pixels²."""


@dataclass(frozen=True)
class FrameComparison:
    """A prediction and the label of one frame, prepared by a protocol: what every measure is computed from.

    Attributes:
        prediction, label: (H, W) masks; by the paper's protocol the label is the thickened one.
        scale_mm: edge of a pixel.
        distances: for each of :data:`REGIONS` the squared distances from predicted pixels to the label and from
            label pixels to the prediction; None for a region without values.
        counts_misses: F1 is 0, not undefined, where a region holds label and no prediction.
    """

    prediction: NDArray[np.bool_]
    label: NDArray[np.bool_]
    scale_mm: float
    distances: Sequence[tuple[Distances, Distances] | None]
    counts_misses: bool

    @cached_property
    def precision(self) -> NDArray[np.float64]:
        """(3, 21): share of predicted pixels nearer to the label than each threshold."""
        return self._by_region(0)

    @cached_property
    def recall(self) -> NDArray[np.float64]:
        """(3, 21): share of label pixels nearer to the prediction than each threshold."""
        return self._by_region(1)

    @cached_property
    def f1(self) -> NDArray[np.float64]:
        """(3, 21): 2pr / (p + r + 1e-10)."""
        f1 = 2 * self.precision * self.recall / (self.precision + self.recall + _TINY)
        missed = np.isnan(self.precision) & ~np.isnan(self.recall)
        return np.where(missed, 0.0, f1) if self.counts_misses else f1

    @cached_property
    def surface_mm(self) -> list[NDArray[np.float64]]:
        """Ascending distances between the whole surfaces, there and back; empty where a mask is empty."""
        both = self.distances[0] or ()
        return [np.sqrt(np.sort(one)) * self.scale_mm for one in both] if all(len(one) for one in both) else []

    @cached_property
    def outlines(self) -> tuple[OutlineDistances, OutlineDistances] | None:
        """Distances between the outlines of both masks, there and back, in pixels; None where both are empty."""
        return outline_distances(self.prediction, self.label)

    def _by_region(self, way: int) -> NDArray[np.float64]:
        nothing = np.full(len(THRESHOLDS_MM), np.nan)
        return np.stack([nothing if one is None else _shares(one[way], self.scale_mm) for one in self.distances])


@dataclass(frozen=True)
class Measure:
    """One entry of :data:`MEASURES`.

    Attributes:
        key: its name in JSON, CSV and ``--fail-under``, with the unit at the end.
        title: its name for people.
        kind: ``curve``, shares (3, 21) by region and threshold; or ``scalar``, one number.
        better: ``higher`` or ``lower``.
        compute: the value of a frame.
        unit: of a scalar.
        decimals: shown.
        paper_title: what the paper calls it.
        is_headline: one of the few numbers shown large in a report and in its table of specimens.
        weight: of a scalar, how much a frame counts in the mean over frames; None: every frame the same.
        note: of a scalar, a sentence that readers of the result need, from all scalars of it; "" where they do not.
    """

    key: str
    title: str
    kind: Literal["curve", "scalar"]
    better: Literal["higher", "lower"]
    compute: Callable[[FrameComparison], Any]
    unit: str = ""
    decimals: int = 3
    paper_title: str = ""
    is_headline: bool = True
    weight: Callable[[FrameComparison], float] | None = None
    note: Callable[[Mapping[str, float]], str] | None = None

    @property
    def heading(self) -> str:
        """Title of a figure: ``Precision (accuracy)``."""
        return self.title[0].upper() + self.title[1:] + (f" ({self.paper_title})" if self.paper_title else "")

    @property
    def title_with_unit(self) -> str:
        """Heading of a column: ``Hausdorff distance, mm``."""
        return f"{self.title}, {self.unit}" if self.unit else self.title

    def text(self, value: float) -> str:
        """A value with its unit: ``1.38 mm``; ``-`` where there is none."""
        return "-" if np.isnan(value) else f"{value:.{self.decimals}f} {self.unit}".rstrip()


def dice(frame: FrameComparison) -> float:
    """Overlap of prediction and label, NaN where both are empty."""
    total = np.count_nonzero(frame.prediction) + np.count_nonzero(frame.label)
    return 2 * np.count_nonzero(frame.prediction & frame.label) / total if total else np.nan


def highest_dice(frame: FrameComparison) -> float:
    """The Dice of masks of these sizes where the smaller lies within the larger; NaN where both are empty."""
    sizes = np.count_nonzero(frame.prediction), np.count_nonzero(frame.label)
    return 2 * min(sizes) / sum(sizes) if sum(sizes) else np.nan


def dice_note(scalars: Mapping[str, float]) -> str:
    """Why Dice is low, where the outlines agree much better than the areas."""
    areas, limit, outlines = (scalars.get(key, np.nan) for key in ("dice", "dice_limit", "surface_dice_1mm"))
    if not outlines - areas > _MUCH_BETTER:
        return ""
    return (
        "Dice is low because it compares areas, and bone labels are thin lines: beside its line a mask has no overlap, "
        "however near it is, and a thick band covers more than the line (masks of these sizes reach at most "
        f"{limit:.3f} wherever they lie). Surface Dice compares outlines, F1 pixels, both within a distance."
    )


def surface_dice(frame: FrameComparison, tolerance_mm: float) -> float:
    """Share of the length of both outlines that is at most ``tolerance_mm`` from the other one (Nikolov et al. 2021).

    0 where one of the masks is empty, NaN where both are.
    """
    both = frame.outlines
    if both is None:
        return np.nan
    near = sum(one.length_within(tolerance_mm / frame.scale_mm) for one in both)
    return near / sum(float(one.lengths.sum()) for one in both)


def mean_surface_distance(frame: FrameComparison) -> float:
    """ASSD: mean of the distances from every pixel of one mask to the other, both ways in one mean, millimetres."""
    both = frame.surface_mm
    return sum(float(one.sum()) for one in both) / surface_pixels(frame) if both else np.nan


def surface_pixels(frame: FrameComparison) -> float:
    """How many distances :func:`mean_surface_distance` is the mean of."""
    return float(sum(len(one) for one in frame.surface_mm))


def hausdorff_distance(frame: FrameComparison) -> float:
    """The largest distance of any pixel of one mask to the other, millimetres."""
    return max((float(one[-1]) for one in frame.surface_mm), default=np.nan)


def hausdorff_95_distance(frame: FrameComparison) -> float:
    """The larger of the 95th percentiles of the distances there and back, millimetres."""
    return max((_percentile_95(one) for one in frame.surface_mm), default=np.nan)


MEASURES: tuple[Measure, ...] = (
    Measure("precision", "precision", "curve", "higher", lambda frame: frame.precision, paper_title="accuracy"),
    Measure("recall", "recall", "curve", "higher", lambda frame: frame.recall, paper_title="completeness"),
    Measure("f1", "F1", "curve", "higher", lambda frame: frame.f1),
    Measure("dice", "Dice", "scalar", "higher", dice, note=dice_note),
    Measure("dice_limit", "highest Dice of these sizes", "scalar", "higher", highest_dice, is_headline=False),
    Measure("surface_dice_1mm", "surface Dice at 1 mm", "scalar", "higher", lambda frame: surface_dice(frame, 1.0)),
    Measure("assd_mm", "mean surface distance", "scalar", "lower", mean_surface_distance, "mm", 2),
    Measure(
        "assd_pooled_mm",
        "mean surface distance, pooled",
        "scalar",
        "lower",
        mean_surface_distance,
        "mm",
        2,
        is_headline=False,
        weight=surface_pixels,
    ),
    Measure("hd_mm", "Hausdorff distance", "scalar", "lower", hausdorff_distance, "mm", 2, is_headline=False),
    Measure("hd95_mm", "95 % Hausdorff distance", "scalar", "lower", hausdorff_95_distance, "mm", 2),
)
"""Everything that is measured, in the order of every output."""


def curve_measures() -> list[Measure]:
    """The measures that are shares by region and threshold."""
    return [measure for measure in MEASURES if measure.kind == "curve"]


def scalar_measures() -> list[Measure]:
    """The measures that are one number."""
    return [measure for measure in MEASURES if measure.kind == "scalar"]


def notes_of(scalars: Mapping[str, float]) -> list[str]:
    """The sentences that readers of these mean scalars need."""
    return [text for measure in scalar_measures() if measure.note and (text := measure.note(scalars))]


@dataclass(frozen=True)
class FrameScore:
    """Values of one frame.

    Attributes:
        curves: by key, (3, 21) each: region (:data:`REGIONS`) by threshold (:data:`THRESHOLDS_MM`).
        scalars: by key.
        labelled, predicted: whether the mask has pixels.
        weights: by key, of the scalars of which not every frame counts the same.
    """

    curves: dict[str, NDArray[np.float64]]
    scalars: dict[str, float]
    labelled: bool
    predicted: bool
    weights: dict[str, float] = field(default_factory=dict)

    @staticmethod
    def of(frame: FrameComparison, labelled: bool = True, predicted: bool = True) -> FrameScore:
        """Every measure of a frame."""
        return FrameScore(
            {measure.key: measure.compute(frame) for measure in curve_measures()},
            {measure.key: float(measure.compute(frame)) for measure in scalar_measures()},
            labelled,
            predicted,
            {measure.key: measure.weight(frame) for measure in scalar_measures() if measure.weight},
        )


def _shares(squared: Distances, scale_mm: float) -> NDArray[np.float64]:
    """Share of the distances below each threshold, (21,); NaN when there is none."""
    if not len(squared):
        return np.full(len(THRESHOLDS_MM), np.nan)
    first = _first_below(scale_mm).take(squared, mode="clip")
    return np.bincount(first, minlength=len(THRESHOLDS_MM))[: len(THRESHOLDS_MM)].cumsum() / len(squared)


@lru_cache(maxsize=64)
def _first_below(scale_mm: float) -> NDArray[np.int64]:
    """For each squared distance 0, 1, … the first threshold that it is strictly below; of the last one, none."""
    squared = np.arange(int((THRESHOLDS_MM[-1] / scale_mm) ** 2) + 2)
    return np.searchsorted(THRESHOLDS_MM, np.sqrt(squared) * scale_mm, side="right")


def _percentile_95(ascending: NDArray[np.float64]) -> float:
    """As ``np.percentile(…, 95)``, of sorted values (``np.percentile`` itself takes longer than all else here)."""
    place = 0.95 * (len(ascending) - 1)
    below = int(place)
    above = min(below + 1, len(ascending) - 1)
    return float(ascending[below] + (place - below) * (ascending[above] - ascending[below]))
