"""From the scores of frames to a result, on scores made by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from medcli.core.json_text import to_plain
from medcli.ultrabones.evaluation.aggregation import EvaluationContext, frame_table, summarise_frames
from medcli.ultrabones.evaluation.metrics import MEASURES, FrameScore, curve_measures, scalar_measures

ABOUT = EvaluationContext("masks", "partial", 107.0, None, [])
NAN = float("nan")


def score(value: float, labelled: bool = True, predicted: bool = True) -> FrameScore:
    curves = {measure.key: np.full((3, 21), value) for measure in curve_measures()}
    return FrameScore(curves, {measure.key: value for measure in scalar_measures()}, labelled, predicted)


def frames(*specimens: int) -> pd.DataFrame:
    columns = ("donor", "anatomy", "record", "timestamp", "image")
    return pd.DataFrame({"specimen": specimens, **{name: [f"{name}{n}" for n in specimens] for name in columns}})


def test_each_mean_leaves_out_frames_without_its_value() -> None:
    scores = [score(0.2), score(NAN), None, score(0.6), score(0.9, labelled=False)]
    result = summarise_frames("paper", frames(1, 1, 1, 2, 2), scores, ABOUT)
    assert (result.frames, result.frames_skipped, result.specimens) == (3, 2, [1, 2])
    assert result.scalars == pytest.approx({measure.key: 0.4 for measure in scalar_measures()})
    assert result.curves["f1"]["visible"] == pytest.approx([0.4] * 21)
    assert result.per_specimen[1].scalars["dice"] == pytest.approx(0.2)
    assert (result.per_specimen[2].frames, result.per_specimen[2].frames_skipped) == (1, 1)
    assert result.interval_95 is None  # of the strict protocol only


def test_the_pooled_distance_counts_each_pixel_the_same() -> None:
    scores = [replace(score(value), weights={"assd_pooled_mm": n}) for value, n in ((1.0, 300), (0.2, 100), (NAN, 0))]
    scalars = summarise_frames("strict", frames(1, 1, 2), scores, ABOUT).scalars
    assert scalars["assd_mm"] == pytest.approx(0.6)
    assert scalars["assd_pooled_mm"] == pytest.approx((300 * 1.0 + 100 * 0.2) / 400)
    assert frame_table(frames(1, 1, 2), scores)["assd_pooled_mm.weight"].tolist() == [300, 100, 0]


def test_false_positives_are_a_share_of_the_frames_with_an_empty_label() -> None:
    empty = [score(NAN, labelled=False, predicted=predicted) for predicted in (True, False, False, False)]
    result = summarise_frames("strict", frames(1, 1, 1, 1, 2), [*empty, score(0.5, predicted=False)], ABOUT)
    assert (result.false_positive_rate, result.frames_without_prediction) == (0.25, 1)


def test_intervals_are_drawn_over_specimens() -> None:
    result = summarise_frames("strict", frames(1, 1, 2), [score(0.2), score(0.2), score(0.8)], ABOUT)
    assert result.interval_95 is not None
    assert list(result.interval_95) == [measure.key for measure in curve_measures()]
    low, high = result.interval_95["recall"]["all"]
    assert (low[0], high[0]) == pytest.approx((0.2, 0.8))


def test_in_json_every_measure_is_a_field() -> None:
    plain = to_plain(summarise_frames("paper", frames(1), [score(0.5)], ABOUT))
    for one in (plain, plain["per_specimen"]["1"]):
        assert {measure.key for measure in MEASURES} <= set(one)
        assert not {"curves", "scalars"} & set(one)


def test_table_of_frames() -> None:
    table = frame_table(frames(1, 2), [score(0.5), None])
    assert table["counted"].tolist() == [True, False]
    assert table["hd95_mm"][0] == table["precision.invisible@2.0"][0] == 0.5
    assert table.loc[1, ["dice", "f1.all@0.5"]].isna().all()
