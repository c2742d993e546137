"""Broken tables and absurd numbers in every command that reads them: one error or a listed failure, no traceback."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medcli.core.mesh import Mesh, read_stl, write_stl
from medcli.synthetic.ultrasound.dataset import SweepSettings, make_ultrabones
from medcli.ultrabones.reconstruction import cloud_files, point_cloud
from tests.conftest import MadeOnce, Ran
from tests.support.made_veriserum import make_distortion, smooth_image, write_tables, write_test_image
from tests.support.small_figures import draw_nothing

Run = Callable[..., Ran]
RECORD = Path("specimen01/ultrasound_records/fibula/record01")

DAMAGE: dict[str, Callable[[str], bytes]] = {
    "no rows": lambda text: text.splitlines()[0].encode() + b"\n",
    "no columns": lambda text: b"",
    "blank": lambda text: b"\n \n",
    "one column twice": lambda text: _with_doubled_column(text).encode(),
    "only NaN": lambda text: _with_every_number(text, "nan").encode(),
    "text in number columns": lambda text: _with_every_number(text, "oops").encode(),
    "semicolons": lambda text: text.replace(",", ";").encode(),
    "UTF-16": lambda text: text.encode("utf-16"),
    "a NUL byte": lambda text: text[:-9].encode() + b"\0" + text[-9:].encode(),
    "Latin-1": lambda text: text.encode() + b"\xe9\n",
}
SAME: dict[str, Callable[[str], bytes]] = {
    "BOM": lambda text: b"\xef\xbb\xbf" + text.encode(),
    "CRLF": lambda text: text.replace("\n", "\r\n").encode(),
}


def _with_doubled_column(text: str) -> str:
    """Every column a second time."""
    return "".join(f"{line},{line}\n" for line in text.splitlines())


def _with_every_number(text: str, word: str) -> str:
    header, *rows = csv.reader(text.splitlines())
    return "\n".join([",".join(header), *(",".join([word] * len(header)) for _ in rows)]) + "\n"


def _must_be_one_error(ran: Ran, codes: tuple[int, ...] = (3,)) -> None:
    assert ran.code in codes, ran
    assert "Traceback" not in ran.err
    assert ran.err.strip()


@pytest.fixture(scope="session")
def made_bones(made_once: MadeOnce) -> Path:
    def make(root: Path) -> None:
        settings = SweepSettings(frames=3, scale=0.25, optimized_columns=True)
        make_ultrabones(root, (1,), settings=settings, records=2)

    return made_once("hostile-tables-bones", make)


@pytest.fixture
def bones(made_bones: Path, tmp_path: Path) -> Path:
    root = Path(shutil.copytree(made_bones, tmp_path / "bones"))
    for record in (root / RECORD, root / RECORD.with_name("record02")):
        shutil.rmtree(record / "Labels")
        shutil.rmtree(record / "Labels_full")
    return root


@pytest.fixture
def study(made_once: MadeOnce, tmp_path: Path) -> Path:
    """Four pairs with two calibrations, 4 and 9."""

    def make(root: Path) -> None:
        for number in range(1, 5):
            for plane in ("bs", "fs"):
                write_test_image(root / f"{plane}_{number:06d}.jpg", smooth_image(number, (400, 416)))
        write_tables(root, [1, 2, 3, 4], {4: make_distortion(4), 9: make_distortion(9)})

    return Path(shutil.copytree(made_once("hostile-tables-study", make), tmp_path / "study"))


@pytest.fixture
def pose_study(made_once: MadeOnce) -> Path:
    """Six synthetic pairs of three trials. Not to be changed."""
    from medcli.synthetic.fluoroscopy.dataset import make_veriserum

    def make(root: Path) -> None:
        make_veriserum(
            root, 6, seed=4, calibrations=1, frames_per_trial=2, anatomies=(1, 1, 1), companion=False, obsolete_every=0
        )

    return made_once("hostile-tables-poses", make)


@pytest.mark.parametrize("damage", [*DAMAGE, "a folder in its place"])
def test_a_damaged_tracking_table_fails_its_record_and_the_others_continue(
    bones: Path, medcli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    monkeypatch.setattr(point_cloud, "PUBLISHED_SAMPLES", 10_000)
    monkeypatch.setattr(cloud_files, "draw_cloud", draw_nothing)
    path = bones / RECORD / "tracking.csv"
    text = path.read_text()
    path.unlink()
    if damage in DAMAGE:
        path.write_bytes(DAMAGE[damage](text))
    else:
        path.mkdir()
    ran = medcli("label", "ultrabones", "--root", bones)
    _must_be_one_error(ran, (4,))
    assert "record01" in ran.err
    assert "wrote 6 files for 3 frames" in ran.out
    alone = medcli("label", "ultrabones", "--root", bones, "--records", 1, "--refine")
    _must_be_one_error(alone)
    rebuilt = medcli("reconstruct", "ultrabones", "--root", bones, "--mask", "Labels", "--out", tmp_path / "out")
    assert "Traceback" not in rebuilt.err
    assert medcli("info", "--ultrabones-root", bones).code == 0


@pytest.mark.parametrize("change", SAME)
def test_marks_and_line_ends_of_a_tracking_table_change_no_label(bones: Path, medcli: Run, change: str) -> None:
    def labels() -> dict[str, bytes]:
        return {str(path.relative_to(bones)): path.read_bytes() for path in bones.rglob("Labels*/*.png")}

    assert medcli("label", "ultrabones", "--root", bones).code == 0
    before = labels()
    path = bones / RECORD / "tracking.csv"
    path.write_bytes(SAME[change](path.read_text()))
    assert medcli("label", "ultrabones", "--root", bones, "--overwrite").code == 0
    assert labels() == before


def test_rows_longer_than_the_header_do_not_shift_the_poses(bones: Path, medcli: Run) -> None:
    """A comma at the end of each row, as spreadsheets write it, made x of y and z of euler_x."""
    path = bones / RECORD / "tracking.csv"
    header, *rows = path.read_text().splitlines()
    assert medcli("label", "ultrabones", "--root", bones, "--records", 1).code == 0
    before = {image.name: image.read_bytes() for image in (bones / RECORD / "Labels_full").iterdir()}
    path.write_text("\n".join([header, *(f"{row},7" for row in rows)]) + "\n")
    assert medcli("label", "ultrabones", "--root", bones, "--records", 1, "--overwrite").code == 0
    assert {image.name: image.read_bytes() for image in (bones / RECORD / "Labels_full").iterdir()} == before


def test_a_cell_with_line_ends_in_quotes_does_not_lose_the_rows(bones: Path, medcli: Run) -> None:
    path = bones / RECORD / "tracking.csv"
    assert medcli("label", "ultrabones", "--root", bones, "--records", 1).code == 0
    before = {image.name: image.read_bytes() for image in (bones / RECORD / "Labels_full").iterdir()}
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([f"note,{header}", *(f'"a\nb\u2028, c",{row}' for row in rows)]) + "\n", "utf-8")
    ran = medcli("label", "ultrabones", "--root", bones, "--records", 1, "--overwrite")
    assert (ran.code, "wrote 6 files for 3 frames" in ran.out) == (0, True), ran
    assert {image.name: image.read_bytes() for image in (bones / RECORD / "Labels_full").iterdir()} == before


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("euler_z_optimized", 1e308, "euler_z_optimized is 1e+308 degrees, expected -3600 to 3600 degrees"),
        ("x_optimized", 1e5, "x_optimized is 100000 mm, expected -10000 to 10000 mm"),
        ("z_optimized", np.inf, "not a number"),
        ("space_factor", 5.392e-5, "space_factor is 5.392e-05 mm, expected 0.001 to 5 mm"),
        ("timestamp", 1e308, ""),
    ],
)
def test_absurd_numbers_of_a_tracking_table_fail_their_frame(
    bones: Path, medcli: Run, column: str, value: float, said: str
) -> None:
    path = bones / RECORD / "tracking.csv"
    table = pd.read_csv(path).astype({column: float})
    table.loc[1, column] = value
    table.to_csv(path, index=False)
    ran = medcli("label", "ultrabones", "--root", bones, "--records", 1)
    assert (ran.code, said in ran.err) == ((4 if said else 0), True), ran
    assert len(list((bones / RECORD / "Labels").iterdir())) == 2


def test_absurd_meshes_are_refused(bones: Path, medcli: Run) -> None:
    path = next((bones / "specimen01").rglob("*.stl"))
    mesh = read_stl(path)
    wild = mesh.vertices.copy()
    wild[3, 0] = 3e38
    for vertices, said in (
        (wild, "vertices cannot be right: a coordinate is 3e+38 mm"),
        (mesh.vertices * 1000, "looks like micrometres"),
        (mesh.vertices / 1000, "looks like metres"),
    ):
        write_stl(Mesh(vertices, mesh.faces), path)
        ran = medcli("label", "ultrabones", "--root", bones)
        _must_be_one_error(ran)
        assert said in ran.err


@pytest.mark.parametrize("damage", [*DAMAGE, "a folder in its place"])
@pytest.mark.parametrize("kind", ["--poses", "--distortion"])
def test_damaged_tables_of_a_study(study: Path, medcli: Run, tmp_path: Path, kind: str, damage: str) -> None:
    stem = {"--poses": "veriserum_pose", "--distortion": "distortion_calibration"}[kind]
    source = next((study / "csv_files").glob(f"{stem}*.csv"))
    path = tmp_path / "damaged.csv"
    if damage in DAMAGE:
        path.write_bytes(DAMAGE[damage](source.read_text()))
    else:
        path.mkdir()
    ran = medcli("calibrate", "veriserum", "--root", study, "--out", tmp_path / "out", kind, path)
    _must_be_one_error(ran)
    assert str(path) in ran.err.replace("\n", "")


@pytest.mark.parametrize("change", SAME)
def test_marks_and_line_ends_of_a_study_change_no_pixel(study: Path, medcli: Run, tmp_path: Path, change: str) -> None:
    assert medcli("calibrate", "veriserum", "--root", study, "--out", tmp_path / "a").code == 0
    for path in (study / "csv_files").iterdir():
        path.write_bytes(SAME[change](path.read_text()))
    assert medcli("calibrate", "veriserum", "--root", study, "--out", tmp_path / "b").code == 0
    images = sorted(path.name for path in (tmp_path / "a").glob("*.jpg"))
    assert len(images) == 8
    for name in images:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize(("place", "value"), [(0, 1e308), (0, 1e5), (5, 1e5), (32, 0.0), (33, 1e308)])
def test_a_useless_calibration_fails_its_images_and_the_others_continue(
    study: Path, medcli: Run, tmp_path: Path, place: int, value: float
) -> None:
    """Place 0 is a constant term: a field beside the grid; 32 the scale, 33 the translation."""
    path = study / "csv_files/distortion_calibration_reloaded.csv"
    table = pd.read_csv(path)
    parts = [part.split(",") for part in table.at[0, "distortion_result_bs"].split(";")]
    cells = [(i, j) for i, part in enumerate(parts) for j in range(len(part))]
    i, j = cells[place]
    parts[i][j] = repr(value)
    table.at[0, "distortion_result_bs"] = ";".join(",".join(part) for part in parts)
    table.to_csv(path, index=False)
    ran = medcli("calibrate", "veriserum", "--root", study, "--out", tmp_path / "out", "--json")
    answer = json.loads(ran.out)
    assert (ran.code, answer["done"], answer["failed"]) == (4, 6, 2)
    assert {(failure["id"], failure["plane"]) for failure in answer["failures"]} == {(1, "bs"), (3, "bs")}
    for failure in answer["failures"]:
        assert failure["reason"].startswith("calibration 4, plane bs, ")


@pytest.mark.parametrize("damage", [*DAMAGE, "a folder in its place"])
def test_damaged_tables_of_points(study: Path, medcli: Run, tmp_path: Path, damage: str) -> None:
    path, out = tmp_path / "points.csv", tmp_path / "out.csv"
    if damage in DAMAGE:
        path.write_bytes(DAMAGE[damage]("x_px,y_px,plane,id\n1,2,bs,1\n3,4,fs,2\n"))
    else:
        path.mkdir()
    ran = medcli("calibrate", "points", path, "--out", out, "--root", study)
    _must_be_one_error(ran)
    assert not out.exists()


@pytest.mark.parametrize("to", ["mm", "px"])
@pytest.mark.parametrize("value", ["inf", "-inf", "1e308", "1e7"])
def test_absurd_points_are_refused_with_their_line(
    study: Path, medcli: Run, tmp_path: Path, value: str, to: str
) -> None:
    source = "px" if to == "mm" else "mm"
    (tmp_path / "points.csv").write_text(f"x_{source},y_{source},plane,id\n1,2,bs,1\n1,{value},bs,1\n")
    words = ("--out", tmp_path / "out.csv", "--root", study, "--to", to)
    ran = medcli("calibrate", "points", tmp_path / "points.csv", *words)
    _must_be_one_error(ran)
    assert f"line 3: y_{source} is" in ran.err
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize("damage", [*DAMAGE, "a folder in its place"])
def test_damaged_tables_of_poses(pose_study: Path, medcli: Run, tmp_path: Path, damage: str) -> None:
    """Start poses, predictions and references."""
    source = next(path for path in (pose_study / "csv_files").glob("veriserum_pose*.csv"))
    path = tmp_path / "damaged.csv"
    if damage in DAMAGE:
        path.write_bytes(DAMAGE[damage](source.read_text()))
    else:
        path.mkdir()
    out = tmp_path / "out"
    for words in (
        ("register", "pose", "--start", path, "--out", tmp_path / "poses.csv"),
        ("evaluate", "pose", "--predictions", path, "--out", out),
        ("evaluate", "pose", "--predictions", source, "--reference", path, "--out", out),
    ):
        _must_be_one_error(medcli(*words, "--root", pose_study), (3, 4))


def test_absurd_poses_are_failures_or_left_out(pose_study: Path, medcli: Run, tmp_path: Path) -> None:
    source = next(path for path in (pose_study / "csv_files").glob("veriserum_pose*.csv"))
    table = pd.read_csv(source).astype({"tx": float, "rz": float})
    table.loc[0, "rz"] = 1e308
    table.loc[1, "tx"] = 1e6  # micrometres
    path = tmp_path / "poses.csv"
    table.to_csv(path, index=False)
    first, second = table["id"].iloc[:2].tolist()
    words = ("--root", pose_study, "--json", "--ids", str(first), str(second))
    ran = medcli("register", "pose", "--start", path, "--out", tmp_path / "out.csv", *words)
    reasons = {failure["id"]: failure["reason"] for failure in json.loads(ran.out)["failures"]}
    assert "rz is 1e+308 degrees" in reasons[first]
    assert "tx is 1e+06 mm, expected -10000 to 10000 mm" in reasons[second]
    words = ("--root", pose_study, "--split", "all", "--out", tmp_path / "out", "--json")
    ran = medcli("evaluate", "pose", "--predictions", path, *words)
    assert ran.code == 4
    assert len(json.loads(ran.out)["failures"]) == 2
    assert "2 poses are not six plausible numbers and omitted, the first of id" in ran.err


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_in_the_place_of_a_table_is_not_waited_for(study: Path, medcli: Run, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    ran = medcli("calibrate", "points", tmp_path / "pipe.csv", "--out", tmp_path / "out.csv", "--root", study)
    _must_be_one_error(ran)


def test_real_tables_pass_untouched(real_data: Path) -> None:
    from medcli.ultrabones.dataset.records import find_sweeps, read_poses
    from medcli.ultrabones.geometry.bone_meshes import find_meshes, load_surfaces
    from medcli.veriserum.calibration.distortion_table import DistortionTable
    from medcli.veriserum.dataset.folder_index import DISTORTIONS, SOURCES
    from medcli.veriserum.dataset.study import VeriserumStudy
    from medcli.veriserum.geometry.biplane import SourceIntensifier

    for sweep in find_sweeps(real_data / "ultrabones-example"):
        poses = read_poses(sweep)
        assert [poses.problem(frame) for frame in range(len(sweep.timestamps))] == [""] * len(sweep.timestamps)
        raw = pd.read_csv(sweep.folder / "tracking.csv")[["x", "y", "z", "euler_x", "euler_y", "euler_z"]]
        assert poses.pose.tobytes() == np.ascontiguousarray(raw.to_numpy()[sweep.rows]).tobytes()
        assert load_surfaces(find_meshes(sweep.folder, sweep.specimen))
    study = VeriserumStudy(real_data / "veriserum")
    table = DistortionTable(study)
    assert len([table.get(n, plane) for n in study.table(DISTORTIONS).index for plane in ("bs", "fs")]) == 20
    for _, row in study.table(SOURCES).iterrows():
        SourceIntensifier.from_row({str(name): value for name, value in row.items()})
