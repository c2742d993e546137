"""What UltraBones100k's file names say, in all its layouts."""

from __future__ import annotations

import pytest

from medcli.ultrabones.dataset.publication import read_name

RECORDS = "ultrasound_records"
CURRENT = [
    (f"specimen07/{RECORDS}/tibia/record03/UltrasoundImages/1.png", 7, "tibia", 3, "images"),
    (f"specimen10/{RECORDS}/foot/record01/Labels_full/1_label.png", 10, "foot", 1, "labels"),
    (f"specimen10/{RECORDS}/foot/record01/Labels_pred/1_label_pred.png", 10, "foot", 1, "predictions"),
    ("specimen01/CT_bone_segmentations/fibula.stl", 1, "fibula", None, "meshes"),
    ("specimen01/CT_bone_segmentations/CT_bone_model_merged.stl", 1, None, None, "meshes"),
    ("specimen01/pretrained_model/epoch_30.pth", 1, None, None, "models"),
    ("specimen01/notes.txt", 1, None, None, "other"),
]
GRADIENT = "Linear18/record02/Label_partial_gradient/1_label_partial_gradient.png"
FIRST = [
    (f"cadaver05_S232132L/{GRADIENT}", 5, None, 2, "labels"),
    ("cadaver00-F230837/record01/sweepProcessedAndOptimized.csv", 0, None, 1, "tracking"),
]
CASES = [(f"{top}/", case) for top, cases in (("UltraBones100k", CURRENT), ("AI_data", FIRST)) for case in cases]


@pytest.mark.parametrize(("top", "case"), [*CASES, ("", CURRENT[0])])
def test_a_path_says_what_it_is(top: str, case: tuple[str, int, str | None, int | None, str]) -> None:
    named = read_name(top + case[0])
    assert named is not None
    assert (named.path, named.specimen, named.anatomy, named.record, named.kind) == case


def test_an_archive_names_the_specimen_where_its_members_do_not() -> None:
    named = read_name("ultrasound_records/tibia/record01/tracking.csv", "specimen03.zip")
    assert named is not None
    assert named.path == "specimen03/ultrasound_records/tibia/record01/tracking.csv"


@pytest.mark.parametrize("name", ["README.md", "images/specimen.png", ".gitattributes", "specimen03.zip"])
def test_other_files_belong_to_no_specimen(name: str) -> None:
    assert read_name(name) is None
