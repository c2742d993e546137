"""``medcli register bone``: files, words, the run in lists and reports, refusals."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medcli.core.image_io import write_image
from medcli.core.rigid_transforms import transform_points
from medcli.report.runs import runs_in
from medcli.synthetic.ultrasound.clouds import CloudSettings, scan_leg
from medcli.synthetic.ultrasound.dataset import Leg
from medcli.ultrabones.geometry.bone_meshes import load_surfaces
from medcli.ultrabones.reconstruction.mask_points import CUT_FROM_CT
from medcli.ultrabones.reconstruction.point_cloud import write_xyz
from medcli.ultrabones.registration import register_bone as module
from medcli.ultrabones.registration.cloud_input import read_cloud, read_matrix
from medcli.ultrabones.registration.mesh_folder import meshes_in
from medcli.ultrabones.registration.register_cloud import RunnerUp, register_cloud
from medcli.ultrabones.registration.surface_samples import BoneTarget
from medcli.workspace.run_figures import run_figures
from medcli.workspace.runs import find_run
from tests.conftest import Ran


@pytest.fixture(scope="module")
def scanned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fibula's cloud, meshes, and a start near the truth."""
    place = tmp_path_factory.mktemp("register-bone")
    leg = Leg.make(44, 6)
    leg.write_meshes(place / "meshes", "current")
    cloud = scan_leg(leg, ("fibula",), 3, CloudSettings(frames=25))
    motion = np.eye(4)
    motion[:3, 3] = [30, -20, 10]
    write_xyz(place / "cloud.xyz", transform_points(motion, cloud))
    motion[:3, 3] = [-28, 21, -11]
    np.savetxt(place / "init.txt", motion)
    return place


def test_files_report_and_a_second_run(
    scanned: Path, tmp_path: Path, medcli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out" / "transform.json"
    words = ["register", "bone", scanned / "cloud.xyz", "--meshes", scanned / "meshes", "--init", scanned / "init.txt"]
    ran = medcli(*words, "--out", out)
    assert ran.code == 0, ran.err
    assert "sliding along the long axis" in ran.out
    stored = json.loads(out.read_text())
    matrix = np.loadtxt(out.with_suffix(".txt"))
    assert np.allclose(matrix, stored["registration"]["transform"])
    middle = np.loadtxt(scanned / "cloud.xyz").mean(axis=0)
    assert np.linalg.norm(transform_points(matrix, middle[None])[0] - (middle - [30, -20, 10])) < 4
    assert out.with_suffix(".png").read_bytes()[1:4] == b"PNG"
    assert stored["schema"] == "medcli.register_bone.v1"
    assert stored["meshes"] == ["fibula", "foot", "tibia"]  # and not the merged mesh on top
    run = find_run(out.parent)
    assert run is not None
    assert (run.kind, run.state) == ("register bone", "finished")
    assert run_figures(run)["points within 2 mm, share"] > 0.5
    (report,) = runs_in(out.parent)
    assert report.title == "Registration of bone to CT"
    assert report.sections[0].title == "Residuals"
    monkeypatch.setattr(module, "register_cloud", None)  # the second run must not compute
    again = medcli(*words, "--out", out, "--json")
    assert json.loads(again.out)["registration"] == stored["registration"]
    monkeypatch.setattr(module, "register_cloud", lambda *_: module.registration_from(stored["registration"]))
    with monkeypatch.context() as stopped:
        stopped.setattr(module, "draw_cloud", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            module.register_bone(words[2], words[4], out, words[6], overwrite=True)
    assert "registration" not in json.loads(out.read_text())
    assert medcli(*words, "--out", out).code == 0  # resumes without --overwrite
    assert json.loads(out.read_text()) == stored
    others = tmp_path / "other.xyz"
    write_xyz(others, np.loadtxt(scanned / "cloud.xyz")[:2000])
    (tmp_path / "cloud.ply").write_text("ply")
    (tmp_path / "n.txt").write_text("mine")
    for cloud, target, reason in (
        (others, out, "cloud was"),
        (tmp_path / "cloud.ply", tmp_path / "cloud.json", "would replace the input"),
        (others, tmp_path / "n.json", "n.txt is there and not by"),
    ):
        before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        ran = medcli("register", "bone", cloud, "--meshes", scanned / "meshes", "--out", target)
        assert (ran.code, reason in ran.err) == (2, True), ran.err
        assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_what_speaks_against_a_transform_is_shown_in_full(
    scanned: Path, tmp_path: Path, medcli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All reasons, a next pose that is not told apart, and that the points are labels: terminal, JSON and report."""
    cloud, out = tmp_path / "leg_Labels_initial.xyz", tmp_path / "out" / "leg.json"
    cloud.write_bytes((scanned / "cloud.xyz").read_bytes())
    note = {"made_from": "", "reconstruction": {"mask": "Labels", "files": [cloud.name]}}
    cloud.with_suffix(".json").write_text(json.dumps(note))
    start = read_matrix(scanned / "init.txt")
    target = BoneTarget.of(load_surfaces(meshes_in(scanned / "meshes")))
    one = register_cloud(read_cloud(cloud).points, target, start)
    reasons = ("first reason", "second reason", "third reason", "fourth reason")
    other = RunnerUp(0.5, -1.3, 60.0, 180.0, one.transform)
    monkeypatch.setattr(
        module,
        "register_cloud",
        lambda *_: dataclasses.replace(one, status="doubtful", reasons=reasons, runner_up=other),
    )
    drawn: list[object] = []

    def draw(path: Path, *words: object) -> None:
        drawn.extend(words[3:])
        write_image(path, np.zeros((20, 30, 3), np.uint8))

    monkeypatch.setattr(module, "draw_cloud", draw)
    words = ["register", "bone", cloud, "--meshes", scanned / "meshes", "--out", out]
    ran = medcli(*words)
    assert ran.code == 0, ran.err
    lines = [line.strip() for line in ran.out.splitlines()]
    assert [line.removeprefix("because").strip() for line in lines[1:5]] == list(reasons)
    shown = " ".join(" ".join(lines).split())
    assert CUT_FROM_CT in shown
    assert "leads by 1.3 standard errors, 3 tell poses apart; its matrix is under runner_up in leg.json" in shown
    assert json.loads(out.read_text())["caution"] == CUT_FROM_CT
    assert drawn[1] == 2.0
    assert str(drawn[0]).endswith("% within 2 mm")
    (report,) = runs_in(out.parent)
    assert [block.text.rstrip(".") for block in report.notes][-1].lower() == CUT_FROM_CT.lower()
    cloud.with_suffix(".json").unlink()
    assert json.loads(medcli(*words, "--json").out)["caution"] == ""  # computed no more, but told anew
    assert json.loads(out.read_text())["caution"] == ""
    earlier = json.loads(out.read_text())
    del earlier["caution"]
    out.write_text(json.dumps({**earlier, "registration": {**earlier["registration"], "reasons": ["old words"]}}))
    assert "old words" not in medcli(*words).out  # of a version before

    ran = medcli("report", out)
    assert ran.code == 0, ran.err
    assert (out.parent / "leg.report.html").is_file()
    (out.parent / "leg.medcli-run.json").unlink()
    assert "no run's result: there is no leg.medcli-run.json beside it" in medcli("report", out).err
    assert "it is a file" in medcli("report", cloud).err


def test_refusals_come_together_and_first(scanned: Path, tmp_path: Path, medcli: Callable[..., Ran]) -> None:
    (tmp_path / "none").mkdir()
    words = ["register", "bone", tmp_path / "no.ply", "--meshes", tmp_path / "none", "--out", tmp_path / "a.txt"]
    ran = medcli(*words)
    assert ran.code in (2, 3)
    assert "no.ply" in ran.err
    assert "no mesh in" in ran.err
    assert "--out is a JSON file" in ran.err
    write_xyz(tmp_path / "metres.xyz", np.loadtxt(scanned / "cloud.xyz") / 1000)
    ran = medcli(
        "register", "bone", tmp_path / "metres.xyz", "--meshes", scanned / "meshes", "--out", tmp_path / "a.json"
    )
    assert ran.code == 3
    assert "metres" in ran.err
    assert not (tmp_path / "a.json").exists()
