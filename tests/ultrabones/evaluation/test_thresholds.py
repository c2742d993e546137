"""``--fail-under``: what it accepts, which way each measure is compared, and what it says."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from medcli.synthetic.ultrasound.dataset import SweepSettings, make_ultrabones
from medcli.ultrabones.evaluation.metrics import MEASURES, scalar_measures
from medcli.ultrabones.evaluation.thresholds import PassThreshold


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = SweepSettings(frames=2, scale=0.3, predictions=True)
    return make_ultrabones(tmp_path_factory.mktemp("data"), (2, 7, 8), settings=settings)


def result(**scalars: float) -> Any:
    return SimpleNamespace(protocol="paper", scalars=scalars, curves={"f1": {"all": [float("nan")] * 21}})


def test_a_missed_threshold_is_reported_and_fails(data: Path, tmp_path: Path, medcli: Any) -> None:
    words = ("evaluate", "--root", data, "--predictions", "Labels_pred", "--out", tmp_path, "--fail-under")
    assert medcli(*words, "f1@0.5=0.01", "recall.visible@2.0=0.01", "assd_mm=50").code == 0
    missed = medcli(*words, "f1@0.5=0.01", "dice=0.99", "hd95_mm=0.01")
    assert missed.code == 1
    assert "dice is 0." in missed.err
    assert "wanted at least 0.99" in missed.err
    assert "wanted at most 0.01" in missed.err
    assert "f1@0.5" not in missed.err


@pytest.mark.parametrize(
    "text",
    ["f1=0.6", "f1@0.55=0.6", "f2@0.5=0.6", "f1@2.5=0.1", "f1.dark@0.5=0.6", "dice@1=1", "x", "assd_mm.visible=1"],
)
def test_bad_thresholds_are_refused(text: str, medcli: Any) -> None:
    with pytest.raises(ValueError):
        PassThreshold.parse(text)
    ran = medcli("evaluate", "--fail-under", text)
    assert ran.code == 2
    assert text in ran.err


def test_an_unknown_measure_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=", ".join(measure.key for measure in MEASURES)):
        PassThreshold.parse("jaccard=0.5")


@pytest.mark.parametrize("key", [measure.key for measure in scalar_measures()])
def test_distances_must_not_exceed_theirs_and_the_rest_must_reach_it(key: str) -> None:
    threshold = PassThreshold.parse(f"{key}=0.5")
    assert threshold.miss_in(result(**{key: 0.5})) is None
    worse, better = (0.6, 0.4) if key.endswith("_mm") else (0.4, 0.6)
    assert threshold.miss_in(result(**{key: better})) is None
    limit = "at most" if key.endswith("_mm") else "at least"
    assert (
        threshold.miss_in(result(**{key: worse})) == f"{key} is {worse:.4f} by the paper protocol, wanted {limit} 0.5"
    )


def test_a_value_that_does_not_exist_misses_every_threshold() -> None:
    assert PassThreshold.parse("f1@0.5=0").miss_in(result())
    assert PassThreshold.parse("assd_mm=99").miss_in(result(assd_mm=float("nan")))
    assert str(PassThreshold.parse("f1.visible@0.5=0.60")) == "f1.visible@0.5=0.6"
    assert str(PassThreshold.parse("hd95_mm=5")) == "hd95_mm=5"
