"""What is measured of a frame: one table of measures, which every output follows.

A new measure is one function of a :class:`FrameComparison` and one entry in :data:`MEASURES`. It then appears in the
JSON, the printed tables, the table of frames, ``--fail-under``, the figures and the report, for both protocols of
:mod:`medcli.ultrabones.evaluation.protocols`. A value that a frame does not have is NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

THRESHOLDS_MM = np.arange(0, 2.1, 0.1)
"""The 21 published thresholds, as published (0.30000000000000004 and so on)."""
LISTED = (5, 10, 20)
"""Places of 0.5, 1.0 and 2.0 mm among the thresholds: those that tables list."""
REGIONS = ("all", "visible", "invisible")
_TINY = 1e-10

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

    @property
    def heading(self) -> str:
        """Title of a figure: ``Precision (accuracy)``."""
        return self.title[0].upper() + self.title[1:] + (f" ({self.paper_title})" if self.paper_title else "")

    @property
    def title_with_unit(self) -> str:
        """Heading of a column: ``Hausdorff distance, mm``."""
        return f"{self.title}, {self.unit}" if self.unit else self.title

    def text(self, value: float) -> str:
        """A value with its unit: ``1.38 mm``."""
        return f"{value:.{self.decimals}f} {self.unit}".rstrip()


def dice(frame: FrameComparison) -> float:
    """Overlap of prediction and label, NaN where both are empty."""
    total = np.count_nonzero(frame.prediction) + np.count_nonzero(frame.label)
    return 2 * np.count_nonzero(frame.prediction & frame.label) / total if total else np.nan


def mean_surface_distance(frame: FrameComparison) -> float:
    """ASSD: mean of the distances from every pixel of one mask to the other, both ways, millimetres."""
    both = frame.surface_mm
    return sum(float(one.sum()) for one in both) / sum(len(one) for one in both) if both else np.nan


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
    Measure("dice", "Dice", "scalar", "higher", dice),
    Measure("assd_mm", "mean surface distance", "scalar", "lower", mean_surface_distance, "mm", 2),
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


@dataclass(frozen=True)
class FrameScore:
    """Values of one frame.

    Attributes:
        curves: by key, (3, 21) each: region (:data:`REGIONS`) by threshold (:data:`THRESHOLDS_MM`).
        scalars: by key.
        labelled, predicted: whether the mask has pixels.
    """

    curves: dict[str, NDArray[np.float64]]
    scalars: dict[str, float]
    labelled: bool
    predicted: bool

    @staticmethod
    def of(frame: FrameComparison, labelled: bool = True, predicted: bool = True) -> FrameScore:
        """Every measure of a frame."""
        return FrameScore(
            {measure.key: measure.compute(frame) for measure in curve_measures()},
            {measure.key: float(measure.compute(frame)) for measure in scalar_measures()},
            labelled,
            predicted,
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
