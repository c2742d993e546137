"""Least squares on a problem with a known answer."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from medcli.core.threads import run_in_threads
from medcli.veriserum.registration.levenberg_marquardt import minimise


@pytest.mark.parametrize("is_central", [True, False])
def test_minimise_solves_a_problem_with_a_known_answer(is_central: bool) -> None:
    x = np.linspace(0, 3, 200)
    target = 1.3 * np.exp(-0.7 * x) + 0.4

    def residuals(n: np.ndarray) -> np.ndarray:
        return (1 + n[0]) * np.exp(-(1 + n[1]) * x) + n[2] - target

    assert np.allclose(minimise(residuals, 3, 100, is_central), [0.3, -0.3, 0.4], atol=1e-2)


def test_a_fit_whose_result_nobody_waits_for_ends_within_an_iteration() -> None:
    begun = threading.Event()

    def residuals(n: np.ndarray) -> np.ndarray:
        begun.set()
        return np.array([10.0 + np.exp(-n[0] / 100), np.exp(n[0] / 1e4)])

    def fit(is_fitted: bool) -> None:
        while is_fitted:
            minimise(residuals, 1, 5)

    results = run_in_threads(fit, (False, True), 2)
    next(results)
    assert begun.wait(60)
    results.close()  # type: ignore[attr-defined]  # returns only after the running item has ended
