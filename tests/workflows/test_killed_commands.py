"""Killed at any write and run again, each command leaves the bytes of one complete run.

Training, labelling, downloads and calibration are killed in tests of their own, at random moments; here every command
is killed before and after renames of its finished files (:mod:`tests.support.kill_points`).
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from medcli.synthetic.ultrasound.dataset import SweepSettings, make_ultrabones
from tests.conftest import REPOSITORY

pytestmark = [
    pytest.mark.deep,
    pytest.mark.skipif(not hasattr(os, "fork") or sys.platform == "darwin", reason="forks with torch loaded: Linux"),
    pytest.mark.timeout(900),
]
SEG = "runs/seg/small/best.safetensors"
POSE = "runs/pose/small/best.safetensors"
ULTRASOUND = ("--root", "ultrabones")
X_RAY = ("--root", "veriserum")
COMMANDS = {
    "predict seg": ("predict", "seg", *ULTRASOUND, "--specimens", "2", "--checkpoint", SEG, "--overlay", "--overwrite"),
    "reconstruct": ("reconstruct", "ultrabones", *ULTRASOUND, "--specimens", "2", "--out", "bones"),
    "evaluate seg": ("evaluate", *ULTRASOUND, "--checkpoint", SEG, "--protocol", "both", "--out", "evaluated"),
    "calibrate": ("calibrate", "veriserum", *X_RAY, "--out", "calibrated", "--ids", "1-4"),
    "register pose": ("register", "pose", *X_RAY, "--start", "start_poses.csv", "--out", "poses.csv"),
    "checkpoint convert": ("checkpoint", "convert", "runs/untrained.safetensors", "copy.safetensors"),
    "report": ("report", "runs/evaluate/seg-trained", "--out", "report-of-it.html"),
}


@pytest.fixture(scope="module")
def demonstration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a quick demonstration that was killed twice: both datasets and two trained networks."""
    folder = tmp_path_factory.mktemp("demonstrated")
    for written in ("demo/runs/seg/small/metrics.csv", "demo/veriserum/calibrated/calibrated_bs_000003.jpg"):
        demo = _medcli(folder, "demo", "--quick", "--out", "demo")
        _wait_for(folder / written, demo)
        demo.kill()
        demo.communicate()
        assert demo.returncode == -signal.SIGKILL
    demo = _medcli(folder, "demo", "--quick", "--out", "demo")
    _, errors = demo.communicate(timeout=600)
    assert demo.returncode == 0, errors
    return folder / "demo"


@pytest.fixture(scope="module")
def data(demonstration: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The parts of it that the commands read, to be copied for each run."""
    folder = tmp_path_factory.mktemp("killed") / "data"
    chosen = ("specimen02", "specimen07", "specimen08")
    for path in sorted((demonstration / "ultrabones").iterdir()):
        if path.is_dir() and path.name in chosen:
            shutil.copytree(path, folder / "ultrabones" / path.name)
    shutil.copytree(demonstration / "veriserum", folder / "veriserum", ignore=shutil.ignore_patterns("calibrated"))
    shutil.copytree(demonstration / "runs", folder / "runs", ignore=shutil.ignore_patterns("*.ckpt"))
    shutil.copy(demonstration / "start_poses.csv", folder)
    (folder / "frames").mkdir()
    for frame in sorted((demonstration / "ultrabones").rglob("UltrasoundImages/*.png"))[:8]:
        shutil.copy(frame, folder / "frames")
    return folder


def _medcli(folder: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "medcli", *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 600
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, f"{path} was never written"
        time.sleep(0.002)


@pytest.fixture(scope="module")
def outcomes(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return _kill(COMMANDS, data, tmp_path_factory.mktemp("work"), 2)


def _kill(commands: dict[str, tuple[str, ...]], data: Path, work: Path, most: int) -> dict[str, Any]:
    """What happened at each place where each command was killed."""
    given = {"commands": commands, "data": str(data), "work": str(work), "most": most}
    ran = subprocess.run(
        [sys.executable, "-m", "tests.support.kill_points"],
        input=json.dumps(given),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)  # type: ignore[no-any-return]


def test_a_demonstration_killed_twice_ends_as_a_complete_one(demonstration: Path) -> None:
    found = json.loads((demonstration / "demo.json").read_text("utf-8"))
    assert (len(found["steps"]), found["failures"]) == (14, [])
    assert not [path for path in demonstration.rglob("*") if path.name.endswith(".part") or path.name == "partial"]


@pytest.mark.parametrize("name", COMMANDS)
def test_killed_at_a_write_it_ends_in_the_same_bytes(name: str, outcomes: dict[str, Any]) -> None:
    assert outcomes[name], "the command wrote nothing"
    _check_all(outcomes[name])


def test_a_joint_refinement_killed_within_a_record_ends_in_the_same_bytes(tmp_path: Path) -> None:
    settings = SweepSettings(6, 0.3, labels=False, optimized_columns=False, drift_mm=0.5, drift_deg=0.5)
    make_ultrabones(tmp_path / "data", (1,), anatomies=("fibula", "tibia"), settings=settings)
    words = ("label", "ultrabones", "--root", ".", "--refine", "sweep", "--kind", "partial")
    found = _kill({"refine": words}, tmp_path / "data", tmp_path / "work", 6)["refine"]
    assert found[0]["renames"] >= 2 * (4 + 6)  # report, both tables, summary and labels of each record
    assert len(found) == 11
    _check_all(found)


def _check_all(outcomes: list[dict[str, Any]]) -> None:
    for outcome in outcomes:
        assert outcome["killed"], outcome
        assert outcome["code"] == 0, outcome
        assert not outcome["missing"] + outcome["different"] + outcome["left_over"], outcome


@pytest.mark.parametrize("pause_s", [0.0, 0.1])
def test_two_interrupts_in_a_row_end_it_in_one_line(data: Path, tmp_path: Path, pause_s: float) -> None:
    (tmp_path / "veriserum").symlink_to(data / "veriserum")
    words = ("calibrate", "veriserum", "--root", "veriserum", "--out", "calibrated", "--workers", "2")
    running = _medcli(tmp_path, *words)
    _wait_for(tmp_path / "calibrated" / "calibrated_bs_000001.jpg", running)
    running.send_signal(signal.SIGINT)
    time.sleep(pause_s)
    with contextlib.suppress(ProcessLookupError):
        running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=60)
    assert running.returncode in (0, 130), errors
    assert "Traceback" not in errors
    assert errors.count("interrupted; run the same command again") == (running.returncode == 130)
    again = _medcli(tmp_path, *words)
    _, errors = again.communicate(timeout=120)
    assert again.returncode == 0, errors
    assert not list((tmp_path / "calibrated").glob(".*.part"))


def test_of_two_trainings_in_one_folder_the_second_is_refused(data: Path, tmp_path: Path) -> None:
    words = ("train", "seg", "--root", str(data / "ultrabones"), "--train-specimens", "2", "7", "--val-specimens", "8")
    small = ("--encoder", "resnet18", "--encoder-weights", "none", "--epochs", "50", "--gpus", "0", "--out", "run")
    first = _medcli(tmp_path, *words, *small)
    try:
        _wait_for(tmp_path / "run" / "metrics.csv", first)
        second = _medcli(tmp_path, *words, *small)
        _, errors = second.communicate(timeout=120)
        assert second.returncode == 1, errors
        assert f"another training (process {first.pid}) is writing to run" in errors
    finally:
        first.kill()
        first.communicate()


def test_two_calibrations_of_one_folder_at_once_end_in_the_same_bytes(data: Path, tmp_path: Path) -> None:
    (tmp_path / "veriserum").symlink_to(data / "veriserum")
    words = ("calibrate", "veriserum", "--root", "veriserum", "--out")
    together = [_medcli(tmp_path, *words, "shared") for _ in range(2)]
    for process in (*together, alone := _medcli(tmp_path, *words, "alone")):
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    assert alone.returncode == 0
    found = [{path.name: path.read_bytes() for path in (tmp_path / name).glob("*.jpg")} for name in ("shared", "alone")]
    assert found[0] == found[1] != {}
