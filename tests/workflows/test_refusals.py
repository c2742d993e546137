"""What can be known cheaply is said first and at once: a command that refuses loads nothing that it computes with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY

HEAVY = (
    *("torch", "torchvision", "lightning", "segmentation_models_pytorch", "timm", "safetensors", "onnx", "onnxruntime"),
    *(
        "numba",
        "numpy",
        "scipy",
        "pandas",
        "cv2",
        "PIL",
        "matplotlib",
        "jinja2",
        "huggingface_hub",
        "azure",
        "requests",
    ),
)
RUN_ALL = f"""
import contextlib, io, json, sys
from medcli.cli.app import main

answers = []
for words in json.loads(sys.stdin.read()):
    text, code = io.StringIO(), 0
    with contextlib.redirect_stderr(text), contextlib.redirect_stdout(io.StringIO()):
        try:
            main(words)
        except SystemExit as leaving:
            code = leaving.code
    answers.append([code, text.getvalue(), [name for name in {HEAVY!r} if name in sys.modules]])
print(json.dumps(answers))
"""
ULTRABONES = "error: there is no folder data/ultrabones"
VERISERUM = "error: there is no folder data/veriserum"
NO_SEG, NO_POSE = (f"error: no checkpoint {Path('runs', task, '*', 'best.safetensors')}" for task in ("seg", "pose"))
NO_GPUS, NO_DEVICE = "error: 99 GPUs requested, but this machine has", "error: device cuda:99 requested"
IN_AN_EMPTY_FOLDER = {
    "train seg --gpus 99": (2, NO_GPUS, ULTRABONES),
    "train seg --gpus 99 --lr 0 --resume last.ckpt": (2, "--lr 0.0", NO_GPUS, ULTRABONES, "no checkpoint last.ckpt"),
    "train seg --nodes 2 --encoder-weights none.pth": (2, "--nodes 2", ULTRABONES, "'none.pth' are neither"),
    "train seg --cv loo --train-specimens 1": (2, "needs two specimens", ULTRABONES),
    "train pose --gpus 99": (2, NO_GPUS, VERISERUM),
    "train pose --anatomy hip --backbone-weights none.pth": (2, "'hip'", VERISERUM, "'none.pth' are neither"),
    "evaluate --specimens 2 7 8": (3, NO_SEG, ULTRABONES),
    "evaluate seg --device cuda:99 --checkpoint none.pth": (2, NO_DEVICE, "error: no checkpoint none.pth", ULTRABONES),
    "evaluate seg --predictions Labels_pred": (3, ULTRABONES),
    "evaluate seg --dry-run": (3, NO_SEG, ULTRABONES),
    "evaluate pose --dry-run": (3, NO_POSE, VERISERUM),
    "evaluate pose --device cuda:99": (2, NO_DEVICE, NO_POSE, VERISERUM),
    "evaluate pose --predictions none.csv --inter-plane none.json": (3, "none.csv", VERISERUM, "none.json"),
    "predict seg scans --threshold 2 --device cuda:99": (2, "--threshold", NO_DEVICE, "folder: scans", NO_SEG),
    "predict seg --specimens 2": (3, ULTRABONES, NO_SEG),
    "predict": (2, "error: INPUT is missing", NO_SEG),
    "predict seg none.png": (2, "no such file or folder: none.png", NO_SEG),
    "check ultrabones --figure a.xyz": (2, "cannot write the figure a.xyz", ULTRABONES),
    "train seg --arch unet --encoder mit_b0": (3, ULTRABONES),
    "train pose --backbone resnet18": (3, VERISERUM),
    "predict pose --device cuda:99": (2, NO_DEVICE, VERISERUM, NO_POSE),
    "predict pose scans bs_000001.jpg": (2, "scans is neither", "no file bs_000001.jpg", NO_POSE),
    "calibrate veriserum --distortion none.csv": (3, VERISERUM, "there is no file none.csv"),
    "calibrate points none.csv --out a.csv": (3, "there is no file none.csv", VERISERUM),
    "calibrate fit bs=none.png --figure a.jpg --out t.csv": (3, "cannot read none.png", "the figure a.jpg"),
    "label --refine --poses initial": (2, "--refine makes labels", ULTRABONES),
    "reconstruct ultrabones --specimens 2": (3, ULTRABONES),
    "label --probe none.json": (2, "--probe none.json: there is no such file", ULTRABONES),
    "import plus none.mha --out a --probe none.json": (3, "cannot read none.mha", "--probe none.json"),
    "import jtml none.jts --anatomies 1 --calibration none.txt": (3, "cannot read none.jts", "cannot read none.txt"),
    "convert nnunet --name a.b": (3, ULTRABONES, "--name 'a.b' has signs"),
    "convert coco": (3, ULTRABONES),
    "convert slicer-ultrabones --probe none.json": (3, ULTRABONES, "--probe none.json: there is no such file"),
    "convert slicer-veriserum --poses none.csv": (3, VERISERUM, "there is no file none.csv"),
    "convert opensim": (3, f"there is no {Path('runs', 'kinematics')}"),
    "convert croissant data": (3, "there is no folder data"),
    "publish checkpoint none.safetensors --repository a --push": (
        *(2, "expected owner/name", "no checkpoint none.safetensors", "HF_TOKEN is not set"),
    ),
    "calibrate probe none.csv --poses none.csv --rows 99": (2, "--rows and --columns", "there is no file none.csv"),
    "download ultrabones-hip": (2, "UltraBonesHip's licence is not accepted yet"),
    "register pose --start none.csv": (3, "there is no file none.csv", VERISERUM),
    "export seg": (3, NO_SEG),
    "checkpoint show none.pth": (3, "no checkpoint none.pth"),
    "checkpoint convert none.pth new.safetensors": (3, "no checkpoint none.pth"),
    "checkpoint new new.safetensors --encoder-weights none.pth": (3, "'none.pth' are neither"),
    "report none": (3, "no folder none: it does not exist"),
    "info": (0,),
    "download ultrabones --connection-string-file none.txt": (3, "cannot read the connection string in none.txt"),
    "download veriserum --only csv --ids 1": (2, "licence is not accepted", "--ids chooses among images"),
    "download weights --verify": (3, "data/weights"),
}
"""Exit status, and what is said, all of it at once."""
WITH_SOME_FILES = {
    "evaluate --specimens 2 --checkpoint a.safetensors": (3, "a.safetensors", "none of 1 frame has a partial label"),
    "evaluate --specimens 2 7": (3, NO_SEG, "no frames of specimen 7; there are those of 2"),
    "evaluate --specimens 2 --predictions Other --labels full": (3, "no mask in folder Other of 1 record"),
    "check ultrabones --specimens 99": (3, "no specimen 99"),
    "predict pose --out data": (3, NO_POSE, "data is a folder, expected the name of a file"),
    "convert croissant data/veriserum --out data --overwrite": (2, "data is a folder, expected the name of a file"),
    "train seg --train-specimens 1 --val-specimens 2 --out a.txt": (
        *(3, "for training (specimens 1)", "for validation (specimens 2)", "a.txt: it is a file, not a folder"),
    ),
    "train pose --out a.txt": (3, "no column distortion_calibration_id", "no image in", "a.txt: it is a file"),
    "label ultrabones --specimens 2": (3, "no bone mesh of specimen 2"),
    "reconstruct ultrabones --records 7 --out a.txt": (3, "no record 7 in", "a.txt: it is a file, not a folder"),
    "reconstruct ultrabones --mask Other": (3, "no bone mesh of specimen 2", "no mask in folder Other of 1 record"),
    "calibrate veriserum": (3, "no image in", "no column distortion_calibration_id", "no distortion calibration table"),
    "register pose --calibrated none --implants other": (
        *(3, "no column distortion_calibration_id", "no source-intensifier", "folder none", "folder other"),
    ),
    "export seg --checkpoint empty.safetensors": (3, "empty.safetensors describes a network but holds no weights"),
    "predict a.txt --checkpoint page.pth": (3, "page.pth is a web page"),
    "export seg --out a.txt": (2, "a.txt exists", NO_SEG),
    "checkpoint convert none.pth a.safetensors": (3, "no checkpoint none.pth", "a.safetensors exists"),
    "report data --out a.txt/page.html": (3, "data contains no run", "cannot write to a.txt"),
    "demo --out a.txt": (1, "a.txt"),
    "download ultrabones --source azure --dest a.txt": (
        1,
        "a.txt: it is a file, not a folder",
        "needs the connection string",
    ),
}


def write_header(path: Path, weights: bool) -> None:
    """A checkpoint of one number or none, that says that it is one."""
    header: dict[str, Any] = {"__metadata__": {"medcli": json.dumps({"schema": "medcli.segmenter.v1"})}}
    header |= {"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}} if weights else {}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"\0" * weights)


def check_all(folder: Path, cases: dict[str, tuple[int | str, ...]]) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MEDCLI_")}
    ran = subprocess.run(
        [sys.executable, "-c", RUN_ALL],
        cwd=folder,
        env=environment | {"PYTHONPATH": str(REPOSITORY)},
        input=json.dumps([command.split() for command in cases]),
        capture_output=True,
        text=True,
        check=True,
    )
    wrong = []
    for (command, (status, *said)), (code, text, loaded) in zip(cases.items(), json.loads(ran.stdout), strict=True):
        missing = [part for part in said if str(part) not in text]
        if code != status or missing or loaded or not text.count("error: ") == text.count("\n       ") == len(said):
            wrong.append(f"medcli {command}: status {code}, loaded {loaded}, did not say {missing}, but:\n{text}")
    assert not wrong, "\n".join(wrong)


def test_refusals_in_an_empty_folder_are_complete_and_load_nothing(tmp_path: Path) -> None:
    check_all(tmp_path, IN_AN_EMPTY_FOLDER)
    assert list(tmp_path.iterdir()) == []


def test_unknown_distortion_model_is_listed_with_the_rest(medcli: Callable[..., Any], tmp_path: Path) -> None:
    ran = medcli("calibrate", "fit", f"bs={tmp_path / 'none.png'}", "--model", "none", "--out", tmp_path / "t.csv")
    assert ran.code == 2
    assert ran.err.count("error: ") == 2
    assert "--model 'none' is not one of polynomial" in ran.err


def test_refusals_beside_damaged_and_incomplete_data(tmp_path: Path) -> None:
    record = tmp_path / "data" / "ultrabones" / "specimen02" / "ultrasound_records" / "fibula" / "record01"
    for name in ("UltrasoundImages/1000.png", "Labels_full/1000_label.png"):
        (record / name).parent.mkdir(parents=True)
        (record / name).touch()
    (record / "tracking.csv").write_text("timestamp,x,y,z,euler_x,euler_y,euler_z\n1000,1,2,3,4,5,6\n")
    poses = tmp_path / "data" / "veriserum" / "veriserum_pose.csv"
    poses.parent.mkdir()
    poses.write_text("id,tx\n1,2\n")
    (tmp_path / "a.safetensors").write_bytes(b"\0" * 20)
    (tmp_path / "a.txt").write_text("not a folder")
    (tmp_path / "page.pth").write_text("<html>")
    write_header(tmp_path / "empty.safetensors", weights=False)
    before = sorted(tmp_path.rglob("*"))
    check_all(tmp_path, WITH_SOME_FILES)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("words", [["evaluate", "--specimens", "2"], ["train", "seg", "--gpus", "0"]])
def test_a_checkpoint_or_data_that_are_there_are_not_called_missing(tmp_path: Path, words: list[str]) -> None:
    """One problem alone is said as it always was."""
    code = f"from medcli.cli.app import main; main({words!r})"
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    (tmp_path / "runs" / "seg" / "a").mkdir(parents=True)
    write_header(tmp_path / "runs" / "seg" / "a" / "best.safetensors", weights=True)
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ran.returncode == 3
    assert ran.stderr.count("error: ") == 1
    assert ULTRABONES in ran.stderr
