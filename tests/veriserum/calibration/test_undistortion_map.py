"""The kernels against the published procedure (a k-d tree over every native pixel)."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from medcli.veriserum.calibration.distortion_model import PolynomialDistortion
from medcli.veriserum.calibration.undistorted_pairs import to_native_size
from medcli.veriserum.calibration.undistortion_map import AreaMap, Reduction, ReferenceMap, load_or_build
from medcli.veriserum.dataset.detector import PLANES
from tests.support.made_veriserum import make_distortion, smooth_image
from tests.support.published_veriserum import correct_pair, nearest_native_pixels


@pytest.fixture(scope="module")
def distortion() -> PolynomialDistortion:
    return make_distortion(3)


@pytest.fixture(scope="module")
def nearest(distortion: PolynomialDistortion) -> np.ndarray:
    return nearest_native_pixels(distortion)


def test_nearest_pixel_of_the_whole_grid(distortion: PolynomialDistortion, nearest: np.ndarray) -> None:
    """Every pixel of the grid, those beyond the mapped image included."""
    built = ReferenceMap.build(distortion, 1600)
    np.testing.assert_array_equal(built.nearest, nearest)


@pytest.mark.parametrize("size", [512, 256, 800, 1600, 500, 333])
def test_reference_equals_the_published_pixels(
    distortion: PolynomialDistortion, nearest: np.ndarray, size: int
) -> None:
    image = smooth_image(5)
    expected = correct_pair({"bs": image, "fs": image}, {"bs": nearest, "fs": nearest}, size)["bs"]
    result = ReferenceMap.build(distortion, size).apply(image, image.max())
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("shape", [(800, 832), (1600, 1600), (1700, 2000), (64, 64)])
def test_reference_equals_the_published_pixels_for_other_input_sizes(
    distortion: PolynomialDistortion, nearest: np.ndarray, shape: tuple[int, int]
) -> None:
    image = smooth_image(6, shape)
    expected = correct_pair({"bs": image, "fs": image}, {"bs": nearest, "fs": nearest})["bs"]
    resized = to_native_size(image)
    result = ReferenceMap.build(distortion, 512).apply(resized, resized.max())
    np.testing.assert_array_equal(result, expected)


def test_reference_without_scaling(distortion: PolynomialDistortion, nearest: np.ndarray) -> None:
    pair = {"bs": smooth_image(7), "fs": np.zeros((1600, 1664), np.uint8)}
    expected = correct_pair(pair, {"bs": nearest, "fs": nearest})
    built = ReferenceMap.build(distortion, 512)
    np.testing.assert_array_equal(built.apply(pair["bs"], 0), expected["bs"])
    np.testing.assert_array_equal(built.apply(pair["fs"], 0), expected["fs"])


def test_published_calibration(real_data: Path) -> None:
    check_published_calibrations(real_data, [("bs", 0)])


@pytest.mark.deep
def test_every_published_calibration(real_data: Path) -> None:
    check_published_calibrations(real_data, [(plane, row) for row in range(10) for plane in PLANES])


def check_published_calibrations(real_data: Path, cases: list[tuple[str, int]]) -> None:
    table = pd.read_csv(real_data / "veriserum/csv_files/distortion_calibration_reloaded.csv")
    for plane, row in cases:
        model = PolynomialDistortion.from_text(table[f"distortion_result_{plane}"][row])
        tree = nearest_native_pixels(model)
        for size, shape in ((512, (1600, 1664)), (512, (900, 1000)), (333, (1600, 1664))):
            image = smooth_image(row, shape)
            expected = correct_pair({"bs": image, "fs": image}, {"bs": tree, "fs": tree}, size)["bs"]
            source = to_native_size(image)
            np.testing.assert_array_equal(ReferenceMap.build(model, size).apply(source, source.max()), expected)


@pytest.mark.parametrize("size", [512, 1000])
def test_reduction_reads_what_opencv_reads(size: int) -> None:
    """A row that is 0 but for one pixel shows which weights OpenCV gives it."""
    reduction = Reduction.to_size(size)
    for pixel in (0, 1, 799, 800, 1598, 1599):
        row = np.zeros((1, 1600))
        row[0, pixel] = 1
        left = np.where(reduction.lines[reduction.first] == pixel, 1 - reduction.weight, 0)
        right = np.where(reduction.lines[reduction.second] == pixel, reduction.weight, 0)
        np.testing.assert_allclose(left + right, cv2.resize(row, (size, 1))[0], atol=1e-4)


def test_reduction_rejects_a_size_beyond_the_grid() -> None:
    with pytest.raises(ValueError, match="1 to 1600"):
        Reduction.to_size(1601)


def slow_area(image: np.ndarray, distortion: PolynomialDistortion, size: int, i: int, j: int) -> float:
    """Mean over a fine lattice of the footprint of output pixel (i, j), by the model's own inverse."""
    offsets = (np.arange(32) + 0.5) / 32
    columns, rows = np.meshgrid((j + offsets) * 1600 / size - 0.5, (i + offsets) * 1600 / size - 0.5)
    points_mm = np.stack([(columns.ravel() - 800) * 0.225, -(rows.ravel() - 800) * 0.225], axis=1)
    x, y = distortion.inverse(points_mm).T
    x, y = x.astype(np.float32)[None], y.astype(np.float32)[None]
    values = cv2.remap(image.astype(np.float64), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return float(values.mean())


@pytest.mark.parametrize("size", [64, 512, 1600])
def test_area_equals_a_fine_integral(distortion: PolynomialDistortion, size: int) -> None:
    image = cv2.GaussianBlur(smooth_image(8), (0, 0), 2)
    area = AreaMap.build(distortion, size)
    result = area.apply(image, 0)
    rng = np.random.default_rng(0)
    inside = np.argwhere(area.inside)
    for i, j in inside[rng.integers(0, len(inside), 40)]:
        assert abs(result[i, j] - slow_area(image, distortion, size, i, j)) <= 1.5


def test_area_is_black_outside_and_scaled_inside(distortion: PolynomialDistortion) -> None:
    area = AreaMap.build(distortion, 512)
    white = np.full((1600, 1664), 100, np.uint8)
    result = area.apply(white, 100)
    assert area.inside.mean() > 0.9
    assert not area.inside.all()
    assert (result[area.inside] == 255).all()
    assert (result[~area.inside] == 0).all()


def test_area_field_of_view_is_where_a_native_pixel_maps(distortion: PolynomialDistortion) -> None:
    area = AreaMap.build(distortion, 200)
    columns, rows = np.meshgrid((np.arange(200) + 0.5) * 8 - 0.5, (np.arange(200) + 0.5) * 8 - 0.5)
    centres_mm = np.stack([(columns.ravel() - 800) * 0.225, -(rows.ravel() - 800) * 0.225], axis=1)
    x, y = distortion.inverse(centres_mm).T
    in_image = (x >= -0.5) & (x <= 1663.5) & (y >= -0.5) & (y <= 1599.5)
    assert np.mean(in_image.reshape(200, 200) != area.inside) < 0.02
    assert not (area.inside & ~in_image.reshape(200, 200)).any()


def test_area_of_another_input_size_is_nearly_the_same(distortion: PolynomialDistortion) -> None:
    image = cv2.GaussianBlur(smooth_image(9), (0, 0), 6)
    half = cv2.resize(image, (832, 800), interpolation=cv2.INTER_AREA)
    area = AreaMap.build(distortion, 256)
    difference = area.apply(image, 0).astype(float) - area.apply(half, 0)
    assert np.abs(difference).mean() < 1


def test_a_map_is_kept_and_read_again(distortion: PolynomialDistortion, tmp_path: Path) -> None:
    for resampling in ("reference", "area"):
        first = load_or_build(distortion, 128, resampling, tmp_path)
        files = sorted(tmp_path.glob(f"{resampling}-128-*.npz"))
        again = load_or_build(distortion, 128, resampling, tmp_path)
        assert len(files) == 1
        for name, array in first.arrays.items():
            np.testing.assert_array_equal(array, again.arrays[name])


@pytest.mark.parametrize("damage", ["empty", "truncated", "a flipped byte", "another shape", "out of range"])
def test_a_damaged_cache_file_is_rebuilt(distortion: PolynomialDistortion, tmp_path: Path, damage: str) -> None:
    sound = load_or_build(distortion, 128, "reference", tmp_path)
    (path,) = tmp_path.iterdir()
    content = bytearray(path.read_bytes())
    if damage == "empty":
        path.write_bytes(b"")
    elif damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "a flipped byte":
        content[len(content) // 2] ^= 0xFF
        path.write_bytes(content)
    else:
        wrong = np.zeros((3, 3), np.int32) if damage == "another shape" else sound.arrays["nearest"] - 10**6
        with path.open("wb") as stream:
            np.savez(stream, nearest=wrong)
    again = load_or_build(distortion, 128, "reference", tmp_path)
    np.testing.assert_array_equal(again.arrays["nearest"], sound.arrays["nearest"])
    healed = load_or_build(distortion, 128, "reference", tmp_path)
    np.testing.assert_array_equal(healed.arrays["nearest"], sound.arrays["nearest"])


def test_another_calibration_has_another_cache_file(distortion: PolynomialDistortion, tmp_path: Path) -> None:
    changed = distortion.coefficients.copy()
    changed[0] += 1e-12
    other = PolynomialDistortion(changed, distortion.scale, distortion.translation_mm, distortion.rotation)
    load_or_build(distortion, 64, "reference", tmp_path)
    load_or_build(other, 64, "reference", tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_cache_that_cannot_be_written_does_not_matter(distortion: PolynomialDistortion, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    built = load_or_build(distortion, 64, "reference", blocked)
    np.testing.assert_array_equal(built.arrays["nearest"], ReferenceMap.build(distortion, 64).nearest)
