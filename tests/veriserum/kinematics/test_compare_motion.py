"""``medcli evaluate kinematics``: differences that are known because they were made."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medcli.core.files import write_json
from medcli.veriserum.kinematics.agreement import _add_legend, agreement_of
from medcli.veriserum.kinematics.compare_motion import match_frames
from medcli.veriserum.kinematics.motion import VALUE_COLUMNS
from tests.conftest import Ran
from tests.support import knees


def write_axes(path: Path) -> Path:
    write_json(path, {"implants": {number: knees.true_axes(number, "left") for number in (1, 3)}})
    return path


def test_a_tibia_that_is_displaced_along_its_own_axis(tmp_path: Path, medcli: Callable[..., Ran]) -> None:
    """Down by 0.5 mm along the tibia in trial 1 and 1 mm in trial 2: distraction differs by that, angles by nothing."""
    trials = knees.draw_knees(2, 5)
    root = knees.write_knees(tmp_path / "data", knees.pose_rows(trials))
    displaced = [
        [type(pose)(pose.femur, pose.tibia @ shift(-0.5 * number)) for pose in poses]
        for number, poses in enumerate(trials, start=1)
    ]
    rows = knees.pose_rows(displaced)
    rows[rows["id"] != 4].to_csv(tmp_path / "mine.csv", index=False)
    axes, out = write_axes(tmp_path / "axes.json"), tmp_path / "out"
    ran = medcli("evaluate", "kinematics", tmp_path / "mine.csv", "--root", root, "--axes", axes, "--out", out)
    assert (ran.code, ran.err) == (0, "")
    assert any(line.split()[:4] == ["distraction", "mm", "0.82", "1.00"] for line in ran.out.splitlines())
    result = json.loads((out / "evaluation.json").read_text("utf-8"))
    assert result["schema"] == "medcli.evaluate.kinematics.v1"
    assert (result["frames"], result["only_poses"], result["only_reference"]) == (9, 0, 1)
    distal = result["overall"]["distal_mm"]
    assert distal["bias"] == pytest.approx((4 * 0.5 + 5 * 1.0) / 9, abs=1e-6)
    assert distal["rms"] == pytest.approx(np.sqrt((4 * 0.25 + 5) / 9), abs=1e-6)
    assert distal["maximum"] == pytest.approx(1, abs=1e-6)
    assert distal["within_band"] is None
    assert [one["distal_mm"]["rms"] for one in result["per_trial"].values()] == pytest.approx([0.5, 1], abs=1e-6)
    assert result["over_trials"]["distal_mm"]["largest_in"] == "2"
    assert result["overall"]["flexion_deg"]["maximum"] < 1e-6
    assert result["overall"]["medial_low_height_mm"]["bias"] == pytest.approx(distal["bias"], abs=1e-4)
    assert (out / "bland_altman.png").stat().st_size > 20_000
    assert len(pd.read_csv(out / "differences.csv")) == 9
    rows.to_csv(tmp_path / "mine.csv", index=False)  # edited under the same name: evaluated again
    ran = medcli("evaluate", "kinematics", tmp_path / "mine.csv", "--root", root, "--axes", axes, "--out", out)
    assert json.loads((out / "evaluation.json").read_text("utf-8"))["frames"] == 10


def test_the_legend_names_the_trials_of_each_colour() -> None:
    from matplotlib.figure import Figure

    figure = Figure()
    _add_legend(figure, [str(number) for number in range(1, 13)])
    (legend,) = figure.legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert (len(texts), texts[0], texts[1], texts[2]) == (10, "trials 1, 11", "trials 2, 12", "trial 3")
    colours = {handle.get_color() for handle in legend.legend_handles}
    assert len(colours) == 10


def shift(proximal_mm: float) -> np.ndarray:
    """In a tray's coordinates, whose y is proximal."""
    moved = np.eye(4)
    moved[1, 3] = proximal_mm
    return moved


def test_tables_of_other_recordings_are_refused(tmp_path: Path, medcli: Callable[..., Ran]) -> None:
    rows = knees.pose_rows(knees.draw_knees(1, 2))
    root = knees.write_knees(tmp_path / "data", rows)
    rows.assign(id=rows["id"] + 500).to_csv(tmp_path / "other.csv", index=False)
    axes = write_axes(tmp_path / "axes.json")
    ran = medcli("evaluate", "kinematics", tmp_path / "other.csv", "--root", root, "--axes", axes, "--out", tmp_path)
    assert ran.code == 3
    assert "no frame has motion by both" in ran.err


def test_frames_without_motion_and_of_other_implants_are_named(tmp_path: Path, medcli: Callable[..., Ran]) -> None:
    rows = knees.pose_rows(knees.draw_knees(1, 4)).reset_index(drop=True)
    root, axes = knees.write_knees(tmp_path / "data", rows), write_axes(tmp_path / "axes.json")
    words = ("evaluate", "kinematics", tmp_path / "mine.csv", "--root", root, "--axes", axes, "--out", tmp_path / "out")

    def evaluated(table: pd.DataFrame) -> Ran:
        table.to_csv(tmp_path / "mine.csv", index=False)
        return medcli(*words)

    cells = rows["tx"].astype(object)
    cells[[0, 3, 4]] = ["abc", "", "1e300"]
    ran = evaluated(rows.assign(tx=cells))
    assert ran.code == 0
    assert "3 frames have rows but no motion and are omitted, the first of id 1: femur: its pose is not" in ran.err
    written = json.loads((tmp_path / "out/evaluation.json").read_text("utf-8"))
    assert (written["frames"], len(written["warnings"])) == (1, 1)
    ran = evaluated(rows.assign(tx="abc"))
    assert (ran.code, "no frame has motion: " in ran.err) == (3, True)
    ran = evaluated(rows.assign(obsolete=1))
    assert (ran.code, "every row is marked obsolete (8 rows)" in ran.err) == (3, True)
    ran = evaluated(rows[rows["anatomy_id"] == 1])
    assert (ran.code, "poses of the femur only" in ran.err, "--poses" in ran.err) == (3, True, False)
    implants = [knees.true_axes(number, "left") for number in (1, 1, 3)]
    write_json(axes, {"implants": dict(zip((1, 2, 3), implants, strict=True))})
    words = (*words, "--overwrite")
    other = rows["anatomy_id"].replace({1: 2})
    ran = evaluated(rows.assign(anatomy_id=other))
    assert (ran.code, "all frames are of other implants" in ran.err) == (3, True)
    assert "has anatomies 2 3 at femur id 1" in ran.err
    ran = evaluated(rows.assign(anatomy_id=other.where(rows["id"] == 1, rows["anatomy_id"])))
    assert (ran.code, "1 frame of other implants omitted" in ran.err) == (0, True)
    assert json.loads((tmp_path / "out/evaluation.json").read_text("utf-8"))["frames"] == 3


def test_angles_differ_by_half_a_turn_at_most_and_errors_add() -> None:
    one = pd.DataFrame({name: [1.0] for name in (*VALUE_COLUMNS, *(f"se_{n}" for n in VALUE_COLUMNS))})
    one = one.assign(trial="1", frame=1, femur_id=5, tibia_id=5)
    other = one.assign(flexion_deg=359.5, se_flexion_deg=np.nan, lateral_mm=-3.0)
    found = match_frames(one, other)
    assert found.loc[0, "flexion_deg"] == pytest.approx(1.5)
    assert found.loc[0, "se_flexion_deg"] == pytest.approx(1.0)
    assert found.loc[0, "lateral_mm"] == pytest.approx(4)
    assert found.loc[0, "se_lateral_mm"] == pytest.approx(np.sqrt(2))
    assert match_frames(one, other.assign(tibia_id=6)).empty
    agreement = agreement_of(np.array([1.0, -1, 3, np.nan]), np.array([1.0, 0.1, np.nan, 1]))
    assert (agreement.frames, agreement.bias, agreement.within_band) == (3, 1, 0.5)
    assert agreement.limits == pytest.approx((1 - 1.96 * 2, 1 + 1.96 * 2))
    assert agreement_of(np.array([np.nan]), np.array([1.0])).frames == 0


def test_limits_of_agreement_know_that_frames_of_a_trial_are_alike() -> None:
    """By hand: trials of two frames with means 0 and 2 and a variance of 0.02 within; and unequal trials."""
    differences = np.array([-0.1, 0.1, 1.9, 2.1])
    trials = np.array(["1", "1", "2", "2"])
    found = agreement_of(differences, np.full(4, np.nan), trials)
    between = (2 * (1 + 1) / 1 - 0.02) / 2
    assert found.bias == pytest.approx(1)
    half = 1.96 * np.sqrt(0.02 + between)
    assert found.limits == pytest.approx((1 - half, 1 + half))
    alone = agreement_of(differences, np.full(4, np.nan))
    assert found.sd == alone.sd
    assert found.limits[1] > alone.limits[1]
    random = np.random.default_rng(0)
    sizes = random.integers(5, 60, 400)
    many = np.repeat(random.normal(0, 2, 400), sizes) + random.normal(0, 1, sizes.sum())
    spread = agreement_of(many, np.full(len(many), np.nan), np.repeat(np.arange(400), sizes))
    assert (spread.limits[1] - spread.bias) / 1.96 == pytest.approx(np.sqrt(5), rel=0.08)
    one_each = agreement_of(differences, np.full(4, np.nan), np.arange(4))
    assert one_each.limits == alone.limits


def test_the_results_of_another_comparison_are_kept(tmp_path: Path, medcli: Callable[..., Ran]) -> None:
    rows = knees.pose_rows(knees.draw_knees(2, 3))
    root, axes = knees.write_knees(tmp_path / "data", rows), write_axes(tmp_path / "axes.json")
    for name in ("a.csv", "b.csv"):
        rows.to_csv(tmp_path / name, index=False)
    words = ("evaluate", "kinematics", "--root", root, "--axes", axes, "--out", tmp_path / "out")
    first = medcli(*words, tmp_path / "a.csv")
    assert first.code == 0
    before = (tmp_path / "out" / "evaluation.json").read_bytes()
    for more, said in (((tmp_path / "b.csv",), "poses was"), ((tmp_path / "a.csv", "--side", "right"), "side was")):
        ran = medcli(*words, *more)
        assert ran.code == 2
        assert said in ran.err
        assert "--overwrite" in ran.err
        assert (tmp_path / "out" / "evaluation.json").read_bytes() == before
    assert medcli(*words, tmp_path / "a.csv").code == 0
    assert medcli(*words, tmp_path / "b.csv", "--overwrite").code == 0
    assert "b.csv" in (tmp_path / "out" / "evaluation.json").read_text("utf-8")
