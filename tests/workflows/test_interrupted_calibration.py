"""A real process that is stopped at any moment, and run again, leaves the same bytes as one complete run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from medcli.core.run_provenance import NAME as RUN_NOTE
from medcli.veriserum.calibration.undistort import calibrate
from tests.conftest import REPOSITORY
from tests.support.made_veriserum import make_distortion, smooth_image, write_tables, write_test_image

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
PAIRS = 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty pairs, and their whole result in ``whole``."""
    root = tmp_path_factory.mktemp("interrupted")
    images = [smooth_image(seed) for seed in range(3)]
    for number in range(1, PAIRS + 1):
        for offset, plane in enumerate(("bs", "fs")):
            write_test_image(root / f"{plane}_{number:06d}.jpg", images[(number + offset) % 3])
    write_tables(root, list(range(1, PAIRS + 1)), {1: make_distortion(1), 2: make_distortion(2)})
    calibrate(root, root / "whole")
    return root


def start(root: Path, out: Path) -> subprocess.Popen[bytes]:
    words = ["calibrate", "veriserum", "--root", str(root), "--out", str(out), "--workers", "2"]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen(
        [sys.executable, "-m", "medcli", *words], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def stop_after(process: subprocess.Popen[bytes], out: Path, images: int, how: signal.Signals) -> tuple[int, str]:
    """Send a signal once ``images`` are written; give exit code and standard error."""
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if out.is_dir() and sum(1 for _ in out.glob("calibrated_*")) >= images:
            process.send_signal(how)
            break
        time.sleep(0.002)
    _, err = process.communicate(timeout=60)
    return process.returncode, err.decode()


def contents_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != RUN_NOTE}


def check_only_whole_images(out: Path, whole: dict[str, bytes]) -> None:
    for name, content in contents_of(out).items():
        assert name.endswith(".part") or content == whole[name], f"{name} is not the file of a whole run"


def test_killed_several_times_and_run_to_the_end(folder: Path) -> None:
    out, whole = folder / "killed", contents_of(folder / "whole")
    for images in (1, 19):
        code, _ = stop_after(start(folder, out), out, images, signal.SIGKILL)
        assert code == -signal.SIGKILL, "the process was to be killed in the middle"
        assert len(contents_of(out)) < len(whole)
        check_only_whole_images(out, whole)
    assert calibrate(folder, out).failed == 0
    assert contents_of(out) == whole


@pytest.mark.parametrize("how", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.deep)])
def test_interrupted_politely(folder: Path, how: signal.Signals) -> None:
    out, whole = folder / how.name, contents_of(folder / "whole")
    code, err = stop_after(start(folder, out), out, 5, how)
    assert code == 130
    assert "run the same command again" in err
    assert "Traceback" not in err
    assert not list(out.glob("*.part")), "what was begun is ended or removed"
    check_only_whole_images(out, whole)
    assert calibrate(folder, out).failed == 0
    assert contents_of(out) == whole
