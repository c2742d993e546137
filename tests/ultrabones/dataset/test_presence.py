"""The quick checks raise the errors that the commands would raise later, and pass what the commands can use."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from medcli.synthetic.ultrasound.dataset import SweepSettings, make_ultrabones
from medcli.ultrabones.dataset import presence
from medcli.ultrabones.dataset.frame_index import index_frames
from medcli.ultrabones.dataset.mesh_files import find_meshes
from medcli.ultrabones.dataset.records import find_sweeps
from medcli.ultrabones.dataset.splits import SpecimenSplit, choose_frames, split_frames
from medcli.ultrabones.dataset.tracking_table import read_tracking
from medcli.ultrabones.evaluation.prediction_sources import StoredMasks
from tests.conftest import MadeOnce
from tests.support.errors import error_of

Break = Callable[[Path], object]


def remove(pattern: str) -> Break:
    def work(root: Path) -> None:
        for path in list(root.rglob(pattern)):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return work


def rewrite(pattern: str, text: str) -> Break:
    return lambda root: [path.write_text(text) for path in root.rglob(pattern)]


BROKEN: dict[str, Break] = {
    "whole": lambda root: None,
    "no folder": shutil.rmtree,
    "no frame": remove("UltrasoundImages"),
    "empty frame folders": remove("UltrasoundImages/*.png"),
    "one specimen less": remove("specimen07"),
    "no label": remove("Labels*"),
    "no partial label": remove("Labels"),
    "no partial label of one": remove("specimen02/*/*/*/Labels"),
    "no tracking table": remove("tracking.csv"),
    "tracking table of other frames": rewrite(
        "tracking.csv", "timestamp,x,y,z,euler_x,euler_y,euler_z\n7,1,1,1,1,1,1\n"
    ),
    "tracking table without pose": rewrite("tracking.csv", "timestamp,x\n7,1\n"),
    "no mesh": remove("*.stl"),
}


@pytest.fixture(params=BROKEN)
def root(request: pytest.FixtureRequest, tmp_path: Path, made_once: MadeOnce) -> Path:
    settings = SweepSettings(frames=2, scale=0.2)
    made = made_once("presence", lambda folder: make_ultrabones(folder, (2, 7), settings=settings))
    shutil.copytree(made, tmp_path / "data")
    BROKEN[request.param](tmp_path / "data")
    return tmp_path / "data"


@pytest.mark.parametrize("labels", ["partial", "full", "LabelsManual"])
def test_frames_to_evaluate(root: Path, labels: str) -> None:
    later = error_of(lambda: choose_frames(index_frames(root), (2, 7), labels, root))
    assert error_of(lambda: presence.check_labelled_frames(root, (2, 7), labels)) == later


def test_masks_to_evaluate(root: Path) -> None:
    def later() -> None:
        frames = index_frames(root)
        choose_frames(frames, (2,), "partial", root)
        StoredMasks("Other").attach(frames[frames["specimen"] == 2])

    def now() -> None:
        presence.check_labelled_frames(root, (2,), "partial")
        presence.check_predicted_masks(root, (2,), "Other")

    assert error_of(now) == error_of(later)


@pytest.mark.parametrize("labels", ["partial", "full"])
def test_frames_to_train_on(root: Path, labels: str) -> None:
    def now() -> None:
        presence.check_training_frames(root, labels, (7,), "training", "--train-specimens")
        presence.check_training_frames(root, labels, (2,), "validation", "--val-specimens")

    assert error_of(now) == error_of(lambda: split_frames(root, SpecimenSplit((7,), (2,)), labels))


@pytest.mark.parametrize(("specimens", "records"), [(None, None), ((2,), None), ((2, 9), None), ((2,), (1, 5))])
def test_records_to_label(root: Path, specimens: tuple[int, ...] | None, records: tuple[int, ...] | None) -> None:
    def later() -> None:
        sweeps = find_sweeps(root, specimens, records)
        find_meshes(sweeps[0].folder, sweeps[0].specimen)
        read_tracking(sweeps[0].folder)

    assert error_of(lambda: presence.check_records(root, specimens, records)) == error_of(later)
