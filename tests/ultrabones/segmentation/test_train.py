"""Training as a whole on small synthetic data: what it leaves, resuming after a kill, splits, and refusals."""

from __future__ import annotations

import csv
import dataclasses
import json
import logging
import math
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medcli.core.errors import DataError, MedcliError, UsageError
from medcli.synthetic.ultrasound.dataset import SweepSettings, make_ultrabones
from medcli.ultrabones.dataset.frame_index import index_frames
from medcli.ultrabones.segmentation.checkpoint import load_model, read_metadata
from medcli.ultrabones.segmentation.settings import SegmentationSettings
from medcli.ultrabones.segmentation.train import TrainResult, cross_validate, train_segmentation

REPOSITORY = Path(__file__).parents[3]
NETWORK = ("--arch", "linknet", "--encoder", "tu-mobilenetv3_small_050", "--encoder-weights", "none")
posix = pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
HAS_TENSORBOARD = find_spec("tensorboard") is not None
TIMING = ("frames_per_second", "seconds", "seconds_left")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Sums in the same order everywhere, and no quarrel over the cores of a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three legs; 1 and 4 are of one donor."""
    sweep = SweepSettings(frames=7, scale=0.3)
    return make_ultrabones(tmp_path_factory.mktemp("data"), (1, 3, 4), settings=sweep)


def small(data: Path) -> SegmentationSettings:
    return SegmentationSettings(
        root=data,
        train_specimens=(1, 3),
        val_specimens=(4,),
        arch="linknet",
        encoder="tu-mobilenetv3_small_050",
        encoder_weights="none",
        epochs=4,
        batch_size=5,
        lr=1e-3,
        gpus="0",
    )


@pytest.fixture
def settings(data: Path) -> SegmentationSettings:
    return small(data)


@pytest.fixture(scope="module")
def whole_run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    """Four epochs without interruption."""
    torch.set_num_threads(1)
    return train_segmentation(small(data), tmp_path_factory.mktemp("whole") / "run")


def metrics_of(folder: Path) -> list[dict[str, str]]:
    """Rows of ``metrics.csv`` without the times, digit by digit."""
    with (folder / "metrics.csv").open(newline="") as file:
        return [{name: value for name, value in row.items() if name not in TIMING} for row in csv.DictReader(file)]


def weights_of(path: Path) -> dict[str, torch.Tensor]:
    return load_model(path)[0].state_dict()


def assert_same_run(folder: Path, reference: Path) -> None:
    assert metrics_of(folder) == metrics_of(reference)
    for name in ("best", "last"):
        ours, theirs = weights_of(folder / f"{name}.safetensors"), weights_of(reference / f"{name}.safetensors")
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_run_leaves_checkpoints_metrics_curve_and_result(whole_run: TrainResult) -> None:
    names = {path.name for path in whole_run.out.iterdir()}
    assert names == {
        "best.safetensors",
        "best.json",
        "last.safetensors",
        "last.json",
        "last.ckpt",
        "metrics.csv",
        "curves.png",
        "settings.json",
        "result.json",
        "medcli-run.json",
    }
    rows = metrics_of(whole_run.out)
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    losses = [float(row["val_loss"]) for row in rows]
    assert all(math.isfinite(loss) for loss in losses)
    assert whole_run.best_epoch == int(np.argmin(losses)) + 1
    assert whole_run.best_metrics["val_loss"] == min(losses)
    assert (whole_run.train_frames, whole_run.val_frames) == (14, 7)
    best = read_metadata(whole_run.best)
    assert best.metrics["val_loss"] == min(losses)
    assert best.splits["train"] == [1, 3]
    assert best.settings["lr"] == 1e-3
    assert (best.licence, best.citation) == ("none: synthetic data made by medcli", "")
    assert weights_of(whole_run.last).keys() == weights_of(whole_run.best).keys()
    assert json.loads((whole_run.out / "result.json").read_text())["schema"] == "medcli.train_seg.v1"


@pytest.mark.deep
def test_training_learns(data: Path, settings: SegmentationSettings, tmp_path: Path) -> None:
    """The loss on the frames learnt from falls well below that of the first epoch."""
    plain = dataclasses.replace(settings, augment="none", epochs=6, lr=5e-3, limit_frames=10)
    result = train_segmentation(plain, tmp_path)
    losses = [float(row["train_loss"]) for row in metrics_of(result.out)]
    assert losses[-1] < losses[0] - 0.2


def test_both_legs_of_a_donor_are_warned_of_and_written_down(whole_run: TrainResult) -> None:
    assert whole_run.donor_overlap == ("F231091",)
    assert any("two legs of donor F231091" in warning for warning in whole_run.warnings)
    assert read_metadata(whole_run.best).splits["donor_overlap"] == ["F231091"]


def test_second_start_of_a_done_run_computes_nothing(whole_run: TrainResult, settings: SegmentationSettings) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in whole_run.out.iterdir()}
    again = train_segmentation(settings, whole_run.out)
    assert again == whole_run
    assert {path.name: path.stat().st_mtime_ns for path in whole_run.out.iterdir()} == before


KILLED_WHILE_WRITING = """
import os, signal
from medcli.training import callbacks
write = callbacks.save_resumable
def die(trainer, target):
    if trainer.current_epoch == 2:
        os.kill(os.getpid(), signal.SIGKILL)  # weights and metrics of epoch 3 are written, last.ckpt is of epoch 2
    write(trainer, target)
callbacks.save_resumable = die
"""
KILLED_WITHIN_AN_EPOCH = """
import os, signal
from medcli.ultrabones.segmentation import lightning_module as segmentation
step = segmentation.SegmentationModule.training_step
def die(self, batch, batch_idx):
    if (self.current_epoch, batch_idx) == (1, 2):
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, batch, batch_idx)
segmentation.SegmentationModule.training_step = die
"""
SIGNALLED_WITHIN_IMPORTS = """
import os, signal, sys
class Signals:
    def find_spec(self, name, path=None, target=None):
        if name == "lightning":
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGUSR1)
sys.meta_path.insert(0, Signals())
"""


@posix
@pytest.mark.deep
@pytest.mark.parametrize(
    ("killer", "epochs_left"),
    [(KILLED_WHILE_WRITING, 3), (KILLED_WITHIN_AN_EPOCH, 1)],
)
def test_killed_run_resumes_with_the_same_numbers(
    whole_run: TrainResult, settings: SegmentationSettings, tmp_path: Path, killer: str, epochs_left: int
) -> None:
    folder = tmp_path / "run"
    killed = _run_apart(killer, settings, folder)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len(metrics_of(folder)) == epochs_left
    assert not (folder / "result.json").exists()
    result = train_segmentation(settings, folder)
    assert_same_run(folder, whole_run.out)
    assert result.best_epoch == whole_run.best_epoch
    assert not list(folder.glob("*.part"))
    assert not list(folder.glob(".*.part"))


@posix
@pytest.mark.deep
def test_terminated_run_reports_it_and_resumes(
    whole_run: TrainResult, settings: SegmentationSettings, tmp_path: Path
) -> None:
    killer = KILLED_WITHIN_AN_EPOCH.replace("SIGKILL", "SIGTERM")
    stopped = _run_apart(killer, settings, tmp_path)
    assert stopped.returncode == 130, stopped.stderr
    assert "interrupted; run the same command again" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    train_segmentation(settings, tmp_path)
    assert_same_run(tmp_path, whole_run.out)


@posix
@pytest.mark.parametrize("name", [pytest.param("SIGUSR1", marks=pytest.mark.deep), "SIGTERM"])
def test_a_signal_while_libraries_are_imported_is_not_lost(
    settings: SegmentationSettings, tmp_path: Path, name: str
) -> None:
    ended = _run_apart(SIGNALLED_WITHIN_IMPORTS.replace("SIGUSR1", name), settings, tmp_path / "run")
    assert ended.returncode == 130, ended.stderr
    assert "interrupted; run the same command again to resume" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ("SIGUSR1 came: stopping before epoch 1" in ended.stderr) == (name == "SIGUSR1")
    assert not list(tmp_path.glob("run/*.ckpt"))
    assert train_segmentation(dataclasses.replace(settings, epochs=1), tmp_path / "run").epochs == 1


@pytest.mark.deep
def test_run_resumes_for_more_epochs_as_if_asked_for_at_once(
    whole_run: TrainResult, settings: SegmentationSettings, tmp_path: Path
) -> None:
    train_segmentation(dataclasses.replace(settings, epochs=1), tmp_path)
    train_segmentation(settings, tmp_path)
    assert_same_run(tmp_path, whole_run.out)


def test_resume_from_a_file_that_is_no_checkpoint_says_so(settings: SegmentationSettings, tmp_path: Path) -> None:
    path = tmp_path / "hostile.ckpt"
    torch.save({"state_dict": _Hostile(tmp_path / "made")}, path)
    with pytest.raises(DataError, match="not a checkpoint that can be resumed"):
        train_segmentation(settings, tmp_path / "run", resume=str(path))
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "changed",
    [
        {"optimizer_states": "none"},
        {"optimizer_states": [{"state": 5, "param_groups": []}]},
        {"loops": {"fit_loop": 5}},
        {"callbacks": {"RunFiles": {"history": 5}}},
        {"pytorch-lightning_version": "garbage"},
        {"lr_schedulers": 7},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_values_that_cannot_be_put_back_are_one_error(
    changed: dict[str, Any], settings: SegmentationSettings, whole_run: TrainResult, tmp_path: Path
) -> None:
    """Plain values, and a network that fits: what Lightning stumbles over is named, and the run can begin anew."""
    path = tmp_path / "changed.ckpt"
    torch.save({**torch.load(whole_run.out / "last.ckpt", weights_only=True), **changed}, path)
    longer = dataclasses.replace(settings, epochs=5)
    with pytest.raises(DataError, match=r"changed\.ckpt is not a checkpoint that can be resumed: \w+: ") as raised:
        train_segmentation(longer, tmp_path / "run", resume=str(path))
    assert "\n" not in raised.value.message
    assert "--overwrite" in str(raised.value.hint)


def test_a_result_that_is_none_is_an_error(settings: SegmentationSettings, tmp_path: Path) -> None:
    train_segmentation(dataclasses.replace(settings, epochs=1), tmp_path)
    (tmp_path / "result.json").write_text('{"epochs": 1}')
    with pytest.raises(DataError, match=r"result\.json is not the result of a training"):
        train_segmentation(dataclasses.replace(settings, epochs=1), tmp_path)


TWO_PROCESSES = """
import json, os, sys
from pathlib import Path
from medcli.training.devices import Devices, is_first_process
from medcli.ultrabones.segmentation import train
from medcli.ultrabones.segmentation.settings import SegmentationSettings
train.resolve_devices = lambda settings: Devices("cpu", 2, 1, "32-true")
settings = SegmentationSettings(**eval(sys.argv[1], {"Path": Path}))
result = train.train_segmentation(settings, Path(sys.argv[2]))
if is_first_process():
    print(json.dumps([result.train_frames, result.val_frames, result.device.split(",")[0]]))
"""


@pytest.mark.deep
def test_two_processes_train_together_and_one_writes(settings: SegmentationSettings, tmp_path: Path) -> None:
    """Distributed training as on several GPUs, on two processes of the CPU."""
    script = tmp_path / "together.py"
    script.write_text(TWO_PROCESSES)
    values = dataclasses.asdict(dataclasses.replace(settings, epochs=2, batch_size=2))
    folder = tmp_path / "run"
    ran = _run([str(script), repr(values).replace("PosixPath", "Path"), str(folder)])
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout.strip().splitlines()[-1]) == [14, 7, "2 x CPU"]
    assert [row["epoch"] for row in metrics_of(folder)] == ["1", "2"]
    assert (folder / "result.json").exists()
    assert not list(folder.glob(".*.part"))
    assert all(math.isfinite(float(row["val_loss"])) for row in metrics_of(folder))


class _Hostile:
    """Would make a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_going_on_in_a_new_folder_leaves_the_best_it_names(
    whole_run: TrainResult, settings: SegmentationSettings, tmp_path: Path
) -> None:
    longer = dataclasses.replace(settings, epochs=5, lr=0.0001)
    result = train_segmentation(longer, tmp_path / "new", resume=str(whole_run.out / "last.ckpt"))
    assert result.best_epoch == 5
    assert read_metadata(result.best).metrics["val_loss"] == result.best_metrics["val_loss"]


def test_done_run_of_other_frames_is_not_reported_as_this_one(
    whole_run: TrainResult, settings: SegmentationSettings, tmp_path: Path
) -> None:
    moved = Path(shutil.copytree(settings.root, tmp_path / "moved"))
    assert train_segmentation(dataclasses.replace(settings, root=moved), whole_run.out) == whole_run
    Path(index_frames(moved).label[0]).unlink()
    with pytest.raises(UsageError, match="data was 14 training frames, 7 validation frames, digest"):
        train_segmentation(dataclasses.replace(settings, root=moved), whole_run.out)


def test_resume_from_another_network_says_so(
    whole_run: TrainResult, settings: SegmentationSettings, tmp_path: Path
) -> None:
    other = dataclasses.replace(settings, arch="unet", epochs=settings.epochs + 1)
    with pytest.raises(DataError, match="of another network"):
        train_segmentation(other, tmp_path, resume=str(whole_run.out / "last.ckpt"))


@pytest.mark.parametrize("loss", ["dice-bce", "dice-focal"])
def test_another_loss_is_another_run(settings: SegmentationSettings, tmp_path: Path, loss: str) -> None:
    short = dataclasses.replace(settings, epochs=1, limit_frames=4, augment="none")
    other = dataclasses.replace(short, loss=loss, loss_weights=())
    assert other.loss_weights == (1.0, 1.0)
    result = train_segmentation(other, tmp_path)
    assert math.isfinite(result.best_metrics["val_loss"])  # type: ignore[arg-type]
    assert read_metadata(result.best).settings["loss"] == loss
    assert train_segmentation(other, tmp_path) == result
    with pytest.raises(UsageError, match=f"loss was {loss}, is published"):
        train_segmentation(short, tmp_path)


def test_a_run_from_before_losses_could_be_chosen_is_one_of_the_published(
    whole_run: TrainResult, settings: SegmentationSettings, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(whole_run.out, tmp_path / "run"))
    saved = json.loads((folder / "settings.json").read_text("utf-8"))
    assert (saved.pop("loss"), saved["loss_weights"]) == ("published", [1.0, 1.0, 0.1])
    (folder / "settings.json").write_text(json.dumps(saved), "utf-8")
    assert train_segmentation(settings, folder).best_metrics == whole_run.best_metrics
    with pytest.raises(UsageError, match="loss was published, is dice-bce"):
        train_segmentation(dataclasses.replace(settings, loss="dice-bce", loss_weights=()), folder)


@pytest.mark.deep
def test_leave_one_out_trains_a_fold_for_each_specimen(settings: SegmentationSettings, tmp_path: Path) -> None:
    settings = dataclasses.replace(settings, train_specimens=(1, 3), epochs=1, limit_frames=4, augment="none")
    result = cross_validate(settings, tmp_path)
    assert [fold.val_specimens for fold in result.folds] == [(1,), (3,)]
    assert [fold.train_specimens for fold in result.folds] == [(3,), (1,)]
    assert all(fold.train_frames == fold.val_frames == 4 for fold in result.folds)
    mean = np.mean([fold.best_metrics["val_loss"] for fold in result.folds])  # type: ignore[misc]
    assert result.mean_metrics["val_loss"] == pytest.approx(mean)
    assert (tmp_path / "specimen03" / "best.safetensors").exists()
    stamp = (tmp_path / "specimen01" / "best.safetensors").stat().st_mtime_ns
    assert cross_validate(settings, tmp_path) == result
    assert (tmp_path / "specimen01" / "best.safetensors").stat().st_mtime_ns == stamp


@pytest.mark.deep
def test_png_files_without_the_cache_give_the_same_numbers(
    whole_run: TrainResult, settings: SegmentationSettings, tmp_path: Path
) -> None:
    train_segmentation(dataclasses.replace(settings, use_cache=False, epochs=1), tmp_path)
    assert metrics_of(tmp_path) == metrics_of(whole_run.out)[:1]


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"val_specimens": (7,)}, DataError, "no frame with partial label for validation .specimens 7."),
        ({"train_specimens": (1, 4)}, UsageError, "specimen 4 is in both training and validation"),
        ({"lr": -1.0}, UsageError, "--lr -1.0 is not a positive number"),
        ({"loss_weights": (1.0, 1.0)}, UsageError, "--loss-weights takes 3 numbers"),
        ({"loss": "hinge"}, UsageError, "--loss 'hinge' is not one of published, dice-bce, dice-focal"),
        ({"loss": "dice-bce"}, UsageError, r"--loss-weights takes 2 numbers \(Dice, BCE\) for --loss dice-bce, got 3"),
        ({"loss_weights": (1.0, math.nan, 0.1)}, UsageError, "--loss-weights 1 nan 0.1: expected finite numbers"),
        ({"loss_weights": (1.0, -1.0, 0.1)}, UsageError, "--loss-weights 1 -1 0.1: expected finite numbers"),
        ({"loss_weights": (0.0, 0.0, 0.0)}, UsageError, "--loss-weights 0 0 0: expected finite numbers"),
        (
            {"arch": "deeplabv3plus", "encoder": "resnet18", "limit_frames": 1},
            UsageError,
            "a batch of one frame is too small",
        ),
        ({"lr": 1e30, "augment": "none"}, MedcliError, "the training loss is (nan|inf) in step"),
        ({"encoder": "resnet35"}, UsageError, "no encoder 'resnet35'"),
        ({"gpus": "1"}, UsageError, "1 GPU requested"),
        ({"loggers": ("comet",)}, UsageError, "--logger 'comet'"),
        ({"root": Path("nowhere")}, DataError, "no folder nowhere"),
    ],
)
def test_what_cannot_be_done_is_reported_in_one_line(
    settings: SegmentationSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, Any],
    error: type[Exception],
    says: str,
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(error, match=says):
        train_segmentation(dataclasses.replace(settings, **change), tmp_path)


def test_command_as_typed(medcli: Callable[..., Any], data: Path, tmp_path: Path) -> None:
    words = ["train", "seg", "--root", data, "--train-specimens", "1", "3", "--val-specimens", "4", *NETWORK]
    words += [
        "--epochs",
        "1",
        "--limit-frames",
        "4",
        "--loss-weights",
        "1",
        "1",
        "0.1",
        "--logger",
        "csv",
        *(["tensorboard"] if HAS_TENSORBOARD else []),
    ]
    words += ["--precision", "bf16"]
    ran = medcli(*words, "--gpus", "0", "--out", tmp_path / "run", "--json")
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    assert found["schema"] == "medcli.train_seg.v1"
    assert found["train_frames"] == 4
    assert found["device"] == "CPU, bf16-mixed"
    assert any((tmp_path / "run" / "tensorboard").glob("events.*")) == HAS_TENSORBOARD
    assert "* best so far" in ran.err
    assert "\n  1/1    1e-05  " in ran.err
    assert "warning: specimens 1 and 4 are two legs of donor F231091" in ran.err
    again = medcli(*words, "--gpus", "0", "--out", tmp_path / "run")
    assert again.code == 0
    assert "is already finished" in again.err
    assert "checkpoint:" in again.out


def test_gpus_without_a_gpu_leaves_with_2(
    medcli: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.chdir(tmp_path)
    ran = medcli("train", "seg", "--gpus", "1")
    assert ran.code == 2
    assert ran.err.splitlines()[0] == "error: 1 GPU requested, but this machine has no GPU that PyTorch can use"
    assert "--device cpu" in ran.err


def test_no_internet_no_pretrained_weights_says_the_way_out(
    settings: SegmentationSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import segmentation_models_pytorch as smp

    def offline(*args: Any, **kwargs: Any) -> None:
        logging.getLogger("huggingface_hub.utils._http").warning("thrown while requesting HEAD")
        raise OSError("We couldn't connect to the server")

    monkeypatch.setattr(smp, "create_model", offline)
    pretrained = dataclasses.replace(settings, arch="fpn", encoder="resnet18", encoder_weights="imagenet")
    with pytest.raises(DataError, match="cannot get the imagenet weights of resnet18") as error:
        train_segmentation(pretrained, tmp_path)
    assert "--encoder-weights none" in str(error.value.hint)
    assert "thrown while requesting" not in capfd.readouterr().err


def _run_apart(killer: str, settings: SegmentationSettings, out: Path) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, which ``killer`` ends."""
    words = ["train", "seg", "--root", str(settings.root), "--train-specimens", "1", "3", "--val-specimens", "4"]
    words += [*NETWORK, "--epochs", "4", "--batch-size", "5", "--lr", "1e-3", "--gpus", "0", "--out", str(out)]
    return _run(["-c", f"{killer}\nfrom medcli.cli.app import main\nmain({words!r})"])


def _run(words: list[str]) -> subprocess.CompletedProcess[str]:
    """Python in a process of its own, on one core as the tests are."""
    surroundings = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(
        [sys.executable, *words], env=surroundings, capture_output=True, text=True, timeout=280, check=False
    )
