"""``medcli benchmark seg`` on synthetic frames and injected curves: reproduced, not reproduced, and refused."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from medcli.synthetic.ultrasound.dataset import SweepSettings, make_ultrabones
from medcli.ultrabones.dataset import published_records
from medcli.ultrabones.dataset.published_networks import UNKNOWN_TRAINING
from medcli.ultrabones.evaluation import published_result
from medcli.ultrabones.segmentation.checkpoint import save_checkpoint
from medcli.ultrabones.segmentation.checkpoint_metadata import Metadata
from medcli.ultrabones.segmentation.network import build_model
from tests.conftest import Ran

Medcli = Callable[..., Ran]
ENCODER = "tu-test_resnet.r160_in1k"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Synthetic frames that pass for the complete published test split."""
    root = make_ultrabones(tmp_path / "data", (2, 7, 8), settings=SweepSettings(frames=2, scale=0.2))
    (root / "synthetic.json").unlink()
    monkeypatch.setattr(published_records, "PUBLISHED_RECORDS", {number: {"fibula": (1,)} for number in (2, 7, 8)})
    return root


def write_network(path: Path, splits: dict[str, Any]) -> Path:
    """A network that finds bone everywhere, so that every curve has values."""
    model: Any = build_model("fpn", ENCODER)
    torch.nn.init.zeros_(model.segmentation_head[0].weight)
    torch.nn.init.constant_(model.segmentation_head[0].bias, 5.0)
    return save_checkpoint(path, model, Metadata(encoder=ENCODER, splits=splits))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_network(tmp_path / "known.safetensors", {"train": [1, 3]})


@pytest.fixture
def publish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Let the curves of an evaluation, one value changed, be the published ones."""

    def inject(result: dict[str, Any], change: float) -> None:
        result["f1"]["visible"][10] += change
        rows = [
            {
                "region": region,
                "threshold_mm": at,
                **{key: result[key][region][k] for key in ("precision", "recall", "f1")},
            }
            for region in ("all", "visible", "invisible")
            for k, at in enumerate(result["thresholds_mm"])
        ]
        with (tmp_path / "curves.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        monkeypatch.setattr(published_result, "_TABLE", tmp_path / "curves.csv")
        published_result.published_curves.cache_clear()

    yield inject
    published_result.published_curves.cache_clear()


def test_both_verdicts_and_what_they_leave(
    root: Path, checkpoint: Path, publish: Callable[..., None], medcli: Medcli, tmp_path: Path
) -> None:
    words = ("--root", root, "--checkpoint", checkpoint, "--device", "cpu", "--out", tmp_path / "out")
    ran = medcli("benchmark", *words, "--json")
    assert ran.code == 1  # beside the true curves
    made = json.loads(ran.out)
    assert made == json.loads((tmp_path / "out/reproduction.json").read_text("utf-8"))
    assert (made["reproduced"], made["train_specimens"], len(made["differences"])) == (False, [1, 3], 27)
    assert made["differences"][0]["published"] == 0.898555
    assert f"not reproduced: {made['beyond']} of 27 values differ by more than 0.005, most " in ran.err

    publish(json.loads((tmp_path / "out/evaluation.json").read_text("utf-8")), 0.004)
    ran = medcli("benchmark", *words)
    assert ran.code == 0, ran.err
    assert "reproduced: all 27 values within 0.005 of the published ones" in ran.out
    assert "visible    1.0 mm  +0.0000    +0.0000  -0.0040" in ran.out
    assert medcli("report", tmp_path / "out").code == 0
    page = (tmp_path / "out/report.html").read_text("utf-8")
    assert "the differences of this one to it: 0 of 27 are larger than 0.005" in page
    assert "Crosses: the published result" in page


def test_data_and_networks_that_cannot_show_it_are_refused_at_once(
    root: Path, checkpoint: Path, medcli: Medcli, tmp_path: Path
) -> None:
    (root / "specimen07").rename(tmp_path / "elsewhere")
    ran = medcli("benchmark", "--root", root, "--checkpoint", checkpoint, "--train-specimens", 1, 2)
    assert (ran.code, ran.out) == (2, "")
    assert "was trained on specimen 2 of the published test split" in ran.err
    assert "no specimen 7" in ran.err


@pytest.mark.deep
def test_unknown_training_is_warned_of_and_a_frame_that_cannot_be_read_counts(
    root: Path, medcli: Medcli, tmp_path: Path, publish: Callable[..., None]
) -> None:
    unknown = write_network(tmp_path / "unknown.safetensors", {})
    words = ("--root", root, "--checkpoint", unknown, "--device", "cpu", "--out", tmp_path / "out")
    image = next((root / "specimen07").rglob("UltrasoundImages/*.png"))
    image.write_bytes(image.read_bytes()[:500])
    evaluated = medcli("evaluate", *words, "--json")
    assert evaluated.code == 4
    publish(json.loads(evaluated.out), 0.0)
    ran = medcli("benchmark", *words)
    assert ran.code == 1
    assert f"warning: {UNKNOWN_TRAINING}" in ran.err
    assert "error: not reproduced: 1 frame could not be read" in ran.err
