"""Training by two processes, as on two GPUs: the numbers, what is decoded, written and printed, kills and resuming."""

from __future__ import annotations

import csv
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from medcli.synthetic.ultrasound.dataset import SweepSettings, make_ultrabones

pytestmark = pytest.mark.deep
REPOSITORY = Path(__file__).parents[2]
TIMING = ("frames_per_second", "seconds", "seconds_left")
NETWORK = ("--arch", "fpn", "--encoder", "tu-test_convnext", "--encoder-weights", "none", "--augment", "none")
"""Without batch normalisation, whose statistics are those of each process; and a loss that is a mean over frames."""
LOSS = ("--loss", "dice-bce", "--loss-weights", "0", "1")
SHORT = ("--epochs", "3", "--lr", "1e-3", "--gpus", "0", "--json")


@dataclass(frozen=True)
class Observed:
    """What a training left: its folder, what was noted (see ``tests.support.observed_training``), and its output."""

    run: Path
    notes: Path
    code: int
    out: str
    err: str

    def numbers(self) -> list[dict[str, float]]:
        """The rows of ``metrics.csv`` without times."""
        with (self.run / "metrics.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        return [{name: float(value) for name, value in row.items() if name not in TIMING} for row in rows]

    def frames(self, rank: int) -> dict[str, list[str]]:
        noted: dict[str, list[str]] = json.loads((self.notes / f"frames-{rank}.json").read_text())
        return noted

    def decoded(self) -> list[str]:
        return [line for path in self.notes.glob("decoded-*") for line in path.read_text().splitlines()]


class Trainings:
    """Starts trainings on one small dataset, each with a cache of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        sweep = SweepSettings(frames=8, scale=0.3)
        self.data = make_ultrabones(folder / "data", (1, 3, 4), settings=sweep)

    def words(self, name: str, batch_size: int) -> list[str]:
        """The command line, observed, that trains in the folder ``name``."""
        notes = self.folder / f"{name}-notes"
        notes.mkdir(exist_ok=True)
        given = ["--root", self.data, "--train-specimens", 1, 3, "--val-specimens", 4, "--batch-size", batch_size]
        module = ["-m", "tests.support.observed_training", notes, "train", "seg"]
        return list(map(str, [*module, *given, *NETWORK, *LOSS, *SHORT, "--out", self.folder / name]))

    def environment(self, name: str, **more: str) -> dict[str, str]:
        own = {"OMP_NUM_THREADS": "1", "MEDCLI_CACHE_DIR": str(self.folder / f"{name}-cache")}
        return {**os.environ, **own, "PYTHONPATH": str(REPOSITORY), **more}

    def observed(self, name: str, ran: subprocess.CompletedProcess[str]) -> Observed:
        run, notes = self.folder / name, self.folder / f"{name}-notes"
        return Observed(run, notes, ran.returncode, ran.stdout, ran.stderr)

    def train(self, name: str, processes: int, batch_size: int, *more: str | Path) -> Observed:
        start = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(free_port())]
        words = [*(start if processes == 2 else []), *self.words(name, batch_size), *map(str, more)]
        return self.observed(name, finished([sys.executable, *words], self.environment(name)))

    def train_and_kill_one(self, name: str, epoch: int) -> tuple[Observed, float]:
        """Two processes that nobody supervises, the second killed in ``epoch``; and how long the first one lived on."""
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "TORCHELASTIC_RUN_ID": "none"}
        sizes = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MEDCLI_TEST_KILL": str(epoch)}
        command = [sys.executable, *self.words(name, 2)]
        both = [
            subprocess.Popen(
                command,
                cwd=REPOSITORY,
                env=self.environment(name, **place, **sizes, RANK=rank, LOCAL_RANK=rank),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank in "01"
        ]
        try:
            killed = both[1].communicate(timeout=300)
            since = time.monotonic()
            out, err = both[0].communicate(timeout=60)
            lived = time.monotonic() - since
        finally:
            for one in both:
                one.kill()
        assert both[1].returncode == -9, killed[1]
        return self.observed(name, subprocess.CompletedProcess(command, both[0].returncode, out, err)), lived


def finished(command: Sequence[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=400, check=False
    )


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture(scope="module")
def trainings(tmp_path_factory: pytest.TempPathFactory) -> Trainings:
    return Trainings(tmp_path_factory.mktemp("processes"))


@pytest.fixture(scope="module")
def together(trainings: Trainings) -> Observed:
    """Two processes with batches of two, without interruption."""
    found = trainings.train("together", 2, 2)
    assert found.code == 0, found.err
    return found


@pytest.fixture(scope="module")
def killed(trainings: Trainings) -> tuple[Observed, float]:
    return trainings.train_and_kill_one("killed", 1)


def test_two_processes_compute_what_one_does_with_twice_the_batch(trainings: Trainings, together: Observed) -> None:
    alone = trainings.train("alone", 1, 4)
    assert alone.code == 0, alone.err
    mine, theirs = (np.load(one.notes / "gradients.npz") for one in (together, alone))
    first = [name for name in theirs.files if name.startswith("0 ")]
    assert set(mine.files) == set(theirs.files)
    assert len(first) > 20
    for name in first:
        np.testing.assert_allclose(mine[name], theirs[name], rtol=0, atol=1e-6)
    for ours, other in zip(together.numbers(), alone.numbers(), strict=True):
        for name in ("val_loss", "val_dice", "val_chamfer_mm"):
            np.testing.assert_allclose(ours[name], other[name], rtol=0, atol=1e-6, equal_nan=True, err_msg=name)


def test_each_frame_is_decoded_once_and_taken_once_an_epoch(together: Observed) -> None:
    assert len(together.decoded()) == len(set(together.decoded())) == 24
    first, second = together.frames(0), together.frames(1)
    assert list(first) == ["train 0", "val 0", "train 1", "val 1", "train 2", "val 2"]
    for epoch in range(3):
        ours, theirs = (side[f"train {epoch}"] for side in (first, second))
        assert len(ours) == len(theirs) == 8
        assert len({*ours, *theirs}) == 16
        assert len({*first[f"val {epoch}"], *second[f"val {epoch}"]}) == 8
    assert first["train 0"] != first["train 1"]


def test_only_the_first_process_writes_and_prints(together: Observed) -> None:
    result = json.loads(together.out)
    assert (result["epochs"], result["device"]) == (3, "2 x CPU, 32-true")
    lines = [line.strip() for line in together.err.splitlines()]
    assert [sum(line.startswith(f"{epoch}/3 ") for line in lines) for epoch in (1, 2, 3)] == [1, 1, 1]
    assert sum("specimens 1 and 4 are two legs" in line for line in lines) == 1
    assert not list(together.run.glob(".*"))


def test_a_killed_process_ends_the_other_with_one_line(killed: tuple[Observed, float]) -> None:
    left, lived_s = killed
    assert (left.code, left.out) == (1, "")
    assert lived_s < 60
    last = left.err.splitlines()[-2:]
    assert last[0] == "error: another process of this training ended or cannot be reached any more"
    assert str(left.run) in last[1]
    assert "Traceback" not in left.err
    assert {"last.ckpt", "best.safetensors", "metrics.csv"} <= {path.name for path in left.run.iterdir()}
    assert len(left.numbers()) == 1


def test_the_same_number_of_processes_resumes_exactly(
    trainings: Trainings, together: Observed, killed: tuple[Observed, float]
) -> None:
    shutil.copytree(killed[0].run, trainings.folder / "resumed")
    resumed = trainings.train("resumed", 2, 2)
    assert resumed.code == 0, resumed.err
    assert "resuming from" in resumed.err
    np.testing.assert_equal(resumed.numbers(), together.numbers())


def test_another_number_of_processes_resumes_with_the_same_frames_in_each_step(
    trainings: Trainings, together: Observed, killed: tuple[Observed, float]
) -> None:
    """One process with twice the batch goes on where two stopped, in a folder of its own; rounding apart, as they."""
    alone = trainings.train("fewer", 1, 4, "--resume", killed[0].run / "last.ckpt")
    assert alone.code == 0, alone.err
    assert "2 processes trained until here, now 1 process" in alone.err
    for epoch in (1, 2):
        ours, theirs = ([*together.frames(rank)[f"train {epoch}"]] for rank in (0, 1))
        steps = [sorted([*ours[at : at + 2], *theirs[at : at + 2]]) for at in range(0, 8, 2)]
        mine = alone.frames(0)[f"train {epoch}"]
        assert [sorted(mine[at : at + 4]) for at in range(0, 16, 4)] == steps
    assert len(alone.numbers()) == 3
    for mine_row, theirs_row in zip(alone.numbers(), together.numbers(), strict=True):
        assert mine_row["val_loss"] == pytest.approx(theirs_row["val_loss"], abs=1e-5)
