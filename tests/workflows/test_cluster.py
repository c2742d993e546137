"""The batch files of ``docs/cluster.md`` under a real SLURM of one node: two tasks, its time limit, and job arrays."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from medcli.synthetic.fluoroscopy.dataset import make_veriserum
from medcli.synthetic.ultrasound.dataset import SweepSettings, make_ultrabones
from tests.conftest import Ran
from tests.support.slurm import Slurm, missing_programs, running_slurm

REPOSITORY = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.deep,
    pytest.mark.skipif(bool(missing_programs()), reason=f"needs {', '.join(missing_programs())}"),
]
SETTINGS = """
[train.seg]
train_specimens = [1, 3]
val_specimens = [4]
arch = "fpn"
encoder = "tu-test_convnext"
encoder_weights = "none"
epochs = 3
batch_size = 2
lr = 1e-3
"""
SMALL = ("--cpus-per-task=1", "--time=5")


@dataclass(frozen=True)
class Cluster:
    """SLURM, and the folder that jobs are submitted in, with the batch files of the page."""

    slurm: Slurm
    folder: Path

    def submit(self, name: str, *options: str, **variables: str) -> str:
        return self.slurm.submit(self.folder / f"{name}.sbatch", *options, folder=self.folder, **variables)

    def logs(self, name: str) -> str:
        return "\n".join(path.read_text() for path in sorted(self.folder.glob(f"{name}-*.log")))


def batch_files(page: Path) -> dict[str, str]:
    """Every block of the page that begins as a script does, by the name in its second line."""
    blocks = re.findall(r"^```sh\n(#!/bin/bash\n# (\w+\.sbatch)\n.*?)^```$", page.read_text("utf-8"), re.M | re.S)
    return {name: text for text, name in blocks}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    make_ultrabones(folder / "data" / "ultrabones", (1, 3, 4), settings=SweepSettings(frames=8, scale=0.3))
    make_veriserum(folder / "data" / "veriserum", 6, calibrations=2)
    (folder / "medcli.toml").write_text(SETTINGS)
    (folder / "notes").mkdir()
    for name, text in batch_files(REPOSITORY / "docs" / "cluster.md").items():
        (folder / name).write_text(text)
    program = folder / "bin" / "medcli"
    program.parent.mkdir()
    observed = f"tests.support.observed_training {shlex.quote(str(folder / 'notes'))}"
    program.write_text(
        f'#!/bin/bash\nmodule="medcli"\n[ "$1" = train ] && module="{observed}"\n'
        f'exec {shlex.quote(sys.executable)} -m $module "$@"\n'
    )
    program.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", os.pathsep.join([str(program.parent), os.environ["PATH"]]))
        patch.setenv("PYTHONPATH", str(REPOSITORY))
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("MEDCLI_CACHE_DIR", str(folder / "cache"))
        with running_slurm(folder / "slurm") as slurm:
            yield Cluster(slurm, folder)


@pytest.fixture(scope="module")
def trained(cluster: Cluster) -> Path:
    """A training on two tasks whose second epoch waits for the signal before the time limit, and its next run."""
    small = (
        "--nodes=1",
        "--ntasks-per-node=2",
        "--gpus-per-node=2",
        "--cpus-per-task=1",
        "--time=3",
        "--signal=USR1@60",
    )
    job = cluster.submit("train", *small, MEDCLI_TEST_HOLD="1")
    states = cluster.slurm.wait(job, 420)
    assert [one["JobState"] for one in states] == ["COMPLETED"], cluster.logs("train")
    assert [one["Restarts"] for one in states] == ["1"]
    return cluster.folder / "runs" / "seg" / "cluster"


def test_training_is_resubmitted_before_the_time_limit_and_resumes(cluster: Cluster, trained: Path) -> None:
    log = cluster.logs("train")
    assert "SIGUSR1 came: stopping after epoch 2" in log
    assert "back into the queue, where it resumes" in log
    assert log.index("resuming from") > log.index("back into the queue")
    lines = [line.strip() for line in log.splitlines()]
    assert [sum(line.startswith(f"{epoch}/3 ") for line in lines) for epoch in (1, 2, 3)] == [1, 1, 1]
    assert json.loads((trained / "result.json").read_text())["device"] == "2 x CPU, 32-true"
    assert "Traceback" not in log
    decoded = [line for path in (cluster.folder / "notes").glob("decoded-*") for line in path.read_text().splitlines()]
    assert len(decoded) == len(set(decoded)) == 24


def test_arrays_write_into_one_folder_side_by_side(
    cluster: Cluster, trained: Path, medcli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calibration, labels and predictions; what is written is what one command for all of it writes."""
    folder = cluster.folder
    data = folder / "data" / "ultrabones"
    for labels in [path for path in data.rglob("Labels*") if path.is_dir()]:
        shutil.rmtree(labels)
    copy = shutil.copytree(data, folder / "copy")
    jobs = [
        cluster.submit("calibrate", *SMALL, "--array=0-2", "--export=ALL,IDS_PER_JOB=2"),
        cluster.submit("label", *SMALL, "--array=1,3,4"),
        cluster.submit("predict", *SMALL, "--array=1,3,4"),
    ]
    for name, job in zip(("calibrate", "label", "predict"), jobs, strict=True):
        states = cluster.slurm.wait(job, 420)
        assert [one["JobState"] for one in states] == ["COMPLETED"] * 3, cluster.logs(name)
    monkeypatch.chdir(folder)
    commands = (
        ("calibrate", "veriserum", "--out", "whole-calibrated"),
        ("label", "ultrabones", "--root", copy),
        (
            "predict",
            "seg",
            "--specimens",
            "1",
            "3",
            "4",
            "--checkpoint",
            trained / "best.safetensors",
            "--out",
            "whole",
        ),
    )
    for words in commands:
        ran = medcli(*words)
        assert ran.code == 0, ran.err
    assert len(files_of(folder / "masks", "*.png")) == 24
    assert files_of(folder / "masks", "*.png") == files_of(folder / "whole", "*.png")
    calibrated = folder / "data" / "veriserum" / "calibrated"
    names = ("calibrated_*", "medcli_calibration.json")
    assert len(files_of(calibrated, *names)) == 13
    assert files_of(calibrated, *names) == files_of(folder / "whole-calibrated", *names)
    made, once = (files_of(root, "labels.json", "*.png") for root in (data, copy))
    assert sum(name.endswith("labels.json") for name in made) >= 3
    assert len(made) > 2 * 24
    assert made == once


def files_of(folder: Path, *patterns: str) -> dict[str, bytes]:
    found = [path for pattern in patterns for path in folder.rglob(pattern)]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}
