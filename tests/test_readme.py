"""Every command and Python example of the README runs as printed, in a folder with small synthetic data.

The commands of the download section run against local servers in ``tests/cli/test_download_readme.py``.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from medcli import images
from medcli.synthetic.fluoroscopy import make_veriserum
from medcli.synthetic.grid_phantom import grid_image
from medcli.synthetic.ultrasound import SweepSettings, make_ultrabones
from tests.conftest import REPOSITORY, Ran
from tests.ultrabones.test_predict import write_dicom

README = (REPOSITORY / "README.md").read_text("utf-8")
SMALL = ["--epochs", "1", "--encoder-weights", "none", "--gpus", "0", "--limit-frames", "4", "--batch-size", "2"]
NETWORK = "tu-mobilenetv3_small_050"


def sections() -> dict[str, str]:
    """Text of each section by its heading."""
    parts = [part.partition("\n") for part in re.split(r"^## ", README, flags=re.MULTILINE)[1:]]
    return {title.strip(): text for title, _, text in parts}


def printed_commands(title: str) -> Iterator[list[str]]:
    """The words of each ``$ medcli …`` line in the console blocks below a heading."""
    for block in re.findall(r"^```console\n(.*?)^```", sections()[title], re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("$ medcli"):
                yield shlex.split(line.partition(" #")[0])[2:]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder as the README supposes it."""
    place = tmp_path_factory.mktemp("readme")
    make_veriserum(place / "data/veriserum", pairs=12, frames_per_trial=3, anatomies=(1,))
    pd.DataFrame({"x_px": [100.0, 831.5], "y_px": [200.0, 800.0]}).to_csv(place / "markers.csv", index=False)
    settings = SweepSettings(frames=2, scale=0.5, predictions=True)
    make_ultrabones(place / "data/ultrabones", tuple(range(1, 15)), settings=settings)
    return place


@pytest.fixture(scope="module")
def study(folder: Path) -> Path:
    """Recordings of one's own: pictures of the bead grid, two small studies, start poses that are a little off."""
    made = make_veriserum(folder / "study", pairs=2, frames_per_trial=1).study
    for plane in ("bs", "fs"):
        picture = grid_image(made.calibrations[1].distortion(plane), np.random.default_rng(0), missing_share=0.05)
        images.write_image(folder / f"grid_{plane}.png", picture)
    make_veriserum(folder / "my-study", pairs=1, seed=1)
    poses = pd.read_csv(folder / "study/csv_files/veriserum_pose_reloaded_refined_all.csv")
    poses[["tx", "ty", "tz", "rz", "rx", "ry"]] += 2.0
    poses[["id", "tx", "ty", "tz", "rz", "rx", "ry"]].to_csv(folder / "start.csv", index=False)
    shutil.copytree(folder / "data/veriserum/veriserum_collection_compressed", folder / "recordings")
    return folder


@pytest.fixture(scope="module")
def networks(folder: Path) -> Path:
    """Small untrained networks: a run of one's own, and a checkpoint as published ones are."""
    import segmentation_models_pytorch as smp
    import torch

    from medcli.ultrabones.checkpoint import Metadata, save_checkpoint
    from medcli.ultrabones.model import build_model

    run = folder / "runs/seg/fpn-resnet34"
    run.mkdir(parents=True)
    save_checkpoint(run / "best.safetensors", build_model("fpn", NETWORK, None), Metadata("fpn", NETWORK))
    torch.save(smp.FPN("resnet18", encoder_weights=None, in_channels=1, classes=1), folder / "epoch_100.pth")
    return folder


@pytest.fixture
def scans(folder: Path) -> Path:
    """Images, a movie and a DICOM loop of one's own; the records' masks of other origin are gone."""
    picture = images.read_grey(next((folder / "data/ultrabones").rglob("UltrasoundImages/*.png")))
    (folder / "scans/more").mkdir(parents=True)
    for name in ("a.png", "b.jpg", "more/c.tif"):
        images.write_image(folder / "scans" / name, picture)
    movie = cv2.VideoWriter(str(folder / "sweep.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10.0, picture.shape[::-1])
    movie.write(cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR))
    movie.release()
    write_dicom(folder / "loop.dcm", np.stack([picture] * 2), "MONOCHROME2")
    for masks in (folder / "data/ultrabones").rglob("Labels_pred"):
        shutil.rmtree(masks)
    return folder


def run_all(title: str, medcli: Callable[..., Ran], extra: list[str] | None = None) -> None:
    commands = list(printed_commands(title))
    assert commands
    for words in commands:
        ran = medcli(*words, *(extra or []))
        assert ran.code == 0, f"medcli {shlex.join(words)}: {ran.err}"
        assert ran.out


@pytest.mark.parametrize(
    "title",
    [
        "Two commands",
        "UltraBones100k: the data on disk",
        "Veriserum: correct the distortion of every image",
        "Evaluate a segmentation",
    ],
)
def test_commands_run_as_printed(
    title: str, folder: Path, medcli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    run_all(title, medcli)


def test_labelling_commands_run_as_printed(
    folder: Path, medcli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On three specimens: refining the poses of all fourteen takes long and shows no more."""
    for number in (2, 7, 8):
        name = f"data/ultrabones/specimen{number:02d}"
        shutil.copytree(folder / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    run_all("Label ultrasound from CT, and rebuild bone in 3D", medcli)


@pytest.mark.parametrize("title", ["Veriserum: calibrations of one's own", "Veriserum: refine poses by both planes"])
def test_commands_for_own_recordings_run_as_printed(
    title: str, study: Path, medcli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(study)
    run_all(title, medcli)


@pytest.mark.deep
@pytest.mark.timeout(900)
def test_pose_network_commands_run_but_for_their_size(
    study: Path, medcli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As printed, but a small network learns for one epoch."""
    monkeypatch.chdir(study)
    small = ["--epochs", "1", "--backbone", "resnet18", "--backbone-weights", "none", "--size", "64", "--gpus", "0"]
    for words in printed_commands("Veriserum: implant pose by a network"):
        ran = medcli(*words, *(small if words[0] == "train" else []))
        # A network of one epoch is no start for a registration: pairs that do not match are listed.
        assert ran.code == 0 or (words[0] == "register" and ran.code == 4), f"medcli {shlex.join(words)}: {ran.err}"


@pytest.mark.deep
def test_demo_runs_as_printed(folder: Path, medcli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    run_all("Try it without data: `medcli demo`", medcli)


def test_prediction_and_checkpoint_commands_run_as_printed(
    scans: Path, networks: Path, medcli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(networks)
    run_all("Predict bone surfaces: `medcli predict seg`", medcli)
    run_all("Checkpoints: `medcli checkpoint show`, `medcli checkpoint convert`", medcli)


@pytest.mark.deep
def test_export_runs_as_printed(networks: Path, medcli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(networks)
    run_all("Export: `medcli export seg`", medcli)
    assert (networks / "model.onnx").is_file()


@pytest.mark.deep
@pytest.mark.timeout(900)
def test_training_commands_run_but_for_their_size(
    networks: Path, medcli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As printed, with one epoch of four frames, from random weights and on the CPU."""
    monkeypatch.chdir(networks)
    for number, words in enumerate(printed_commands("Train the bone segmentation")):
        out = ["--out", str(tmp_path / str(number)), "--encoder", NETWORK]
        ran = medcli(*words, *SMALL, *out)
        assert ran.code == 0, f"medcli {shlex.join(words)}: {ran.err}"


def test_every_section_with_commands_is_run() -> None:
    """A new section cannot be forgotten here."""
    tested = Path(__file__).read_text("utf-8")
    for title in sections():
        if any(True for _ in printed_commands(title)) and title != "Download the data":
            assert title in tested, f"no test runs the commands of {title!r}"


def test_python_examples_run_as_printed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that need names from elsewhere get them: a row of the calibration table, a pose, a mesh."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    shutil.copy(folder / "data/veriserum/veriserum_anatomies/ana_000001.stl", folder)
    source = pd.read_csv(folder / "data/veriserum/csv_files/source_int_calibration_reloaded.csv").iloc[0]
    row = {name: float(source[name]) for name in source.index if name.startswith(("principalp", "sid"))}
    names = f"row = {json.dumps(row)}\ntx, ty, tz, rz, rx, ry = 0.0, 0.0, 500.0, 0.0, 0.0, 0.0\n"
    blocks = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert blocks
    for block in blocks:
        command = [sys.executable, "-c", names + block]
        ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
        assert ran.returncode == 0, ran.stderr


def test_every_picture_is_there() -> None:
    for picture in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README):
        assert (REPOSITORY / picture).is_file(), picture


def test_every_named_file_is_there() -> None:
    for path in re.findall(r"`(?:python )?((?:tests|docs|medcli)/[\w/.]+\.py)", README):
        assert (REPOSITORY / path).exists(), path
