"""Joint refinement against known truth; short sweeps, frames without bone, another leg's mesh; the outputs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medcli.core.errors import DataError
from medcli.core.image_io import read_grey, write_image
from medcli.core.json_text import to_plain
from medcli.core.mesh import Mesh, read_stl, write_stl
from medcli.core.rigid_transforms import invert_rigid
from medcli.report.blocks import Chart, Note, Table, Text
from medcli.report.bones import refined_poses
from medcli.report.bones.refined_poses import refined_in, refinement_sections
from medcli.report.runs import runs_in
from medcli.synthetic.ultrasound.dataset import Leg, SweepSettings, make_ultrabones
from medcli.ultrabones.dataset.records import INITIAL, OPTIMIZED, find_sweeps, read_poses
from medcli.ultrabones.geometry.bone_meshes import load_surfaces
from medcli.ultrabones.geometry.image_to_ct import image_to_ct
from medcli.ultrabones.labelling.label_dataset import LabelledRecord, LabelResult, LabelSettings, label_ultrabones
from medcli.ultrabones.pose_refinement import refine_together
from medcli.ultrabones.pose_refinement.fit_curve import Validation
from medcli.ultrabones.pose_refinement.refine_frame import RefineSettings
from medcli.ultrabones.pose_refinement.refine_record import refine_sweep
from medcli.ultrabones.pose_refinement.refinement_summary import SweepRefinement, remarks_on, shared_constant
from medcli.ultrabones.reconstruction.reconstruct import ReconstructSettings, reconstruct_ultrabones
from tests.conftest import MadeOnce, Ran

RECORD = Path("specimen01/ultrasound_records/fibula/record01")
QUICK = RefineSettings(generations=5)
NOISE = {"pose_error_mm": 0.1, "pose_error_deg": 0.05, "drift_mm": 0.5, "drift_deg": 0.5}
VIEW_MM = np.array([[0, 5, 0, 1], [51, 5, 0, 1], [0, 40, 0, 1], [51, 40, 0, 1.0]])


def make(folder: Path, frames: int, scale: float) -> None:
    make_ultrabones(folder, (1,), seed=1, settings=SweepSettings(frames, scale, labels=False, **NOISE))


def refine(
    root: Path, way: str = "sweep", workers: int = 2, overwrite: bool = True, quick: bool = True
) -> SweepRefinement:
    sweep = find_sweeps(root)[0]
    surfaces = load_surfaces(sorted((root / "specimen01/CT_bone_segmentations").glob("fibula*.stl")))
    return refine_sweep(sweep, surfaces, QUICK if quick else RefineSettings(), workers, overwrite, way=way)


def error_mm(root: Path, kind: str, true: np.ndarray) -> float:
    """Mean displacement of four points of the image."""
    change = image_to_ct(read_poses(find_sweeps(root)[0], kind).pose) - image_to_ct(true)
    return float(np.linalg.norm(np.einsum("fij,pj->fpi", change, VIEW_MM)[..., :3], axis=2).mean())


@pytest.fixture(scope="session")
def drifting(made_once: MadeOnce) -> Path:
    return made_once("drifting-sweep", lambda folder: make(folder, 30, 0.3))


@pytest.fixture
def root(drifting: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(drifting, tmp_path / "data"))


def outputs(root: Path) -> list[bytes]:
    return [(root / RECORD / name).read_bytes() for name in ("refinement.csv", "refinement.json", "tracking.csv")]


@pytest.mark.deep
def test_a_drifting_sweep_comes_nearer_to_the_truth(root: Path, drifting: Path, tmp_path: Path) -> None:
    true = read_poses(find_sweeps(root)[0], OPTIMIZED).pose
    black = find_sweeps(root)[0].images[14]
    write_image(Path(black), read_grey(black) // 8)
    found = refine(root, workers=1)
    assert error_mm(root, OPTIMIZED, true) < 0.75 * error_mm(root, INITIAL, true)
    assert (found.way, found.refined, found.kept, found.from_neighbours) == ("sweep", 29, 0, 1)
    assert found.held_out_gain > 1.02
    assert found.held_out_better > 0.7
    assert found.jitter_mm < 0.1  # at 100 ms from frame to frame and more
    assert found.jitter_deg < 0.1
    echoes = found.checks[0]
    assert echoes.source == "echoes"
    assert echoes.median_mm[1] < echoes.median_mm[0]
    rows = pd.read_csv(root / RECORD / "refinement.csv")
    assert rows["status"].tolist().count("from neighbours") == 1
    assert rows.loc[14, "reason"] == "bone not bright enough"
    stored = json.loads((root / RECORD / "refinement.json").read_text("utf-8"))
    assert len(stored["curve"]["delta"]) == 30
    assert stored["curve"]["dots"]
    delta = np.array(stored["curve"]["delta"])
    assert np.allclose(stored["constant"], np.delete(delta, 14, axis=0).mean(axis=0))
    assert any("held-out frames gain" in line for line in remarks_on(found))
    before = outputs(root)
    again = refine(root, overwrite=False)
    assert again.computed == 0
    assert again.held_out_gain == found.held_out_gain
    assert outputs(root) == before
    refine(root, workers=3)
    assert outputs(root) == before  # bit for bit
    with pytest.raises(DataError, match="made with other options"):
        refine(root, way="frames", overwrite=False)


@pytest.mark.deep
def test_the_error_is_far_below_that_of_the_frame_wise_refinement(tmp_path: Path) -> None:
    """What is left is mostly sliding along the shaft and turning about it, which the images do not show."""
    make(tmp_path, 100, 0.6)
    before = error_mm(tmp_path, INITIAL, read_poses(find_sweeps(tmp_path)[0], OPTIMIZED).pose)
    true = read_poses(find_sweeps(tmp_path)[0], OPTIMIZED).pose
    refine(tmp_path, way="frames", quick=False)
    frame_wise = error_mm(tmp_path, OPTIMIZED, true)
    refine(tmp_path, quick=False)
    assert error_mm(tmp_path, OPTIMIZED, true) <= 0.65 * frame_wise
    assert error_mm(tmp_path, OPTIMIZED, true) <= 0.85 * before


def test_frame_wise_rows_are_flagged(root: Path) -> None:
    sweep = find_sweeps(root)[0]
    for image in sweep.images[6:]:
        Path(image).unlink()
    found = refine(root, way="frames")
    rows = pd.read_csv(root / RECORD / "refinement.csv")
    flags = rows["flags"].astype("string")
    assert (found.refined, found.way) == (6, "frames")
    assert found.at_bound == flags.str.contains("at bound", na=False).sum()
    assert found.little_gain == (rows["gain"] < 1.05).sum() == flags.str.contains("little gain", na=False).sum()
    assert found.darker == (rows["grey_after"] < rows["grey_before"]).sum()
    assert np.isfinite([found.jitter_mm, found.jitter_deg, found.gain]).all()
    tight = refine_sweep(
        find_sweeps(root)[0],
        load_surfaces([root / "specimen01/CT_bone_segmentations/fibula.stl"]),
        RefineSettings(generations=5, bound=0.05),
        overwrite=True,
    )
    assert tight.at_bound > 0


def test_three_frames_and_a_gap(root: Path) -> None:
    sweep = find_sweeps(root)[0]
    for image in sweep.images[3:]:
        Path(image).unlink()
    found = refine(root)
    assert found.refined == 3
    assert np.isnan(found.held_out_gain)
    assert any("too few frames for cross-validation" in line for line in remarks_on(found))
    assert found.jitter_mm == 0  # one constant correction
    before = outputs(root)
    (root / RECORD / "refinement.json").unlink()  # as where a run was killed before its last file
    assert refine(root, overwrite=False).computed == 3
    assert outputs(root) == before


def test_a_rerun_keeps_what_was_refined_beside_a_frame_that_fails(root: Path) -> None:
    images = find_sweeps(root)[0].images
    for image in images[5:]:
        Path(image).unlink()
    Path(images[2]).write_bytes(Path(images[2]).read_bytes()[:200])
    found = refine(root)
    assert (found.refined, len(found.failures)) == (4, 1)
    before = outputs(root)
    again = refine(root, overwrite=False)
    assert (again.computed, again.refined, again.failures) == (0, 4, found.failures)
    assert outputs(root) == before


def test_frames_that_are_only_numbered_are_refined_alike(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    true = read_poses(find_sweeps(root)[0], OPTIMIZED).pose
    before = error_mm(root, INITIAL, true)
    table = pd.read_csv(root / RECORD / "tracking.csv", dtype=str)
    for number, stamp in enumerate(table["timestamp"], 1):
        (root / RECORD / f"UltrasoundImages/{stamp}.png").rename(root / RECORD / f"UltrasoundImages/{number}.png")
    table["timestamp"] = range(1, len(table) + 1)
    table.to_csv(root / RECORD / "tracking.csv", index=False)
    assert refine(root).held_out_gain > 1.02
    assert "timestamps number the frames; they are taken to be 0.05 s apart" in caplog.text
    assert error_mm(root, OPTIMIZED, true) < 0.75 * before


def test_unordered_and_repeated_rows_of_the_table_change_nothing(root: Path) -> None:
    for image in find_sweeps(root)[0].images[6:]:
        Path(image).unlink()
    refine(root)
    wanted = read_poses(find_sweeps(root)[0], OPTIMIZED).pose
    original = root / RECORD / "tracking_original.csv"
    lines = original.read_text("utf-8").splitlines()
    for path in (root / RECORD).glob("refinement.*"):
        path.unlink()
    shuffled = [lines[0], *lines[:0:-1], lines[1]]
    original.unlink()
    (root / RECORD / "tracking.csv").write_text("\n".join(shuffled) + "\n", "utf-8")
    refine(root)
    assert np.array_equal(read_poses(find_sweeps(root)[0], OPTIMIZED).pose, wanted)


def test_the_mesh_of_the_other_leg_is_found_out(root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for image in find_sweeps(root)[0].images[10:]:
        Path(image).unlink()
    place = Leg.make(1, 1).to_ct
    path = root / "specimen01/CT_bone_segmentations/fibula.stl"
    mesh = read_stl(path).transformed(invert_rigid(place))
    mirrored = Mesh(mesh.vertices * (-1, 1, 1), mesh.faces[:, ::-1]).transformed(place)
    write_stl(mirrored, path)
    found = refine(root)
    assert (found.refined, found.kept) == (0, 10)
    assert "is it the mesh of this leg" in found.doubt
    assert f"specimen01 fibula record01: {found.doubt}" in caplog.messages
    caplog.clear()
    image = Path(find_sweeps(root)[0].images[0])
    mask = np.zeros(read_grey(image).shape, np.uint8)
    mask[40:42, 40:80] = 255
    (root / RECORD / "Labels_full").mkdir(exist_ok=True)
    write_image(root / RECORD / "Labels_full" / f"{image.stem}_label.png", mask)
    settings = ReconstructSettings("Labels_full", "initial", meshes=path.parent)
    (rebuilt,) = reconstruct_ultrabones(root, tmp_path / "out", settings=settings).records
    assert f"{rebuilt.name}: {rebuilt.doubt}" in caplog.messages
    assert "is it the mesh of this leg" in rebuilt.doubt
    lines = remarks_on(found)
    assert "is it the mesh of this leg, not of the other one?" in lines[0]
    with pytest.raises(DataError, match="no frame of specimen01 fibula record01 meets a mesh") as raised:
        label_ultrabones(root, settings=LabelSettings(refine="sweep", overwrite=True))
    assert "the other one" in str(raised.value.hint)


def test_the_command_says_what_was_found(root: Path, medcli) -> None:  # type: ignore[no-untyped-def]
    for image in find_sweeps(root)[0].images[11:]:
        Path(image).unlink()
    settings = LabelSettings(refine="sweep", kind="partial", overwrite=True)
    result = label_ultrabones(root, settings=settings)
    assert result.records[0].refinement is not None
    assert result.records[0].refinement.way == "sweep"
    quality, correction = refinement_sections(root, refined_in(root, to_plain(result.records)))
    assert quality.title == "Quality of the refinement"
    assert [len(block.rows) for block in quality.blocks if isinstance(block, Table)] == [1, 1]
    assert [len(block.panels) for block in correction.blocks if isinstance(block, Chart)] == [6]
    ran: Ran = medcli("label", "ultrabones", "--root", root, "--kind", "partial", "--refine", "sweep", "--bound", "1")
    assert ran.code == 0, ran.err
    for words in ("echoes to mesh: median", "held-out frames gain", "constant part", "gained little", "mm, "):
        assert words in ran.out
    ran = medcli("label", "ultrabones", "--root", root, "--kind", "partial", "--refine", "--dry-run")
    assert ran.code == 3  # --refine alone is frame by frame, and the record was refined as a sweep
    assert "made with other options" in ran.err
    ran = medcli("label", "ultrabones", "--root", root, "--refine", "swep")
    assert (ran.code, "'swep' is not one of frames, sweep" in ran.err) == (2, True)


def test_the_report_has_the_curve_of_every_record_and_shades_pauses(
    root: Path, medcli, monkeypatch: pytest.MonkeyPatch
) -> None:  # type: ignore[no-untyped-def]
    """Two calls, one record each: the note of the second replaces that of the first. One record pauses twice."""
    sweep = find_sweeps(root)[0]
    for image in sweep.images[9:]:
        Path(image).unlink()
    second = Path(shutil.copytree(root / RECORD, (root / RECORD).with_name("record02")))
    table = pd.read_csv(second / "tracking.csv", dtype=str)[:9]
    for number, stamp in enumerate(table["timestamp"]):
        later = str(int(stamp) + 2000 * (number // 3))
        (second / f"UltrasoundImages/{stamp}.png").rename(second / f"UltrasoundImages/{later}.png")
        table.loc[number, "timestamp"] = later
    table.to_csv(second / "tracking.csv", index=False)
    said = []
    for number in ("1", "2"):
        command = ("--records", number, "--kind", "partial", "--refine", "sweep", "--overwrite")
        ran: Ran = medcli("label", "ultrabones", "--root", root, *command)
        assert ran.code == 0, ran.err
        said.append("the curve is in 3 pieces (pauses of 1 s or more)" in ran.out)
    assert said == [False, True]
    (run,) = runs_in(root)
    sections = {section.title: section.blocks for section in run.sections}
    names = ["specimen01 fibula record01", "specimen01 fibula record02"]
    assert [row[0] for row in sections["Refined poses"][0].rows] == names  # type: ignore[union-attr]
    charts, texts = [], []
    for name in names:
        blocks = sections[f"Correction of {name}"]
        charts += [block for block in blocks if isinstance(block, Chart)]
        texts.append(" ".join(block.text for block in blocks if isinstance(block, Text)))
    assert [str(chart.panels[0]).count("band s5") for chart in charts] == [0, 2]
    assert ["pause of the timestamps" in [key.label for key in chart.keys] for chart in charts] == [False, True]
    assert "pieces" not in texts[0]
    assert "The curve is in 3 pieces" in texts[1]
    assert "pause for 1 s or more between them (shaded)" in texts[1]
    monkeypatch.setattr(refined_poses, "_MOST_RECORDS", 1)
    sections = {section.title: section.blocks for section in refinement_sections(root, refined_in(root, []))}
    assert "Correction of specimen01 fibula record02" not in sections
    assert "Curves of 1 further record are not drawn" in sections["Further corrections"][0].text  # type: ignore[union-attr]


def test_a_constant_part_that_records_share_is_worth_a_sentence() -> None:
    alike = [(0.5, 0.0, 0.3, 0.0, 0.02, 0.0), (0.4, 0.1, 0.35, -0.3, 0.0, 0.0)]
    assert "alike in 2 records (x +0.45 mm, z +0.32 mm)" in shared_constant(alike)
    assert shared_constant([alike[0], (-0.5, 0.0, -0.3, 0.0, 0.02, 0.0), ()]) == ""


def test_a_curve_that_few_held_out_frames_speak_for_is_not_taken(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for image in find_sweeps(root)[0].images[5:]:
        Path(image).unlink()
    few = Validation(2.0, {2.0: 1.3}, 0.25)
    monkeypatch.setattr(refine_together, "choose_stiffness", lambda *_, **__: few)
    found = refine(root)
    assert (found.refined, found.kept) == (0, 5)
    rows = pd.read_csv(root / RECORD / "refinement.csv")
    assert set(rows["reason"]) == {"fewer than half of the held-out frames gain"}
    text = " ".join(remarks_on(found))
    assert "fewer than half of the held-out frames gain: the poses stay as tracked" in text
    assert "constant part" not in text
    blocks = refinement_sections(root, refined_in(root, []))[-1].blocks
    assert [block.text for block in blocks if isinstance(block, Note)] == [
        "This correction was not used (fewer than half of the held-out frames gain): the poses stay as tracked."
    ]

    def said(better: float, gain: float = 1.3) -> list[str]:
        one = SweepRefinement(way="sweep", held_out_gain=gain, held_out_better=better, constant=(0.5,) * 6)
        records = [LabelledRecord("specimen01 tibia record01", root, (), "optimized", 5, 0, refinement=one)] * 2
        return LabelResult(root, "full", False, 5, 0, 0, 0, tuple(records)).shared_corrections

    assert [len(said(0.5)), said(0.25), said(np.nan, np.nan)] == [1, [], []]
