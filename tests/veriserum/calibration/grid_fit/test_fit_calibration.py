"""``medcli calibrate fit``: from images of the bead grid to a table, and to calibrated images."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from medcli.core.errors import UsageError
from medcli.veriserum.calibration.distortion_model import PolynomialDistortion
from medcli.veriserum.calibration.distortion_table import DistortionTable
from medcli.veriserum.calibration.grid_fit.calibration_table import CalibrationTable
from medcli.veriserum.calibration.grid_fit.fit_calibration import fit_calibration
from medcli.veriserum.calibration.grid_fit.grid_images import images_by_plane
from medcli.veriserum.dataset.detector import PLANES
from medcli.veriserum.dataset.folder_index import DISTORTIONS
from medcli.veriserum.dataset.study import VeriserumStudy
from tests.conftest import Ran
from tests.support.grid_images import largest_map_error, native, truth
from tests.support.made_veriserum import write_tables


@pytest.fixture(scope="module")
def grids(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("grids")
    for plane in PLANES:
        cv2.imwrite(str(folder / f"grid_{plane}.png"), native(plane))
    return {plane: folder / f"grid_{plane}.png" for plane in PLANES}


def test_planes_are_recognised_by_word_or_name() -> None:
    chosen = images_by_plane(["fs=a.png", "x/grid_bs_01.png"])
    assert list(chosen) == ["bs", "fs"]
    assert chosen["fs"] == Path("a.png")
    assert images_by_plane(["BS_7.tif"]) == {"bs": Path("BS_7.tif")}
    with pytest.raises(UsageError, match=r"the plane of grid\.png is not given"):
        images_by_plane(["grid.png"])
    with pytest.raises(UsageError, match="is not given"):
        images_by_plane(["absence_offset.png"])
    with pytest.raises(UsageError, match="two images for plane bs"):
        images_by_plane(["bs=a.png", "bs_2.png"])


@pytest.mark.deep
def test_from_grid_images_to_calibrated_images(
    medcli: Callable[..., Ran], grids: dict[str, Path], veriserum: Path, tmp_path: Path
) -> None:
    """The fitted table is read by the command that corrects images; fitting again changes nothing."""
    out = tmp_path / "table.csv"
    words = ("calibrate", "fit", grids["bs"], grids["fs"], "--id", "4", "--out", out)
    ran = medcli(*words, "--json")
    result = json.loads(ran.out)
    assert (ran.code, result["row"], result["id"]) == (0, "added", 4)
    assert [plane["plane"] for plane in result["planes"]] == ["bs", "fs"]
    assert all(plane["mean_mm"] < 0.03 and plane["max_px"] < 0.5 for plane in result["planes"])
    assert cv2.imread(result["figure"]).shape[1] > 1000
    assert "one image for both planes" not in ran.err
    before = out.read_bytes()
    twice = medcli("calibrate", "fit", f"bs={grids['fs']}", f"fs={grids['fs']}", "--id", "4", "--out", out)
    assert (twice.code, out.read_bytes()) == (2, before)
    assert "one image for both planes" in " ".join(twice.err.split())
    again = medcli("calibrate", "fit", grids["bs"], grids["fs"], "--out", out)
    assert (again.code, out.read_bytes()) == (0, before)
    assert "4, unchanged" in again.out
    write_tables(veriserum, [1, 2, 3, 4], {4: truth()["bs"]})
    calibrated = medcli("calibrate", "veriserum", "--root", veriserum, "--distortion", out, "--ids", "1", "--json")
    assert (calibrated.code, json.loads(calibrated.out)["done"]) == (0, 2)


def test_one_plane_completes_a_row(grids: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "table.csv"
    with pytest.raises(UsageError, match="no image for plane fs"):
        fit_calibration({"bs": grids["bs"]}, out)
    assert not out.exists()
    kept = truth()["fs"].to_text()
    out.write_text(f'id,distortion_result_fs,distortion_result_bs\n2,"{kept}","{kept}"\n')
    with pytest.raises(UsageError, match="already has a different calibration 2"):
        fit_calibration({"bs": grids["bs"]}, out, 2)
    assert fit_calibration({"bs": grids["bs"]}, out, 2, overwrite=True).row == "replaced"
    row = CalibrationTable.read(out).find(2)
    assert row is not None
    assert row["distortion_result_fs"] == kept
    assert largest_map_error(PolynomialDistortion.from_text(row["distortion_result_bs"]), truth()["bs"]) < 0.05


@pytest.mark.deep
def test_mirrored_images_are_recognised(medcli: Callable[..., Ran], tmp_path: Path) -> None:
    for plane in PLANES:
        cv2.imwrite(str(tmp_path / f"{plane}.png"), native(plane)[:, ::-1])
    words = ("calibrate", "fit", tmp_path / "bs.png", tmp_path / "fs.png", "--out", tmp_path / "table.csv")
    rejected = medcli(*words)
    assert rejected.code == 3
    assert "mirrored left to right" in rejected.err
    assert "--mirrored" in rejected.err
    assert not (tmp_path / "table.csv").exists()
    assert medcli(*words, "--mirrored").code == 0
    row = CalibrationTable.read(tmp_path / "table.csv").find(1)
    assert row is not None
    assert row["method"].endswith(", mirrored: bs fs")
    table = DistortionTable(VeriserumStudy(tmp_path, files={DISTORTIONS: tmp_path / "table.csv"}))
    assert table.get(1, "fs").fingerprint
    pixels = np.array([[400.0, 300], [800, 900], [1200, 700]])
    fitted = PolynomialDistortion.from_text(row["distortion_result_bs"])(pixels)
    assert np.allclose(fitted, truth()["bs"]([1663, 0] + pixels * [-1, 1]), atol=0.05)


def test_wrong_images_exit_with_status_3(medcli: Callable[..., Ran], tmp_path: Path, grids: dict[str, Path]) -> None:
    cv2.imwrite(str(tmp_path / "flat_bs.png"), np.full((1600, 1664), 140, np.uint8))
    ran = medcli("calibrate", "fit", tmp_path / "flat_bs.png", grids["fs"], "--out", tmp_path / "table.csv")
    assert ran.code == 3
    assert "flat_bs.png, plane bs: 0 round dark beads found, the grid phantom has 1762" in ran.err
    assert medcli("calibrate", "fit", "bs=none.png", grids["fs"], "--out", tmp_path / "table.csv").code == 3
    assert not (tmp_path / "table.csv").exists()
