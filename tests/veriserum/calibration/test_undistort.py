"""``medcli calibrate veriserum``: pixels, resumption and messages."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from medcli import __version__
from medcli.core import files, image_io
from medcli.core.errors import DataError, MedcliError
from medcli.core.run_provenance import NAME as RUN_NOTE
from medcli.core.run_records.options import OPTIONS_FILE
from medcli.veriserum.calibration import undistort as module
from medcli.veriserum.calibration.distortion_model import PolynomialDistortion
from medcli.veriserum.calibration.undistort import CalibrationSettings, ImageSelection, calibrate
from tests.conftest import Ran
from tests.support.made_veriserum import make_distortion, smooth_image, write_tables, write_test_image
from tests.support.published_veriserum import correct_pair, nearest_native_pixels

Run = Callable[..., Ran]
POSES = "csv_files/veriserum_pose_reloaded_refined_all.csv"
DISTORTION = "csv_files/distortion_calibration_reloaded.csv"


def contents_of(folder: Path) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name not in (RUN_NOTE, OPTIONS_FILE)
    }


def expect(root: Path, distortion: PolynomialDistortion, number: int) -> dict[str, np.ndarray]:
    """The published result for one pair of the folder."""
    pair = {
        plane: cv2.imdecode(np.fromfile(root / "images" / f"{plane}_{number:06d}.jpg", np.uint8), cv2.IMREAD_GRAYSCALE)
        for plane in ("bs", "fs")
    }
    nearest = nearest_native_pixels(distortion)
    return correct_pair(pair, {"bs": nearest, "fs": nearest})


def test_png_equals_the_published_pixels(
    veriserum: Path, distortions: dict[int, PolynomialDistortion], medcli: Run, tmp_path: Path
) -> None:
    """Ids 1 and 2 use calibrations 4 and 9: looked up by id, not by row."""
    ran = medcli("calibrate", "veriserum", "--root", veriserum, "--format", "png", "--out", tmp_path / "out")
    assert ran.code == 0, ran.err
    for number, calibration in ((1, 4), (2, 9)):
        for plane, expected in expect(veriserum, distortions[calibration], number).items():
            result = image_io.read_grey(tmp_path / "out" / f"calibrated_{plane}_{number:06d}.png")
            np.testing.assert_array_equal(result, expected)


def test_jpg_equals_the_published_files(veriserum: Path, distortions: dict[int, PolynomialDistortion]) -> None:
    calibrate(veriserum, selection=ImageSelection(ids=[(1, 1)]))
    expected = expect(veriserum, distortions[4], 1)["fs"]
    content = (veriserum / "calibrated/calibrated_fs_000001.jpg").read_bytes()
    assert content == cv2.imencode(".jpg", expected)[1].tobytes()


def test_a_second_run_does_nothing(veriserum: Path) -> None:
    first = calibrate(veriserum, workers=3)
    made = contents_of(veriserum / "calibrated")
    times = {path: path.stat().st_mtime_ns for path in (veriserum / "calibrated").iterdir()}
    second = calibrate(veriserum)
    assert (first.done, first.skipped, second.done, second.skipped) == (8, 0, 0, 8)
    assert contents_of(veriserum / "calibrated") == made
    assert {path: path.stat().st_mtime_ns for path in (veriserum / "calibrated").iterdir()} == times


def test_an_image_that_was_replaced_since_is_named(veriserum: Path, medcli: Run) -> None:
    assert calibrate(veriserum).done == 8
    path = next(path for path in veriserum.rglob("bs_000002.jpg") if path.parent.name != "calibrated")
    result = veriserum / "calibrated/calibrated_bs_000002.jpg"
    later = result.stat().st_mtime + 5
    os.utime(path, (later, later))
    ran = medcli("calibrate", "veriserum", "--root", veriserum)
    assert "1 image is newer than its result, the first bs_000002.jpg" in ran.err
    assert "--overwrite --ids 2" in ran.err
    medcli("calibrate", "veriserum", "--root", veriserum, "--overwrite", "--ids", "2")
    os.utime(result, (later + 5, later + 5))
    assert "newer" not in medcli("calibrate", "veriserum", "--root", veriserum).err


def test_parts_give_the_same_folder_as_the_whole(veriserum: Path, tmp_path: Path) -> None:
    calibrate(veriserum, tmp_path / "whole", workers=2)
    for selection in (ImageSelection(ids=[(3, 4)]), ImageSelection(planes=["fs"]), ImageSelection()):
        calibrate(veriserum, tmp_path / "parts", selection=selection, workers=1)
    assert contents_of(tmp_path / "parts") == contents_of(tmp_path / "whole")


def test_jobs_that_begin_together_name_all_calibrations(veriserum: Path, tmp_path: Path) -> None:
    """The second begins when the first wrote the manifest and no image yet; then that of another machine is lost."""
    manifest = tmp_path / "out" / "medcli_calibration.json"
    calibrate(veriserum, tmp_path / "out", selection=ImageSelection(ids=[(1, 1)]))
    for image in (tmp_path / "out").glob("calibrated_*"):
        image.unlink()
    replaced = manifest.read_text()

    class Replacing:
        @contextmanager
        def task(self, label: str, total: float | None, unit: str = "") -> Iterator[Any]:
            if label == "calibrating":
                assert set(json.loads(manifest.read_text())["calibrations"]) == {"4", "9"}
                manifest.write_text(replaced)
            yield lambda amount: None

    calibrate(veriserum, tmp_path / "out", selection=ImageSelection(ids=[(2, 2)]), progress=Replacing())
    assert set(json.loads(manifest.read_text())["calibrations"]) == {"4", "9"}


def test_ids_and_planes_are_chosen(veriserum: Path, medcli: Run) -> None:
    ran = medcli("calibrate", "veriserum", "--root", veriserum, "--ids", "1-2", "4", "--planes", "bs", "--json")
    assert ran.code == 0
    assert json.loads(ran.out)["done"] == 3
    names = sorted(path.name for path in (veriserum / "calibrated").glob("calibrated_*"))
    assert names == ["calibrated_bs_000001.jpg", "calibrated_bs_000002.jpg", "calibrated_bs_000004.jpg"]


def test_the_other_plane_determines_the_scaling(veriserum: Path, tmp_path: Path) -> None:
    """Only bs is selected, but its scaling depends on whether fs is black."""
    write_test_image(veriserum / "images/fs_000001.jpg", np.zeros((1600, 1664), np.uint8))
    calibrate(veriserum, tmp_path / "one", selection=ImageSelection(ids=[(1, 1)], planes=["bs"]))
    calibrate(veriserum, tmp_path / "both", selection=ImageSelection(ids=[(1, 1)]))
    name = "calibrated_bs_000001.jpg"
    assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "both" / name).read_bytes()


def test_black_plane_leaves_both_unscaled(
    veriserum: Path, distortions: dict[int, PolynomialDistortion], tmp_path: Path
) -> None:
    write_test_image(veriserum / "images/fs_000001.jpg", np.zeros((1600, 1664), np.uint8))
    calibrate(veriserum, tmp_path / "out", CalibrationSettings(format="png"), ImageSelection(ids=[(1, 1)]))
    for plane, expected in expect(veriserum, distortions[4], 1).items():
        result = image_io.read_grey(tmp_path / "out" / f"calibrated_{plane}_000001.png")
        np.testing.assert_array_equal(result, expected)


def test_dry_run_writes_nothing(veriserum: Path, medcli: Run, tmp_path: Path) -> None:
    before = set(veriserum.rglob("*"))
    ran = medcli("calibrate", "veriserum", "--root", veriserum, "--dry-run")
    assert ran.code == 0
    assert "8 images" in ran.out
    assert set(veriserum.rglob("*")) == before


def test_database_instead_of_csv(veriserum: Path, tmp_path: Path) -> None:
    """Tables from a database whose names and columns are in another case give the same images."""
    calibrate(veriserum, tmp_path / "csv")
    with sqlite3.connect(veriserum / "recordings.DB") as connection:
        for name, file in (("POSES", POSES), ("Distortion_Calibration", DISTORTION)):
            table = pd.read_csv(veriserum / file).rename(columns=str.upper)
            table.to_sql(name, connection, index=False)
            (veriserum / file).unlink()
    connection.close()
    (veriserum / "Thumbs.db").write_bytes(b"not a database")
    calibrate(veriserum, tmp_path / "database")
    assert contents_of(tmp_path / "database") == contents_of(tmp_path / "csv")


def test_png_and_tif_inputs_below_other_folders(veriserum: Path, tmp_path: Path) -> None:
    for plane, suffix in (("bs", ".PNG"), ("fs", ".tif")):
        image = smooth_image(77)
        (veriserum / "more" / "deep").mkdir(parents=True, exist_ok=True)
        content = cv2.imencode(suffix.lower(), image)[1].tobytes()
        (veriserum / "more" / "deep" / f"{plane}_000005{suffix}").write_bytes(content)
    poses = pd.read_csv(veriserum / POSES)
    poses.loc[len(poses)] = {**poses.iloc[0].to_dict(), "id": 5}
    poses.to_csv(veriserum / POSES, index=False)
    result = calibrate(veriserum, tmp_path / "out", selection=ImageSelection(ids=[(5, 5)]))
    assert (result.done, result.failed) == (2, 0)


def test_skip_obsolete(veriserum: Path) -> None:
    poses = pd.read_csv(veriserum / POSES)
    poses.loc[poses["id"] == 2, "obsolete"] = 1
    poses.to_csv(veriserum / POSES, index=False)
    result = calibrate(veriserum, selection=ImageSelection(skip_obsolete=True))
    assert (result.done, result.obsolete) == (6, 2)
    assert calibrate(veriserum).done == 2


def test_area_with_mask(veriserum: Path, medcli: Run) -> None:
    words = ("--resample", "area", "--mask", "--size", "100", "--ids", "1")
    assert medcli("calibrate", "veriserum", "--root", veriserum, *words).code == 0
    mask = image_io.read_grey(veriserum / "calibrated/mask_bs_calibration_04.png")
    image = image_io.read_grey(veriserum / "calibrated/calibrated_bs_000001.jpg")
    assert mask.shape == image.shape == (100, 100)
    assert set(np.unique(mask)) == {0, 255}
    assert image[mask == 0].mean() < 10 < image[mask == 255].mean()
    rejected = medcli("calibrate", "veriserum", "--root", veriserum, "--mask")
    assert rejected.code == 2
    assert "area" in rejected.err


def test_manifest_records_options_and_calibrations(
    veriserum: Path, distortions: dict[int, PolynomialDistortion]
) -> None:
    calibrate(veriserum)
    manifest = json.loads((veriserum / "calibrated/medcli_calibration.json").read_text())
    assert manifest["options"] == {"size": 512, "format": "jpg", "resample": "reference", "quality": 95}
    assert manifest["calibrations"]["9"]["fs"] == distortions[9].fingerprint
    assert manifest["made_with"] == [{"medcli": __version__, "opencv": cv2.__version__}]
    assert "Non-Commercial" in manifest["derived_from"]


def test_images_with_other_options_are_not_added_to_a_folder(veriserum: Path, medcli: Run) -> None:
    calibrate(veriserum)
    made = contents_of(veriserum / "calibrated")
    rejected = medcli("calibrate", "veriserum", "--root", veriserum, "--size", "256")
    assert rejected.code == 2
    assert "made with other options: size was 512, is 256" in rejected.err
    part = medcli("calibrate", "veriserum", "--root", veriserum, "--size", "256", "--ids", "1", "--overwrite")
    assert part.code == 2, "the other images in the folder would stay as they are"
    assert contents_of(veriserum / "calibrated") == made
    assert medcli("calibrate", "veriserum", "--root", veriserum, "--size", "256", "--overwrite").code == 0
    assert image_io.read_grey(veriserum / "calibrated/calibrated_bs_000001.jpg").shape == (256, 256)


def test_interrupted_overwrite_leaves_no_old_image_under_the_new_manifest(
    veriserum: Path, medcli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the first new image, then run again without --overwrite: all images have the new options."""
    calibrate(veriserum, veriserum / "whole", CalibrationSettings(quality=30))
    calibrate(veriserum)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module._Run, "work", stop)
    assert medcli("calibrate", "veriserum", "--root", veriserum, "--quality", "30", "--overwrite").code == 130
    monkeypatch.undo()
    assert medcli("calibrate", "veriserum", "--root", veriserum, "--quality", "30").code == 0
    assert contents_of(veriserum / "calibrated") == contents_of(veriserum / "whole")


def test_overwrite_keeps_images_until_they_are_replaced(
    veriserum: Path, medcli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    calibrate(veriserum)
    made = contents_of(veriserum / "calibrated")
    (veriserum / "images/bs_000001.jpg").write_bytes(b"damaged since")
    assert medcli("calibrate", "veriserum", "--root", veriserum, "--overwrite").code == 4
    assert contents_of(veriserum / "calibrated") == made


@pytest.mark.parametrize("text", [None, "{", '{"options": {}, "calibrations": {"1": 3}, "made_with": []}'])
def test_images_of_unknown_origin_are_not_added_to(veriserum: Path, medcli: Run, text: str | None) -> None:
    calibrate(veriserum, selection=ImageSelection(ids=[(1, 2)]))
    path = veriserum / "calibrated/medcli_calibration.json"
    path.unlink() if text is None else path.write_text(text)
    for words in ((), ("--dry-run",)):
        ran = medcli("calibrate", "veriserum", "--root", veriserum, *words)
        assert ran.code == (2 if text is None else 3)
        assert "medcli_calibration.json" in ran.err
        assert "--overwrite" in ran.err
    assert medcli("calibrate", "veriserum", "--root", veriserum, "--overwrite").code == 0


def test_results_next_to_the_originals(veriserum: Path, medcli: Run) -> None:
    for _ in range(2):
        assert medcli("calibrate", "veriserum", "--root", veriserum, "--out", veriserum).code == 0
    assert len(list(veriserum.glob("calibrated_*.jpg"))) == 8


def test_mask_of_a_finished_folder(veriserum: Path) -> None:
    calibrate(veriserum, settings=CalibrationSettings(resample="area"))
    result = calibrate(veriserum, settings=CalibrationSettings(resample="area", mask=True))
    assert (result.done, result.skipped) == (0, 8)
    assert len(list((veriserum / "calibrated").glob("mask_*.png"))) == 4


def test_changed_calibration_is_noticed(veriserum: Path, medcli: Run) -> None:
    calibrate(veriserum, selection=ImageSelection(ids=[(1, 2)]))
    write_tables(veriserum, [1, 2, 3, 4], {4: make_distortion(4), 9: make_distortion(10)})
    ran = medcli("calibrate", "veriserum", "--root", veriserum)
    assert ran.code == 2
    assert "calibration 9, plane" in ran.err


# Bad input: one clear line each, and the other images continue.


def failing_run(medcli: Run, root: Path) -> tuple[dict, Ran]:
    ran = medcli("calibrate", "veriserum", "--root", root, "--json")
    return json.loads(ran.out), ran


def check_one_failure(medcli: Run, root: Path, number: int, plane: str, said: str, done: int = 7) -> None:
    result, ran = failing_run(medcli, root)
    assert ran.code == 4
    assert (result["done"], result["failed"]) == (done, 8 - done)
    failure = next(item for item in result["failures"] if item["plane"] == plane)
    assert failure["id"] == number
    assert said in failure["reason"]
    out = root / "calibrated"
    assert not (out / f"calibrated_{plane}_{number:06d}.jpg").exists()
    assert not list(out.glob("*.part"))
    plain = medcli("calibrate", "veriserum", "--root", root)
    assert plain.code == 4
    assert f"failed: {plane}_{number:06d}: " in plain.err
    assert said in plain.err


def test_truncated_jpeg(veriserum: Path, medcli: Run) -> None:
    path = veriserum / "images/bs_000002.jpg"
    path.write_bytes(path.read_bytes()[:-5000])
    check_one_failure(medcli, veriserum, 2, "bs", "is truncated")


def test_not_an_image(veriserum: Path, medcli: Run) -> None:
    (veriserum / "images/bs_000002.jpg").write_bytes(b"<html>404</html>")
    check_one_failure(medcli, veriserum, 2, "bs", "is not an image")


def test_empty_file(veriserum: Path, medcli: Run) -> None:
    (veriserum / "images/fs_000002.jpg").write_bytes(b"")
    check_one_failure(medcli, veriserum, 2, "fs", "is empty")


def test_one_plane_missing(veriserum: Path, medcli: Run) -> None:
    (veriserum / "images/fs_000003.jpg").unlink()
    check_one_failure(medcli, veriserum, 3, "fs", "missing: expected fs_000003.* beside bs_000003.jpg")


def test_id_without_a_pose(veriserum: Path, medcli: Run) -> None:
    poses = pd.read_csv(veriserum / POSES)
    poses[poses["id"] != 3].to_csv(veriserum / POSES, index=False)
    check_one_failure(medcli, veriserum, 3, "bs", "id 3 has no row in veriserum_pose", done=6)


def test_calibration_that_is_not_in_the_table(veriserum: Path, medcli: Run) -> None:
    poses = pd.read_csv(veriserum / POSES)
    poses.loc[poses["id"] == 3, "distortion_calibration_id"] = 5
    poses.to_csv(veriserum / POSES, index=False)
    check_one_failure(medcli, veriserum, 3, "bs", "distortion calibration 5 is not in distortion_calibration", done=6)


@pytest.mark.parametrize("written", ["", "inf", "4.5", "four"])
def test_pose_without_a_calibration(veriserum: Path, medcli: Run, written: str) -> None:
    poses = pd.read_csv(veriserum / POSES, dtype=str)
    poses.loc[poses["id"] == "3", "distortion_calibration_id"] = written
    poses.to_csv(veriserum / POSES, index=False)
    check_one_failure(medcli, veriserum, 3, "fs", "has no distortion_calibration_id", done=6)


@pytest.mark.parametrize(
    ("text", "said"),
    [("1,2,3;0.2;1,2;1,0,0,1", "got 3;1;2;4"), (",".join(["0"] * 32) + ";0.2;1,2;1,0,0,1", "not invertible")],
)
def test_broken_calibration(veriserum: Path, medcli: Run, text: str, said: str) -> None:
    table = pd.read_csv(veriserum / DISTORTION)
    table.loc[table["id"] == 9, "distortion_result_fs"] = text
    table.to_csv(veriserum / DISTORTION, index=False)
    result, ran = failing_run(medcli, veriserum)
    assert ran.code == 4
    assert (result["done"], result["failed"]) == (6, 2)
    assert all(item["plane"] == "fs" and said in item["reason"] for item in result["failures"])


def test_colour_jpeg_is_read_as_grey(veriserum: Path, medcli: Run) -> None:
    colour = np.stack([smooth_image(1), smooth_image(2), smooth_image(3)], axis=-1)
    write_test_image(veriserum / "images/bs_000001.jpg", colour)
    ran = medcli("calibrate", "veriserum", "--root", veriserum, "--json")
    assert ran.code == 0
    assert json.loads(ran.out)["colour"] == 1
    assert "1 colour images were read as grey" in ran.err


@pytest.mark.parametrize("remove", ["images", "poses", "distortion", "everything"])
def test_missing_inputs(veriserum: Path, medcli: Run, remove: str, tmp_path: Path) -> None:
    if remove == "images":
        for path in (veriserum / "images").iterdir():
            path.unlink()
        said = "no image in"
    elif remove == "everything":
        veriserum = tmp_path / "nothing"
        said = "there is no folder"
    else:
        (veriserum / (POSES if remove == "poses" else DISTORTION)).unlink()
        said = "no pose table in" if remove == "poses" else "no distortion calibration table in"
    ran = medcli("calibrate", "veriserum", "--root", veriserum)
    assert ran.code == 3
    assert said in ran.err
    assert ran.err.count("\n") <= 2
    assert not (veriserum / "calibrated").exists()


def test_tables_that_are_not_tables(veriserum: Path, medcli: Run, tmp_path: Path) -> None:
    for option, text, said in (
        ("--poses", "a,b\n1,2\n", "has no column id, distortion_calibration_id"),
        ("--poses", "", "cannot be read as a pose table"),
        ("--distortion", "id\n1\n", "has no column distortion_result_bs"),
        ("--poses", "id;distortion_calibration_id\n1;4\n", "separated by semicolons"),
        ("--poses", "id,ID,distortion_calibration_id\n1,1,4\n", "has the column id twice"),
    ):
        (tmp_path / "table.csv").write_text(text)
        ran = medcli("calibrate", "veriserum", "--root", veriserum, option, tmp_path / "table.csv")
        assert ran.code == 3
        assert said in ran.err
    ran = medcli("calibrate", "veriserum", "--root", veriserum, "--poses", tmp_path / "absent.csv")
    assert (ran.code, "there is no file" in ran.err) == (3, True)


def test_no_id_is_selected(veriserum: Path, medcli: Run) -> None:
    ran = medcli("calibrate", "veriserum", "--root", veriserum, "--ids", "100-200")
    assert ran.code == 3
    assert "none of the 4 ids" in ran.err


def test_output_that_cannot_be_written(veriserum: Path, medcli: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    ran = medcli("calibrate", "veriserum", "--root", veriserum, "--out", tmp_path / "file" / "out")
    assert ran.code == 1
    assert "cannot write to" in ran.err


def test_full_disk_stops_and_a_later_run_resumes(
    veriserum: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full after three images: they are kept, no partial file remains, and a later run resumes."""
    calibrate(veriserum, tmp_path / "whole")
    original, written = files.write_bytes, []

    def write(target: Path, content: bytes, durable: bool = True) -> None:
        if target.suffix == ".jpg" and len(written) >= 3:
            files.part_path(target).write_bytes(b"half")
            files.part_path(target).unlink()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(target)
        original(target, content, durable)

    monkeypatch.setattr(image_io, "write_bytes", write)
    with pytest.raises(MedcliError, match="the disk is full"):
        calibrate(veriserum, tmp_path / "out", workers=2)
    assert len(list((tmp_path / "out").glob("*.jpg"))) == 3
    monkeypatch.undo()
    assert calibrate(veriserum, tmp_path / "out").skipped == 3
    assert contents_of(tmp_path / "out") == contents_of(tmp_path / "whole")


def test_one_file_that_cannot_be_written(veriserum: Path, medcli: Run) -> None:
    (veriserum / "calibrated/calibrated_bs_000002.jpg").mkdir(parents=True)
    (veriserum / "calibrated/calibrated_bs_000002.jpg/kept.txt").write_text("a folder in the way")
    ran = medcli("calibrate", "veriserum", "--root", veriserum, "--overwrite", "--json")
    result = json.loads(ran.out)
    assert (ran.code, result["done"], result["failed"]) == (4, 7, 1)
    assert "calibrated_bs_000002.jpg: it exists and is not a regular file" in result["failures"][0]["reason"]


def test_values_beyond_the_header_do_not_shift_columns(veriserum: Path, medcli: Run) -> None:
    """A comma at the end of each row, as some spreadsheets write it."""
    text = (veriserum / POSES).read_text().splitlines()
    (veriserum / POSES).write_text("\n".join([text[0], *(line + "," for line in text[1:])]) + "\n")
    assert medcli("calibrate", "veriserum", "--root", veriserum, "--json").code == 0


def test_two_pose_tables_are_reported(veriserum: Path, medcli: Run) -> None:
    (veriserum / "csv_files/veriserum_pose_a_older.csv").write_text((veriserum / POSES).read_text())
    ran = medcli("calibrate", "veriserum", "--root", veriserum)
    assert ran.code == 0
    assert "several files could be the pose table" in ran.err
    assert "veriserum_pose_a_older.csv" in ran.out


def test_skip_obsolete_with_words_or_without_the_column(veriserum: Path, medcli: Run) -> None:
    poses = pd.read_csv(veriserum / POSES)
    poses["obsolete"] = ["", "yes", "0", "1"]
    poses.to_csv(veriserum / POSES, index=False)
    ran = medcli("calibrate", "veriserum", "--root", veriserum, "--skip-obsolete", "--json")
    assert json.loads(ran.out)["obsolete"] == 4
    assert "obsolete is not a number in 1 row" in ran.err
    poses.drop(columns="obsolete").to_csv(veriserum / POSES, index=False)
    assert "no column obsolete" in medcli("calibrate", "veriserum", "--root", veriserum, "--skip-obsolete").err


def test_duplicates_are_reported(veriserum: Path, medcli: Run) -> None:
    (veriserum / "zz copy").mkdir()
    shutil.copy(veriserum / "images/bs_000001.jpg", veriserum / "zz copy/bs_000001.jpg")
    ran = medcli("calibrate", "veriserum", "--root", veriserum)
    assert ran.code == 0
    assert "1 image exists twice" in ran.err


@pytest.mark.parametrize("double", ["zz copy/bs_000002.jpg", "images/BS_000002.JPG", "images/bs_000002.png"])
def test_two_different_images_of_one_name_are_not_chosen_from(veriserum: Path, medcli: Run, double: str) -> None:
    (veriserum / double).parent.mkdir(exist_ok=True)
    (veriserum / double).write_bytes(image_io.encode(smooth_image(50), Path(double).suffix.lower()).tobytes())
    if len(list((veriserum / "images").iterdir())) == 8 and double.startswith("images"):
        pytest.skip("this file system does not tell upper from lower case")
    ran = medcli("calibrate", "veriserum", "--root", veriserum, "--json")
    assert ran.code == 4
    assert "the first of each is used" not in ran.err
    result = json.loads(ran.out)
    assert (result["done"], result["failed"]) == (7, 1)
    reason = result["failures"][0]["reason"]
    assert str(veriserum / double) in reason
    assert str(veriserum / "images/bs_000002.jpg") in reason
    assert "two different images of one name" in reason
    (veriserum / double).unlink()
    assert medcli("calibrate", "veriserum", "--root", veriserum).code == 0


def test_maps_beyond_the_memory_limit_are_loaded_again(veriserum: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = veriserum / "expected"
    calibrate(veriserum, expected)
    monkeypatch.setattr(module, "_MAPS_IN_MEMORY", 1)
    calibrate(veriserum, veriserum / "calibrated", workers=4)
    assert contents_of(veriserum / "calibrated") == contents_of(expected)


def test_plan_raises_on_no_images(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no image"):
        calibrate(tmp_path)


def test_a_part_of_an_image_is_a_failure_and_a_whole_one_of_another_size_is_not(
    veriserum: Path, medcli: Run, tmp_path: Path
) -> None:
    write_test_image(veriserum / "images/bs_000001.jpg", smooth_image(2)[:1024, :1024])
    for name in ("bs_000002.jpg", "fs_000002.jpg"):
        write_test_image(veriserum / "images" / name, np.ascontiguousarray(smooth_image(4)[::2, ::2]))
    words = ("calibrate", "veriserum", "--root", veriserum, "--ids", "1-2", "--out", tmp_path / "out", "--json")
    ran = medcli(*words)
    assert ran.code == 4
    assert "bs_000001.jpg is 1024 x 1024 pixels, no whole image of 1664 x 1600" in ran.out
    assert json.loads(ran.out)["done"] == 3
    assert "is 832 x 800 pixels, expected 1664 x 1600" in ran.err
    assert ran.err.count("832 x 800") == 1  # not for each
    assert not (tmp_path / "out" / "calibrated_bs_000001.jpg").exists()
