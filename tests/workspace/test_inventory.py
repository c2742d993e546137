"""``medcli info`` proposes commands that work as printed, in any state of the workspace."""

from __future__ import annotations

import json
import os
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medcli.core.files import write_json
from medcli.core.shell import spelled_words
from medcli.synthetic.ultrasound.dataset import SweepSettings, make_ultrabones
from medcli.ultrabones.dataset.published_networks import UNKNOWN_TRAINING
from medcli.ultrabones.segmentation.settings import SegmentationSettings
from medcli.veriserum.pose.settings import PoseSettings
from tests.cli.test_app import in_a_new_process
from tests.conftest import Ran
from tests.support.made_veriserum import write_study
from tests.support.run_folders import write_checkpoint, write_evaluation, write_pose_evaluation, write_training
from tests.test_reference import COMMANDS, parse

SEG_RUN, POSE_RUN = Path("runs/seg/fpn-resnet34"), Path("runs/pose/resnet18-1")
EVALUATE_SEG = (
    f"medcli evaluate seg --checkpoint {SEG_RUN.as_posix()}/best.safetensors --root data/ultrabones --specimens 2 7 8"
)
EVALUATE_POSE = f"medcli evaluate pose --root data/veriserum --checkpoint {POSE_RUN.as_posix()}/best.safetensors"
TRAIN_SEG, TRAIN_POSE = "medcli train seg --root data/ultrabones", "medcli train pose --root data/veriserum"
CALIBRATE = "medcli calibrate veriserum --root data/veriserum"
WEIGHTS = "medcli download weights --name epoch_100"
EXAMPLES = "medcli download examples"
DOWNLOADS = [
    "medcli download ultrabones --dest data/ultrabones",
    "medcli download veriserum --dest data/veriserum",
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def ultrabones(here: Path) -> None:
    make_ultrabones(here / "data/ultrabones", (1, 2, 7, 8), settings=SweepSettings(frames=2, scale=0.15))


@pytest.fixture
def veriserum(here: Path) -> Path:
    return write_study(here / "data/veriserum", (1,) * 9, (1, 1, 1, 2, 2, 2, 3, 3, 3))


@pytest.fixture
def proposed(medcli: Callable[..., Ran]) -> Callable[..., list[str]]:
    """The proposed commands as POSIX shells have them; each can be typed and has its line in the text."""

    def look(*words: str) -> list[str]:
        found: dict[str, Any] = json.loads(medcli("info", *words, "--json").out)
        commands = [step["command"] for step in found["next"]]
        lines = medcli("info", *words).out.splitlines()
        assert [line.removeprefix("next: ") for line in lines if line.startswith("next: ")] == commands
        assert all(len(line) <= 80 for line in lines if not line.startswith(("next: ", "  ")))
        typed = [spelled_words(command, os.name == "nt") for command in commands]
        for words_typed in typed:
            if f"medcli {words_typed[1]}" in COMMANDS:
                parse(words_typed[1:])
        return [shlex.join(word.replace("\\", "/") for word in each) for each in typed]

    return look


def test_empty_folder(here: Path, proposed: Callable[..., list[str]]) -> None:
    assert proposed() == ["medcli demo", EXAMPLES, *DOWNLOADS]
    (here / "demo").mkdir()
    (here / "demo/veriserum").mkdir()
    assert proposed()[0] == "medcli demo"  # not finished
    (here / "demo/demo.json").write_text("{}")
    assert proposed() == [EXAMPLES, *DOWNLOADS]
    (here / "data/examples").mkdir(parents=True)
    assert proposed() == DOWNLOADS


@pytest.mark.usefixtures("ultrabones")
def test_ultrabones_only(here: Path, proposed: Callable[..., list[str]], medcli: Callable[..., Ran]) -> None:

    def words_of(command: str) -> str:
        return " ".join(medcli(command).out.split())

    assert not any("download ultrabones" in command for command in proposed())  # real specimens next to synthetic ones
    (here / "data/ultrabones/synthetic.json").unlink()
    commands = proposed()
    assert commands == [
        TRAIN_SEG,
        "medcli reconstruct ultrabones --root data/ultrabones",
        WEIGHTS,
        "medcli download ultrabones --dest data/ultrabones --specimens 3 4 5 6 9 10 11 12 13 14",
        DOWNLOADS[1],
    ]
    done = here / "runs/reconstruct-ultrabones/one.json"
    done.parent.mkdir(parents=True)
    write_json(done, {"made_from": "x", "reconstruction": {"distance_mm": None}})
    assert not any("reconstruct" in command for command in proposed())
    published = here / "data/weights/published.safetensors"
    write_checkpoint(published, split={"train": None})
    assert not any("evaluate" in command for command in proposed())  # on which specimens, nobody knows
    assert WEIGHTS in proposed()
    assert f"published.safetensors segmentation: fpn on resnet34 {UNKNOWN_TRAINING}" in words_of("info")
    write_checkpoint(published, split={"train": [1, 3]})
    assert WEIGHTS not in proposed()
    assert UNKNOWN_TRAINING not in words_of("info")
    assert proposed()[0] == (
        "medcli evaluate seg --checkpoint data/weights/published.safetensors --root data/ultrabones --specimens 2 7 8"
    )


def test_veriserum_before_and_after_calibration(veriserum: Path, proposed: Callable[..., list[str]]) -> None:
    assert proposed() == [CALIBRATE, TRAIN_POSE, EXAMPLES, DOWNLOADS[0]]
    (veriserum / "calibrated").mkdir()
    for number in range(1, 10):
        for plane in ("bs", "fs"):
            (veriserum / f"calibrated/calibrated_{plane}_{number:06d}.jpg").touch()
    assert proposed() == [TRAIN_POSE, EXAMPLES, DOWNLOADS[0]]


@pytest.mark.usefixtures("ultrabones", "veriserum")
def test_from_training_to_report(here: Path, proposed: Callable[..., list[str]]) -> None:
    """Each step replaces its proposal by the next one's."""
    write_training(SEG_RUN, SegmentationSettings(epochs=3))
    write_training(POSE_RUN, PoseSettings(epochs=2, backbone="resnet18"))
    assert proposed()[:3] == [EVALUATE_SEG, EVALUATE_POSE, CALIBRATE]
    assert not {TRAIN_SEG, TRAIN_POSE} & set(proposed())
    time.sleep(0.01)
    write_evaluation(Path("runs/evaluate/seg"), SEG_RUN / "best.safetensors")
    write_pose_evaluation(Path("runs/evaluate/pose"), POSE_RUN / "best.safetensors")
    reports = ["medcli report runs/evaluate/seg", "medcli report runs/evaluate/pose"]
    assert sorted(proposed()[:2]) == sorted(reports)
    assert not {EVALUATE_SEG, EVALUATE_POSE} & set(proposed())
    time.sleep(0.01)
    Path("runs/evaluate/seg/report.html").touch()
    assert reports[0] not in proposed()


@pytest.mark.usefixtures("ultrabones")
def test_a_new_network_is_evaluated_next_to_the_old_evaluation(proposed: Callable[..., list[str]]) -> None:
    write_evaluation(Path("runs/evaluate/seg"), "another.safetensors")
    write_training(SEG_RUN, SegmentationSettings(epochs=3))
    assert f"{EVALUATE_SEG} --out runs/evaluate/seg-fpn-resnet34" in proposed()


@pytest.mark.usefixtures("ultrabones")
def test_a_network_is_not_evaluated_on_its_training_data(proposed: Callable[..., list[str]]) -> None:
    write_training(SEG_RUN, SegmentationSettings(epochs=3), split={"train": [2, 7], "val": [8]})
    assert EVALUATE_SEG.replace("2 7 8", "1") in proposed()  # rather than 8, by which it was chosen


def test_interrupted_training_comes_first(here: Path, proposed: Callable[..., list[str]]) -> None:
    write_training(Path("other runs/one"), SegmentationSettings(epochs=9), finished=False)
    assert proposed()[0] == "medcli demo"
    first = proposed("--runs", "other runs")[0]
    assert first == "medcli train seg --root data/ultrabones --epochs 9 --out 'other runs/one'"


@pytest.mark.usefixtures("ultrabones")
def test_a_training_that_failed_at_once_is_not_proposed_again(proposed: Callable[..., list[str]]) -> None:
    folder = write_training(Path("runs/seg/misspelt"), SegmentationSettings(encoder="resnet3"), finished=False)
    (folder / "metrics.csv").unlink()
    assert proposed()[0] == TRAIN_SEG


def test_data_runs_and_checkpoints_are_shown(here: Path, medcli: Callable[..., Ran]) -> None:
    write_training(SEG_RUN, SegmentationSettings(epochs=3))
    write_evaluation(Path("runs/evaluate/seg"), SEG_RUN / "best.safetensors")
    later = time.time() + 60
    os.utime("runs/evaluate/seg/evaluation.json", (later, later))
    cut = write_checkpoint(here / "data/weights/cut.safetensors")
    cut.write_bytes(cut.read_bytes()[:-1])
    for number in range(12):
        (here / f"data/weights/more{number:02d}.safetensors").touch()
    text = medcli("info").out.replace("\\", "/")
    for words in (
        f"  {SEG_RUN.as_posix()}\n    train seg, finished ",
        "    best validation Dice 0.750 (epoch 2 of 3)\n",
        "    F1 at 1 mm 0.400, Dice 0.625 (paper)\n",
        "  data/weights/cut.safetensors\n    damaged: is truncated",
        "… 4 more; --json lists all",
    ):
        assert words in text, words
    found = json.loads(medcli("info", "--json").out)
    assert (found["schema"], len(found["checkpoints"]), len(found["runs"])) == ("medcli.info.v2", 14, 2)
    assert found["runs"][0]["headline"].startswith("F1 at 1 mm")


def test_a_network_converted_into_the_runs_is_listed_as_evaluation_finds_it(
    here: Path, medcli: Callable[..., Ran]
) -> None:
    write_training(SEG_RUN, SegmentationSettings(epochs=3))
    converted = write_checkpoint(here / "runs/seg/published/best.safetensors", split={"train": None})
    paths = [one["path"] for one in json.loads(medcli("info", "--json").out)["checkpoints"]]
    assert paths == [str(SEG_RUN / "best.safetensors"), str(converted.relative_to(here))]
    assert UNKNOWN_TRAINING in " ".join(medcli("info").out.split())


def test_inventory_imports_nothing_heavy(tmp_path: Path) -> None:
    code = f"""
import os, sys
os.chdir({str(tmp_path)!r})
from medcli.workspace import inventory
from pathlib import Path
inventory.find_devices = list
inventory.take_inventory(Path("a"), Path("b"))
heavy = ("torch", "torchvision", "lightning", "segmentation_models_pytorch", "matplotlib", "numba")
print([name for name in heavy if name in sys.modules])
"""
    ran = in_a_new_process(code=code)
    assert ran.stdout.strip() == "[]", ran.stdout + ran.stderr


def test_a_demonstration_resumes_with_its_settings(here: Path, proposed: Callable[..., list[str]]) -> None:
    (here / "demo").mkdir()
    (here / "demo/demo-settings.json").write_text('{"quick": true, "seed": 3}', "utf-8")
    assert proposed()[0] == "medcli demo --quick --seed 3"


@pytest.mark.usefixtures("ultrabones")
def test_a_network_is_evaluated_on_its_validation_data(here: Path, proposed: Callable[..., list[str]]) -> None:
    """Where they are not in the default folder."""
    (here / "data/ultrabones").rename(here / "example")
    write_training(SEG_RUN, SegmentationSettings(root=Path("example"), labels="full", epochs=3))
    command = next(command for command in proposed() if "evaluate seg" in command)
    assert "--root example --specimens" in command
    assert command.endswith("--labels full")
