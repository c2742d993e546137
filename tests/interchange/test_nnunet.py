"""``medcli convert nnunet``: by the form that nnU-Net documents, and by its own check of a dataset's integrity."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from medcli.ultrabones.dataset.constants import donor_of
from tests.conftest import REPOSITORY, Ran
from tests.interchange.conftest import SPECIMENS

CASE = "specimen{:02d}_fibula_record01_"


def specimens_of(names: list[str]) -> set[int]:
    return {int(name[8:10]) for name in names}


def test_a_dataset_with_folds_by_donors(ultrasound: Path, medcli: Callable[..., Ran], tmp_path: Path) -> None:
    out = tmp_path / "Größe und Maß"
    words = ("convert", "nnunet", "--root", ultrasound, "--labels", "full", "--out", out)
    ran = medcli(*words)
    assert ran.code == 0, ran.err
    folder = out / "Dataset100_UltraBones"
    described = json.loads((folder / "dataset.json").read_text())
    assert described["labels"] == {"background": 0, "bone": 1}
    assert (described["channel_names"], described["file_ending"]) == ({"0": "ultrasound"}, ".png")
    assert described["licence"] == "none: synthetic data made by medcli"
    images = sorted(path.name for path in (folder / "imagesTr").iterdir())
    masks = sorted(path.name for path in (folder / "labelsTr").iterdir())
    assert described["numTraining"] == len(images) == 3 * len(SPECIMENS)
    assert images == [name.replace(".png", "_0000.png") for name in masks]
    for name in masks[:4]:
        stamp, number = name.removesuffix(".png").rpartition("_")[2], int(name[8:10])
        record = ultrasound / f"specimen{number:02d}/ultrasound_records/fibula/record01"
        frame = record / f"UltrasoundImages/{stamp}.png"
        assert (folder / "imagesTr" / name.replace(".png", "_0000.png")).read_bytes() == frame.read_bytes()
        true = cv2.imread(str(record / f"Labels_full/{stamp}_label.png"), cv2.IMREAD_UNCHANGED)
        mask = cv2.imdecode(np.fromfile(folder / "labelsTr" / name, np.uint8), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(mask, (true == 255).astype(np.uint8))
    splits = json.loads((folder / "splits_final.json").read_text())
    assert len(splits) == 3
    for fold in splits:
        assert sorted([*fold["train"], *fold["val"]]) == [name.removesuffix(".png") for name in masks]
        sides = [{donor_of(number) for number in specimens_of(fold[side])} for side in ("train", "val")]
        assert not sides[0] & sides[1]
    again = medcli(*words)
    assert again.code == 2
    assert "exists" in again.err
    assert "--overwrite" in again.err
    ran = medcli(*words, "--overwrite", "--test-specimens", "2", "7", "--json")
    assert ran.code == 0, ran.err
    result = json.loads(ran.out)
    assert (result["train"], result["test"], result["left_out"]) == ([8, 9], [2, 7], [5])
    assert specimens_of([path.name for path in (folder / "imagesTs").iterdir()]) == {2, 7}
    assert not (folder / "splits_final.json").exists()  # 8 and 9 are one donor


@pytest.mark.deep
def test_the_integrity_check_of_nnunet_passes(ultrasound: Path, medcli: Callable[..., Ran], tmp_path: Path) -> None:
    verify = pytest.importorskip("nnunetv2.experiment_planning.verify_dataset_integrity")
    assert medcli("convert", "nnunet", "--root", ultrasound, "--out", tmp_path).code == 0
    verify.verify_dataset_integrity(str(tmp_path / "Dataset100_UltraBones"), 1)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--name", "Knöchel links"), 2, "--name Knochel-links"),
        (("--dataset-id", "0"), 2, "from 1 to 999"),
        (("--specimens", "3"), 3, "no specimen 3"),
        (("--test-specimens", "2", "5", "8"), 3, "no specimen of another donor"),
        (("--labels", "LabelsManual"), 3, "LabelsManual"),
    ],
)
def test_what_cannot_be_is_said(
    words: tuple[str, ...], code: int, said: str, ultrasound: Path, medcli: Callable[..., Ran], tmp_path: Path
) -> None:
    ran = medcli("convert", "nnunet", "--root", ultrasound, "--out", tmp_path / "out", *words)
    assert ran.code == code, ran.err
    assert said in ran.err
    assert "Traceback" not in ran.err
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_no_place_to_write_to(ultrasound: Path, medcli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("nnUNet_raw", raising=False)
    ran = medcli("convert", "nnunet", "--root", ultrasound)
    assert ran.code == 2
    assert "nnUNet_raw" in ran.err


KILLED = """
import os, signal, sys
from pathlib import Path
import medcli.interchange.nnunet as module
done = []
def write(path, content, before=module.write_json):
    done.append(path)
    if path.name == "splits_final.json":
        os.kill(os.getpid(), signal.SIGKILL)
    before(path, content)
module.write_json = write
module.convert_to_nnunet(Path(sys.argv[1]), Path(sys.argv[2]))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kills a process")
def test_a_killed_conversion_leaves_nothing_half_written(
    ultrasound: Path, medcli: Callable[..., Ran], tmp_path: Path
) -> None:
    target = tmp_path / "Dataset100_UltraBones"
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    ran = subprocess.run([sys.executable, "-c", KILLED, ultrasound, target], env=environment, check=False)
    assert ran.returncode == -signal.SIGKILL
    assert not target.exists()
    assert [path.name[0] for path in tmp_path.iterdir()] == ["."]  # what it had begun, under another name
    assert medcli("convert", "nnunet", "--root", ultrasound, "--out", tmp_path).code == 0
    assert [path.name for path in tmp_path.iterdir()] == [target.name]
