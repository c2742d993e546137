"""``medcli label ultrabones`` on synthetic sweeps: files, reruns, kills, workers, and every kind of bad input."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medcli.core.errors import DataError, UsageError
from medcli.core.image_io import read_grey, read_rgb, write_image
from medcli.core.mesh import Mesh, read_stl, write_stl
from medcli.core.run_provenance import NAME as RUN_NOTE
from medcli.synthetic.ultrasound.dataset import SweepSettings, make_ultrabones
from medcli.ultrabones.dataset.mesh_files import find_meshes
from medcli.ultrabones.dataset.tracking_table import OPTIMIZED_POSE_COLUMNS, POSE_COLUMNS
from medcli.ultrabones.labelling import label_record
from medcli.ultrabones.labelling.label_dataset import LabelSettings, label_ultrabones
from medcli.ultrabones.labelling.label_rules import partial_label
from medcli.ultrabones.pose_refinement.refine_frame import RefineSettings
from medcli.ultrabones.pose_refinement.refine_record import write_optimized_poses
from tests.conftest import REPOSITORY

SMALL = SweepSettings(frames=4, scale=0.25, optimized_columns=False)
QUICK = RefineSettings(generations=5)
REFINE = LabelSettings(refine=True, refine_settings=QUICK)
RECORD = Path("specimen01/ultrasound_records/fibula/record01")


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("label") / "made"
    make_ultrabones(root, (1,), settings=SMALL, records=2)
    for record in (root / RECORD, root / RECORD.with_name("record02")):
        (record / "Labels").rename(record / "true_partial")
        (record / "Labels_full").rename(record / "true_full")
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "data"))


@pytest.fixture(scope="session")
def made_refined(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one whole run with three workers makes. Not to be changed."""
    root = Path(shutil.copytree(made, tmp_path_factory.mktemp("refined") / "data"))
    assert label_ultrabones(root, settings=REFINE, workers=3).failures == ()
    return root


@pytest.fixture
def refined(made_refined: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made_refined, tmp_path / "refined"))


def contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.endswith(RUN_NOTE)]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def edit_tracking(root: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    path = root / RECORD / "tracking.csv"
    change(pd.read_csv(path)).to_csv(path, index=False)


@pytest.mark.deep
def test_labels_at_the_true_poses_are_those_of_the_maker(root: Path) -> None:
    """The maker of the data has a slow kernel of its own."""
    other = root.parent / "optimized"
    make_ultrabones(other, (1,), settings=SweepSettings(frames=4, scale=0.25), records=1)
    for name in ("Labels", "Labels_full"):
        (other / RECORD / name).rename(other / RECORD / f"true_{name}")
    result = label_ultrabones(other)
    assert result.failures == ()
    assert (result.frames, result.written, result.present) == (4, 8, 0)
    assert result.records[0].poses == "optimized"
    for name in ("Labels", "Labels_full"):
        paths = sorted((other / RECORD / f"true_{name}").glob("*.png"))
        assert len(paths) == 4
        for path in paths:
            assert np.array_equal(read_grey(other / RECORD / name / path.name), read_grey(path))


def test_labels_are_written_once_and_again_only_when_asked(root: Path) -> None:
    first = label_ultrabones(root, settings=LabelSettings(overlay=True))
    assert (first.frames, first.written, first.present) == (8, 24, 0)
    assert 0.1 < first.records[0].visible_share < 1
    before = contents(root)
    times = {path: path.stat().st_mtime_ns for path in root.rglob("*.png")}
    second = label_ultrabones(root, settings=LabelSettings(overlay=True))
    assert (second.written, second.present) == (0, 16)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*.png")} == times
    assert label_ultrabones(root, settings=LabelSettings(overlay=True, overwrite=True)).written == 24
    assert contents(root) == before
    overlay = read_rgb(next((root / RECORD / "Overlays").iterdir()))
    assert (np.ptp(overlay.astype(int), axis=2) > 80).any()


@pytest.mark.parametrize(("kind", "folders"), [("full", {"Labels_full"}), ("partial", {"Labels"})])
def test_only_the_kind_that_is_asked_for(root: Path, kind: str, folders: set[str]) -> None:
    label_ultrabones(root, records=[1], settings=LabelSettings(kind=kind))
    made = {path.name for path in (root / RECORD).iterdir() if path.name.startswith("Labels")}
    assert made == folders
    assert not (root / RECORD.with_name("record02") / "labels.json").exists()


def test_a_dry_run_writes_nothing(root: Path) -> None:
    before = contents(root)
    result = label_ultrabones(root, settings=LabelSettings(dry_run=True, refine=True))
    assert (result.dry_run, result.frames, result.written) == (True, 8, 16)
    assert contents(root) == before


@pytest.mark.deep
def test_a_dry_run_agrees_with_the_run(root: Path, medcli: Callable) -> None:
    planned = LabelSettings(refine=True, refine_settings=QUICK, overlay=True, dry_run=True)
    real = dataclasses.replace(planned, dry_run=False)
    ran = medcli("label", "ultrabones", "--root", root, "--records", 1, "--refine", "--overlay", "--dry-run")
    assert "would refine 4 poses, into refinement.csv and the tracking table" in ran.out
    assert "would write 12 files" in ran.out
    for count in (12, 0):
        assert label_ultrabones(root, records=[1], settings=planned).written == count
        assert label_ultrabones(root, records=[1], settings=real).written == count
    others = dataclasses.replace(planned, refine_settings=RefineSettings(seed=1, generations=5))
    with pytest.raises(DataError, match=r"made with other options: seed was 0, is 1 \(4 frames\)"):
        label_ultrabones(root, records=[1], settings=others)
    for settings in (LabelSettings(poses="initial"), LabelSettings(poses="initial", dry_run=True)):
        with pytest.raises(DataError, match="poses was optimized, is initial"):
            label_ultrabones(root, records=[1], settings=settings)


@pytest.mark.deep
def test_refining_keeps_the_table_and_reports_each_frame(root: Path) -> None:
    original = (root / RECORD / "tracking.csv").read_bytes()
    before = pd.read_csv(root / RECORD / "tracking.csv")
    result = label_ultrabones(root, records=[1], settings=REFINE)
    refinement = result.records[0].refinement
    assert refinement is not None
    assert refinement.refined + refinement.kept == 4
    assert refinement.refined > 0
    assert refinement.objective_after < refinement.objective_before
    assert (root / RECORD / "tracking_original.csv").read_bytes() == original
    table = pd.read_csv(root / RECORD / "tracking.csv")
    pd.testing.assert_frame_equal(table[list(before.columns)], before)
    report = pd.read_csv(root / RECORD / "refinement.csv")
    assert report["timestamp"].tolist() == before["timestamp"].tolist()
    moved = report["status"] == "refined"
    assert (report.loc[moved, "j_after"] < report.loc[moved, "j_before"]).all()
    assert report.loc[~moved, "reason"].notna().all()
    assert np.array_equal(table[list(OPTIMIZED_POSE_COLUMNS)], report[list(POSE_COLUMNS)])
    assert np.abs(table[list(OPTIMIZED_POSE_COLUMNS)].to_numpy() - before[list(POSE_COLUMNS)].to_numpy()).max() <= 1.0


@pytest.mark.deep
def test_the_result_does_not_depend_on_workers_nor_on_running_twice(root: Path, made_refined: Path) -> None:
    label_ultrabones(root, settings=REFINE, workers=1)
    assert contents(root) == contents(made_refined)
    times = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}
    again = label_ultrabones(root, settings=REFINE, workers=2)
    assert again.written == 0
    assert [record.refinement.computed for record in again.records if record.refinement] == [0, 0]
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()} == times


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is not known there")
@pytest.mark.deep
def test_a_killed_run_resumes_and_ends_with_the_same_files(root: Path, made_refined: Path) -> None:
    for after in (3, 6, 11):  # in the poses of the first record, in its labels, in the second record
        script = f"""
            import contextlib, os, signal
            from medcli.ultrabones.labelling import label_dataset
            from medcli.ultrabones.pose_refinement import refine_frame, refine_record

            refine_record._SAVE_EVERY_S = 0.0
            left = {after}

            class Killer:
                @contextlib.contextmanager
                def task(self, name, total, unit=""):
                    def advance(amount):
                        global left
                        left -= 1
                        if left == 0:
                            os.kill(os.getpid(), signal.SIGKILL)
                    yield advance

            fast = refine_frame.RefineSettings(generations=5)
            settings = label_dataset.LabelSettings(refine=True, refine_settings=fast)
            label_dataset.label_ultrabones({str(root)!r}, settings=settings, workers=2, progress=Killer())
        """
        ran = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], cwd=REPOSITORY, check=False)
        assert ran.returncode == -9
    result = label_ultrabones(root, settings=REFINE, workers=2)
    assert result.failures == ()
    refinement = result.records[0].refinement
    assert refinement is not None
    assert refinement.computed == 0  # what was done before the kill is not done again
    assert {name: data for name, data in contents(root).items() if not name.endswith(".part")} == contents(made_refined)


def test_a_run_that_is_stopped_while_replacing_does_not_mix_labels(root: Path) -> None:
    label_ultrabones(root, records=[1])
    stamp = root / RECORD / "labels.json"
    label_ultrabones(root, records=[1], settings=LabelSettings(overwrite=True))

    class Stop:
        @contextmanager
        def task(self, *_: object) -> Iterator[Callable[[float], None]]:
            def stop(amount: float) -> None:
                raise KeyboardInterrupt

            yield stop

    with pytest.raises(KeyboardInterrupt):
        label_ultrabones(root, records=[1], settings=LabelSettings(overwrite=True), progress=Stop())
    assert json.loads(stamp.read_text())["Labels"]["fingerprint"] == "unfinished"
    with pytest.raises(
        DataError, match="Labels_full is partly of other poses or meshes: medcli label --overwrite was sto"
    ):
        label_ultrabones(root, records=[1])
    label_ultrabones(root, records=[1], settings=LabelSettings(overwrite=True))
    assert label_ultrabones(root, records=[1]).present == 8


def test_a_frame_that_fails_under_overwrite_keeps_no_label_of_its_old_pose(root: Path) -> None:
    label_ultrabones(root, records=[1], settings=LabelSettings(overlay=True))
    image = min((root / RECORD / "UltrasoundImages").iterdir())
    sound = image.read_bytes()
    edit_tracking(root, lambda table: table.assign(x=table["x"] + 3))
    with pytest.raises(DataError, match="Labels_full was made from initial poses that have changed since"):
        label_ultrabones(root, records=[1])
    image.write_bytes(sound[:3000])
    again = LabelSettings(overlay=True, overwrite=True)
    cut = label_ultrabones(root, records=[1], settings=again)
    assert (cut.written, cut.records[0].rejected) == (11, 1)  # a label does not depend on the image
    assert [text.endswith("without an end (what it had before is removed)") for text in cut.failures] == [True]
    assert not (root / RECORD / "Overlays" / f"{image.stem}_overlay.jpg").exists()
    image.write_bytes(b"no image")
    failed = label_ultrabones(root, records=[1], settings=again)
    assert (failed.written, len(failed.failures)) == (9, 1)
    assert not [*(root / RECORD).glob(f"Labels*/{image.stem}_*"), *(root / RECORD).glob(f"Overlays/{image.stem}_*")]
    image.write_bytes(sound)
    resumed = label_ultrabones(root, records=[1], settings=LabelSettings(overlay=True))
    assert (resumed.written, resumed.present) == (3, 6)
    wanted = contents(root)
    label_ultrabones(root, records=[1], settings=again)
    assert contents(root) == wanted


def test_labels_of_other_meshes_are_refused_as_such(root: Path) -> None:
    label_ultrabones(root, records=[1])
    path = find_meshes(root / RECORD, 1)[0]
    mesh = read_stl(path)
    write_stl(Mesh(mesh.vertices + np.float32(0.01), mesh.faces), path)
    with pytest.raises(DataError, match="Labels_full was made from meshes that have changed since"):
        label_ultrabones(root, records=[1])


def test_labels_of_other_poses_are_refused_before_any_work(root: Path) -> None:
    label_ultrabones(root, records=[1])
    before = contents(root)
    with pytest.raises(DataError, match="made with other options: poses was initial, is optimized"):
        label_ultrabones(root, records=[1], settings=REFINE)
    assert contents(root) == before
    result = label_ultrabones(
        root, records=[1], settings=LabelSettings(refine=True, refine_settings=QUICK, overwrite=True)
    )
    assert result.records[0].poses == "optimized"
    assert result.written == 8


@pytest.mark.deep
def test_overlays_of_other_labels_are_not_kept_unseen(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    label_ultrabones(root, records=[1], settings=LabelSettings(overlay=True))
    refined = LabelSettings(refine=True, refine_settings=QUICK, overwrite=True)
    label_ultrabones(root, records=[1], settings=refined)
    assert "Overlays shows other labels (--overlay --overwrite draws it again)" in caplog.text
    with pytest.raises(DataError, match="Overlays was made with other options: poses was initial, is optimized"):
        label_ultrabones(root, records=[1], settings=LabelSettings(overlay=True))
    label_ultrabones(root, records=[1], settings=LabelSettings(overlay=True, overwrite=True))
    caplog.clear()
    label_ultrabones(root, records=[1])
    assert caplog.messages == []


@pytest.mark.deep
def test_labels_by_another_visible_rule_are_told_apart(root: Path, medcli: Callable) -> None:
    """The default writes what it always wrote; the echo rule a part of it, and says so."""
    usual = label_ultrabones(root)
    labels, stamps = contents(root), json.loads(next(root.rglob("labels.json")).read_text())
    assert "visible_rule" not in stamps["Labels"]
    refused = medcli("label", "ultrabones", "--root", root, "--visible-rule", "echo")
    assert (refused.code, contents(root)) == (3, labels)
    assert "visible_rule was first-run, is echo" in refused.err
    table = root / RECORD / "tracking.csv"
    rows = table.read_text().splitlines()
    other = ",".join([*rows[2].split(",")[:-1], "1.5"])
    stamp = rows[0].split(",").index("timestamp")
    table.write_text("\n".join([*rows, rows[1], other]) + "\n")
    ran = medcli(
        "label", "ultrabones", "--root", root, "--visible-rule", "echo", "--kind", "full", "--bound", 2, "--json"
    )
    assert ran.code == 0
    said = " ".join(ran.err.split())
    assert "--bound has no effect without --refine" in said
    assert "--visible-rule has no effect with --kind full" in said
    assert f"such as {rows[2].split(',')[stamp]}; of each the first row counts" in said
    assert next(record["contradicting"] for record in json.loads(ran.out)["records"]) == 1
    done = label_ultrabones(root, settings=LabelSettings(visible_rule="echo", overwrite=True, overlay=True))
    now = json.loads(next(root.rglob("labels.json")).read_text())
    assert (now["Labels"]["visible_rule"], now["Overlays"]["visible_rule"]) == ("echo", "echo")
    assert now["Labels_full"] == stamps["Labels_full"]
    assert 0.05 < done.records[0].visible_share <= usual.records[0].visible_share
    for path in root.rglob("Labels/*.png"):
        first_run = partial_label(read_grey(path.parents[1] / "Labels_full" / path.name.replace("_partial", "")))
        assert not (read_grey(path) & ~first_run).any()
    label_ultrabones(root, settings=LabelSettings(overwrite=True, overlay=True))
    assert {name: content for name, content in contents(root).items() if "Labels/" in name} == {
        name: content for name, content in labels.items() if "Labels/" in name
    }


def test_other_refine_settings_are_refused(refined: Path) -> None:
    with pytest.raises(DataError, match=r"options: seed was 0, is 1 \(4 frames\)"):
        label_ultrabones(
            refined,
            records=[1],
            settings=LabelSettings(refine=True, refine_settings=RefineSettings(seed=1, generations=5)),
        )


def test_poses_refined_on_another_image_are_refused(refined: Path) -> None:
    path = sorted((refined / RECORD / "UltrasoundImages").iterdir())[1]
    image = read_grey(path)
    os.utime(path, (1, 1))  # a copy of the data is still the same data
    assert label_ultrabones(refined, records=[1], settings=REFINE).written == 0
    image[100, 100] ^= 1
    write_image(path, image)
    with pytest.raises(DataError, match=r"options: other images \(1 frame\)"):
        label_ultrabones(refined, records=[1], settings=REFINE)


def test_published_labels_and_poses_are_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make_ultrabones(tmp_path, (1,), settings=SweepSettings(frames=2, scale=0.25))
    before = contents(tmp_path)
    result = label_ultrabones(tmp_path, settings=REFINE)
    assert contents(tmp_path) == before
    assert (result.written, result.present) == (0, 4)
    assert result.records[0].refinement is not None
    assert result.records[0].refinement.foreign
    label_ultrabones(tmp_path, settings=LabelSettings(overwrite=True, refine=True, refine_settings=QUICK))
    assert (tmp_path / RECORD / "refinement.csv").exists()


def test_initial_poses_and_refining_contradict_each_other(root: Path) -> None:
    with pytest.raises(UsageError):
        label_ultrabones(root, settings=LabelSettings(refine=True, poses="initial"))


def test_every_bone_counts_and_those_that_miss_are_counted(root: Path) -> None:
    record = label_ultrabones(root, records=[1]).records[0]
    assert record.bones == ("fibula", "foot", "tibia")
    assert record.missed["fibula"] == 0
    assert record.missed["foot"] == 4
    assert record.empty == 0


def test_frames_off_the_bone_get_an_empty_label_and_a_count(root: Path) -> None:
    def move_first(table: pd.DataFrame) -> pd.DataFrame:
        table.loc[0, "z"] += 900.0
        return table

    edit_tracking(root, move_first)
    result = label_ultrabones(root, records=[1])
    assert (result.empty, result.failures) == (1, ())
    first = sorted((root / RECORD / "Labels_full").glob("*.png"))[0]
    assert not read_grey(first).any()


def test_meshes_are_found_by_name_and_place(root: Path, tmp_path: Path) -> None:
    record = root / RECORD
    own = root / "specimen01" / "CT_bone_segmentations"
    names = [path.name for path in find_meshes(record, 1)]
    assert names == ["fibula.stl", "foot.stl", "tibia.stl"]
    assert [path.name for path in find_meshes(record, 1, merged=True)] == ["CT_bone_model_merged.stl"]
    elsewhere = tmp_path / "meshes"
    shutil.copytree(own, elsewhere / "specimen01")
    assert find_meshes(record, 1, elsewhere)[0] == elsewhere / "specimen01" / "fibula.stl"
    for name in names:
        (own / name).unlink()
    assert [path.name for path in find_meshes(record, 1)] == ["CT_bone_model_merged.stl"]
    shutil.copy(elsewhere / "specimen01" / "tibia.stl", tmp_path / "my_leg.stl")
    assert find_meshes(record, 1, tmp_path)[0].name == "my_leg.stl"


def test_the_merged_mesh_gives_the_same_labels(root: Path) -> None:
    other = Path(shutil.copytree(root, root.parent / "other"))
    label_ultrabones(root, records=[1])
    label_ultrabones(other, records=[1], settings=LabelSettings(merged=True))
    for path in (root / RECORD / "Labels_full").iterdir():
        assert np.array_equal(read_grey(path), read_grey(other / RECORD / "Labels_full" / path.name))


def test_the_first_release_is_labelled_too(tmp_path: Path) -> None:
    make_ultrabones(tmp_path, (1,), layout="first", settings=SMALL)
    shutil.rmtree(tmp_path / "cadaver01_F231091" / "record01" / "Labels")
    result = label_ultrabones(tmp_path)
    assert (result.written, result.failures) == (8, ())
    assert result.records[0].name == "specimen01 record01"


def test_the_optimised_columns_are_added_without_touching_the_others(tmp_path: Path) -> None:
    text = (
        "timestamp, x,y,z,euler_x,euler_y,euler_z,space_factor,note\n7,1.10,2,3,4,5,6,0.05392,a\n9,1,2,3e0,4,5,nan,,\n"
    )
    (tmp_path / "tracking.csv").write_text(text)
    assert write_optimized_poses(tmp_path, {0: np.array([1.5, 2, 3, 4, 5, 6])})
    lines = (tmp_path / "tracking.csv").read_text().splitlines()
    assert lines[0].endswith("space_factor,note," + ",".join(OPTIMIZED_POSE_COLUMNS))
    assert lines[1] == "7,1.10,2,3,4,5,6,0.05392,a,1.5,2.0,3.0,4.0,5.0,6.0"
    assert lines[2] == "9,1,2,3e0,4,5,nan,,,1,2,3e0,4,5,nan"
    assert not write_optimized_poses(tmp_path, {0: np.array([1.5, 2, 3, 4, 5, 6])})
    write_optimized_poses(tmp_path, {})
    assert (tmp_path / "tracking_original.csv").read_text() == text


def test_names_of_columns_in_another_case(root: Path) -> None:
    edit_tracking(root, lambda table: table.rename(columns=str.upper))
    result = label_ultrabones(root, records=[1], settings=REFINE)
    assert (result.frames, result.written, result.failures) == (4, 8, ())
    table = pd.read_csv(root / RECORD / "tracking.csv")
    original = pd.read_csv(root / RECORD / "tracking_original.csv")
    assert list(table.columns) == [*original.columns, *OPTIMIZED_POSE_COLUMNS]


class TestBadInput:
    def test_no_column(self, root: Path, medcli: Callable) -> None:
        edit_tracking(root, lambda table: table.drop(columns="euler_y"))
        ran = medcli("label", "ultrabones", "--root", root, "--records", 1)
        assert ran.code == 3
        assert "tracking.csv has no column euler_y" in ran.err

    def test_columns_separated_by_semicolons(self, root: Path, medcli: Callable) -> None:
        path = root / RECORD / "tracking.csv"
        path.write_text(path.read_text().replace(",", ";"))
        ran = medcli("label", "ultrabones", "--root", root, "--records", 1)
        assert ran.code == 3
        assert "tracking.csv has no column timestamp" in ran.err
        assert "it has 'timestamp;space_factor;x" in " ".join(ran.err.split())
        assert "columns must be separated by commas" in " ".join(ran.err.split())

    def test_no_table_in_one_record_of_two(self, root: Path, medcli: Callable) -> None:
        (root / RECORD / "tracking.csv").unlink()
        ran = medcli("label", "ultrabones", "--root", root)
        assert ran.code == 4
        assert "failed: specimen01 fibula record01: no tracking table" in ran.err
        assert "wrote 8 files for 4 frames" in ran.out

    def test_nan(self, root: Path, medcli: Callable) -> None:
        def spoil(table: pd.DataFrame) -> pd.DataFrame:
            table.loc[1, "y"] = np.nan
            table.loc[2, "space_factor"] = np.nan
            return table

        edit_tracking(root, spoil)
        for words in ((), ("--refine", "--overwrite")):
            ran = medcli("label", "ultrabones", "--root", root, "--records", 1, *words, "--json")
            result = json.loads(ran.out)
            assert ran.code == 4
            assert len(result["failures"]) == 2
            assert result["records"][0]["rejected"] == 2
            assert "the pose in the tracking table is not a number" in result["failures"][0]
            assert "space_factor is nan" in result["failures"][1]
            assert result["written"] == 4
        ran = medcli("label", "ultrabones", "--root", root, "--records", 1, "--refine")
        assert "wrote 0 files for 2 of 4 frames; 4 label files existed" in ran.out

    @pytest.mark.parametrize(
        ("column", "value", "said"),
        [
            ("x", np.nan, "the pose in the tracking table is not a number"),
            ("space_factor", 0.0012, "is 238 x 203 pixels, expected 42687 x 36441 at 0.0012 mm a pixel"),
        ],
    )
    @pytest.mark.parametrize("words", [(), ("--refine",), ("--dry-run",)])
    def test_no_frame_at_all_can_be_used(
        self,
        root: Path,
        medcli: Callable,
        monkeypatch: pytest.MonkeyPatch,
        column: str,
        value: float,
        said: str,
        words: tuple[str, ...],
    ) -> None:
        def no_label(*_: object) -> None:
            raise AssertionError("a label is drawn before the size is checked")

        edit_tracking(root, lambda table: table.assign(**{column: value}))
        monkeypatch.setattr(label_record, "full_label", no_label)
        before = contents(root)
        folders = sorted(root.rglob("*"))
        ran = medcli("label", "ultrabones", "--root", root, "--records", 1, *words)
        assert ran.code == 3
        assert ran.err.startswith("error: no frame of specimen01 fibula record01 can be labelled")
        assert said in ran.err
        assert contents(root) == before
        assert sorted(root.rglob("*")) == folders

    def test_metres(self, root: Path, medcli: Callable) -> None:
        folder = root / "specimen01" / "CT_bone_segmentations"
        for path in folder.iterdir():
            mesh = read_stl(path)
            write_stl(Mesh(mesh.vertices / 1000, mesh.faces), path)
        ran = medcli("label", "ultrabones", "--root", root)
        assert ran.code == 3
        assert re.search(r"is 0\.\d+ mm long as it stands; .* so this looks like metres", " ".join(ran.err.split()))

    def test_not_watertight(self, root: Path, medcli: Callable) -> None:
        path = root / "specimen01" / "CT_bone_segmentations" / "fibula.stl"
        mesh = read_stl(path)
        write_stl(Mesh(mesh.vertices, mesh.faces[:-5]), path)
        ran = medcli("label", "ultrabones", "--root", root)
        assert ran.code == 0
        assert "fibula.stl is not watertight" in ran.err

    def test_mesh_of_another_specimen(self, root: Path, medcli: Callable) -> None:
        shift = np.eye(4)
        shift[0, 3] = 500.0
        for path in (root / "specimen01" / "CT_bone_segmentations").iterdir():
            write_stl(read_stl(path).transformed(shift), path)
        for words in ((), ("--refine",), ("--dry-run",)):
            ran = medcli("label", "ultrabones", "--root", root, *words)
            assert ran.code == 3
            assert (
                "no frame of specimen01 fibula record01 meets a mesh (fibula, foot, tibia): the nearest is 4" in ran.err
            )
        assert not (root / RECORD / "Labels").exists()

    def test_no_meshes(self, root: Path, medcli: Callable) -> None:
        ran = medcli("label", "ultrabones", "--root", root, "--meshes", root / "nowhere")
        assert ran.code == 3
        assert "no folder of meshes" in ran.err
        shutil.rmtree(root / "specimen01" / "CT_bone_segmentations")
        ran = medcli("label", "ultrabones", "--root", root)
        assert ran.code == 3
        assert "no bone mesh of specimen 1" in ran.err
        assert "--meshes" in ran.err

    def test_frame_of_another_size(self, root: Path, medcli: Callable) -> None:
        frames = sorted((root / RECORD / "UltrasoundImages").iterdir())
        write_image(frames[0], np.zeros((829, 884), np.uint8))
        frames[1].write_bytes(b"no image")
        ran = medcli("label", "ultrabones", "--root", root, "--records", 1)
        assert ran.code == 4
        assert "is 884 x 829 pixels, expected 238 x 203 at 0.21568 mm" in ran.err
        assert "is not an image or is damaged" in ran.err
        assert "wrote 4 files" in ran.out

    def test_images_without_a_row_are_reported(self, root: Path, medcli: Callable) -> None:
        edit_tracking(root, lambda table: table.drop(index=2))
        ran = medcli("label", "ultrabones", "--root", root, "--records", 1)
        assert ran.code == 0
        assert "1 image without a row in the tracking table" in ran.out

    def test_unknown_specimen(self, root: Path, medcli: Callable) -> None:
        ran = medcli("label", "ultrabones", "--root", root, "--specimens", 5, 6)
        assert ran.code == 3
        assert "no specimen 5, 6" in ran.err

    def test_no_optimised_poses(self, root: Path, medcli: Callable) -> None:
        ran = medcli("label", "ultrabones", "--root", root, "--poses", "optimized")
        assert ran.code == 3
        assert "has no optimised poses" in ran.err

    def test_damaged_report_and_stamp(self, root: Path, medcli: Callable) -> None:
        (root / RECORD / "refinement.csv").write_text("a,b\n1,2\n")
        ran = medcli("label", "ultrabones", "--root", root, "--records", 1, "--refine")
        assert ran.code == 3
        assert "is not a report of this command" in ran.err
        (root / RECORD / "labels.json").write_text("{")
        ran = medcli("label", "ultrabones", "--root", root, "--records", 1)
        assert ran.code == 3
        assert "labels.json is damaged" in ran.err
