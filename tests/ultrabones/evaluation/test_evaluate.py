"""Evaluation end to end: numbers of the slow twin, files, rules, exit codes, and no torch for masks on disk."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from medcli.core.errors import DataError
from medcli.core.files import write_json
from medcli.core.image_io import read_grey, write_image
from medcli.synthetic.ultrasound.dataset import SweepSettings, make_ultrabones
from medcli.ultrabones.dataset.frame_index import index_frames, mask_path
from medcli.ultrabones.dataset.published_networks import UNKNOWN_TRAINING
from medcli.ultrabones.dataset.tracking_table import tracking_file
from medcli.ultrabones.evaluation.evaluate import evaluate_segmentation, rank_frames
from medcli.ultrabones.evaluation.prediction_sources import Model, StoredMasks
from medcli.ultrabones.evaluation.settings import EvaluationSettings
from medcli.ultrabones.segmentation.checkpoint_metadata import Metadata
from medcli.ultrabones.segmentation.prediction_folders import MANIFEST
from medcli.ultrabones.segmentation.preprocessing import resize_frame_exactly
from medcli.workspace.runs import find_run
from tests.support import published_ultrabones

BOTH = EvaluationSettings(protocols=("paper", "strict"))
SETTINGS = SweepSettings(frames=4, scale=0.3, predictions=True)
REPOSITORY = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Specimens 2, 7 and 8; of specimen 2, one frame without prediction and one with an empty label."""
    root = make_ultrabones(tmp_path_factory.mktemp("data"), (2, 7, 8), settings=SETTINGS)
    frames = index_frames(root)
    nothing = np.zeros_like(read_grey(frames.label[0]))
    write_image(mask_path(frames.iloc[0], "Labels_pred"), nothing)
    write_image(frames.label[1], nothing)
    return root


@pytest.fixture
def own_data(data: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(data, tmp_path / "own"))


def native(frames: pd.DataFrame) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    masks = mask_path(frames, "Labels_pred")
    return [
        (resize_frame_exactly(read_grey(image)), read_grey(mask) == 255, read_grey(label) == 255)
        for image, mask, label in zip(frames.image, masks, frames.label, strict=True)
    ]


def small(mask: np.ndarray) -> np.ndarray:
    return cv2.resize(mask.astype(np.uint8) * 255, (256, 256), interpolation=cv2.INTER_NEAREST_EXACT) == 255


def test_paper_protocol_equals_the_slow_twin(data: Path) -> None:
    frames = index_frames(data)
    result = evaluate_segmentation(data, StoredMasks("Labels_pred")).results["paper"]
    scores = [published_ultrabones.paper(grey, small(p), small(g)) for grey, p, g in native(frames)]
    kept = [score for score in scores if score is not None]
    assert (result.frames, result.frames_skipped, result.frames_without_prediction) == (len(kept), 2, 1)
    counts = {name: result.frames_in_mean["f1"][name] for name in ("all", "visible", "invisible")}
    assert list(counts.values()) == [sum(not np.isnan(one[2][region][0]) for one in kept) for region in range(3)]
    expected = published_ultrabones.paper_means(kept)
    for kind, name in enumerate(("precision", "recall", "f1")):
        for region, curve in enumerate(("all", "visible", "invisible")):
            np.testing.assert_allclose(result.curves[name][curve], expected[kind, region], rtol=0, atol=1e-12)
    mine = [score for score, number in zip(scores, frames.specimen, strict=True) if number == 7 and score is not None]
    np.testing.assert_allclose(
        result.per_specimen[7].curves["f1"]["all"], published_ultrabones.paper_means(mine)[2, 0], atol=1e-12
    )
    assert result.donor_overlap is None


def test_strict_protocol_equals_the_slow_twin_and_hides_no_miss(data: Path) -> None:
    frames = index_frames(data)
    result = evaluate_segmentation(data, StoredMasks("Labels_pred"), BOTH).results["strict"]
    spacing = 0.05392 / 0.3
    scores = [published_ultrabones.strict(grey, p, g, spacing) for grey, p, g in native(frames) if g.any()]
    for kind, name in enumerate(("precision", "recall", "f1")):
        for region, curve in enumerate(("all", "visible", "invisible")):
            expected = np.nanmean([score[kind][region] for score in scores], axis=0)
            np.testing.assert_allclose(result.curves[name][curve], expected, rtol=0, atol=1e-12)
    assert (result.frames, result.frames_skipped, result.frames_without_prediction) == (11, 1, 1)
    assert result.false_positive_rate == 1
    surfaces = [published_ultrabones.surface(p, g, spacing) for _, p, g in native(frames) if p.any() and g.any()]
    np.testing.assert_allclose(
        [result.scalars[key] for key in ("assd_mm", "hd_mm", "hd95_mm")], np.mean(surfaces, axis=0)
    )
    native_frames = [(p, g) for _, p, g in native(frames) if p.any() and g.any()]
    pooled = np.concatenate(
        [published_ultrabones.distances(*way, spacing) for p, g in native_frames for way in ((p, g), (g, p))]
    )
    assert result.scalars["assd_pooled_mm"] == pytest.approx(pooled.mean())
    assert pooled.mean() != pytest.approx(result.scalars["assd_mm"], rel=0.01)


def test_interval_holds_the_mean_and_needs_two_specimens(data: Path) -> None:
    result = evaluate_segmentation(data, StoredMasks("Labels_pred"), BOTH).results["strict"]
    assert result.interval_95 is not None
    low, high = result.interval_95["recall"]["all"]
    assert np.all(np.array(low) <= np.array(result.curves["recall"]["all"]) + 1e-12)
    assert np.all(np.array(high) >= np.array(result.curves["recall"]["all"]) - 1e-12)
    ends = [one.curves["recall"]["all"][10] for one in result.per_specimen.values()]
    assert min(ends) <= low[10] < high[10] <= max(ends)
    alone = evaluate_segmentation(
        data, StoredMasks("Labels_pred"), EvaluationSettings(specimens=(8,), protocols=("strict",))
    )
    assert alone.results["strict"].interval_95 is None


def test_one_worker_and_many_give_the_same(data: Path) -> None:
    one = evaluate_segmentation(data, StoredMasks("Labels_pred"), BOTH, workers=1).results
    many = evaluate_segmentation(data, StoredMasks("Labels_pred"), BOTH, workers=7).results
    assert repr(one) == repr(many)


def test_files(data: Path, tmp_path: Path) -> None:
    done = evaluate_segmentation(data, StoredMasks("Labels_pred"), BOTH, tmp_path / "out")
    written = json.loads((tmp_path / "out/evaluation.json").read_text())
    assert set(written) == {"paper", "strict"}
    assert written["paper"]["f1"]["all"] == done.results["paper"].curves["f1"]["all"]
    assert written["paper"]["false_positive_rate"] is None
    table = pd.read_csv(tmp_path / "out/frames_paper.csv")
    assert list(table.counted) == [False, False, *[True] * 10]
    assert table["f1.all@0.5"].mean() == pytest.approx(done.results["paper"].curves["f1"]["all"][5], abs=1e-12)
    strict = pd.read_csv(tmp_path / "out/frames_strict.csv")
    assert strict["recall.all@2.0"][0] == 0
    for name in ("curves_paper.png", "curves_strict.png", "examples.png"):
        assert read_grey(tmp_path / "out" / name).std() > 10


def test_ranking() -> None:
    scores: list[Any] = [
        SimpleNamespace(labelled=True, curves={"f1": np.full((3, 21), value)}) for value in (0.1, 0.9, 0.5, np.nan)
    ]
    ranked = rank_frames([*scores, None], count=1)
    assert ranked == [("best", 1, 0.9), ("median", 2, 0.5), ("worst", 0, 0.1)]
    assert rank_frames([None]) == []


def test_broken_frames_are_listed_and_the_rest_continue(own_data: Path, tmp_path: Path, medcli: Any) -> None:
    frames = index_frames(own_data)
    Path(frames.image[2]).write_bytes(b"broken")
    write_image(mask_path(frames.iloc[5], "Labels_pred"), np.zeros((9, 9), np.uint8))
    Path(mask_path(frames.iloc[6], "Labels_pred")).unlink()
    result = evaluate_segmentation(own_data, StoredMasks("Labels_pred")).results["paper"]
    assert result.frames == 7
    assert [failure.count(frames.image[i]) for failure, i in zip(result.failures, (2, 5, 6), strict=True)] == [1, 1, 1]
    assert "is 9 x 9, its frame 285 x 243" in result.failures[1]
    words = ("evaluate", "--root", own_data, "--predictions", "Labels_pred", "--out", tmp_path / "out")
    for protocol in ("paper", "both"):
        ran = medcli(*words, "--protocol", protocol)
        assert ran.code == 4
        assert ran.err.count("failed: ") == 3
    assert medcli(*words, "--fail-under", "dice=0.01").code == 4
    missed = medcli(*words, "--fail-under", "dice=0.99")
    assert missed.code == 1  # both are said, and the missed threshold decides
    assert missed.err.count("failed: ") == 3
    assert "wanted at least 0.99" in missed.err
    assert "--help" not in missed.err


def test_a_frame_with_an_implausible_spacing_is_a_failure(own_data: Path) -> None:
    """A spacing of nearly nothing would ask for a table of thresholds larger than any memory."""
    frames = index_frames(own_data)
    table = tracking_file(frames.record_dir[0])
    assert table is not None
    content = pd.read_csv(table)
    content.loc[frames.tracking[2], "space_factor"] = 1e-9
    content.to_csv(table, index=False)
    result = evaluate_segmentation(own_data, StoredMasks("Labels_pred"), BOTH).results["strict"]
    assert len(result.failures) == 1
    assert frames.image[2] in result.failures[0]
    assert "space_factor in the tracking table is 1e-09 mm, expected 0.005 to 5 mm" in result.failures[0]
    assert result.frames == 10


def test_labels_of_any_folder(own_data: Path, tmp_path: Path, medcli: Any) -> None:
    """Two hand-made labels, named as the dataset names them; frames without one are not evaluated."""
    frames = index_frames(own_data)
    for i in (4, 7):
        folder = Path(frames.record_dir[i], "LabelsManual")
        folder.mkdir(exist_ok=True)
        shutil.copy(mask_path(frames.iloc[i], "Labels_pred"), folder / f"{frames.timestamp[i]}-labels.png")
    words = ("evaluate", "--root", own_data, "--predictions", "Labels_pred", "--protocol", "strict", "--json")
    ran = medcli(*words, "--labels", "LabelsManual", "--out", tmp_path / "out")
    assert ran.code == 0, ran.err
    result = json.loads(ran.out)
    assert (result["frames"], result["labels"], result["dice"]) == (2, "LabelsManual", 1)
    nothing = medcli(*words, "--labels", "LabelsAbsent")
    assert nothing.code == 3
    assert "none of 12 frames has a label in LabelsAbsent" in nothing.err


def test_masks_without_bone_have_no_score_and_that_is_reported(
    own_data: Path, caplog: pytest.LogCaptureFixture, medcli: Any, tmp_path: Path
) -> None:
    for path in own_data.rglob("Labels_pred/*.png"):
        write_image(path, np.zeros_like(read_grey(path)))
    result = evaluate_segmentation(own_data, StoredMasks("Labels_pred")).results["paper"]
    assert (result.frames, result.frames_skipped) == (0, 12)
    assert "paper protocol: no score, since every frame is left out (12 frames)" in caplog.text
    out = tmp_path / "out"
    shown = medcli("evaluate", "--root", own_data, "--predictions", "Labels_pred", "--out", out, "--protocol", "paper")
    assert ("none, since all frames are left out" in shown.out, "nan" in shown.out) == (True, False), (
        shown.out + shown.err
    )
    run = find_run(out)
    assert run is not None
    assert run.headline == "no score, since all frames are left out (paper)"
    strict = medcli(
        "evaluate", "--root", own_data, "--predictions", "Labels_pred", "--out", out, "--protocol", "strict"
    )
    assert re.search(r"mean surface distance +-$", strict.out, re.MULTILINE)
    assert "nan" not in strict.out


def test_masks_and_labels_of_other_values_than_255_are_warned_of(
    own_data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    frames = index_frames(own_data)
    for path in [*mask_path(frames, "Labels_pred").tolist()[:3], *frames.label[2:]]:
        write_image(path, read_grey(path) // 255)
    warned = "have pixels but none of value 255, the only one that counts as bone"
    masks = EvaluationSettings(protocols=("strict",), figures=False)
    evaluate_segmentation(own_data, StoredMasks("Labels_pred"), masks)
    assert f"2 masks in Labels_pred {warned}" in caplog.text  # one of the three is empty
    assert f"10 masks in Labels {warned}" in caplog.text
    caplog.clear()
    alone = EvaluationSettings((7,), protocols=("strict", "paper"), figures=False)
    evaluate_segmentation(own_data, StoredMasks("Labels_pred"), alone)
    for protocol in ("strict", "paper"):
        left_out = f"{protocol} protocol: no score, since every frame is left out (4 frames), without a label pixel"
        assert left_out in caplog.messages


def test_nothing_of_an_earlier_evaluation_stays_beside_another(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="medcli")
    masks, out = StoredMasks("Labels_pred"), tmp_path / "out"
    evaluate_segmentation(data, masks, EvaluationSettings(protocols=("strict",)), out)
    (out / "reproduction.json").touch()
    (out / "mine.png").touch()
    evaluate_segmentation(data, masks, EvaluationSettings(protocols=("strict",)), out)
    assert "is replaced" not in caplog.text
    assert (out / "frames_strict.csv").is_file()
    evaluate_segmentation(data, masks, EvaluationSettings(figures=False), out)
    assert f"the evaluation in {out} is replaced by another: protocol was strict, is paper" in caplog.text
    left = {path.name for path in out.rglob("*") if path.is_file()}
    assert left == {"evaluation.json", "frames_paper.csv", "medcli-run.json", "mine.png"}


@pytest.mark.parametrize(
    ("masks", "labels", "words"),
    [("Labels", "partial", "are the labels: compared with themselves"), ("Labels_full", "partial", "no predictions")],
)
def test_labels_as_predictions_are_warned_of(
    data: Path, masks: str, labels: str, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="medcli")
    evaluate_segmentation(data, StoredMasks("Labels_pred"), EvaluationSettings(labels=labels))
    assert words not in caplog.text
    evaluate_segmentation(data, StoredMasks(masks), EvaluationSettings(labels=labels))
    assert f"the masks in {masks} are" in caplog.text
    assert words in caplog.text


def test_no_prediction_at_all_is_reported(data: Path) -> None:
    with pytest.raises(DataError, match="no mask in folder Absent of 3 records") as error:
        evaluate_segmentation(data, StoredMasks("Absent"))
    there = "mask folders there: Labels, Labels_full, Labels_pred"
    assert error.value.hint == f"make them with: medcli predict seg; {there}"


def test_command_as_typed(data: Path, medcli: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    shutil.copytree(data, tmp_path / "data/ultrabones")
    monkeypatch.chdir(tmp_path)
    ran = medcli("evaluate", "--specimens", "2", "7", "8", "--predictions", "Labels_pred", "--json")
    assert ran.code == 0
    result = json.loads(ran.out)
    promised = {"schema", "protocol", "frames", "frames_skipped", "thresholds_mm", "precision", "recall", "f1"}
    promised |= {"dice", "assd_mm", "hd95_mm", "per_specimen", "donor_overlap"}
    assert promised <= set(result)
    assert result["thresholds_mm"] == [round(0.1 * k, 1) for k in range(21)]
    assert set(result["precision"]) == {"all", "visible", "invisible"}
    assert len(result["recall"]["invisible"]) == 21
    assert set(result["per_specimen"]) == {"2", "7", "8"}
    assert (tmp_path / "runs/evaluate/seg/examples.png").is_file()
    assert medcli("report", "runs/evaluate/seg").code == 0
    page = (tmp_path / "runs/evaluate/seg/report.html").read_text("utf-8")
    assert "Nothing was predicted in 1 frame: left out by this protocol" in page
    assert "frames without prediction, excluded" in page
    shown = medcli("evaluate", "--predictions", "Labels_pred")
    assert "1 frame without any prediction, left out by this protocol" in " ".join(shown.out.split())
    assert "means over frames: the F1 of each frame" in shown.out

    both = medcli("evaluate", "seg", "--predictions", "Labels_pred", "--protocol", "both", "--json")
    assert set(json.loads(both.out)) == {"paper", "strict"}
    told = medcli("evaluate", "--predictions", "Labels_pred", "--specimens", "7,8", "--train-specimens", "1", "5-6")
    assert told.code == 0
    assert "donor S232132: specimen 5 in training, 7 in test" in told.out
    assert "warning: donor S232132" in told.err


def test_checkpoint_and_predictions_exclude_each_other(medcli: Any) -> None:
    ran = medcli("evaluate", "--checkpoint", "a", "--predictions", "b")
    assert ran.code == 2


class FakeSegmenter:
    """Finds bone where the image is bright."""

    def __init__(self, train: list[int]) -> None:
        self.metadata = Metadata(threshold=0.5, splits={"train": train})
        self.device = "cpu"

    def predict(self, images: np.ndarray) -> np.ndarray:
        assert images.shape[1:] == (256, 256)
        assert images.dtype == np.uint8
        return (images > 140).astype(np.float32)


def test_models_predict_on_the_network_grid(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    segmenter: Any = FakeSegmenter([5, 9, 8])
    caplog.set_level(logging.WARNING, logger="medcli")
    result = evaluate_segmentation(data, Model(segmenter, "fake"), BOTH)
    frames = index_frames(data)
    expected = [
        published_ultrabones.paper(grey, (grey + 0.5).astype(np.uint8) > 140, small(g)) for grey, _, g in native(frames)
    ]
    means = published_ultrabones.paper_means([score for score in expected if score is not None])
    np.testing.assert_allclose(result.results["paper"].curves["f1"]["all"], means[2, 0], rtol=0, atol=1e-12)
    overlap = result.results["paper"].donor_overlap
    assert overlap is not None
    assert [(one.donor, one.train, one.test) for one in overlap] == [
        ("S231989", (8, 9), (8,)),
        ("S232132", (5,), (7,)),
    ]
    assert "specimen 8: the model was trained on it" in caplog.text
    assert UNKNOWN_TRAINING not in caplog.text
    assert "chose this checkpoint" not in caplog.text
    segmenter.metadata = replace(segmenter.metadata, splits={"train": [5], "val": [7, 11]})
    evaluate_segmentation(data, Model(segmenter, "fake"), BOTH)
    assert "specimen 7: validation on it chose this checkpoint" in caplog.text
    unknown: Any = FakeSegmenter([])
    result = evaluate_segmentation(data, Model(unknown, "fake"), EvaluationSettings(specimens=(7,)))
    assert result.results["paper"].train_specimens is None
    assert UNKNOWN_TRAINING in caplog.text


def test_masks_say_what_their_network_was_trained_on(own_data: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="medcli")
    folders = [Path(record, "Labels_pred") for record in index_frames(own_data)["record_dir"].unique()]
    made = {"checkpoint": "a", "training_specimens": [9, 8]}
    for folder in folders:
        write_json(folder / MANIFEST, made)
    result = evaluate_segmentation(own_data, StoredMasks("Labels_pred")).results["paper"]
    assert result.train_specimens == [8, 9]
    assert "specimen 8: the model was trained on it" in caplog.text
    write_json(folders[0] / MANIFEST, {**made, "also": [{"checkpoint": "b", "training_specimens": None}]})
    assert UNKNOWN_TRAINING not in caplog.text
    result = evaluate_segmentation(own_data, StoredMasks("Labels_pred")).results["paper"]
    assert (result.train_specimens, result.donor_overlap) == (None, None)
    assert UNKNOWN_TRAINING in caplog.text


def test_newest_best_checkpoint_is_taken_and_named(
    data: Path, tmp_path: Path, medcli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medcli.ultrabones.segmentation.checkpoint import save_checkpoint
    from medcli.ultrabones.segmentation.network import build_model

    monkeypatch.chdir(tmp_path)
    words = ("evaluate", "--root", data, "--specimens", "7", "--protocol", "both", "--json")
    nothing = medcli(*words)
    assert nothing.code == 3
    assert "medcli train seg" in nothing.err
    encoder = "tu-test_resnet.r160_in1k"
    model = build_model("fpn", encoder)
    for number, name in enumerate(("old", "new")):
        path = Path("runs/seg", name, "best.safetensors")
        path.parent.mkdir(parents=True)
        metadata = Metadata(encoder=encoder, threshold=0.3, splits={"train": [5], "val": [2]})
        os.utime(save_checkpoint(path, model, metadata), ns=(number * 10**9, number * 10**9))
    ran = medcli(*words)
    assert ran.code == 0, ran.err
    result = json.loads(ran.out)["strict"]
    assert result["source"] == str(Path("runs/seg/new/best.safetensors"))
    assert "runs/seg/new/best.safetensors" in ran.err.replace(os.sep, "/")
    assert result["donor_overlap"] == [{"donor": "S232132", "train": [5], "test": [7]}]
    assert result["frames"] == 4


def test_real_labels_against_themselves(real_data: Path) -> None:
    """The full labels as predictions of the full labels: at 256 x 256 the label alone is thickened."""
    root = real_data / "ultrabones-example"
    settings = EvaluationSettings(specimens=(91,), labels="full", protocols=("paper", "strict"))
    results = evaluate_segmentation(root, StoredMasks("Labels_full"), settings).results
    assert results["strict"].curves["f1"]["all"][1] == pytest.approx(1)
    assert results["strict"].scalars["assd_mm"] == 0
    assert results["paper"].curves["precision"]["all"][1] == 1
    assert results["paper"].curves["recall"]["all"][6] == 1  # every thickened pixel lies within 3 px = 0.557 mm
    assert results["paper"].curves["recall"]["all"][1] < 1
