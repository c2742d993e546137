"""The table of measures, and the functions that compute them, on hand-made distances."""

from __future__ import annotations

import numpy as np
import pytest

from medcli.ultrabones.evaluation import metrics
from medcli.ultrabones.evaluation.metrics import MEASURES, FrameComparison, FrameScore


def comparison(
    there: list[int], back: list[int], scale_mm: float = 0.5, counts_misses: bool = False
) -> FrameComparison:
    """Distances in squared pixels; nothing in the two other regions."""
    mask = np.zeros((4, 4), bool)
    distances = (np.array(there, np.int64), np.array(back, np.int64))
    return FrameComparison(mask, mask, scale_mm, [distances, None, None], counts_misses)


def test_keys_are_unique_and_say_their_unit() -> None:
    assert len({measure.key for measure in MEASURES}) == len(MEASURES)
    for measure in MEASURES:
        assert measure.key.endswith("_mm") == (measure.unit == "mm")


def test_titles() -> None:
    recall, hd95 = (next(m for m in MEASURES if m.key == key) for key in ("recall", "hd95_mm"))
    assert recall.heading == "Recall (completeness)"
    assert (hd95.title_with_unit, hd95.text(1.384)) == ("95 % Hausdorff distance, mm", "1.38 mm")


def test_shares_are_counted_strictly_below_each_threshold() -> None:
    frame = comparison([0, 1, 4, 9], [16, 25])
    distances_mm = np.array([0.0, 0.5, 1.0, 1.5])
    expected = [(distances_mm < threshold).mean() for threshold in metrics.THRESHOLDS_MM]
    np.testing.assert_array_equal(frame.precision[0], expected)
    np.testing.assert_array_equal(frame.recall[0], np.zeros(21))
    assert np.isnan(frame.precision[1:]).all()


def test_f1_of_a_miss_depends_on_the_protocol() -> None:
    assert np.isnan(comparison([], [4]).f1[0]).all()
    assert (comparison([], [4], counts_misses=True).f1[0] == 0).all()


def test_surface_distances() -> None:
    scalars = FrameScore.of(comparison([0, 4], [16])).scalars
    assert scalars["assd_mm"] == pytest.approx((0 + 1 + 2) / 3)
    assert scalars["hd_mm"] == 2
    assert scalars["hd95_mm"] == pytest.approx(max(np.percentile([0, 1], 95), 2))
    assert FrameScore.of(comparison([0, 4], [16])).weights == {"assd_pooled_mm": 3}
    assert np.isnan([FrameScore.of(comparison([], [4])).scalars[key] for key in ("assd_mm", "hd_mm", "hd95_mm")]).all()


def test_dice_is_explained_only_where_the_outlines_agree_much_better() -> None:
    thin, thick = np.zeros((40, 40), bool), np.zeros((40, 40), bool)
    thin[20], thick[16:24] = True, True
    scalars = FrameScore.of(FrameComparison(thick, thin, 0.1, [None] * 3, True)).scalars
    assert scalars["dice"] == scalars["dice_limit"] == pytest.approx(2 / 9)
    assert scalars["surface_dice_1mm"] == 1
    assert "at most 0.222 wherever they lie" in metrics.notes_of(scalars)[0]
    assert metrics.notes_of({**scalars, "surface_dice_1mm": 0.3}) == metrics.notes_of({"dice": 0.1}) == []
