"""A folder is listed once, its calibrated images apart, and its tables are read once."""

from __future__ import annotations

from pathlib import Path

import pytest

from medcli.core.errors import DataError
from medcli.core.mesh import Mesh, write_stl
from medcli.synthetic.fluoroscopy.implants import TibialShape, tibial_component
from medcli.veriserum.dataset import folder_index
from medcli.veriserum.dataset.folder_index import POSES, SOURCES
from medcli.veriserum.dataset.study import VeriserumStudy
from tests.support.made_veriserum import write_study


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two pairs, one of them calibrated, and an implant."""
    study = write_study(tmp_path / "study", [1, 2], [1, 1])
    for plane in ("bs", "fs"):
        place = study / f"calibrated/calibrated_{plane}_000001.jpg"
        place.parent.mkdir(exist_ok=True)
        place.touch()
    (study / "calibrated/bs_000009.jpg").touch()
    (study / "ana_000002.stl").touch()
    return study


def test_images_and_surfaces_are_listed_apart(root: Path) -> None:
    study = VeriserumStudy(root)
    assert sorted(study.contents.images) == [1, 2]
    assert {number: sorted(planes) for number, planes in study.calibrated_images.items()} == {1: ["bs", "fs"]}
    assert list(study.surfaces.files) == [2]
    assert VeriserumStudy(root, implants=root / "csv_files").surfaces.files == {}


def test_results_next_to_the_originals_are_recognised_by_name(root: Path) -> None:
    (root / "calibrated_bs_000002.jpg").touch()
    study = VeriserumStudy(root, root)
    assert sorted(study.calibrated_images) == [1, 2]
    assert sorted(study.contents.images) == [1, 2, 9]


def test_a_given_folder_must_contain_calibrated_images(root: Path) -> None:
    for folder, expected in (
        (root / "csv_files", "contains no calibrated_bs_NNNNNN.jpg"),
        (root / "none", "there is no folder"),
    ):
        with pytest.raises(DataError, match=expected):
            VeriserumStudy(root, folder).calibrated_images  # noqa: B018
    (root / "calibrated").rename(root / "elsewhere")
    assert VeriserumStudy(root).calibrated_images == {}


def test_a_table_is_read_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, read = VeriserumStudy(root), []
    monkeypatch.setattr(folder_index, "_read_csv", lambda *words: read.append(words) or original(*words))
    assert study.table(POSES) is study.table(POSES)
    assert study.table_file(POSES).name == "veriserum_pose_reloaded_refined_all.csv"
    assert len(read) == 1


original = folder_index._read_csv


def test_a_given_table_is_used(root: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no pose table in"):
        VeriserumStudy(tmp_path / "study/calibrated").table(POSES)
    named = root / "csv_files/source_int_calibration_reloaded.csv"
    study = VeriserumStudy(tmp_path / "nowhere", files={SOURCES: named})
    assert study.table(SOURCES).index.tolist() == [1]
    with pytest.raises(DataError, match="there is no folder"):
        study.table(POSES)


@pytest.mark.parametrize(("unit", "said"), [(10, "centimetres: scale it by 10"), (1000, "metres: scale it by 1000")])
def test_an_implant_in_another_unit_is_refused_where_it_is_read(root: Path, unit: int, said: str) -> None:
    mesh = tibial_component(TibialShape())
    write_stl(Mesh(mesh.vertices / unit, mesh.faces), root / "ana_000002.stl")
    with pytest.raises(DataError, match=f"looks like {said}"):
        VeriserumStudy(root).surfaces.implant(2)
