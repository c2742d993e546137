"""Both protocols against slow twins, hand-made cases, and each of their rules."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt, gaussian_filter

from medcli.ultrabones.dataset.constants import PAPER_SCALE_MM
from medcli.ultrabones.evaluation.metrics import REGIONS, THRESHOLDS_MM, FrameScore
from medcli.ultrabones.evaluation.protocols import paper_score, strict_score, thicken_label
from tests.support import published_ultrabones


def curve_mask(random: np.random.Generator, shape: tuple[int, int], thickness: int) -> np.ndarray:
    """A wavy line, as a bone surface looks."""
    mask = np.zeros(shape, bool)
    columns = np.arange(*sorted(random.choice(shape[1], 2, replace=False)))
    rows = shape[0] * random.uniform(0.2, 0.8) + 0.1 * shape[0] * np.sin(columns / shape[1] * random.uniform(2, 9))
    for offset in range(thickness):
        mask[np.clip(rows.astype(int) + offset, 0, shape[0] - 1), columns] = True
    return mask


def a_frame(seed: int, shape: tuple[int, int] = (256, 256)) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    grey = gaussian_filter(random.normal(size=(256, 256)), random.uniform(1, 12))
    grey = np.clip(107 + 60 * grey / grey.std(), 0, 255).astype(np.float32)
    label = curve_mask(random, shape, 1)
    prediction = np.roll(label, random.integers(-6, 7, 2), axis=(0, 1)) | curve_mask(random, shape, 3)
    return grey, prediction, label


def test_scale_and_thresholds_are_the_published_ones() -> None:
    assert pytest.approx(0.185730, abs=5e-7) == PAPER_SCALE_MM
    assert len(THRESHOLDS_MM) == 21
    assert THRESHOLDS_MM[3] == 0.30000000000000004


@pytest.mark.parametrize("seed", range(25))
def test_paper_protocol_equals_its_slow_twin(seed: int) -> None:
    grey, prediction, label = a_frame(seed)
    expected = published_ultrabones.paper(grey, prediction, label)
    score = paper_score(grey, prediction, label)
    assert expected is not None
    assert score is not None
    for found, wanted in zip(score.curves.values(), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12)
    thick = distance_transform_edt(~label) <= 3
    np.testing.assert_array_equal(thicken_label(label), thick)
    np.testing.assert_allclose(
        (score.scalars["assd_mm"], score.scalars["hd_mm"], score.scalars["hd95_mm"]),
        published_ultrabones.surface(prediction, thick, published_ultrabones.SCALE),
        rtol=1e-12,
    )
    assert score.scalars["dice"] == pytest.approx(2 * (prediction & thick).sum() / (prediction.sum() + thick.sum()))


@pytest.mark.parametrize("seed", range(6))
def test_strict_protocol_equals_its_slow_twin(seed: int) -> None:
    grey, prediction, label = a_frame(seed, (203, 238))
    if seed == 5:
        prediction[:] = False
    score = strict_score(grey, prediction, label, 0.2157)
    for found, wanted in zip(
        score.curves.values(),
        published_ultrabones.strict(grey, prediction, label, 0.2157),
        strict=True,
    ):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12)
    if prediction.any():
        np.testing.assert_allclose(
            (score.scalars["assd_mm"], score.scalars["hd_mm"], score.scalars["hd95_mm"]),
            published_ultrabones.surface(prediction, label, 0.2157),
            rtol=1e-12,
        )


def test_paper_leaves_out_frames_without_prediction_or_label() -> None:
    grey, prediction, label = a_frame(1)
    nothing = np.zeros_like(label)
    assert paper_score(grey, nothing, label) is None
    assert paper_score(grey, prediction, nothing) is None


def test_paper_rules_for_empty_regions() -> None:
    """Bone and prediction 40 rows apart, each bright or dark as a whole."""
    _, _, label = a_frame(1)
    label[:] = False
    label[100, 50:200] = True
    prediction = np.zeros_like(label)
    prediction[160, 50:200] = True
    grey = np.zeros((256, 256), np.float32)

    def score(bright_rows: slice) -> FrameScore:
        grey[:] = 0
        grey[bright_rows] = 200
        found = paper_score(grey, prediction, label)
        assert found is not None
        return found

    visible = REGIONS.index("visible")
    invisible = REGIONS.index("invisible")
    only_label = score(slice(80, 120))
    assert np.isnan(only_label.curves["precision"][visible]).all()
    assert (only_label.curves["recall"][visible] == 0).all()
    assert np.isnan(only_label.curves["f1"][visible]).all()
    only_prediction = score(slice(140, 180))
    assert (only_prediction.curves["precision"][visible] == 0).all()
    assert np.isnan(only_prediction.curves["recall"][visible]).all()
    assert np.isnan(only_prediction.curves["f1"][visible]).all()
    for found in (only_label, only_prediction):
        assert np.isnan(found.curves["precision"][invisible]).all()
        assert np.isnan(found.curves["recall"][invisible]).all()
        assert np.isnan(found.curves["f1"][invisible]).all()


def test_a_perfect_prediction_counts_from_the_second_threshold() -> None:
    """Strictly smaller than 0.0 mm is nothing; everything is nearer than 0.1 mm."""
    grey, _, label = a_frame(2)
    found = paper_score(grey, thicken_label(label), label)
    assert found is not None
    np.testing.assert_array_equal(found.curves["precision"][0], [0, *[1] * 20])
    assert found.scalars["dice"] == 1
    assert found.scalars["assd_mm"] == found.scalars["hd_mm"] == 0


def test_strict_counts_missing_predictions_and_keeps_empty_labels_apart() -> None:
    grey, prediction, label = a_frame(3, (100, 120))
    nothing = np.zeros_like(label)
    missed = strict_score(grey, nothing, label, 0.1)
    assert (missed.curves["recall"][0] == 0).all()
    assert (missed.curves["f1"][0] == 0).all()
    assert np.isnan(missed.curves["precision"]).all()
    assert missed.labelled
    assert not missed.predicted
    assert np.isnan(missed.scalars["assd_mm"])
    false_alarm = strict_score(grey, prediction, nothing, 0.1)
    assert not false_alarm.labelled
    assert false_alarm.predicted
    assert np.isnan(false_alarm.curves["f1"]).all()


def test_strict_regions_compare_with_the_whole_other_mask() -> None:
    """A dark prediction right beside a bright label is a hit for both, although they lie in different regions."""
    label, prediction = np.zeros((256, 256), bool), np.zeros((256, 256), bool)
    label[100], prediction[101] = True, True
    grey = np.zeros((256, 256), np.float32)
    grey[100] = 255
    score = strict_score(grey, prediction, label, 0.05)
    assert score.curves["recall"][1, 1] == 1
    assert score.curves["precision"][2, 1] == 1
    assert np.isnan(score.curves["precision"][1]).all()
    assert (score.curves["f1"][1] == 0).all()  # bright bone, no bright prediction: a miss, not a frame without value
    assert np.isnan(score.curves["recall"][2]).all()
    assert np.isnan(score.curves["f1"][2]).all()
