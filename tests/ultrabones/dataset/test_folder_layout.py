"""Names of files and folders in the published layouts."""

from __future__ import annotations

from pathlib import Path

import pytest

from medcli.ultrabones.dataset import folder_layout
from medcli.ultrabones.dataset.folder_layout import find_records, list_timestamps, mask_name, specimen_folder


def test_masks_are_named_as_the_dataset_names_them() -> None:
    kinds = ("Labels", "Labels_full", "Labels_pred", "LabelsManual", "Label_partial_gradient")
    assert [mask_name(7, kind) for kind in kinds] == [
        "7_label.png",
        "7_label.png",
        "7_label_pred.png",
        "7-labels.png",
        "7_label_partial_gradient.png",
    ]


def test_timestamps_of_a_folder(tmp_path: Path) -> None:
    for name in ("7.png", "007.png", "12_label.PNG", "x.png", ".3.png", "4.txt"):
        (tmp_path / name).touch()
    assert list_timestamps(str(tmp_path)) == ({7: "007.png", 12: "12_label.PNG"}, ["7.png", "x.png"])
    assert list_timestamps(str(tmp_path / "absent")) == ({}, [str(tmp_path / "absent")])


def test_two_different_images_of_one_timestamp_are_left_out_until_they_are_equal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(folder_layout.logger, "warning", lambda form, *values: said.append(form % values))
    (tmp_path / "7.png").write_bytes(b"one")
    (tmp_path / "007.png").write_bytes(b"two")
    for _ in range(2):
        assert list_timestamps(str(tmp_path)) == ({}, ["7.png", "007.png"])
    assert said == [f"{tmp_path}: 007.png and 7.png are two different images of one frame, which is left out"]
    (tmp_path / "7.png").write_bytes(b"two")
    assert list_timestamps(str(tmp_path)) == ({7: "007.png"}, ["7.png"])


def test_a_record_says_its_parent_folders(tmp_path: Path) -> None:
    record = tmp_path / "specimen05/ultrasound_records/tibia/record03"
    (record / "UltrasoundImages").mkdir(parents=True)
    (found,) = find_records(tmp_path)
    assert (found.specimen, found.donor, found.anatomy, found.record) == (5, "S232132", "tibia", 3)
    assert specimen_folder(record) == tmp_path / "specimen05"
    assert specimen_folder(Path("record03")) is None
