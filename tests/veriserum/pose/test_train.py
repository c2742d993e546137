"""Complete pose training, evaluation and prediction on small synthetic data, as commands and from Python."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from medcli.core.errors import DataError, UsageError
from medcli.core.run_provenance import NAME as RUN_NOTE
from medcli.veriserum.dataset.pose_tables import PUBLISHED_COLUMNS
from medcli.veriserum.dataset.study import VeriserumStudy
from medcli.veriserum.dataset.trial_splits import from_ranges
from medcli.veriserum.pose.checkpoint import load_pose_network
from medcli.veriserum.pose.checkpoint_metadata import PoseMetadata, read_pose_metadata
from medcli.veriserum.pose.estimates import known_ids, table_of_estimates
from medcli.veriserum.pose.evaluate import evaluate_pose
from medcli.veriserum.pose.evaluated_pairs import PoseEvaluationSettings
from medcli.veriserum.pose.inference import PosePredictor
from medcli.veriserum.pose.pair_images import PairFiles
from medcli.veriserum.pose.pairs import find_pairs
from medcli.veriserum.pose.predict import PosePredictSettings, predict_pose
from medcli.veriserum.pose.settings import PoseSettings
from medcli.veriserum.pose.train import TrainPoseResult, train_pose
from medcli.workspace.runs import find_run
from tests.support.made_veriserum import write_study

TIMING = ("frames_per_second", "seconds", "seconds_left")
POSES = "csv_files/veriserum_pose_reloaded_refined_all.csv"


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """One thread: sums in a fixed order, and no competition for the cores of a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def small(root: Path) -> PoseSettings:
    return PoseSettings(
        root=root,
        anatomy="femur",
        size=32,
        backbone="shufflenet_v2_x0_5",
        backbone_weights="none",
        epochs=4,
        batch_size=4,
        gpus="0",
    )


@pytest.fixture(scope="module")
def whole_run(pose_study: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainPoseResult:
    """Four epochs without interruption."""
    torch.set_num_threads(1)
    return train_pose(small(pose_study), tmp_path_factory.mktemp("whole") / "run")


def metrics_of(folder: Path) -> list[dict[str, str]]:
    """Rows of ``metrics.csv`` without the times, digit by digit."""
    with (folder / "metrics.csv").open(newline="") as file:
        return [{name: value for name, value in row.items() if name not in TIMING} for row in csv.DictReader(file)]


def test_run_writes_checkpoints_metrics_curve_and_result(whole_run: TrainPoseResult) -> None:
    names = {path.name for path in whole_run.out.iterdir()}
    weights = {f"{name}.{suffix}" for name in ("best", "last") for suffix in ("safetensors", "json")}
    assert names == weights | {"last.ckpt", "metrics.csv", "curves.png", "settings.json", "result.json", RUN_NOTE}
    rows = metrics_of(whole_run.out)
    losses = [float(row["val_loss"]) for row in rows]
    assert len(rows) == 4
    assert all(math.isfinite(float(value)) for row in rows for value in row.values())
    assert whole_run.best_epoch == int(np.argmin(losses)) + 1
    assert whole_run.train_pairs + whole_run.val_pairs + whole_run.test_pairs == 15
    assert whole_run.split_rule == "measurement_id"
    assert whole_run.images == "originals"


def test_checkpoint_describes_its_training_data(whole_run: TrainPoseResult, pose_study: Path) -> None:
    metadata = read_pose_metadata(whole_run.best)
    pairs = find_pairs(VeriserumStudy(pose_study), "femur")
    sides = [from_ranges(metadata.splits[name]) for name in ("train", "val", "test")]
    assert sorted(np.concatenate(sides)) == pairs.poses.index.tolist()
    assert set(metadata.anatomies) == set(pairs.poses.loc[sides[0], "anatomy_id"])
    assert metadata.mean_pose[:3] == pytest.approx(pairs.poses.loc[sides[0], ["tx", "ty", "tz"]].mean().tolist())
    network, _ = load_pose_network(whole_run.last)
    assert network.mean[:3].tolist() == pytest.approx(list(metadata.mean_pose[:3]), rel=1e-5)
    assert (metadata.licence, metadata.citation) == ("none: synthetic data made by medcli", "")
    assert "Non-Commercial" in PoseMetadata("resnet18", 64, (1,), (0.0,) * 6).licence


@pytest.mark.deep
def test_run_that_does_not_improve_ends_early_and_stays_so(pose_study: Path, tmp_path: Path) -> None:
    """Also interrupted, killed before its result was written, and with more epochs: the same numbers."""
    settings = dataclasses.replace(small(pose_study), epochs=60, early_stop=1, monitor="rotation")
    train_pose(dataclasses.replace(settings, epochs=1), tmp_path)
    result = train_pose(settings, tmp_path)
    rows = metrics_of(tmp_path)
    errors = [float(row["val_rotation_deg"]) for row in rows]
    assert result.ended == "early stop: rotation has not improved for 1 epoch"
    assert result.monitor == "val_rotation_deg"
    assert result.best_epoch == result.epochs - 1 == len(rows) - 1
    assert errors[:-1] == sorted(errors[:-1], reverse=True)
    assert errors[-1] >= errors[-2]
    assert [row["best"] for row in rows] == ["1"] * (len(rows) - 1) + ["0"]
    assert read_pose_metadata(result.best).metrics["val_rotation_deg"] == errors[-2]
    (tmp_path / "result.json").unlink()
    again = train_pose(settings, tmp_path)
    assert dataclasses.replace(again, seconds=result.seconds) == result
    assert train_pose(dataclasses.replace(settings, epochs=70), tmp_path) == again
    with pytest.raises(UsageError, match="monitor was rotation, is loss"):
        train_pose(dataclasses.replace(settings, monitor="loss"), tmp_path)
    run = find_run(tmp_path)
    assert run is not None
    assert (run.state, run.detail) == ("finished", f"{result.epochs} epochs, early stop")


def darken(planes: Any, target: Any, random: np.random.Generator) -> tuple[Any, Any]:
    """Darkens at random, in place."""
    planes //= random.integers(2, 5, dtype=np.uint8)
    return planes, target + 1


@pytest.mark.deep
def test_augmented_and_transformed_training_resumes_with_the_same_numbers(
    whole_run: TrainPoseResult, pose_study: Path, tmp_path: Path
) -> None:
    """The validation sees neither; a run remembers its transform by name."""
    settings = dataclasses.replace(small(pose_study), augment="published", epochs=2)
    at_once = train_pose(settings, tmp_path / "at once", transform=darken)
    train_pose(dataclasses.replace(settings, epochs=1), tmp_path / "run", transform=darken)
    train_pose(settings, tmp_path / "run", transform=darken)
    rows = metrics_of(tmp_path / "run")
    assert rows == metrics_of(at_once.out)
    plain = train_pose(settings, tmp_path / "plain")
    first_losses = {float(metrics_of(run.out)[0]["train_loss"]) for run in (whole_run, at_once, plain)}
    assert len(first_losses) == 3
    assert json.loads((at_once.out / "settings.json").read_text())["transform"].endswith("test_train.darken")
    with pytest.raises(UsageError, match=r"transform was .*darken, is"):
        train_pose(settings, tmp_path / "run")


def test_interrupted_run_resumes_with_the_same_numbers(
    whole_run: TrainPoseResult, pose_study: Path, tmp_path: Path
) -> None:
    settings = small(pose_study)
    first = train_pose(dataclasses.replace(settings, epochs=2), tmp_path / "run")
    assert first.epochs == 2
    assert train_pose(settings, tmp_path / "run").epochs == 4
    assert metrics_of(tmp_path / "run") == metrics_of(whole_run.out)
    ours, theirs = (
        load_pose_network(run / "last.safetensors")[0].state_dict() for run in (tmp_path / "run", whole_run.out)
    )
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_second_start_of_a_finished_run_computes_nothing(whole_run: TrainPoseResult, pose_study: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in whole_run.out.iterdir()}
    assert train_pose(small(pose_study), whole_run.out) == whole_run
    assert {path.name: path.stat().st_mtime_ns for path in whole_run.out.iterdir()} == before


@pytest.mark.deep
def test_training_learns(pose_study: Path, tmp_path: Path) -> None:
    """On the training pairs, errors fall well below those of the mean pose."""
    settings = dataclasses.replace(small(pose_study), epochs=30, lr=1e-2)
    result = train_pose(settings, tmp_path)
    losses = [float(row["train_loss"]) for row in metrics_of(result.out)]
    assert min(losses[-5:]) < 0.6 * losses[0]


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"anatomy": "hip"}, UsageError, "--anatomy 'hip'"),
        ({"lr": -1.0}, UsageError, "--lr -1.0 is not a positive number"),
        ({"loss": "l2"}, UsageError, "--loss 'l2'"),
        ({"loss_weights": (1.0,)}, UsageError, "--loss-weights takes 2 numbers"),
        ({"size": 8}, UsageError, "--size 8 is too small"),
        ({"split": "frames"}, UsageError, "--split 'frames'"),
        ({"backbone": "resnext"}, UsageError, "no backbone 'resnext'"),
        ({"gpus": "1"}, UsageError, "1 GPU requested"),
        ({"root": Path("nowhere")}, DataError, "no folder nowhere"),
        ({"calibrated": Path("nowhere")}, DataError, "no folder nowhere"),
    ],
)
def test_errors_are_reported_in_one_line(
    pose_study: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, Any],
    error: type[Exception],
    says: str,
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(error, match=says):
        train_pose(dataclasses.replace(small(pose_study), **change), tmp_path)


def test_other_settings_do_not_resume_in_the_same_folder(whole_run: TrainPoseResult, pose_study: Path) -> None:
    with pytest.raises(UsageError, match="batch_size was 4, is 5"):
        train_pose(dataclasses.replace(small(pose_study), batch_size=5), whole_run.out)


def test_train_command(medcli: Callable[..., Any], pose_study: Path, tmp_path: Path) -> None:
    words = [
        "train",
        "pose",
        "--root",
        pose_study,
        "--anatomy",
        "femur",
        "--epochs",
        "1",
        "--size",
        "32",
        "--gpus",
        "0",
    ]
    words += [
        "--backbone",
        "shufflenet_v2_x0_5",
        "--backbone-weights",
        "none",
        "--loss",
        "l1+geodesic",
        "--loss-weights",
        "1",
        "0.5",
    ]
    words += ["--limit-pairs", "6", "--out", tmp_path / "run"]
    ran = medcli(*words, "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["schema"] == "medcli.train_pose.v1"
    assert "originals, calibrated on the fly" in ran.err
    again = medcli(*words)
    assert again.code == 0
    assert "is already finished" in again.err
    assert "mean pose" in again.out


def test_perfect_and_shifted_predictions_have_the_errors_they_should(pose_study: Path, tmp_path: Path) -> None:
    table = pd.read_csv(pose_study / POSES)
    settings = PoseEvaluationSettings(anatomy="femur", split="all")
    table.to_csv(tmp_path / "perfect.csv", index=False)
    perfect = evaluate_pose(pose_study, predictions=tmp_path / "perfect.csv", settings=settings)
    assert perfect.pairs == 15
    assert max(one.p95 for one in perfect.errors.values()) < 1e-4
    table["tx"] += 3
    table["tz"] -= 4
    table[["id", "tx", "ty", "tz", "rz", "rx", "ry"]].to_csv(tmp_path / "shifted.csv", index=False)
    found = evaluate_pose(pose_study, predictions=tmp_path / "shifted.csv", settings=settings, out=tmp_path / "out")
    assert found.errors["in_plane_bs_mm"].mean == pytest.approx(3)
    assert found.errors["out_of_plane_bs_mm"].p95 == pytest.approx(4)
    assert found.errors["distance_mm"].median == pytest.approx(5)
    assert found.errors["rotation_deg"].mean == pytest.approx(0, abs=1e-4)
    assert 2 < found.errors["outline_bs_mm"].mean < 6
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "evaluation.json",
        "pairs.csv",
        "errors.png",
        "overlays.jpg",
        RUN_NOTE,
    }
    assert len(pd.read_csv(tmp_path / "out" / "pairs.csv")) == 15


def test_missing_predictions_are_failures(medcli: Callable[..., Any], pose_study: Path, tmp_path: Path) -> None:
    table = pd.read_csv(pose_study / POSES)
    table[table["id"] != 1].to_csv(tmp_path / "poses.csv", index=False)
    words = ["evaluate", "pose", "--root", pose_study, "--predictions", tmp_path / "poses.csv", "--split", "all"]
    ran = medcli(*words, "--anatomy", "1", "--out", tmp_path / "out")
    assert ran.code == 4
    assert "failed: pair 1: no pose of anatomy 1 in" in ran.err
    lines = {line.split()[0]: line for line in ran.out.splitlines() if line.strip()}
    assert "11 of 12 (all pairs)" in lines["pairs"]
    assert "pose table" in lines["reference"]
    assert "out of plane bs" in ran.out
    words += ["--ids", "2-6", "--anatomy", "1", "--out", tmp_path / "some", "--json"]
    chosen = json.loads(medcli(*words).out)
    assert chosen["pairs"] == 2


def test_manual_reference(pose_study: Path, tmp_path: Path) -> None:
    predictions = pose_study / POSES
    settings = PoseEvaluationSettings(anatomy="1", split="all", reference="manual")
    with pytest.raises(DataError, match="no manual poses"):
        evaluate_pose(pose_study, predictions=predictions, settings=settings)
    manual = pd.read_csv(predictions).iloc[:2].assign(tx=lambda rows: rows["tx"] + 1)
    manual.to_csv(tmp_path / "by_hand.csv", index=False)
    by_file = dataclasses.replace(settings, reference=str(tmp_path / "by_hand.csv"))
    found = evaluate_pose(pose_study, predictions=predictions, settings=by_file)
    assert (found.pairs, found.errors["x_mm"].mean) == (2, pytest.approx(1))


def test_evaluation_of_a_checkpoint_agrees_with_that_of_its_predictions(
    whole_run: TrainPoseResult, pose_study: Path, tmp_path: Path
) -> None:
    predictor = PosePredictor.load(whole_run.best, "cpu")
    of_model = evaluate_pose(pose_study, predictor, settings=PoseEvaluationSettings(split="test"), name="best")
    assert of_model.pairs == whole_run.test_pairs
    assert of_model.leaks == 0
    assert of_model.mean_pose is not None
    done = predict_pose([], tmp_path / "poses.csv", whole_run.best, pose_study)
    assert done.pairs == 21  # tibiae as well: the table states the implant
    ids = from_ranges(predictor.metadata.splits["test"])
    settings = PoseEvaluationSettings(anatomy="femur", ids=[(int(i), int(i)) for i in ids])
    of_table = evaluate_pose(pose_study, predictions=tmp_path / "poses.csv", settings=settings)
    for name, one in of_model.errors.items():
        assert of_table.errors[name].mean == pytest.approx(one.mean, abs=1e-3), name


def test_dry_run_names_the_pairs_that_the_evaluation_uses(
    medcli: Callable[..., Any], whole_run: TrainPoseResult, pose_study: Path, tmp_path: Path
) -> None:
    words = ("evaluate", "pose", "--root", pose_study, "--checkpoint", whole_run.best, "--split", "test", "--json")
    planned = json.loads(medcli(*words, "--dry-run", "--out", tmp_path / "out").out)
    assert not list(tmp_path.iterdir())
    done = json.loads(medcli(*words, "--out", tmp_path / "out").out)
    assert planned["schema"] == "medcli.evaluate.pose.dry-run.v1"
    assert done["pairs"] > 0
    for name in ("source", "reference", "split", "pairs", "anatomies"):
        assert planned[name] == done[name], name
    assert planned["missing"] == []


def test_dry_run_names_all_that_is_missing(medcli: Callable[..., Any], pose_study: Path, tmp_path: Path) -> None:
    """The same lines with and without work; what only a table's rows say is added by the dry run."""
    words = ("evaluate", "pose", "--root", pose_study, "--checkpoint", tmp_path / "no.safetensors")
    words = (*words, "--inter-plane", tmp_path / "no.json", "--out", tmp_path / "out")
    refused, planned = medcli(*words), medcli(*words, "--dry-run")
    assert refused.err.count("error: ") == 2
    assert (planned.code, planned.err) == (refused.code, refused.err) == (3, planned.err)
    assert "to evaluate  " in planned.out
    words = ("evaluate", "pose", "--root", pose_study, "--predictions", pose_study / POSES, "--ids", "900")
    ran = medcli(*words, "--dry-run", "--json")
    assert ran.code == 3
    assert json.loads(ran.out)["pairs"] == 0
    assert "no pair to evaluate" in json.loads(ran.out)["missing"][0]
    assert not list(tmp_path.iterdir())


def test_predicted_table_has_the_published_columns_and_is_the_same_again(
    whole_run: TrainPoseResult, pose_study: Path, tmp_path: Path
) -> None:
    image = next(pose_study.rglob("bs_000001.jpg"))
    done = predict_pose([image], tmp_path / "poses.csv", whole_run.best, pose_study, PosePredictSettings(overlay=True))
    table = pd.read_csv(done.out)
    assert tuple(table.columns) == PUBLISHED_COLUMNS
    assert table["id"].tolist() == [1]
    assert table["distortion_calibration_id"].tolist() == [1]
    assert done.contact_sheet is not None
    assert (tmp_path / "poses_overlays" / "pose_000001.jpg").is_file()
    before = done.out.read_bytes()
    written = done.out.stat().st_mtime_ns
    again = predict_pose([image], tmp_path / "poses.csv", whole_run.best, pose_study)
    assert (again.is_earlier, again.pairs, again.contact_sheet) == (True, 1, done.contact_sheet)
    assert (done.out.read_bytes(), done.out.stat().st_mtime_ns) == (before, written)
    note = tmp_path / "poses.medcli-run.json"
    note.unlink()  # as if the run had been killed before it
    assert not predict_pose([image], tmp_path / "poses.csv", whole_run.best, pose_study).is_earlier
    assert (done.out.read_bytes(), note.is_file()) == (before, True)


def test_the_row_of_the_trained_component_says_what_a_pair_shows(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = write_study(tmp_path / "study", [3, 2, 3, 1, 3], [1, 1, 2, 2, 3])
    table = pd.read_csv(root / POSES)
    table["id"] = [1, 1, 2, 2, 3]  # the tibia first, and of one pair alone
    table.to_csv(root / POSES, index=False)
    trained = PoseMetadata("resnet18", 32, (2,), (0.0,) * 6)
    pairs = [PairFiles(number, "bs", "fs") for number in (1, 2, 3, 4)]

    def anatomies(metadata: PoseMetadata, anatomy: int | None) -> list[Any]:
        known = known_ids(VeriserumStudy(root), metadata, anatomy)
        made = table_of_estimates(pairs, np.stack([np.eye(4)] * 4), known, metadata, anatomy)
        assert made["measurement_id"].tolist()[:3] == [1, 2, 3]
        return [None if pd.isna(one) else one for one in made["anatomy_id"]]

    assert anatomies(trained, None) == [2, 1, 2, 2]
    assert "1 pose is of anatomy 1, the network was trained on anatomy 2" in caplog.text
    assert anatomies(trained, 2) == [2, 1, 2, 2]
    both = dataclasses.replace(trained, anatomies=(1, 2, 3))
    assert anatomies(both, 3) == [3, 3, 3, 3]
    assert anatomies(both, None) == [2, 1, 3, None]


def test_a_table_that_was_made_otherwise_is_not_replaced_unasked(
    medcli: Callable[..., Any], whole_run: TrainPoseResult, pose_study: Path, tmp_path: Path
) -> None:
    images = [next(pose_study.rglob(f"bs_00000{number}.jpg")) for number in (1, 2)]
    words = ("--out", tmp_path / "poses.csv", "--root", pose_study, "--checkpoint")
    assert medcli("predict", "pose", images[0], *words, whole_run.best).code == 0
    table = (tmp_path / "poses.csv").read_text("utf-8")
    for image, network in ((images[0], whole_run.last), (images[1], whole_run.best)):
        ran = medcli("predict", "pose", image, *words, network)
        assert (ran.code, "--overwrite" in ran.err) == (2, True), ran.err
        assert (tmp_path / "poses.csv").read_text("utf-8") == table
    (tmp_path / "poses.csv").write_text(table.replace("medcli", "mine"), "utf-8")
    assert medcli("predict", "pose", images[0], *words, whole_run.best).code == 2
    assert "mine" in (tmp_path / "poses.csv").read_text("utf-8")
    assert medcli("predict", "pose", images[1], *words, whole_run.best, "--overwrite").code == 0
    assert (tmp_path / "poses.csv").read_text("utf-8") != table


def test_pairs_that_cannot_be_estimated_are_failures(
    medcli: Callable[..., Any], whole_run: TrainPoseResult, pose_study: Path, tmp_path: Path
) -> None:
    for plane in ("bs", "fs"):
        source = next(pose_study.rglob(f"{plane}_000001.jpg"))
        (tmp_path / f"{plane}_000001.jpg").write_bytes(source.read_bytes())
    (tmp_path / "bs_000002.jpg").write_bytes(source.read_bytes())
    (tmp_path / "bs_000003.jpg").write_bytes(b"no image")
    (tmp_path / "fs_000003.jpg").write_bytes(b"no image")
    words = ["predict", "pose", tmp_path, "--checkpoint", whole_run.best, "--out", tmp_path / "poses.csv"]
    ran = medcli(*words, "--root", pose_study)
    assert ran.code == 4
    assert "failed: pair 2: one plane's image is missing" in ran.err
    assert "failed: pair 3: " in ran.err
    assert len(pd.read_csv(tmp_path / "poses.csv")) == 1
    for plane in ("bs", "fs"):  # mended, so the table is completed
        (tmp_path / f"{plane}_000003.jpg").write_bytes((tmp_path / f"{plane}_000001.jpg").read_bytes())
    assert medcli(*words, "--root", pose_study).code == 4
    assert pd.read_csv(tmp_path / "poses.csv")["id"].tolist() == [1, 3]
    alone = medcli(*words, "--root", tmp_path / "absent")
    assert alone.code == 3
    assert "distortion calibration is unknown" in alone.err


def test_invalid_commands_are_rejected(
    medcli: Callable[..., Any], tmp_path: Path, pose_study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    without = medcli("evaluate", "pose", "--root", pose_study)
    assert without.code == 3
    assert "medcli train pose" in without.err
    (tmp_path / "other.safetensors").write_bytes(b"nothing")
    assert medcli("predict", "pose", "--root", pose_study, "--checkpoint", "other.safetensors").code == 3
    (tmp_path / "word.txt").write_text("x")
    assert medcli("evaluate", "pose", "--checkpoint", "a", "--predictions", "b").code == 2
    assert medcli("predict", "pose", "--help").code == 0
