"""Which frames are converted, how they are named, and that no donor is on both sides of a split."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from medcli.core.errors import DataError
from medcli.interchange.labelled_frames import (
    case_name,
    convert_each,
    donor_folds,
    find_labelled,
    one_fold,
    put_aside,
)
from medcli.interchange.notes import plain_name
from tests.interchange.conftest import SPECIMENS


def test_names_are_plain_and_say_specimen_and_record() -> None:
    assert case_name(2, "tibia", 1, 184462) == "specimen02_tibia_record01_184462"
    assert case_name(2, "", 12, 7) == "specimen02_record12_7"  # the first release has no folder of the bone
    assert case_name(3, "Knöchel links", 1, 7) == "specimen03_Knochel-links_record01_7"
    assert plain_name("Straße 5.b") == "Strasse-5-b"


def test_legs_of_one_donor_stay_together(ultrasound: Path) -> None:
    frames = find_labelled(ultrasound, None, "partial")
    assert frames.specimens == SPECIMENS
    folds = donor_folds(frames, SPECIMENS)
    assert sorted(folds) == [(2,), (5, 7), (8, 9)]
    split = put_aside(frames, [7, 2])
    assert (split.train, split.aside, split.left_out) == ((8, 9), (2, 7), (5,))
    assert not set(one_fold(frames, None).train) & set(one_fold(frames, None).aside)
    assert donor_folds(frames, [5, 7]) == []  # one donor: nothing to validate on
    with pytest.raises(DataError, match="no specimen of another donor"):
        put_aside(frames, [2, 5, 8])
    with pytest.raises(DataError, match="no labelled frame of specimen 3"):
        put_aside(frames, [3])


def test_a_frame_that_cannot_be_read_is_listed_and_two_of_one_name_are_refused(
    ultrasound: Path, tmp_path: Path
) -> None:
    record = tmp_path / "specimen02/ultrasound_records/fibula/record01"
    shutil.copytree(ultrasound / "specimen02", tmp_path / "specimen02")
    images = sorted((record / "UltrasoundImages").iterdir())
    images[1].write_bytes(b"no image")
    from medcli.core.progress import SILENT
    from medcli.interchange.labelled_frames import read_label_of

    table = find_labelled(tmp_path, None, "full").table
    done, failures = convert_each(table, read_label_of, "test", 2, SILENT)
    assert [row.name for row, _ in done] == [f"specimen02_fibula_record01_{images[i].stem}" for i in (0, 2)]
    assert len(failures) == 1
    assert images[1].stem in failures[0]
    shutil.copytree(record, record.with_name("record_01"))
    with pytest.raises(DataError, match="would both be named specimen02_fibula_record01_"):
        find_labelled(tmp_path, None, "full")


def test_labelled_frames_need_no_pose(ultrasound: Path, tmp_path: Path) -> None:
    shutil.copytree(ultrasound / "specimen02", tmp_path / "specimen02")
    tracking = tmp_path / "specimen02/ultrasound_records/fibula/record01/tracking.csv"
    tracking.write_text("".join(tracking.read_text().splitlines(keepends=True)[:2]))
    assert len(find_labelled(tmp_path, None, "partial").table) == 3
