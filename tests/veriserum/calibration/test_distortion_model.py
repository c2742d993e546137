from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from medcli.core.errors import DataError
from medcli.veriserum.calibration.distortion_model import PolynomialDistortion
from medcli.veriserum.dataset.detector import PLANES
from tests.support.made_veriserum import make_distortion
from tests.support.published_veriserum import map_pixel


@pytest.fixture
def distortion() -> PolynomialDistortion:
    return make_distortion(1)


def random_pixels(count: int) -> np.ndarray:
    return np.random.default_rng(0).uniform((-0.5, -0.5), (1663.5, 1599.5), (count, 2))


def test_equals_the_definition(distortion: PolynomialDistortion) -> None:
    pixels = random_pixels(50)
    expected = [map_pixel(distortion, x, y) for x, y in pixels]
    np.testing.assert_allclose(distortion(pixels), expected, atol=1e-10)


def test_round_trip(distortion: PolynomialDistortion) -> None:
    pixels = random_pixels(2000)
    np.testing.assert_allclose(distortion.inverse(distortion(pixels)), pixels, atol=1e-6)


def test_every_published_calibration_round_trips(real_data: Path) -> None:
    table = pd.read_csv(real_data / "veriserum/csv_files/distortion_calibration_reloaded.csv")
    pixels = random_pixels(500)
    for _, row in table.iterrows():
        for plane in PLANES:
            distortion = PolynomialDistortion.from_text(row[f"distortion_result_{plane}"])
            distortion.check_plausible()
            np.testing.assert_allclose(distortion.inverse(distortion(pixels)), pixels, atol=1e-6)


def test_jacobian_is_the_derivative(distortion: PolynomialDistortion) -> None:
    pixels, step = random_pixels(20), 1e-4
    for axis in (0, 1):
        shift = np.eye(2)[axis] * step
        slope = (distortion(pixels + shift) - distortion(pixels - shift)) / (2 * step)
        np.testing.assert_allclose(distortion.jacobian(pixels)[:, :, axis], slope, atol=1e-8)


def test_a_point_without_a_pixel_has_no_inverse(distortion: PolynomialDistortion) -> None:
    far = distortion.inverse([[1e7, -1e7], [0.0, 0.0]])
    assert not np.isnan(far[1]).any()
    assert np.isnan(far[0]).all() or np.allclose(distortion(far[:1]), [[1e7, -1e7]])


def test_text_round_trip(distortion: PolynomialDistortion) -> None:
    again = PolynomialDistortion.from_text(distortion.to_text())
    assert again.to_text() == distortion.to_text()
    assert again.fingerprint == distortion.fingerprint != make_distortion(2).fingerprint


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1,2;0.2;1,2;1,0,0,1", "32;1;2;4 numbers, got 2;1;2;4"),
        (",".join(["1"] * 32) + ";0.2;1,2", "got 32;1;2"),
        (",".join(["x"] * 32) + ";0.2;1,2;1,0,0,1", "does not consist of numbers"),
        (",".join(["nan"] * 32) + ";0.2;1,2;1,0,0,1", "not finite"),
        ("", "does not consist of numbers"),
    ],
)
def test_broken_text(text: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        PolynomialDistortion.from_text(text)


def test_folding_map_is_rejected(distortion: PolynomialDistortion) -> None:
    distortion.check_invertible()
    folding = distortion.coefficients.copy()
    folding[8] = 0.01  # u² in X: folds within the image
    broken = PolynomialDistortion(folding, distortion.scale, distortion.translation_mm, distortion.rotation)
    with pytest.raises(DataError, match="calibration 7 is not invertible"):
        broken.check_invertible("calibration 7")
    flat = PolynomialDistortion(np.zeros(32), 0.2, np.zeros(2), np.eye(2))
    with pytest.raises(DataError, match="not invertible"):
        flat.check_invertible()


def test_useless_maps_are_rejected_and_real_ones_are_not(distortion: PolynomialDistortion) -> None:
    """Any one of the 39 numbers absurdly large, or the scale twice or half as large and more."""
    distortion.check_plausible()
    numbers = distortion._packed()
    for k in range(39):
        for value in (1e5, -1e5, 1e10, 1e308, -1e308):
            with pytest.raises(DataError, match=r"calibration 7 (cannot be right|is not invertible)"):
                _unpacked(np.where(np.arange(39) == k, value, numbers)).check_plausible("calibration 7")
    for scale in (0.0, 0.001, 0.45, 2.2, 1000.0):
        with pytest.raises(DataError, match=r"cannot be right|not invertible"):
            _unpacked(np.concatenate([numbers[:32] * scale, numbers[32:]])).check_plausible()
    shifted = numbers.copy()
    shifted[[0, 16]] += 300
    with pytest.raises(DataError, match=r"the part of the native image on the corrected grid is .*, expected 0.2 to 1"):
        _unpacked(shifted).check_plausible()


def test_mirrored_turned_and_displaced_maps_are_rejected(distortion: PolynomialDistortion) -> None:
    """Each keeps its scale, and is invertible."""
    distortion.check_orientation()
    x, y = np.split(distortion._packed()[:32], 2)
    for halves, said in (
        ((-x, y), "mirrors the image, or exchanges its axes"),
        ((x, -y), "mirrors the image"),
        ((y, x), "or exchanges its axes"),
        ((-x, -y), "its rotation is -?1[78].* degrees, expected -20 to 20"),
        ((-y, x), "its rotation is [89].* degrees"),
    ):
        wrong = _unpacked(np.concatenate([*halves, distortion._packed()[32:]]))
        with pytest.raises(DataError, match=f"calibration 7 cannot be right: .*{said}"):
            wrong.check_orientation("calibration 7")
    for halves in ((-x, y), (x, -y)):
        _unpacked(np.concatenate([*halves, distortion._packed()[32:]])).check_orientation(may_mirror=True)
    with pytest.raises(DataError, match="its rotation is"):
        _unpacked(np.concatenate([y, x, distortion._packed()[32:]])).check_orientation(may_mirror=True)
    shifted = distortion._packed()
    shifted[0] += 70
    with pytest.raises(DataError, match=r"the image's centre from that of the grid is .* mm, expected 0 to 45 mm"):
        _unpacked(shifted).check_plausible()


def _unpacked(numbers: NDArray[np.float64]) -> PolynomialDistortion:
    return PolynomialDistortion(numbers[:32], float(numbers[32]), numbers[33:35], numbers[35:].reshape(2, 2))


def test_wrong_shapes_are_rejected(distortion: PolynomialDistortion) -> None:
    with pytest.raises(ValueError, match=r"got \(3,\)"):
        distortion(np.zeros(3))
    with pytest.raises(ValueError, match="must be"):
        PolynomialDistortion(np.zeros(31), 0.2, np.zeros(2), np.eye(2))
