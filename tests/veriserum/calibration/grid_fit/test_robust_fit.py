"""Outliers are rejected."""

from __future__ import annotations

import numpy as np

from medcli.veriserum.calibration.distortion_model import PolynomialDistortion
from medcli.veriserum.calibration.grid_fit import phantom
from medcli.veriserum.calibration.grid_fit.robust_fit import fit_distortion
from tests.support.grid_images import largest_map_error, seen_beads, truth


def test_a_displaced_bead_is_an_outlier() -> None:
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
