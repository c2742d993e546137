"""From poses to pages: reports, lists and comparisons of runs on knee motion, and the 3D view in a browser."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medcli.core.errors import DataError
from medcli.core.files import write_json
from medcli.core.image_io import write_image
from medcli.core.rigid_transforms import invert_rigid
from medcli.core.run_provenance import note_run
from medcli.report import write_report
from medcli.report.blocks import Chart, ImageBlock, MovingBodies, Note, Table
from medcli.report.comparison import comparison_page
from medcli.report.moving_bodies_view import moving_bodies
from medcli.report.write import page_of
from medcli.veriserum.dataset.publication import ABOUT
from medcli.veriserum.kinematics.compare_motion import compare_motion
from medcli.veriserum.kinematics.kinematics import KinematicsSettings, compute_kinematics
from medcli.workspace.run_comparison import compare_runs
from medcli.workspace.run_figures import run_figures
from medcli.workspace.runs import find_run, find_runs
from tests.conftest import Ran
from tests.support import knees
from tests.workflows.test_report_in_browser import DRAWN, Opened, browser  # noqa: F401 - a fixture
from tests.workflows.test_report_of_runs import blocks_in


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of both commands on one trial, its poses beside a strip of overlays. Not to be changed."""
    place = tmp_path_factory.mktemp("motion")
    trials = knees.draw_knees(1, 4)
    root = knees.write_knees(place / "data", knees.pose_rows(trials))
    poses, axes = place / "poses.csv", place / "axes.json"
    rows = knees.pose_rows(trials, noise=(0.1, 0.2), errors=True)
    rows[~((rows["id"] == 3) & (rows["anatomy_id"] == 1))].to_csv(poses, index=False)
    (place / "overlays").mkdir()
    for first_id in (1, 12):
        write_image(place / "overlays" / f"trial_{first_id:06d}.png", np.full((40, 200, 3), 90, np.uint8))
    write_json(place / "poses.medcli-run.json", {"verb": "register trial", "result": {"overlays": "overlays"}})
    write_json(axes, {"implants": {number: knees.true_axes(number, "left") for number in (1, 3)}})
    settings = KinematicsSettings(poses=poses, axes=axes)
    compute_kinematics(root, place / "runs" / "kinematics", settings)
    compare_motion(root, poses, None, place / "runs" / "evaluate", KinematicsSettings(axes=axes))
    return place / "runs"


def numbers_of(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), kind)


def test_the_page_of_a_motion(runs: Path) -> None:
    page, _ = page_of(runs / "kinematics")
    assert page.title == "Knee motion"
    assert [section.title for section in page.sections[:3]] == ["Trial 1, left knee", "Ranges", "Conventions"]
    blocks = blocks_in(page.sections[:1])
    assert [type(block) for block in blocks[:4]] == [Note, Chart, Chart, MovingBodies]
    assert isinstance(blocks[0], Note)
    assert list(blocks[0].items) == ["1 frame: no pose of the femur"]
    coordinates, low = (block for block in blocks if isinstance(block, Chart))
    assert (len(coordinates.panels), len(low.panels)) == (6, 3)
    assert all("band" in panel for panel in coordinates.panels)
    assert next(block.caption for block in blocks if isinstance(block, ImageBlock)) == "trial_000001"
    assert len([block for block in blocks if isinstance(block, ImageBlock)]) == 2, "not the strip of trial 12"


def test_the_view_holds_the_poses_of_the_run(runs: Path) -> None:
    """The femur over the tray in each frame, as the table has it."""
    (view,) = (
        block for block in blocks_in(page_of(runs / "kinematics")[0].sections) if isinstance(block, MovingBodies)
    )
    assert [body["name"] for body in view.bodies] == ["femur", "tibia"]
    assert len(view.labels) == 3
    poses = np.zeros((3, 2, 4, 4))
    poses[..., :3, :] = numbers_of(view.poses, "<f4").reshape(3, 2, 3, 4)
    poses[..., 3, 3] = 1
    np.testing.assert_allclose(poses[0, 1], np.eye(4), atol=1e-5)
    low = numbers_of(view.points, "<f4").reshape(3, 2, 3)
    femur = knees.implants()[1].mesh.transformed(invert_rigid(knees.true_axes(1).matrix())).vertices
    for pose, marks in zip(poses, low, strict=True):
        on_tray = np.linalg.inv(pose[1]) @ pose[0]
        heights = femur @ on_tray[2, :3] + on_tray[2, 3]
        assert marks[:, 2].min() == pytest.approx(heights.min(), abs=0.05)


def test_without_meshes_there_is_a_note_and_the_curves(runs: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(runs / "kinematics", tmp_path / "elsewhere"))
    note = (moved / "medcli-run.json").read_text("utf-8").replace(str(runs.parent), str(tmp_path / "gone"))
    (moved / "medcli-run.json").write_text(note, "utf-8")
    blocks = blocks_in(page_of(moved)[0].sections[:1])
    assert not any(isinstance(block, MovingBodies) for block in blocks)
    assert any(isinstance(block, Note) and "No 3D view" in block.text for block in blocks)
    assert len([block for block in blocks if isinstance(block, Chart)]) == 2


def test_the_page_of_a_comparison_and_the_lists_of_runs(runs: Path, medcli: Callable[..., Ran]) -> None:
    page, _ = page_of(runs / "evaluate")
    assert page.title == "Comparison of knee motion"
    table = next(block for block in blocks_in(page.sections) if isinstance(block, Table))
    assert [row[0] for row in table.rows][:2] == ["flexion", "adduction (varus)"]
    found = {run.kind: run for run in find_runs(runs)}
    assert set(found) == {"kinematics veriserum", "evaluate kinematics"}
    assert found["kinematics veriserum"].detail == "4 frames of 1 trial, 1 missing"
    assert found["evaluate kinematics"].headline.startswith("RMS flexion 0.")
    assert run_figures(found["kinematics veriserum"])["missing"] == 1
    assert run_figures(found["evaluate kinematics"])["frames"] == 3
    assert "evaluate kinematics" in medcli("runs", "list", "--runs", runs).out
    for name, captions in (
        ("kinematics", ["Trial 1: joint coordinates of each run over time."]),
        ("evaluate", ["Share of the frames with a difference, of either sign, below a value."]),
    ):
        page = comparison_page(compare_runs([runs / name, runs / name], runs))
        charts = [block for block in blocks_in(page.sections) if isinstance(block, Chart)]
        assert [chart.caption for chart in charts] == captions
        assert [(len(chart.panels), len(chart.keys)) for chart in charts] == [(6, 2)]


def test_long_trials_are_thinned() -> None:
    poses = np.broadcast_to(np.eye(4), (1000, 2, 4, 4)).copy()
    poses[:, 0, 0, 3] = np.arange(1000)
    mesh = knees.implants()[3].mesh
    view = moving_bodies([mesh, mesh], ["a", "b"], poses, np.zeros((1000, 2, 3)), [str(i) for i in range(1000)], "")
    assert (len(view.labels), view.labels[0], view.labels[-1]) == (400, "0", "999")
    assert len(numbers_of(view.faces, "<u2")) <= 2 * 3 * 4000


@pytest.mark.parametrize("width", [390, pytest.param(1280, marks=pytest.mark.deep)])
def test_the_view_moves_by_slider_and_keyboard(browser: object, runs: Path, tmp_path: Path, width: int) -> None:  # noqa: F811
    path = write_report(runs / "kinematics", tmp_path / "report.html").out
    with Opened(browser, path, viewport={"width": width, "height": 800}) as opened:
        figure = opened.page.locator(".motion")
        first = opened.screenshot(".motion canvas")
        figure.locator("canvas").focus()
        opened.page.keyboard.press(".")
        assert figure.locator("output").inner_text().startswith("2, 0.04 s")
        opened.page.keyboard.press(",")
        opened.page.keyboard.press(",")
        assert figure.locator("output").inner_text().startswith("4, 0.12 s"), "from the first to the last"
        opened.page.evaluate(DRAWN)
        assert (opened.screenshot(".motion canvas") != first).mean() > 0.01
        figure.locator("input").press("ArrowLeft")
        assert figure.locator("input").get_attribute("aria-valuetext").startswith("2, ")
        held = opened.screenshot(".motion canvas")
        figure.get_by_role("button", name="Hold the tibia still").click()
        opened.page.evaluate(DRAWN)
        assert (opened.screenshot(".motion canvas") != held).any()
        assert opened.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
        assert opened.complaints == []


def test_the_page_of_tracked_trials(tmp_path: Path) -> None:
    place, table = tmp_path / "looks", tmp_path / "poses.csv"
    place.mkdir()
    write_image(place / "trial_000001.png", np.full((40, 200, 3), 90, np.uint8))
    header = "id,anatomy_id,tx,ty,tz,rz,rx,ry,method,se_mm,se_deg,similarity_bs,similarity_fs,status,intersection_mm"
    rows = [f"{i},{a},1,2,3,4,5,6,tracked,0.1,0.2,0.9,0.8,good,0.5" for i in (1, 2) for a in (1, 3)]
    rows[-1] = "2,3,,,,,,,,,,,,failed,"
    table.write_text("\n".join([header, *rows]) + "\n")
    trial = {"first_id": 1, "ids": "1-2", "anatomies": [1, 3], "statuses": {"good": 3, "failed": 1}}
    trial |= {"failures": {"2": "anatomy 3: it is hidden"}, "deepest_mm": 0.5, "seconds": 1.0, "matches_mirrored": True}
    result = {"trials": [trial], "overlays": "looks"}
    note_run(table, "register trial", ABOUT, tmp_path, {}, result, "cpu")
    run = find_run(table)
    assert run is not None
    assert run.headline == "3 of 4 poses good"
    page, _ = page_of(tmp_path)
    assert page.figures.figures["good poses"] == "3"
    other = table.with_name("other.csv")
    other.write_bytes(table.read_bytes())
    with pytest.raises(DataError, match=r"no other.medcli-run.json beside it"):
        page_of(other)
    note_run(other, "register trial", ABOUT, tmp_path, {}, result, "cpu")
    assert [run.title for run in page_of(tmp_path)[1]] == [
        f"Registration of trials: {n}.csv" for n in ("other", "poses")
    ]
    assert write_report(table).out == tmp_path / "poses.report.html"
    assert [run.title for run in page_of(table)[1]] == ["Registration of trials"]
    place, lonely = tmp_path / "alone", tmp_path / "alone/poses.csv"
    place.mkdir()
    lonely.write_bytes(table.read_bytes())
    with pytest.raises(DataError, match=r"has tables of poses \(poses.csv\), but none has its note"):
        page_of(place)
    blocks = blocks_in(page.sections)
    assert [type(block) for block in blocks[:3]] == [Table, Chart, ImageBlock]
    assert page.notes[0].text.startswith("1 trial matches better when both images are mirrored")
    assert page.notes[1].items == ["id 2: anatomy 3: it is hidden"]
