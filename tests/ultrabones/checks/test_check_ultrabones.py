"""``medcli check ultrabones``: each kind of damage is found by its own check, and by no other."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from medcli.core.image_io import read_grey, write_image
from medcli.core.mesh import read_stl, write_stl
from medcli.core.run_provenance import SYNTHETIC
from medcli.synthetic.ultrasound.dataset import SweepSettings, make_ultrabones
from medcli.ultrabones.checks.check_images import compare_labels
from medcli.ultrabones.checks.check_ultrabones import check_ultrabones
from tests.conftest import MadeOnce, Ran

RECORD = Path("specimen02/ultrasound_records/fibula/record01")
Damage = Callable[[Path], object]


@pytest.fixture(scope="module")
def sound(made_once: MadeOnce) -> Path:
    settings = SweepSettings(frames=3)
    return made_once("checked-legs", lambda root: make_ultrabones(root, (2, 7), settings=settings))


@pytest.fixture
def legs(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "legs"))


def states(root: Path, **options: object) -> dict[str, str]:
    return {line.check: line.state for line in check_ultrabones(root, workers=2, **options).lines}  # type: ignore[arg-type]


def files(record: Path, folder: str) -> list[Path]:
    return sorted((record / folder).glob("*.png"))


def edit_table(record: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    table = pd.read_csv(record / "tracking.csv")
    change(table).to_csv(record / "tracking.csv", index=False)


def set_cell(column: str, value: float) -> Damage:
    def damage(record: Path) -> None:
        edit_table(record, lambda table: table.assign(**{column: [value, *table[column][1:]]}))

    return damage


def truncate(folder: str) -> Damage:
    def damage(record: Path) -> None:
        path = files(record, folder)[0]
        path.write_bytes(path.read_bytes()[:-40])

    return damage


def grey_label(record: Path) -> None:
    for path in files(record, "Labels"):
        label = read_grey(path)
        write_image(path, np.where(label > 0, 254, 0).astype(np.uint8))


def colour_image(record: Path) -> None:
    path = files(record, "UltrasoundImages")[0]
    write_image(path, np.repeat(read_grey(path)[..., None], 3, axis=2))


def small_label(record: Path) -> None:
    path = files(record, "Labels")[0]
    write_image(path, np.asarray(cv2.resize(read_grey(path), (475, 406)), np.uint8))


def shift_labels(pixels: int) -> Damage:
    def damage(record: Path) -> None:
        for folder in ("Labels", "Labels_full"):
            for path in files(record, folder):
                write_image(path, np.roll(read_grey(path), pixels, axis=0))

    return damage


def copy_image(record: Path) -> None:
    other = record.parents[3] / "specimen07" / record.relative_to(record.parents[2])
    shutil.copy(files(record, "UltrasoundImages")[0], files(other, "UltrasoundImages")[0])


def copy_within(record: Path) -> None:
    first, second, *_ = files(record, "UltrasoundImages")
    shutil.copy(first, second)


def crop_images(record: Path) -> None:
    for folder in ("UltrasoundImages", "Labels", "Labels_full"):
        for path in files(record, folder):
            write_image(path, np.ascontiguousarray(read_grey(path)[:-60, :-60]))


def scale_mesh(record: Path) -> None:
    for path in (record.parents[2] / "CT_bone_segmentations").glob("*.stl"):
        mesh = read_stl(path)
        write_stl(type(mesh)(mesh.vertices + np.array([0.0, 0.0, 40.0]), mesh.faces), path)


def meshes_of(record: Path) -> Path:
    return record.parents[2] / "CT_bone_segmentations"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:500])


def blank(record: Path) -> None:
    path = files(record, "UltrasoundImages")[0]
    write_image(path, np.full_like(read_grey(path), 7))


DAMAGE: list[tuple[str, Damage, dict[str, str]]] = [
    ("cut image", truncate("UltrasoundImages"), {"images open": "wrong"}),
    ("cut label", truncate("Labels"), {"labels open": "wrong"}),
    ("colour", colour_image, {"image depth": "warning"}),
    ("grey label", grey_label, {"label pixels": "warning"}),
    ("small label", small_label, {"label pixels": "wrong"}),
    ("labels off by 1 mm", shift_labels(19), {"labels on the meshes": "warning"}),
    ("labels of another frame", shift_labels(300), {"labels on the meshes": "wrong"}),
    ("another mesh", scale_mesh, {"labels on the meshes": "wrong"}),
    ("cut mesh", lambda r: cut(meshes_of(r) / "fibula.stl"), {"bone meshes": "wrong"}),
    ("no meshes", lambda r: shutil.rmtree(meshes_of(r)), {"bone meshes": "warning"}),
    ("one mesh less", lambda r: (meshes_of(r) / "foot.stl").unlink(), {"bone meshes": "warning"}),
    ("full labels only", lambda r: shutil.rmtree(r / "Labels"), {"kinds of label": "warning"}),
    ("one partial label less", lambda r: files(r, "Labels")[0].unlink(), {"kinds of label": "warning"}),
    ("blank image", blank, {"image contents": "wrong"}),
    ("copy in another specimen", copy_image, {"equal images": "wrong"}),
    ("copy in a record", copy_within, {"equal images": "warning"}),
    ("cropped", crop_images, {"image size": "warning", "labels on the meshes": "wrong"}),
    ("no image", lambda r: files(r, "UltrasoundImages")[0].unlink(),
     {"labels of images": "wrong", "rows without image": "warning"}),
    ("no label", lambda r: [files(r, f)[0].unlink() for f in ("Labels", "Labels_full")],
     {"labels of images": "warning"}),
    ("no row", lambda r: edit_table(r, lambda t: t[1:]), {"images in the tables": "warning"}),
    ("row twice", lambda r: edit_table(r, lambda t: pd.concat([t, t[-1:]])), {"timestamps": "wrong"}),
    ("descending", lambda r: edit_table(r, lambda t: t[::-1]), {"timestamps": "warning"}),
    ("pose in metres", set_cell("x", 1e5), {"poses in range": "wrong"}),
    ("no pose", set_cell("euler_y", float("nan")), {"poses in range": "wrong"}),
    ("spacing in micrometres", lambda r: edit_table(r, lambda t: t.assign(space_factor=53.92)),
     {"pixel spacing": "wrong"}),
    ("wide correction", set_cell("x", 70.0), {"refined poses": "warning"}),
    ("no header", lambda r: (r / "tracking.csv").write_text("1,2,3\n4,5,6\n"),
     {"tracking tables": "wrong"}),
    ("odd name", lambda r: files(r, "UltrasoundImages")[0].with_name("overview.png").write_bytes(b""),
     {"folders and names": "warning"}),
    ("unknown specimen", lambda r: r.parents[2].rename(r.parents[3] / "specimen77"), {"specimens": "warning"}),
    ("another donor", lambda r: r.parents[2].rename(r.parents[3] / "cadaver02_F999999"), {"donors": "wrong"}),
]  # fmt: skip


def test_sound_data_are_ok(sound: Path) -> None:
    assert {check: state for check, state in states(sound).items() if state != "ok"} == {}


def test_records_that_are_published_and_not_there_are_named(legs: Path, medcli: Callable[..., Ran]) -> None:
    """Real data have no mark of synthetic ones; here two legs have one record each of 10 and of 9 published ones."""
    (legs / SYNTHETIC).unlink()
    found = json.loads(medcli("check", "ultrabones", "--root", legs, "--sample", "1", "--json").out)
    line = next(line for line in found["lines"] if line["check"] == "records")
    assert (line["state"], line["figure"]) == ("warning", "2; 19 are published of these specimens")
    assert "specimen 7: no fibula record 2 3" in "; ".join(line["examples"])


@pytest.mark.deep
@pytest.mark.parametrize(("name", "damage", "expected"), DAMAGE, ids=[name for name, *_ in DAMAGE])
def test_each_damage_has_its_check(legs: Path, name: str, damage: Damage, expected: dict[str, str]) -> None:
    damage(legs / RECORD)
    assert {check: state for check, state in states(legs).items() if state != "ok"} == expected


def test_all_at_once_in_words_numbers_and_status(medcli: Callable[..., Ran], legs: Path, tmp_path: Path) -> None:
    record = legs / RECORD
    for name, damage, _ in DAMAGE[:1]:
        assert name == "cut image"
        damage(record)
    set_cell("x", 1e5)(record)
    copy_within(legs / "specimen07" / RECORD.relative_to("specimen02"))
    sheet = tmp_path / "a new folder" / "sheet.png"
    ran = medcli("check", "ultrabones", "--root", legs, "--all", "--figure", sheet)
    assert ran.code == 4
    assert "images open           wrong    5 of 6; get the data with" in ran.out
    assert "failed: poses in range: " in ran.err
    assert "x is 100000 mm, expected -10000 to 10000 mm" in ran.err
    assert cv2.imread(str(sheet)).shape[1] > 900
    found = json.loads(medcli("check", "ultrabones", "--root", legs, "--sample", "2", "--json").out)
    assert (found["schema"], found["items"], found["looked_into"]) == ("medcli.check.v1", 6, 2)
    assert [line["check"] for line in found["lines"] if line["state"] == "warning"] == ["equal images"]


def test_no_data_is_status_3_before_anything_is_loaded(medcli: Callable[..., Ran], tmp_path: Path) -> None:
    ran = medcli("check", "ultrabones", "--root", tmp_path, "--figure", tmp_path / "sheet.pdf")
    assert (ran.code, ran.err.count("error: ")) == (2, 2)
    assert medcli("check", "ultrabones", "--root", tmp_path).code == 3


def label_line(root: Path) -> tuple[str, str, tuple[str, ...]]:
    (line,) = [line for line in check_ultrabones(root, workers=2).lines if line.check == "labels on the meshes"]
    return line.state, line.figure, line.places


def test_single_labels_of_another_frame_are_counted_and_named_in_each_specimen(legs: Path) -> None:
    """Off by less than poses of another refinement explain, but alone in their records."""
    first, second, *_ = files(legs / RECORD, "Labels")
    other = files(legs / "specimen07" / RECORD.relative_to("specimen02"), "Labels")[0]
    shutil.copy(first, second)
    write_image(other, np.roll(read_grey(other), 28, axis=0))  # 1.5 mm
    state, figure, places = label_line(legs)
    assert (state, ["specimen02" in place for place in places]) == ("wrong", [True, False])
    assert figure.startswith("2 of 6 off by more than 0.2 mm, all of them wrong (specimen 2: 1, specimen 7: 1); ")


def test_a_partial_label_on_the_far_side_of_the_section_is_off() -> None:
    section = np.zeros((200, 300), np.uint8)
    section[[50, 150]] = 255
    near, far = (np.repeat(np.arange(200)[:, None] == row, 300, axis=1) for row in (50, 150))
    assert compare_labels({"partial": near, "full": near | far}, section, 0.05)["partial"].off_mm == 0
    fit = compare_labels({"partial": far}, section, 0.05)["partial"]
    assert (fit.section_mm, fit.off_mm) == (0, pytest.approx(5))


def test_a_missing_mesh_blames_no_label(legs: Path) -> None:
    for number, expected in (("02", "ok"), ("07", "unknown")):
        (legs / f"specimen{number}/CT_bone_segmentations/fibula.stl").unlink()
        state, figure, _ = label_line(legs)
        assert (state, "specimen 2, which has no fibula.stl" in figure) == (expected, True)
    (meshes,) = [line for line in check_ultrabones(legs, sample=1).lines if line.check == "bone meshes"]
    assert (meshes.state, meshes.figure) == ("warning", "0 of 2 specimens complete")
    assert meshes.advice.endswith("without a mesh cannot be compared or made: medcli download ultrabones --only meshes")
    for number in ("02", "07"):
        (legs / f"specimen{number}").rename(legs / f"specimen9{number[1]}")
    (meshes,) = [line for line in check_ultrabones(legs, sample=1).lines if line.check == "bone meshes"]
    assert meshes.advice.endswith("without a mesh cannot be compared or made")  # which no download brings


def test_a_record_counts_once_and_is_named_from_the_root(legs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edit_table(legs / RECORD, lambda table: pd.concat([table, table[:1]]))  # repeated, and descending
    monkeypatch.chdir(legs.parent)
    (line,) = [line for line in check_ultrabones(legs.name, sample=1).lines if line.check == "timestamps"]
    assert (line.state, line.figure) == ("wrong", "1 record with repeated, missing or descending ones")
    assert line.places == (f"{RECORD / 'tracking.csv'}: 1 repeated, 0 missing",)


def test_without_meshes_labels_are_unknown(legs: Path) -> None:
    for folder in legs.rglob("CT_bone_segmentations"):
        shutil.rmtree(folder)
    assert states(legs, sample=2)["labels on the meshes"] == "unknown"


def test_ultraboneship_is_checked_by_its_own_layout(hip_data: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(hip_data / "hip", tmp_path / "hip"))
    found = check_ultrabones(root, workers=2)
    lines = {line.check: line for line in found.lines}
    assert (found.dataset, found.failures) == ("UltraBonesHip", ())  # no donor or record of UltraBones100k is missed
    assert lines["specimens"].figure == "1 of UltraBonesHip: 2"
    assert {"donors", "records"}.isdisjoint(lines)
    assert lines["image size"].state == "ok"  # 638 x 829, by its probe
    (root / "specimen02/CT_bone_segmentations/pelvis.stl").unlink()
    (line,) = [line for line in check_ultrabones(root, workers=2).lines if line.check == "bone meshes"]
    assert line.examples == ("specimen 2 has no pelvis.stl",)
    assert "medcli download ultrabones-hip --only meshes" in line.advice
