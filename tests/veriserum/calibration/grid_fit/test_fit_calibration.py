"""Calibrations of one's own: beads, correspondences, polynomial, table, and the command."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from medcli.core.errors import DataError, UsageError
from medcli.synthetic.fluoroscopy.calibrations import draw_calibrations
from medcli.synthetic.fluoroscopy.grid_phantom import grid_image, grid_picture
from medcli.veriserum.calibration.distortion_model import PolynomialDistortion
from medcli.veriserum.calibration.grid_fit import phantom
from medcli.veriserum.calibration.grid_fit.bead_detection import find_beads
from medcli.veriserum.calibration.grid_fit.bead_matching import View, match_grid
from medcli.veriserum.calibration.grid_fit.calibration_table import CalibrationTable
from medcli.veriserum.calibration.grid_fit.fit_calibration import fit_calibration, images_by_plane
from medcli.veriserum.calibration.grid_fit.fit_plane import fit_grid, fit_picture_file
from medcli.veriserum.calibration.grid_fit.robust_fit import fit_distortion
from medcli.veriserum.dataset.detector import PLANES
from tests.conftest import Ran
from tests.support.made_veriserum import write_tables

Points = NDArray[np.float64]


@lru_cache(maxsize=1)
def truth() -> dict[str, PolynomialDistortion]:
    calibration = draw_calibrations(1, seed=3)[0]
    return {plane: calibration.distortion(plane) for plane in PLANES}


@lru_cache(maxsize=2)
def native(plane: str) -> NDArray[np.uint8]:
    """A usual picture: noise, 5 % of the beads missing, some spots that are no beads."""
    generator = np.random.default_rng(11)
    image = grid_image(truth()[plane], generator, noise=1.0, missing_share=0.05)
    for x, y in generator.uniform(500, 1100, (20, 2)):
        cv2.circle(image, (round(x), round(y)), 4, 60, -1)
    return image


@pytest.fixture(scope="module")
def grids(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("grids")
    for plane in PLANES:
        cv2.imwrite(str(folder / f"grid_{plane}.png"), native(plane))
    return {plane: folder / f"grid_{plane}.png" for plane in PLANES}


def seen_beads(turn_deg: float = 0.0, flip: tuple[int, int] = (1, 1)) -> tuple[Points, Points]:
    """Beads in a distorted image that is then turned about its middle and flipped: pixels, and their nodes."""
    nodes = np.argwhere(phantom.bead_presence())
    middle = np.array([831.5, 799.5])
    angle = np.radians(turn_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    pixels = (truth()["bs"].inverse(phantom.nodes_to_mm(nodes)) - middle) * flip
    return pixels @ turn + middle, nodes


def largest_map_error(fitted: PolynomialDistortion, true: PolynomialDistortion) -> float:
    """Millimetres, over every fourth pixel whose true place lies between beads."""
    pixels = np.stack(np.meshgrid(np.arange(0, 1664, 4.0), np.arange(0, 1600, 4.0)), -1).reshape(-1, 2)
    places = true(pixels)
    half = phantom.MIDDLE * phantom.PITCH_MM
    inside = np.all(np.abs(places) <= half, axis=1)
    inside &= np.abs(places).sum(axis=1) <= (2 * phantom.MIDDLE - phantom.CUT_ROWS) * phantom.PITCH_MM
    return float(np.linalg.norm(fitted(pixels[inside]) - places[inside], axis=1).max())


# -- beads ------------------------------------------------------------------------------------------------------------


def test_beads_are_found_to_a_fraction_of_a_pixel() -> None:
    true, nodes = seen_beads()
    beads = find_beads(native("bs"))
    nearest = np.linalg.norm(beads.centres_px[:, None] - true, axis=2)
    found = nearest.min(axis=1) < 2
    offsets = (beads.centres_px - true[nearest.argmin(axis=1)])[found]
    assert 0.93 * len(nodes) < found.sum() < 0.97 * len(nodes)
    assert np.sqrt((offsets**2).mean()) < 0.1  # a bead is 9 pixels wide; 0.1 pixel is 0.02 mm
    assert np.all(np.abs(offsets.mean(axis=0)) < 0.01)  # an error of half a pixel in a convention would show
    assert (~found).sum() <= 20


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_flat_image_has_no_beads(level: int) -> None:
    assert len(find_beads(np.full((1600, 1664), level, np.uint8))) == 0


def test_vignetting_and_noise_are_no_beads() -> None:
    generator = np.random.default_rng(0)
    no_beads = np.zeros((45, 45), dtype=bool)
    picture = grid_picture(no_beads) + 0.03 * generator.standard_normal((1600, 1600))
    assert len(find_beads((picture * 255).clip(0, 255).astype(np.uint8))) < 20


# -- correspondences --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("turn_deg", [-10, -4, 0, 10])
@pytest.mark.parametrize(
    ("flip", "view"),
    [
        ((1, 1), View.UPRIGHT),
        ((-1, 1), View.LEFT_RIGHT),
        ((1, -1), View.UPSIDE_DOWN),
        ((-1, -1), View.TURNED),
    ],
)
def test_every_bead_is_recognised_in_any_view(turn_deg: float, flip: tuple[int, int], view: View) -> None:
    pixels, nodes = seen_beads(turn_deg, flip)
    order = np.random.default_rng(0).permutation(len(pixels))
    match = match_grid(pixels[order])
    assert match.view is view
    assert len(match.spots) == len(pixels)
    assert match.missing == 0
    assert np.array_equal(match.nodes, nodes[order][match.spots])


@pytest.mark.parametrize("seed", range(5))
def test_missing_and_spurious_beads_do_not_confuse(seed: int) -> None:
    generator = np.random.default_rng(seed)
    pixels, nodes = seen_beads(generator.uniform(-10, 10))
    kept = generator.random(len(nodes)) > 0.2
    kept |= np.all(nodes == phantom.ORIENTATION_BEAD, axis=1)
    # A torn-out patch, too: the lattice has to be carried on around it.
    kept &= np.linalg.norm(nodes - [25, 20], axis=1) > 3.5
    spurious = generator.uniform(200, 1400, (90, 2))
    points = np.concatenate([pixels[kept] + generator.normal(0, 0.3, (kept.sum(), 2)), spurious])
    match = match_grid(points)
    true_spots = match.spots < kept.sum()
    assert true_spots.sum() > 0.99 * kept.sum()
    assert np.array_equal(match.nodes[true_spots], nodes[kept][match.spots[true_spots]])


def test_a_bead_away_from_its_place_is_an_outlier() -> None:
    pixels, nodes = seen_beads()
    generator = np.random.default_rng(1)
    moved = generator.choice(len(pixels), 40, replace=False)
    shifted = pixels + generator.normal(0, 0.05, pixels.shape)
    shifted[moved] += 2.0 * np.array([0.6, 0.8])
    fit = fit_distortion(PolynomialDistortion, shifted, phantom.nodes_to_mm(nodes))
    assert not fit.used[moved].any()
    assert fit.used.sum() > 0.99 * (len(pixels) - 40)
    assert largest_map_error(fit.distortion, truth()["bs"]) < 0.01
    assert np.allclose(np.linalg.norm(fit.residuals_px[moved], axis=1), 2.0, atol=0.3)


def lattice_points(along: int, pitch_px: float, cut: bool = False) -> Points:
    index = np.arange(along) - along // 2
    nodes = np.stack(np.meshgrid(index, index), -1).reshape(-1, 2)
    return nodes * pitch_px + [832.0, 800.0]


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (np.empty((0, 2)), "0 round dark beads found"),
        (lattice_points(15, 31.0), "225 round dark beads found"),
        (lattice_points(45, 31.0), "lattice of 45 x 45 beads, 2025 in all; 1761 of them fit"),
        (lattice_points(25, 50.0), "lattice of 25 x 25 beads, 625 in all"),
        (
            np.random.default_rng(0).uniform(100, 1500, (1762, 2)),
            "1762 round dark beads found, but they do not lie on a square lattice",
        ),
    ],
)
def test_another_phantom_is_named(points: Points, message: str) -> None:
    with pytest.raises(DataError, match=message):
        match_grid(points)


def test_orientation_bead_missing_or_doubled() -> None:
    pixels, nodes = seen_beads()
    is_orientation = np.all(nodes == phantom.ORIENTATION_BEAD, axis=1)
    with pytest.raises(DataError, match=r"orientation bead .* is not seen"):
        match_grid(pixels[~is_orientation])
    twin = truth()["bs"].inverse(phantom.nodes_to_mm([[39, 39]]))
    with pytest.raises(DataError, match="is not the only one: upright, mirrored left to right"):
        match_grid(np.concatenate([pixels, twin]))


def test_a_turn_beyond_recognition_is_said() -> None:
    with pytest.raises(DataError, match=r"turned by [-+]2\d degrees"):
        match_grid(seen_beads(25)[0])


def test_the_same_pattern_at_another_pitch_is_another_phantom() -> None:
    pixels, _ = seen_beads()
    with pytest.raises(DataError, match=r"beads are 2\d\.\d pixels apart; the grid phantom's \(7 mm\) are about 31"):
        match_grid((pixels - [832, 800]) * 5 / 7 + [832, 800])


def test_part_of_the_grid_is_not_enough() -> None:
    pixels, _ = seen_beads()
    with pytest.raises(DataError, match="fit the grid phantom"):
        match_grid(pixels[pixels[:, 0] < 800])


# -- fit --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("plane", PLANES)
def test_a_fit_gives_the_true_map_back(plane: str) -> None:
    found = fit_grid(native(plane))
    lengths = np.linalg.norm(found.fit.residuals_mm[found.fit.used], axis=1)
    assert found.match.view is View.UPRIGHT
    assert lengths.mean() < 0.03
    assert largest_map_error(found.fit.distortion, truth()[plane]) < 0.05
    back = PolynomialDistortion.from_text(found.fit.distortion.to_text())
    assert np.array_equal(back(found.centres_px), found.fit.distortion(found.centres_px))


@pytest.mark.parametrize("turn_deg", [-10, 10])
def test_a_turned_picture_is_fitted_as_well(turn_deg: float) -> None:
    middle = (831.5, 799.5)
    turn = cv2.getRotationMatrix2D(middle, turn_deg, 0.93)
    turned = cv2.warpAffine(native("bs"), turn, (1664, 1600), flags=cv2.INTER_CUBIC, borderValue=5)
    found = fit_grid(turned)
    assert found.match.turn_deg == pytest.approx(turn_deg, abs=1.5)
    pixels = np.stack(np.meshgrid(np.arange(500, 1100, 40.0), np.arange(500, 1100, 40.0)), -1).reshape(-1, 2)
    moved = pixels @ turn[:, :2].T + turn[:, 2]
    assert np.linalg.norm(found.fit.distortion(moved) - truth()["bs"](pixels), axis=1).max() < 0.05


def accuracy_on_published(table: pd.DataFrame, number: int, plane: str) -> tuple[float, float]:
    """Mean residual and largest map error in millimetres on a picture made from a published calibration."""
    true = PolynomialDistortion.from_text(table.at[number, f"distortion_result_{plane}"])
    found = fit_grid(grid_image(true, np.random.default_rng(number), noise=1.0, missing_share=0.05))
    mean = float(np.linalg.norm(found.fit.residuals_mm[found.fit.used], axis=1).mean())
    return mean, largest_map_error(found.fit.distortion, true)


def test_a_published_calibration_is_recovered(real_data: Path) -> None:
    table = pd.read_csv(real_data / "veriserum/csv_files/distortion_calibration_reloaded.csv").set_index("id")
    mean, largest = accuracy_on_published(table, table.index[0], "bs")
    assert mean <= 0.03
    assert largest <= 0.05


@pytest.mark.deep
@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("row", range(10))
def test_every_published_calibration_is_recovered(real_data: Path, row: int, plane: str) -> None:
    table = pd.read_csv(real_data / "veriserum/csv_files/distortion_calibration_reloaded.csv").set_index("id")
    mean, largest = accuracy_on_published(table, table.index[row], plane)
    assert mean <= 0.03
    assert largest <= 0.05


# -- table ------------------------------------------------------------------------------------------------------------


def test_other_rows_and_columns_stay_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text('id,distortion_result_fs,distortion_result_bs,operator\n7,"1,2;3","4;5","née, later"\n')
    table = CalibrationTable.read(path)
    table.put(9, {"distortion_result_fs": "a,b", "distortion_result_bs": "c", "method": "m"})
    table.write()
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert rows[0] == {
        "id": "7",
        "distortion_result_fs": "1,2;3",
        "distortion_result_bs": "4;5",
        "operator": "née, later",
        "method": "",
    }
    assert rows[1]["distortion_result_fs"] == "a,b"
    assert rows[1]["operator"] == ""


@pytest.mark.parametrize("text", ["id,tx\n1,2\n", "id,distortion_result_fs,distortion_result_bs\n1,2\n", ""])
def test_a_file_that_is_no_such_table_is_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(DataError, match="not a distortion calibration table"):
        CalibrationTable.read(path)
    assert path.read_text() == text


def test_only_csv_files_are_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a CSV file"):
        CalibrationTable.read(tmp_path / "study.db")


def test_planes_are_told_by_word_or_name() -> None:
    chosen = images_by_plane(["fs=a.png", "x/grid_bs_01.png"])
    assert list(chosen) == ["bs", "fs"]
    assert chosen["fs"] == Path("a.png")
    assert images_by_plane(["BS_7.tif"]) == {"bs": Path("BS_7.tif")}
    with pytest.raises(UsageError, match=r"which plane grid\.png shows is not said"):
        images_by_plane(["grid.png"])
    with pytest.raises(UsageError, match="is not said"):
        images_by_plane(["absence_offset.png"])
    with pytest.raises(UsageError, match="two pictures for plane bs"):
        images_by_plane(["bs=a.png", "bs_2.png"])


# -- command ----------------------------------------------------------------------------------------------------------


def test_from_grid_pictures_to_calibrated_images(
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
    assert cv2.imread(result["picture"]).shape[1] > 1000
    before = out.read_bytes()
    again = medcli("calibrate", "fit", grids["bs"], grids["fs"], "--out", out)
    assert (again.code, out.read_bytes()) == (0, before)
    assert "4, unchanged" in again.out
    write_tables(veriserum, [1, 2, 3, 4], {4: truth()["bs"]})
    calibrated = medcli("calibrate", "veriserum", "--root", veriserum, "--distortion", out, "--ids", "1", "--json")
    assert (calibrated.code, json.loads(calibrated.out)["done"]) == (0, 2)


def test_one_plane_completes_a_row(grids: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "table.csv"
    with pytest.raises(UsageError, match="no picture for plane fs"):
        fit_calibration({"bs": grids["bs"]}, out)
    assert not out.exists()
    kept = truth()["fs"].to_text()
    out.write_text(f'id,distortion_result_fs,distortion_result_bs\n2,"{kept}","{kept}"\n')
    with pytest.raises(UsageError, match="has a calibration 2 already"):
        fit_calibration({"bs": grids["bs"]}, out, 2)
    assert fit_calibration({"bs": grids["bs"]}, out, 2, overwrite=True).row == "replaced"
    row = CalibrationTable.read(out).find(2)
    assert row is not None
    assert row["distortion_result_fs"] == kept
    assert largest_map_error(PolynomialDistortion.from_text(row["distortion_result_bs"]), truth()["bs"]) < 0.05


def test_mirrored_pictures_are_recognised(medcli: Callable[..., Ran], tmp_path: Path) -> None:
    for plane in PLANES:
        cv2.imwrite(str(tmp_path / f"{plane}.png"), native(plane)[:, ::-1])
    words = ("calibrate", "fit", tmp_path / "bs.png", tmp_path / "fs.png", "--out", tmp_path / "table.csv")
    refused = medcli(*words)
    assert refused.code == 3
    assert "mirrored left to right" in refused.err
    assert "--mirrored" in refused.err
    assert not (tmp_path / "table.csv").exists()
    assert medcli(*words, "--mirrored").code == 0
    row = CalibrationTable.read(tmp_path / "table.csv").find(1)
    assert row is not None
    pixels = np.array([[400.0, 300], [800, 900], [1200, 700]])
    fitted = PolynomialDistortion.from_text(row["distortion_result_bs"])(pixels)
    assert np.allclose(fitted, truth()["bs"]([1663, 0] + pixels * [-1, 1]), atol=0.05)


def test_wrong_pictures_leave_with_three(medcli: Callable[..., Ran], tmp_path: Path, grids: dict[str, Path]) -> None:
    cv2.imwrite(str(tmp_path / "flat_bs.png"), np.full((1600, 1664), 140, np.uint8))
    ran = medcli("calibrate", "fit", tmp_path / "flat_bs.png", grids["fs"], "--out", tmp_path / "table.csv")
    assert ran.code == 3
    assert "flat_bs.png, plane bs: 0 round dark beads found, the grid phantom has 1762" in ran.err
    assert medcli("calibrate", "fit", "bs=none.png", grids["fs"], "--out", tmp_path / "table.csv").code == 3
    assert not (tmp_path / "table.csv").exists()


def test_pictures_of_another_size_are_taken_as_calibrated_images_are(tmp_path: Path) -> None:
    small = cv2.resize(native("bs"), (1248, 1200), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(tmp_path / "small.png"), small)
    found = fit_picture_file("bs", tmp_path / "small.png")
    assert largest_map_error(found.fit.distortion, truth()["bs"]) < 0.05
