"""``medcli convert croissant``: mlcroissant finds no error in it, and reads the records."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import Ran
from tests.support.knees import POSE_TABLE


def test_a_folder_of_ultrasound(ultrasound: Path, medcli: Callable[..., Ran], tmp_path: Path) -> None:
    root = tmp_path / "Daten ü"
    shutil.copytree(ultrasound / "specimen02", root / "specimen02")
    ran = medcli("convert", "croissant", root)
    assert ran.code == 0, ran.err
    assert medcli("convert", "croissant", root).code == 2  # it is there
    (root / "croissant_frames.csv").write_text("specimen,mine\n")
    ran = medcli("convert", "croissant", root, "--out", root / "other.json")
    assert (ran.code, "croissant_frames.csv exists" in ran.err) == (2, True)
    assert medcli("convert", "croissant", root, "--overwrite").code == 2  # a table of somebody else
    (root / "croissant_frames.csv").unlink()
    (root / "probe.json").write_text("{}")
    ran = medcli("convert", "croissant", root, "--out", root / "probe.json", "--overwrite")
    assert (ran.code, "is no description in Croissant" in ran.err) == (2, True)
    (root / "probe.json").unlink()
    assert medcli("convert", "croissant", root, "--overwrite").code == 0
    described = json.loads((root / "croissant.json").read_text())
    assert described["license"] == "https://creativecommons.org/licenses/by/4.0/"
    assert "2025" in described["citeAs"]
    sets = {one["@id"]: one["includes"] for one in described["distribution"] if one["@type"] == "cr:FileSet"}
    assert set(sets) == {"UltrasoundImages", "Labels", "Labels_full"}
    assert all(len(list(root.glob(pattern))) == 3 for pattern in sets.values())
    mlc = pytest.importorskip("mlcroissant")
    dataset = mlc.Dataset(str(root / "croissant.json"))
    assert not dataset.metadata.issues.errors
    rows = list(dataset.records("frames-records"))
    assert len(rows) == 3
    for row in rows:
        assert row["frames-records/specimen"] == 2
        assert (root / row["frames-records/image"].decode()).is_file()
    files = [one for one in described["distribution"] if one["@type"] == "cr:FileObject"]
    assert {Path(one["contentUrl"]).suffix for one in files} == {".csv", ".stl"}
    for one in files:
        assert one["sha256"] == hashlib.sha256((root / one["contentUrl"]).read_bytes()).hexdigest()


def test_a_folder_of_x_rays_described_from_elsewhere(
    implants: Path, medcli: Callable[..., Ran], tmp_path: Path
) -> None:
    mlc = pytest.importorskip("mlcroissant")
    ran = medcli("convert", "croissant", implants, "--out", tmp_path / "new/veriserum.json", "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["records"] == {"poses": 8, "source_calibrations": 1}
    dataset = mlc.Dataset(str(tmp_path / "new/veriserum.json"))
    assert not dataset.metadata.issues.errors
    rows = list(dataset.records("poses-records"))
    table = pd.read_csv(implants / POSE_TABLE)
    assert [row["poses-records/tx"] for row in rows] == pytest.approx(table["tx"].tolist())


def test_synthetic_data_have_nobody_s_licence(ultrasound: Path, medcli: Callable[..., Ran], tmp_path: Path) -> None:
    assert (ultrasound / "synthetic.json").is_file()
    assert medcli("convert", "croissant", ultrasound, "--out", tmp_path / "a.json").code == 0
    described = json.loads((tmp_path / "a.json").read_text())
    assert described["name"] == "synthetic-data-in-the-layout-of-UltraBones100k"
    assert not described.keys() & {"license", "citeAs", "url", "datePublished"}


def test_what_is_no_data_folder(medcli: Callable[..., Ran], tmp_path: Path) -> None:
    ran = medcli("convert", "croissant", tmp_path)
    assert ran.code == 3
    assert "is no data folder" in ran.err
    assert medcli("convert", "croissant", tmp_path / "none").code == 3
    assert not list(tmp_path.iterdir())


def test_a_description_on_another_drive(
    implants: Path, medcli: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def relative_path(path: str, start: str) -> str:
        raise ValueError("path is on mount 'D:', start on mount 'C:'")  # as Windows knows them

    monkeypatch.setattr("medcli.interchange.croissant.os.path.relpath", relative_path)
    ran = medcli("convert", "croissant", implants, "--out", tmp_path / "veriserum.json")
    assert (ran.code, "would be on another drive" in ran.err, list(tmp_path.iterdir())) == (2, True, [])
