"""The recipes of CONTRIBUTING.md carried out: one function and one entry, and every output follows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray

from medcli.core.image_io import read_grey
from medcli.synthetic.ultrasound.dataset import SweepSettings, make_ultrabones
from medcli.training.losses import TrainingLoss
from medcli.ultrabones.dataset.frame_index import index_frames
from medcli.ultrabones.evaluation import metrics
from medcli.ultrabones.evaluation.metrics import FrameComparison, Measure
from medcli.ultrabones.labelling.label_rules import LABEL_RULES, LabelRule
from medcli.ultrabones.segmentation.losses import LOSSES
from tests.conftest import Ran

Run = Callable[..., Ran]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = SweepSettings(frames=3, scale=0.3, predictions=True)
    return make_ultrabones(tmp_path_factory.mktemp("recipes"), (2, 7), settings=settings)


def median_distance(frame: FrameComparison) -> float:
    return float(np.median(np.concatenate(frame.surface_mm))) if frame.surface_mm else np.nan


def f2(frame: FrameComparison) -> NDArray[np.float64]:
    return 5 * frame.precision * frame.recall / (4 * frame.precision + frame.recall + 1e-10)


NEW_MEASURES = (
    Measure("median_mm", "median surface distance", "scalar", "lower", median_distance, "mm", 2),
    Measure("f2", "F2", "curve", "higher", f2),
)


def test_a_new_metric_appears_in_every_output(
    data: Path, tmp_path: Path, medcli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "MEASURES", (*metrics.MEASURES, *NEW_MEASURES))
    out = tmp_path / "out"
    words = ("evaluate", "seg", "--root", data, "--specimens", 2, 7, "--predictions", "Labels_pred", "--out", out)
    words = (*words, "--protocol", "strict")
    ran = medcli(*words, "--fail-under", "median_mm=50", "f2@2.0=0.01")
    assert ran.code == 0, ran.err
    assert "median surface distance" in ran.out
    assert "F2" in ran.out
    missed = medcli(*words, "--fail-under", "median_mm=0.0001", "f2.visible@0.5=1", "--json")
    assert missed.code == 1
    assert "median_mm is " in missed.err
    assert "wanted at most 0.0001" in missed.err
    assert "f2.visible@0.5 is " in missed.err
    result = json.loads(missed.out)
    assert result == json.loads((out / "evaluation.json").read_text("utf-8"))
    for one in (result, *result["per_specimen"].values()):
        assert one["median_mm"] > 0
        assert len(one["f2"]["visible"]) == 21
    low, high = result["interval_95"]["f2"]["all"]
    assert low[10] <= result["f2"]["all"][10] <= high[10]
    table = pd.read_csv(out / "frames_strict.csv")
    assert table["median_mm"].mean() == pytest.approx(result["median_mm"])
    assert table["f2.all@0.5"].mean() == pytest.approx(result["f2"]["all"][5])
    assert medcli("report", out).code == 0
    page = (out / "report.html").read_text("utf-8")
    assert page.count("median surface distance") == 3  # among the key figures, the other measures and the specimens
    assert '<text class="title" x="4" y="17">F2</text>' in page
    assert "F2, visible" in page


def mean_square(logits: torch.Tensor, labels: torch.Tensor, _: torch.Tensor, weight: float) -> torch.Tensor:
    return weight * (logits.sigmoid() - labels).square().mean()


def test_a_new_loss_trains_by_its_name(
    data: Path, tmp_path: Path, medcli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(LOSSES, "mse", TrainingLoss(mean_square, {"MSE": 1.0}, "mean squared error"))
    words = ["train", "seg", "--root", data, "--train-specimens", 2, "--val-specimens", 7, "--gpus", 0, "--epochs", 1]
    words += ["--arch", "linknet", "--encoder", "tu-mobilenetv3_small_050", "--encoder-weights", "none"]
    words += ["--batch-size", 3, "--out", tmp_path / "run"]
    ran = medcli(*words, "--loss", "mse", "--loss-weights", 0.5, "--json")
    assert ran.code == 0, ran.err
    assert 0 < json.loads(ran.out)["best_metrics"]["val_loss"] < 0.5  # a share of squares, halved
    settings = json.loads((tmp_path / "run/settings.json").read_text("utf-8"))
    assert (settings["loss"], settings["loss_weights"]) == ("mse", [0.5])
    other = medcli(*words)
    assert other.code == 2
    assert "loss was mse, is published" in other.err


def topmost(section: NDArray[np.uint8]) -> NDArray[np.uint8]:
    label = np.zeros_like(section)
    columns = np.flatnonzero(section.any(axis=0))
    label[section[:, columns].argmax(axis=0), columns] = 255
    return label


def test_a_new_label_rule_labels_by_its_name(
    data: Path, tmp_path: Path, medcli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(LABEL_RULES, "topmost", LabelRule("Labels_top", topmost, "the topmost pixel of each column"))
    ran = medcli("label", "ultrabones", "--root", data, "--kind", "topmost", "--json")
    assert ran.code == 0, ran.err
    assert (json.loads(ran.out)["kind"], json.loads(ran.out)["written"]) == ("topmost", 6)
    for frame in index_frames(data).itertuples():
        made = read_grey(Path(frame.record_dir, "Labels_top", f"{frame.timestamp}_label.png"))
        np.testing.assert_array_equal(made, topmost(read_grey(frame.label_full)))
    assert json.loads((Path(frame.record_dir) / "labels.json").read_text("utf-8"))["Labels_top"]["poses"] == "optimized"
    words = ("evaluate", "seg", "--root", data, "--specimens", 2, 7, "--predictions", "Labels_pred")
    evaluated = medcli(*words, "--labels", "Labels_top", "--out", tmp_path, "--json")
    assert json.loads(evaluated.out)["labels"] == "Labels_top"
    rebuilt = medcli("reconstruct", "ultrabones", "--root", data, "--mask", "Labels_top", "--dry-run", "--json")
    assert rebuilt.code == 0, rebuilt.err
