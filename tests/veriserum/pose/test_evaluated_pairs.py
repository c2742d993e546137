"""``medcli evaluate pose`` where ids have poses of both components: which row is compared with which."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.support import knees

SHIFT_MM = {1: 1.0, 3: 5.0}
"""Of the predictions of each component, along x, which is right in plane bs."""


@pytest.fixture
def both(tmp_path: Path) -> Path:
    """Six ids with a row of femur 1 and of tibia 3 each, and predictions with the tibia first."""
    rows = knees.pose_rows(knees.draw_knees(1, 6)).assign(manual=1)
    root = knees.write_knees(tmp_path / "data", rows)
    moved = rows.assign(tx=rows["tx"] + rows["anatomy_id"].map(SHIFT_MM)).sort_values("anatomy_id", ascending=False)
    moved.to_csv(tmp_path / "both.csv", index=False)
    moved[moved["anatomy_id"] == 3].to_csv(tmp_path / "tibiae.csv", index=False)
    moved[moved["anatomy_id"] == 3].drop(columns="anatomy_id").to_csv(tmp_path / "unnamed.csv", index=False)
    return root


def evaluated(medcli: Callable[..., Any], root: Path, predictions: str, *words: str) -> dict[str, Any]:
    place = root.parent
    words = ("--root", str(root), "--predictions", str(place / predictions), "--split", "all", *words)
    ran = medcli("evaluate", "pose", *words, "--out", str(place / "out"), "--json")
    assert ran.code == 0, ran.err
    found: dict[str, Any] = json.loads(ran.out)
    return found


@pytest.mark.parametrize(("name", "anatomy"), [("1", 1), ("femur", 1), ("3", 3), ("tibia", 3)])
@pytest.mark.parametrize("reference", [None, "both.csv", "manual"])
def test_each_component_is_compared_with_itself(
    medcli: Callable[..., Any], both: Path, name: str, anatomy: int, reference: str | None
) -> None:
    words = ["--anatomy", name]
    if reference:
        words += ["--reference", str(both.parent / reference) if reference != "manual" else reference]
    found = evaluated(medcli, both, "both.csv", *words)
    expected = 0.0 if reference == "both.csv" else SHIFT_MM[anatomy]
    assert (found["pairs"], found["anatomies"]) == (6, {str(anatomy): 6})
    assert found["errors"]["x_mm"]["mean"] == pytest.approx(expected, abs=1e-6)
    assert found["errors"]["distance_mm"]["p95"] == pytest.approx(expected, abs=1e-6)


def test_signed_differences_have_the_sign_of_the_estimate_minus_the_reference(
    medcli: Callable[..., Any], both: Path
) -> None:
    table = pd.read_csv(both.parent / "both.csv")
    table["tx"] -= 2.0
    table["ry"] += [0.5 if i % 2 else -0.5 for i in range(len(table))]
    table.to_csv(both.parent / "both.csv", index=False)
    found = evaluated(medcli, both, "both.csv", "--anatomy", "1")["bias"]
    assert (found["signed_x_mm"]["mean"], found["signed_x_mm"]["sd"]) == (pytest.approx(-1), pytest.approx(0, abs=1e-9))
    assert (found["signed_ry_deg"]["mean"], found["signed_ry_deg"]["sd"]) == (
        pytest.approx(0, abs=1e-6),
        pytest.approx((6 * 0.25 / 5) ** 0.5),
    )
    pairs = pd.read_csv(both.parent / "out" / "pairs.csv")
    assert pairs["signed_x_mm"].tolist() == pytest.approx([-1] * 6)
    assert sorted(pairs["signed_ry_deg"].round(3)) == [-0.5] * 3 + [0.5] * 3


def test_without_anatomy_the_predictions_say_which_component_is_evaluated(
    medcli: Callable[..., Any], both: Path
) -> None:
    found = evaluated(medcli, both, "tibiae.csv")
    assert found["anatomies"] == {"3": 6}
    assert found["errors"]["x_mm"]["mean"] == pytest.approx(SHIFT_MM[3])


def test_a_table_that_names_no_component_is_of_the_one_asked_for(medcli: Callable[..., Any], both: Path) -> None:
    assert evaluated(medcli, both, "unnamed.csv", "--anatomy", "3")["errors"]["x_mm"]["mean"] == pytest.approx(5)


@pytest.mark.parametrize(
    ("predictions", "said"),
    [
        ("both.csv", "both.csv has poses of several components of an id: id 1 of anatomies 1 3"),
        ("unnamed.csv", "unnamed.csv has no anatomy_id, and "),
    ],
)
def test_what_leaves_the_component_open_is_refused(
    medcli: Callable[..., Any], both: Path, predictions: str, said: str
) -> None:
    words = ("evaluate", "pose", "--root", both, "--predictions", both.parent / predictions, "--split", "all")
    for more in ((), ("--dry-run",)):
        ran = medcli(*words, *more, "--out", both.parent / "out")
        assert ran.code == 2
        assert said in ran.err
        assert "--anatomy" in ran.err
    assert not (both.parent / "out").exists() or not list((both.parent / "out").iterdir())


def test_predictions_of_the_other_component_are_failures(medcli: Callable[..., Any], both: Path) -> None:
    words = ("evaluate", "pose", "--root", both, "--predictions", both.parent / "tibiae.csv", "--split", "all")
    ran = medcli(*words, "--anatomy", "femur", "--out", both.parent / "out")
    assert ran.code == 3
    assert "none of 6 pairs could be evaluated: pair 1: no pose of anatomy 1 in" in ran.err


def test_the_results_of_another_evaluation_are_kept(medcli: Callable[..., Any], both: Path) -> None:
    evaluated(medcli, both, "both.csv", "--anatomy", "1")
    words = ["evaluate", "pose", "--root", both, "--predictions", both.parent / "both.csv", "--split", "all"]
    words += ["--out", both.parent / "out"]
    ran = medcli(*words, "--anatomy", "3")
    assert (ran.code, "anatomy was 1, is 3" in ran.err, "--overwrite" in ran.err) == (2, True, True)
    evaluated(medcli, both, "both.csv", "--anatomy", "1")
    assert evaluated(medcli, both, "both.csv", "--anatomy", "3", "--overwrite")["anatomies"] == {"3": 6}


def test_an_edited_table_under_the_same_name_is_evaluated_again(medcli: Callable[..., Any], both: Path) -> None:
    assert evaluated(medcli, both, "both.csv", "--anatomy", "1")["errors"]["x_mm"]["mean"] == pytest.approx(1)
    table = pd.read_csv(both.parent / "both.csv")
    table.assign(tx=table["tx"] + 2.0).to_csv(both.parent / "both.csv", index=False)
    assert evaluated(medcli, both, "both.csv", "--anatomy", "1")["errors"]["x_mm"]["mean"] == pytest.approx(3)
    stored = json.loads((both.parent / "out/evaluation.json").read_text("utf-8"))
    assert stored["errors"]["x_mm"]["mean"] == pytest.approx(3)
