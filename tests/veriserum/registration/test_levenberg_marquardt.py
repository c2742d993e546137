"""Least squares on a problem with a known answer."""

from __future__ import annotations

import numpy as np
import pytest

from medcli.veriserum.registration.levenberg_marquardt import minimise


@pytest.mark.parametrize("is_central", [True, False])
def test_minimise_solves_a_problem_with_a_known_answer(is_central: bool) -> None:
    x = np.linspace(0, 3, 200)
    target = 1.3 * np.exp(-0.7 * x) + 0.4

    def residuals(n: np.ndarray) -> np.ndarray:
        return (1 + n[0]) * np.exp(-(1 + n[1]) * x) + n[2] - target

    assert np.allclose(minimise(residuals, 3, 100, is_central), [0.3, -0.3, 0.4], atol=1e-2)
