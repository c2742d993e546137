"""Residuals on held-out beads: distortions within the polynomial's family and outside it."""

from __future__ import annotations

import logging
from pathlib import Path

import cv2
import numpy as np
import pytest

from medcli.synthetic.fluoroscopy.grid_phantom import grid_image
from medcli.veriserum.calibration.distortion_model import PolynomialDistortion
from medcli.veriserum.calibration.grid_fit import phantom
from medcli.veriserum.calibration.grid_fit.fit_calibration import fit_calibration
from medcli.veriserum.calibration.grid_fit.held_out import HeldOut, held_out_residuals
from medcli.veriserum.calibration.grid_fit.robust_fit import fit_distortion
from tests.support.grid_images import Points, seen_beads, truth

HALF_MM = phantom.MIDDLE * phantom.PITCH_MM


def held_out(shift_mm: Points, noise_px: float = 0.05, wrong: int = 0) -> tuple[HeldOut, Points]:
    """Of beads whose places in the image are those of a polynomial moved by ``shift_mm`` (N, 2)."""
    pixels, nodes = seen_beads()
    generator = np.random.default_rng(5)
    moved = np.linalg.solve(truth()["bs"].jacobian(pixels), shift_mm[..., None])[..., 0]
    pixels = pixels + moved + generator.normal(0, noise_px, pixels.shape)
    pixels[generator.choice(len(pixels), wrong, replace=False)] += 4.0
    fit = fit_distortion(PolynomialDistortion, pixels, phantom.nodes_to_mm(nodes))
    return held_out_residuals(fit, pixels, nodes), pixels


def places() -> Points:
    return phantom.bead_centres_mm()


def bump(height_mm: float) -> Points:
    """A local shift about (60, -40) mm, 20 mm wide."""
    shape = np.exp(-((places() - [60.0, -40.0]) ** 2).sum(axis=1) / (2 * 20.0**2))
    return height_mm * shape[:, None] * [0.8, 0.6]


def s_shape(size_mm: float) -> Points:
    """Horizontal shifts that change sign three times from top to bottom."""
    return np.stack([size_mm * np.sin(3 * np.pi * places()[:, 1] / HALF_MM), np.zeros(len(places()))], axis=1)


def swirl(size_mm: float) -> Points:
    """A rotation about the centre that grows with the sixth power of the radius."""
    x, y = places().T / HALF_MM
    return size_mm * np.hypot(x, y)[:, None] ** 6 * np.stack([-y, x], axis=1)


def test_a_polynomial_leaves_noise_without_a_pattern_and_wrong_beads_do_not_count() -> None:
    for noise_px, wrong in ((0.03, 0), (0.15, 0), (0.05, 40)):
        found, _ = held_out(np.zeros_like(places()), noise_px, wrong)
        assert abs(found.autocorrelation) < 0.08
        assert found.systematic_mm < 0.006
        assert found.misfit == ""


@pytest.mark.parametrize("noise_px", [0.03, 0.1])
@pytest.mark.parametrize("shift", [bump(0.1), bump(0.3), s_shape(0.1), swirl(0.4)], ids=["bump", "high", "s", "swirl"])
def test_distortions_outside_the_family_are_noticed(shift: Points, noise_px: float) -> None:
    found, _ = held_out(shift, noise_px)
    assert "does not follow this distortion" in found.misfit
    clean, _ = held_out(shift, 1e-6)  # what the model cannot follow, without noise
    part = float(np.sqrt((clean.residuals_mm**2).sum(axis=1).mean()))
    assert found.systematic_mm == pytest.approx(part, rel=0.35, abs=0.004)
    assert clean.autocorrelation > 0.7


def test_a_rejected_bump_is_found_at_its_place() -> None:
    found, _ = held_out(bump(0.3), 0.03)
    assert found.largest_mm == pytest.approx(0.3, abs=0.05)
    assert np.hypot(found.largest_place_mm[0] - 60, found.largest_place_mm[1] + 40) < 10


def test_residuals_are_those_of_fits_without_the_bead() -> None:
    """Against fits made here, one for each fifth; the sets hold no two neighbours."""
    found, pixels = held_out(s_shape(0.1))
    _, nodes = seen_beads()
    beads = phantom.nodes_to_mm(nodes)
    for fold in range(5):
        out = (nodes @ [1, 2]) % 5 == fold
        model = PolynomialDistortion.from_estimate(pixels[~out], beads[~out])
        np.testing.assert_allclose(found.residuals_mm[out], model(pixels[out]) - beads[out], atol=1e-9)
        steps = np.abs(nodes[out][:, None] - nodes[out][None]).sum(axis=2)
        assert steps[steps > 0].min() > 1


def test_the_command_warns_of_an_image_outside_the_family(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A simulated image, whose upper right is pushed to the side by up to two pixels."""
    image = grid_image(truth()["bs"], np.random.default_rng(2), noise=1.0, missing_share=0.02)
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]].astype(np.float32)
    push = 2 * np.exp(-((columns - 1100) ** 2 + (rows - 500) ** 2) / (2 * 120.0**2)).astype(np.float32)
    cv2.imwrite(str(tmp_path / "bs.png"), cv2.remap(image, columns + push, rows, cv2.INTER_CUBIC))
    cv2.imwrite(str(tmp_path / "fs.png"), grid_image(truth()["fs"], np.random.default_rng(3), noise=1.0))
    with caplog.at_level(logging.WARNING):
        result = fit_calibration({p: tmp_path / f"{p}.png" for p in ("bs", "fs")}, tmp_path / "table.csv")
    warned = [record.getMessage() for record in caplog.records if "does not follow" in record.getMessage()]
    assert len(warned) == 1
    assert "bs.png" in warned[0]
    bent, sound = result.planes
    assert bent.largest_systematic_mm > 0.2 > 0.04 > sound.largest_systematic_mm
    assert (bool(bent.misfit), sound.misfit) == (True, "")
    assert sound.mean_mm < sound.held_out_mean_mm < 1.1 * sound.mean_mm
