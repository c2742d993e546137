"""The demonstration: what it makes is there, says the truth, and is made once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medcli.contact_sheet import contact_sheet
from medcli.demo import run_demo
from medcli.images import read_rgb
from medcli.synthetic.fluoroscopy import IMAGE_FOLDER


def test_makes_calibrates_and_shows(medcli: Callable, tmp_path: Path) -> None:  # type: ignore[type-arg]
    ran = medcli("demo", "--out", tmp_path / "demo", "--pairs", "7", "--json")
    result = json.loads(ran.out)
    assert ran.code == 0
    assert result["schema"] == "medcli.demo.v1"
    assert result["pairs"] == 7
    assert result["done"] == 14
    assert len(list(Path(result["calibrated"]).glob("calibrated_?s_*.jpg"))) == 14
    # Calibrating brings the pictures close to what they show; noise alone is 3 to 5 grey levels.
    assert result["error_after"] < 6
    assert result["error_before"] > 3 * result["error_after"]
    assert 1 < result["distortion_mm"] < 15
    sheet = read_rgb(result["contact_sheet"])
    assert sheet.shape[2] == 3
    assert np.ptp(sheet) > 200

    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "demo").rglob("*.jpg")}
    again = run_demo(tmp_path / "demo", pairs=7)
    assert (again.made, again.done) == (0, 0)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "demo").rglob("*.jpg")} == before
    assert np.array_equal(read_rgb(again.contact_sheet), sheet)


def test_text_names_the_picture(medcli: Callable, tmp_path: Path) -> None:  # type: ignore[type-arg]
    ran = medcli("demo", "--out", tmp_path, "--pairs", "1", "--workers", "1")
    assert ran.code == 0
    assert f"before/after   {tmp_path / 'before_after.png'}" in ran.out
    assert all(len(line.replace(str(tmp_path), "demo")) <= 80 for line in ran.out.splitlines())


def test_does_not_touch_real_images(medcli: Callable, tmp_path: Path) -> None:  # type: ignore[type-arg]
    folder = tmp_path / "veriserum" / IMAGE_FOLDER
    folder.mkdir(parents=True)
    (folder / "bs_000001.jpg").write_bytes(b"real")
    ran = medcli("demo", "--out", tmp_path, "--pairs", "1")
    assert ran.code == 1
    assert "not synthetic" in ran.err
    assert (folder / "bs_000001.jpg").read_bytes() == b"real"


def test_contact_sheet_places_pictures_in_order() -> None:
    dark, light = np.full((40, 40), 20, np.uint8), np.full((80, 80), 200, np.uint8)
    red = np.zeros((50, 50, 3), np.uint8)
    red[..., 0] = 255
    sheet = contact_sheet([[dark, light], [light, red]], ["a", "b"], ["first", "second"], panel=50)
    middles_y = [10 + 26 + 25, 10 + 26 + 86 + 25]
    middles_x = [10 + 25, 10 + 60 + 25]
    assert sheet[middles_y[0], middles_x[0]].tolist() == [20, 20, 20]
    assert sheet[middles_y[0], middles_x[1]].tolist() == [200, 200, 200]
    assert sheet[middles_y[1], middles_x[1]].tolist() == [255, 0, 0]
    with pytest.raises(ValueError, match="as many notes"):
        contact_sheet([[dark]], ["a"], [])
