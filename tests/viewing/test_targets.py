"""What the word after ``medcli view`` names, and what is said of what names nothing that can be shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from medcli.core.errors import DataError, MedcliError, UsageError
from medcli.core.run_provenance import note_path
from medcli.core.shell import install_extra, spell
from medcli.viewing.settings import ViewTarget
from medcli.viewing.targets import find_target, named_in_note, pose_frame_of
from tests.conftest import Ran
from tests.support import made_veriserum

NOWHERE = Path("nowhere")


def record_at(folder: Path) -> Path:
    (folder / "UltrasoundImages").mkdir(parents=True)
    (folder / "UltrasoundImages/7.png").touch()
    (folder / "tracking.csv").write_text("timestamp,x,y,z,euler_x,euler_y,euler_z\n7,0,0,0,0,0,0\n")
    return folder


def test_records_by_their_folder_their_masks_or_the_only_one_below(tmp_path: Path) -> None:
    first = record_at(tmp_path / "Daten ö/specimen02/ultrasound_records/fibula/record01")
    (first / "Labels_pred").mkdir()
    for path, mask in ((first, ""), (first / "Labels_pred", "Labels_pred"), (tmp_path / "Daten ö", "")):
        target = find_target(str(path), None, NOWHERE)
        assert (target.kind, target.path, target.mask) == ("record", first, mask)
    record_at(tmp_path / "Daten ö/specimen02/ultrasound_records/tibia/record01")
    with pytest.raises(UsageError, match="holds 2 records") as refused:
        find_target(str(tmp_path / "Daten ö"), None, NOWHERE)
    assert spell("medcli", "view", first) in str(refused.value.hint)
    loose = record_at(tmp_path / "loose/record01")
    with pytest.raises(DataError, match="no folder of a specimen"):
        find_target(str(loose), None, NOWHERE)


def test_pairs_and_trials(tmp_path: Path) -> None:
    root = made_veriserum.write_study(tmp_path / "vs", [1, 1], [5, 5]) or tmp_path / "vs"
    found = [find_target(word, root, NOWHERE) for word in ("17", "trial:5", "trial_000005", "Trial links")]
    named = [("pair", "17"), ("trial", "5"), ("trial", "5"), ("trial", "links")]
    assert [(one.kind, one.name) for one in found] == named
    with pytest.raises(DataError, match="there is no folder nowhere"):
        find_target("17", None, NOWHERE)
    with pytest.raises(UsageError, match="names no trial"):
        find_target("trial:", root, NOWHERE)


def test_tables_of_poses_and_the_only_run_of_a_folder(tmp_path: Path) -> None:
    root = made_veriserum.write_study(tmp_path / "vs", [1, 1], [5, 5]) or tmp_path / "vs"
    (tmp_path / "runs").mkdir()
    table = tmp_path / "runs/registered.csv"
    table.write_text(
        "\ufeffid,anatomy_id,tx,ty,tz,rz,rx,ry,similarity_after\n1,1,0,0,0,0,0,0,0.5\n", "utf-8"
    )  # as of Excel
    for path in (table, tmp_path / "runs"):
        target = find_target(str(path), root, NOWHERE)
        assert (target.kind, target.path) == ("poses", table)
    table.write_text("id,tx,ty,tz,rz\n")
    with pytest.raises(DataError, match="it has no column rx, ry"):
        find_target(str(table), root, NOWHERE)


def test_a_run_of_windows_names_its_data_with_backslashes(tmp_path: Path) -> None:
    (tmp_path / "data/vs").mkdir(parents=True)
    (tmp_path / "runs/motion").mkdir(parents=True)
    assert named_in_note(tmp_path / "runs/motion", "data\\vs") == tmp_path / "data/vs"
    assert named_in_note(tmp_path / "runs/motion", r"D:\data\vs") is None


def test_options_of_other_targets_are_refused(medcli: Callable[..., Ran], tmp_path: Path) -> None:
    record = record_at(tmp_path / "specimen02/ultrasound_records/fibula/record01")
    words = ("--save", tmp_path / "view.rrd", "--every", "2", "--trials", "3", "--implants", tmp_path)
    ran = medcli("view", record, *words)
    assert ran.code == 2
    assert "--trials --implants do not apply to a record" in ran.err


def test_the_frame_of_the_poses_is_the_one_that_their_run_notes(tmp_path: Path) -> None:
    target = ViewTarget("poses", tmp_path / "found.csv")
    assert (pose_frame_of(target, None), pose_frame_of(target, "fs")) == ("world", "fs")
    note_path(target.path, "register pose").write_text('{"settings": {"frame": "source-bs"}}')
    assert pose_frame_of(target, None) == pose_frame_of(target, "source-bs") == "source-bs"
    with pytest.raises(UsageError, match="--pose-frame is world, the poses of"):
        pose_frame_of(target, "world")


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("settings.json", '{"encoder": "x"}', "nothing that lies in space"),
        ("notes.txt", "", "no record of ultrasound"),
    ],
)
def test_folders_without_space(tmp_path: Path, name: str, content: str, expected: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=expected):
        find_target(str(tmp_path), None, NOWHERE)
    with pytest.raises(DataError, match="no table of poses"):
        find_target(str(tmp_path / name), None, NOWHERE)


def test_all_that_is_wrong_is_said_at_once_and_early(medcli: Callable[..., Ran], tmp_path: Path) -> None:
    words = ("view", "absent", "--save", tmp_path / "view.mp4", "--web", "--probe", "none.json")
    ran = medcli(*words)
    assert ran.code == 3
    for text in ("no file or folder absent", "ends in .rrd", "both given", "there is no such file"):
        assert text in ran.err


def test_without_rerun(medcli: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = record_at(tmp_path / "specimen02/ultrasound_records/fibula/record01")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    ran = medcli("view", record, "--save", tmp_path / "view.rrd")
    assert ran.code == MedcliError.exit_code
    assert install_extra("view") in ran.err
