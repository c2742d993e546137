"""Runs are recognised by their files, and the command that resumes one is the one that started it."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medcli.core.files import write_json, write_text
from medcli.core.shell import spelled_words
from medcli.training.settings import FitSettings, check_same_settings
from medcli.ultrabones.segmentation.settings import SegmentationSettings
from medcli.veriserum.pose.settings import PoseSettings
from medcli.workspace.runs import (
    DAMAGED,
    FAILED,
    FINISHED,
    INTERRUPTED,
    LABEL,
    PREDICT_SEG,
    commands_of,
    find_run,
    find_run_folders,
    find_runs,
    run_kind,
)
from tests.conftest import Ran
from tests.support.run_folders import write_evaluation, write_pose_evaluation, write_training

SEG = SegmentationSettings(
    root=Path("my data/ultrabones"),
    epochs=7,
    train_specimens=(90, 3),
    val_specimens=(91,),
    labels="full",
    encoder_weights="none",
    loss_weights=(1.0, 0.5, 0.0),
    compile="on",
    limit_frames=20,
    use_cache=False,
    loggers=("csv", "tensorboard"),
)
POSE = PoseSettings(epochs=4, anatomy="femur", size=64, backbone="resnet18", calibrated=Path("sharp"), seed=3)


def started_by(
    command: str | None, medcli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch, target: str
) -> tuple[FitSettings, Path]:
    """Settings and folder that a training command stands for, without training."""
    given: list[Any] = []

    def record(settings: FitSettings, folder: Path, *_: object) -> None:
        given.extend([settings, folder])
        raise KeyboardInterrupt

    monkeypatch.setattr(target, record)
    for check in ("_check_seg", "_check_pose"):  # there are no data to train on
        monkeypatch.setattr(f"medcli.cli.train.{check}", lambda *_: None)
    assert command is not None
    ran = medcli(*spelled_words(command, os.name == "nt")[1:])
    assert ran.code == 130, ran.err
    return given[0], given[1]


@pytest.mark.parametrize(
    ("settings", "target", "headline"),
    [
        (SEG, "medcli.ultrabones.segmentation.train.train_segmentation", "best validation Dice 0.750 (epoch 2)"),
        (
            POSE,
            "medcli.veriserum.pose.train.train_pose",
            "best validation in plane 3.50 mm, rotation 10.25 degrees (epoch 2)",
        ),
    ],
)
def test_an_interrupted_training_is_resumed_by_the_command_that_started_it(
    settings: FitSettings,
    target: str,
    headline: str,
    tmp_path: Path,
    medcli: Callable[..., Ran],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = write_training(tmp_path / "a run", settings, finished=False)
    run = find_run(folder)
    assert run is not None
    epochs = 3 if settings is SEG else 2
    assert (run.state, run.detail, run.headline) == (INTERRUPTED, f"epoch {epochs} of {settings.epochs}", headline)
    again, where = started_by(run.resume, medcli, monkeypatch, target)
    assert (again, where) == (settings, folder)
    check_same_settings(folder, again, "some data")


def test_the_environment_does_not_change_what_is_resumed(
    tmp_path: Path, medcli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_training(tmp_path / "run", SEG, finished=False)
    monkeypatch.setenv("MEDCLI_SEED", "5")
    monkeypatch.setenv("MEDCLI_ULTRABONES_ROOT", "elsewhere")
    run = find_run(folder)
    assert run is not None
    again, _ = started_by(run.resume, medcli, monkeypatch, "medcli.ultrabones.segmentation.train.train_segmentation")
    assert again == SEG


def test_an_interrupted_cross_validation_is_resumed(
    tmp_path: Path, medcli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = dataclasses.replace(SEG, train_specimens=(5, 3, 90))
    folds = {}
    for number, left_out in enumerate((5, 3)):
        others = tuple(specimen for specimen in whole.train_specimens if specimen != left_out)
        fold = dataclasses.replace(whole, train_specimens=others, val_specimens=(left_out,))
        folds[left_out] = fold
        write_training(tmp_path / f"loo/specimen{left_out:02d}", fold, finished=number == 0)
    (run,) = find_runs(tmp_path)
    assert (run.kind, run.state, run.detail) == ("train seg --cv loo", INTERRUPTED, "1 of 3 folds")
    again, where = started_by(run.resume, medcli, monkeypatch, "medcli.ultrabones.segmentation.train.cross_validate")
    assert isinstance(again, SegmentationSettings)
    assert where == tmp_path / "loo"
    for left_out, fold in folds.items():  # as cross_validate makes them
        others = tuple(specimen for specimen in again.train_specimens if specimen != left_out)
        assert dataclasses.replace(again, train_specimens=others, val_specimens=(left_out,)) == fold


def test_state_of_a_training(tmp_path: Path) -> None:
    done = find_run(write_training(tmp_path / "done", SEG))
    assert done is not None
    assert (done.state, done.resume, done.checkpoint) == (FINISHED, None, tmp_path / "done/best.safetensors")
    assert done.headline == "best validation Dice 0.750 (epoch 2 of 3)"

    failed = write_training(tmp_path / "failed", SEG, finished=False)
    (failed / "metrics.csv").unlink()
    assert (run := find_run(failed)) is not None
    assert run.state == FAILED
    assert run.resume

    cut = write_training(tmp_path / "cut", SEG, finished=False)
    (cut / "last.ckpt").write_bytes(b"PK\x03\x04 truncated")
    assert (run := find_run(cut)) is not None
    assert run.resume
    assert run.resume.endswith("--overwrite")

    lost = write_training(tmp_path / "lost", SEG, finished=False)
    (lost / "settings.json").write_text("{")
    assert (run := find_run(lost)) is not None
    assert (run.state, run.resume) == (DAMAGED, None)


def test_runs_of_the_other_commands(tmp_path: Path) -> None:
    write_evaluation(tmp_path / "evaluate/seg", "net.safetensors")
    write_evaluation(tmp_path / "evaluate/both", "net.safetensors", both=True)
    write_pose_evaluation(tmp_path / "evaluate/pose", "poses.csv")
    (tmp_path / "masks").mkdir()
    write_json(tmp_path / "masks/predictions.json", {"checkpoint": "net.safetensors"})
    for name in ("a", "b"):
        (tmp_path / f"masks/{name}_label_pred.png").touch()
    (tmp_path / "clouds").mkdir()
    record = {"made_from": "x", "reconstruction": {"distance_mm": {"mean": 0.25}}}
    write_json(tmp_path / "clouds/one.json", record)
    (tmp_path / "calibrated").mkdir()
    write_json(tmp_path / "calibrated/medcli_calibration.json", {})
    (tmp_path / "calibrated/calibrated_bs_000001.jpg").touch()
    write_text(
        tmp_path / "refined.csv", "id,tx,ty,tz,rz,rx,ry,similarity_after\n1,0,0,0,0,0,0,0.9\n2,0,0,0,0,0,0,0.8\n"
    )
    for name in ("poses.csv", "start.csv", "veriserum_pose_reloaded_refined_all.csv"):  # only the first is a run's
        write_text(tmp_path / name, "id,tx,ty,tz,rz,rx,ry\n1,0,0,0,0,0,0\n")
    write_json(tmp_path / "poses.medcli-run.json", {"verb": "predict pose"})
    write_text(tmp_path / "other.csv", "a,b\n1,2\n")
    found = {
        run.path.relative_to(tmp_path).as_posix(): (run.kind, run.headline or run.detail) for run in find_runs(tmp_path)
    }
    assert found == {
        "evaluate/seg": ("evaluate seg", "F1 at 1 mm 0.400, Dice 0.625 (paper)"),
        "evaluate/both": ("evaluate seg", "F1 at 1 mm 0.400, Dice 0.625 (paper)"),
        "evaluate/pose": ("evaluate pose", "median in plane 5.45 mm, rotation 9.16 degrees"),
        "masks": ("predict seg", "2 masks"),
        "clouds": ("reconstruct ultrabones", "mean distance to the CT 0.250 mm"),
        "calibrated": ("calibrate veriserum", "1 image"),
        "refined.csv": ("register pose", "mean similarity 0.850"),
        "poses.csv": ("predict pose", "1 pose"),
    }


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"schema": "medcli.evaluate.pose.v1"}'])
def test_damaged_files_are_reported_not_raised(tmp_path: Path, content: bytes) -> None:
    write_evaluation(tmp_path / "one", "net")
    (tmp_path / "one/evaluation.json").write_bytes(content)
    write_training(tmp_path / "two", SEG)
    for name in ("settings.json", "result.json", "metrics.csv"):
        (tmp_path / "two" / name).write_bytes(content)
    (tmp_path / "table.csv").write_bytes(content)
    assert {run.path.name: run.state for run in find_runs(tmp_path)} == {"one": DAMAGED, "two": DAMAGED}


def test_runs_are_listed_newest_first_and_nothing_else_is_listed(tmp_path: Path) -> None:
    for age, name in enumerate(("new", "middle", "old")):
        folder = write_evaluation(tmp_path / name, "net")
        os.utime(folder / "evaluation.json", (1e9 - 1000 * age,) * 2)
    (tmp_path / "empty").mkdir()
    assert [run.path.name for run in find_runs(tmp_path)] == ["new", "middle", "old"]
    assert find_runs(tmp_path / "absent") == []
    assert run_kind(tmp_path / "empty") is None


def test_a_folder_may_contain_several_runs_and_reports_include_labels_and_provenance(tmp_path: Path) -> None:
    record = tmp_path / "record01"
    record.mkdir()
    for name in ("labels.json", "predictions.json"):
        write_json(record / name, {})
    assert list(commands_of(record)) == [PREDICT_SEG, LABEL]
    (record / "predictions.json").unlink()
    assert run_kind(record) is None, "labels are stored with the data: medcli info counts them there"
    (tmp_path / "poses").mkdir()
    write_json(tmp_path / "poses/refined.medcli-run.json", {})
    write_evaluation(tmp_path / "a/b/c", "net")
    assert find_run_folders(tmp_path) == [tmp_path / "poses", record, tmp_path / "a/b/c"]


def test_a_training_is_recognised_by_its_result_alone(tmp_path: Path) -> None:
    folder = write_training(tmp_path / "seg", SEG)
    (folder / "settings.json").unlink()
    result = json.loads((folder / "result.json").read_text("utf-8"))
    write_json(folder / "result.json", {**result, "schema": "medcli.train_seg.v1"})
    assert run_kind(folder) == "train seg"
    assert (run := find_run(folder)) is not None
    assert run.state == FINISHED
