"""``medcli check veriserum``: each kind of damage is found by its own check, and by no other."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from medcli.core.checking.check_lines import Checklist
from medcli.core.image_io import read_grey, write_image
from medcli.synthetic.fluoroscopy.dataset import make_veriserum
from medcli.synthetic.fluoroscopy.motion import pose_cells
from medcli.veriserum.checks import check_pairs
from medcli.veriserum.checks.check_pairs import PairFindings, check_pose_frame, outline_share
from medcli.veriserum.checks.check_pose_table import check_tables
from medcli.veriserum.checks.check_veriserum import check_veriserum
from medcli.veriserum.dataset.study import VeriserumStudy
from medcli.veriserum.geometry.biplane import PoseFrame
from medcli.veriserum.registration.start_poses import Sources
from tests.conftest import MadeOnce, Ran

POSES = "csv_files/veriserum_pose_reloaded_refined_all.csv"
IMAGES = "veriserum_collection_compressed"
Damage = Callable[[Path], object]


def make_sound(root: Path) -> None:
    """Four pairs of a trial of which two show the femur and two the tibia, without a database."""
    study = make_veriserum(root, pairs=4, frames_per_trial=4, anatomies=(1,), obsolete_every=0, calibrations=1).study
    for path in [*root.glob("*.db"), *root.glob("grid_phantom")]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    table = pd.read_csv(root / POSES)
    for row in (2, 3):
        frame = study.frames[row + 1]
        cells = {"anatomy_id": frame.companion_id, **pose_cells(frame.knee.of("tibia"))}
        for name, value in cells.items():
            table.loc[row, name] = float(value)
    table.assign(side="left", fps=30).to_csv(root / POSES, index=False)


@pytest.fixture(scope="module")
def sound(made_once: MadeOnce) -> Path:
    return made_once("checked-knees", make_sound)


@pytest.fixture
def knees(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "knees"))


def states(root: Path, frame: PoseFrame = PoseFrame.WORLD, **options: Any) -> dict[str, str]:
    found = check_veriserum(Sources(root, frame=frame), workers=2, **options)
    return {line.check: line.state for line in found.lines}


def edit(name: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Damage:
    def damage(root: Path) -> None:
        path = root / "csv_files" / name
        change(pd.read_csv(path)).to_csv(path, index=False)

    return damage


def set_cell(name: str, column: str, value: object) -> Damage:
    return edit(name, lambda table: table.assign(**{column: [value, *table[column][1:]]}))


def image(root: Path, name: str) -> Path:
    return root / IMAGES / f"{name}.jpg"


def cut(root: Path) -> None:
    path = image(root, "bs_000001")
    path.write_bytes(path.read_bytes()[:-2000])


def rewrite(change: Callable[[np.ndarray], np.ndarray]) -> Damage:
    def damage(root: Path) -> None:
        path = image(root, "bs_000001")
        write_image(path, change(read_grey(path)))

    return damage


def move_poses(mm: float) -> Damage:
    return edit(TABLE, lambda table: table.assign(tx=table["tx"] + mm))


TABLE, DISTORTION, SOURCE = (
    "veriserum_pose_reloaded_refined_all.csv",
    "distortion_calibration_reloaded.csv",
    "source_int_calibration_reloaded.csv",
)
DARK = "implant is dark there"
DAMAGE: list[tuple[str, Damage, dict[str, str]]] = [
    ("cut image", cut, {"images open": "wrong", "poses and images used": "wrong"}),
    ("colour", rewrite(lambda grey: np.repeat(grey[..., None], 3, axis=2)), {"image depth": "warning"}),
    ("small plane", rewrite(lambda grey: np.asarray(cv2.resize(grey, (832, 800)))), {"image size": "wrong"}),
    ("no plane", lambda root: image(root, "fs_000002").unlink(),
     {"pairs": "warning", "poses and images used": "wrong"}),
    ("two files", lambda root: shutil.copy(image(root, "bs_000001"), root / "bs_000001.jpg"),
     {"one file an image": "warning"}),
    ("two images", lambda root: shutil.copy(image(root, "bs_000002"), root / "bs_000001.jpg"),
     {"one file an image": "wrong", "equal images": "warning", "poses and images used": "wrong"}),
    ("one image twice", lambda root: shutil.copy(image(root, "bs_000001"), image(root, "bs_000002")),
     {"equal images": "warning"}),
    ("pose in metres", set_cell(TABLE, "tz", 5e5), {"poses in range": "wrong", "poses and images used": "wrong"}),
    ("unknown implant", set_cell(TABLE, "anatomy_id", 9),
     {"ids of the pose table": "wrong", "poses and images used": "wrong"}),
    ("id twice", edit(TABLE, lambda table: pd.concat([table, table[:1]])), {"pose table": "warning"}),
    ("no row", edit(TABLE, lambda table: table[:-1]), {"images in the table": "wrong"}),
    ("femora alone", edit(TABLE, lambda table: table.assign(anatomy_id=1).assign(measurement_id=5)[:2]),
     {"femur and tibia": "warning", "images in the table": "wrong", "trials": "warning"}),
    ("no side", edit(TABLE, lambda table: table.drop(columns=["side", "fps"])),
     {"side": "unknown", "frame rate": "unknown"}),
    ("side", set_cell(TABLE, "side", "upper"), {"side": "wrong"}),
    ("frame rate", edit(TABLE, lambda table: table.assign(fps=0)), {"frame rate": "wrong"}),
    ("distortion", set_cell(DISTORTION, "distortion_result_bs", "0;1;2"),
     {"distortions sane": "wrong", "poses and images used": "wrong"}),
    ("camera", set_cell(SOURCE, "sid_fs", -1850.0), {"cameras sane": "wrong", "pose frame": "unknown",
                                                     "poses and images used": "wrong"}),
    ("open implant", lambda root: open_mesh(root), {"implants": "wrong"}),
    ("implant in centimetres", lambda root: shrink_mesh(root),
     {"implants": "wrong", "poses and images used": "wrong"}),
    ("no implant", lambda root: next(root.rglob("ana_000005.stl")).unlink(), {"implants": "warning"}),
    ("black image", rewrite(lambda grey: grey * 0), {"image contents": "wrong", DARK: "wrong"}),
    ("planes exchanged", lambda root: exchange(*(image(root, f"{plane}_000001") for plane in ("bs", "fs"))),
     {"planes": "wrong"}),
    ("beside the image", move_poses(400), {"pose frame": "wrong"}),
    ("beside the knee", move_poses(60), {DARK: "wrong"}),
]  # fmt: skip


def exchange(first: Path, second: Path) -> None:
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)


def open_mesh(root: Path) -> None:
    from medcli.core.mesh import Mesh, read_stl, write_stl

    path = next(root.rglob("ana_000007.stl"))
    mesh = read_stl(path)
    write_stl(Mesh(mesh.vertices, mesh.faces[:-1]), path)


def shrink_mesh(root: Path) -> None:
    from medcli.core.mesh import Mesh, read_stl, write_stl

    path = next(root.rglob("ana_000007.stl"))
    mesh = read_stl(path)
    write_stl(Mesh(mesh.vertices / 10, mesh.faces), path)


def test_sound_data_are_ok_in_their_own_frame_only(sound: Path) -> None:
    lines = {line.check: line for line in check_veriserum(Sources(sound), workers=2).lines}
    assert {check: line.state for check, line in lines.items() if line.state != "ok"} == {}
    assert lines["poses in range"].figure == "all of 4"
    assert states(sound, PoseFrame.SOURCE_BS)["pose frame"] == "wrong"


@pytest.mark.deep
@pytest.mark.parametrize(("name", "damage", "expected"), DAMAGE, ids=[name for name, *_ in DAMAGE])
def test_each_damage_has_its_check(knees: Path, name: str, damage: Damage, expected: dict[str, str]) -> None:
    damage(knees)
    found = {check: state for check, state in states(knees).items() if state != "ok"}
    assert found == expected


def test_words_numbers_and_status(medcli: Callable[..., Ran], knees: Path, tmp_path: Path) -> None:
    cut(knees)
    sheet = tmp_path / "a new folder" / "sheet.png"
    ran = medcli("check", "veriserum", "--root", knees, "--pose-frame", "source-bs", "--figure", sheet)
    assert ran.code == 4
    assert "world 100 %, fs 100 %, source-bs 0 %; try --pose-frame world" in ran.out
    assert "failed: images open: " in ran.err
    assert cv2.imread(str(sheet)) is not None
    found = json.loads(medcli("check", "veriserum", "--root", knees, "--sample", "1", "--json").out)
    assert (found["schema"], found["items"], found["looked_into"]) == ("medcli.check.v1", 4, 1)


def test_the_sheet_shows_both_components_of_an_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_veriserum(tmp_path / "knee", pairs=1, both_poses=True, obsolete_every=0).root
    outlined: list[int] = []

    def draw(images: dict[str, np.ndarray], cameras: object, outlines: list[object]) -> list[np.ndarray]:
        outlined.append(len(outlines))
        return [np.zeros((64, 64, 3), np.uint8) for _ in images]

    monkeypatch.setattr(check_pairs, "draw_planes", draw)
    check_veriserum(Sources(root), figure=tmp_path / "sheet.png", workers=1)
    table = pd.read_csv(root / f"csv_files/{TABLE}")
    assert len(table) == 2
    table[:1].to_csv(root / f"csv_files/{TABLE}", index=False)
    check_veriserum(Sources(root), figure=tmp_path / "sheet.png", workers=1)
    assert outlined == [2, 1]


def test_mirrored_images_are_named_and_not_taken_for_another_frame(knees: Path) -> None:
    for path in (knees / IMAGES).rglob("*.jpg"):
        write_image(path, np.ascontiguousarray(read_grey(path)[:, ::-1]))
    lines = {line.check: line for line in check_veriserum(Sources(knees), workers=2).lines}
    assert lines["mirrored images"].state == "wrong"
    assert lines["mirrored images"].figure.startswith("all of 4 pairs: bs left to right, fs left to right")
    assert lines[DARK].advice in ("", "because of what the line 'mirrored images' says")


def disc(x: int, y: int = 120) -> np.ndarray:
    return np.asarray(cv2.circle(np.zeros((256, 256), np.uint8), (x, y), 40, 1, -1), np.uint8) > 0


def test_outlines_on_and_beside_the_implant() -> None:
    image = np.where(disc(128), 60, 180).astype(np.uint8)
    shares = [outline_share(image, disc(x)) for x in (128, 129, 178, 215)]
    assert shares[0] == 1
    assert shares == sorted(shares, reverse=True)
    assert shares[1] > 0.4 > shares[2]
    image[:, 130:] = 0  # outside of the field
    assert np.isnan(outline_share(image, disc(215)))


def test_one_misplaced_pair_among_many_fails() -> None:
    def pair(number: int, bs: float, fs: float) -> PairFindings:
        seen = {"world": {"bs": number != 7, "fs": True}}
        return PairFindings(number, {}, {"world": True}, seen, {"world": False}, {"bs": bs, "fs": fs})

    others = [pair(20, 0.1, 0.9), pair(21, 0.1, np.nan), *(pair(number, 0.9, 0.8) for number in range(30, 45))]
    for pairs, state in (([pair(7, 0.1, 0.3), *others], "wrong"), (others, "ok")):
        checks = Checklist()
        check_pose_frame(checks, pairs, "world")
        lines = {line.check: line for line in checks.lines}
        assert lines["implant outlines"].state == state
        assert lines[DARK].state != "wrong", "a single pair is lost in the shares"


@pytest.mark.deep
def test_single_misplaced_pairs_fail_and_no_healthy_one(made_once: MadeOnce, tmp_path: Path) -> None:
    """Of 24 pairs two have the images of each other, and another one a pose 50 mm beside its implant."""
    root = tmp_path / "many"
    made = made_once(
        "many-knees", lambda folder: make_veriserum(folder, pairs=24, frames_per_trial=2, obsolete_every=0)
    )
    shutil.copytree(made, root)
    for path in root.glob("*.db"):
        path.unlink()
    assert states(root)["implant outlines"] == "ok"
    for plane in ("bs", "fs"):
        exchange(image(root, f"{plane}_000003"), image(root, f"{plane}_000020"))
    assert outlined(root) == [3, 20]
    edit(TABLE, lambda table: table.assign(tx=table["tx"] + 50.0 * (table["id"] == 9)))(root)
    assert outlined(root) == [3, 9, 20]


def outlined(root: Path) -> list[int]:
    found = check_veriserum(Sources(root), workers=2)
    (line,) = [line for line in found.lines if line.check == "implant outlines"]
    assert all(f"implant outlines: {example}" in found.failures for example in line.examples)
    return [int(example.split(":")[0].removeprefix("id ")) for example in line.examples]


def test_tables_alone_are_checked_and_nothing_is_status_3(
    medcli: Callable[..., Ran], knees: Path, tmp_path: Path
) -> None:
    shutil.rmtree(knees / IMAGES)
    assert states(knees)["images"] == "unknown"
    assert states(knees)["poses in range"] == "ok"
    (knees / "csv_files" / TABLE).unlink()
    ran = medcli("check", "veriserum", "--root", knees)
    assert (ran.code, ran.out.count("unknown  not here"), ran.out.count(", each id once")) == (0, 1, 2)
    (knees / "csv_files" / DISTORTION).write_text("id\n1\n")
    assert states(knees)["distortion calibration table"] == "wrong"
    assert medcli("check", "veriserum", "--root", tmp_path / "knees" / IMAGES).code == 3


def test_tables_and_database_that_disagree(tmp_path: Path) -> None:
    root = make_veriserum(tmp_path / "both", pairs=1, obsolete_every=0).root
    for expected in ("ok", "warning"):
        checks = Checklist()
        check_tables(checks, VeriserumStudy(root))
        assert {line.check: line.state for line in checks.lines}["tables and database"] == expected
        set_cell(TABLE, "tx", 1.0)(root)


def test_both_components_of_a_moment_are_near_each_other(tmp_path: Path) -> None:
    """What must be known of real data before knee motion: pairs under one id, and poses in one frame."""
    from tests.support.knees import draw_knees, pose_rows, write_knees

    rows = pose_rows(draw_knees(1, 4))
    lines = {line.check: line for line in check_veriserum(Sources(write_knees(tmp_path / "a", rows)), workers=1).lines}
    assert (
        lines["femur and tibia"].figure
        == "all of 1 measurement and all of 4 ids hold both; median 8 rows a measurement"
    )
    assert (lines["components together"].state, lines["femur and tibia"].state) == ("ok", "ok")
    assert "1 trial, none of 4 frames without both poses" in lines["components together"].figure
    assert (lines["pose table"].state, lines["pose table"].figure[-28:]) == ("ok", ", 4 ids with both components")
    assert (lines["poses in range"].figure, lines["units of the poses"].state) == ("all of 8", "ok")
    radians = rows.assign(side=["left", "right"] * 4, **{name: np.radians(rows[name]) for name in ("rz", "rx", "ry")})
    again = pd.concat([radians, radians[:1], radians[:1].assign(tx=1.0)])
    lines = {line.check: line for line in check_veriserum(Sources(write_knees(tmp_path / "c", again)), workers=1).lines}
    assert [lines[name].state for name in ("units of the poses", "pose table", "side")] == [
        "wrong",
        "warning",
        "warning",
    ]
    assert "look like radians" in lines["units of the poses"].figure
    assert [place[-40:] for place in lines["pose table"].places] == [
        "id 1, anatomy 1: lines 2 and 10 say the same"[-40:],
        "anatomy 1: lines 2 and 11 contradict each other"[-40:],
    ]
    rows.loc[rows["anatomy_id"] == 3, "tz"] *= -1
    lines = {line.check: line for line in check_veriserum(Sources(write_knees(tmp_path / "b", rows)), workers=1).lines}
    assert lines["components together"].state == "wrong"
    assert "one frame" in lines["components together"].advice


def test_words_on_data_of_one_component(tmp_path: Path, medcli: Callable[..., Ran]) -> None:
    """What is found and what is advised agree, and the examples are ones."""
    from tests.support.knees import draw_knees, pose_rows, write_knees

    rows = pose_rows(draw_knees(1, 4))
    rows = rows[rows["anatomy_id"] == 1].assign(measurement_id=lambda table: table["id"])
    ran = medcli("check", "veriserum", "--root", write_knees(tmp_path / "a", rows), "--workers", 1)
    assert "for example: only femur poses" in ran.out
    assert "femur and tibia are never together" in ran.out
    assert "for example: ids 1 and following are one trial" in ran.out
    assert "such as" not in ran.out
    assert "pair them by image id" not in ran.out
