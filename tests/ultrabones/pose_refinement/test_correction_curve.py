"""The correction curve: its basis, its penalty, its pieces, and the solver of its normal equations."""

from __future__ import annotations

import numpy as np
import pytest

from medcli.ultrabones.pose_refinement.correction_curve import BAND, CurveBasis, add_to_band, solve_band, split_at_gaps

EVEN = [50 * k for k in range(41)]


def test_a_straight_curve_costs_nothing_and_a_bent_one_its_integral() -> None:
    basis = CurveBasis.of(EVEN)
    assert np.allclose(basis.values.sum(axis=1), 1.0)
    times = basis.times_s
    design = np.zeros((len(times), basis.coefficients))
    for frame, (first, values) in enumerate(zip(basis.first, basis.values, strict=True)):
        design[frame, first : first + 4] = values
    for wanted, integral in ((3 * times - 1, 0.0), (times**3, np.sum(36.0 * np.linspace(0, 2, 20001) ** 2) / 10000)):
        coefficients = np.zeros((basis.coefficients, 6))
        coefficients[:, 2] = np.linalg.lstsq(design, wanted, rcond=None)[0]
        assert np.allclose(basis.curve(coefficients)[:, 2], wanted, atol=1e-8)
        cost = float((coefficients * basis.penalty_of(coefficients)).sum())
        assert cost == pytest.approx(integral / 0.05, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize(
    ("stamps", "pieces"),
    [
        ([0, 50, 100], ((0, 3),)),
        ([0, 0, 50, 50, 100, 100], ((0, 6),)),
        ([7] * 6, ((0, 6),)),
        ([5], ((0, 1),)),
        ([*EVEN, *(2_000 + 3_000 + stamp for stamp in EVEN)], ((0, 41), (41, 82))),
    ],
)
def test_gaps_break_the_curve_and_short_pieces_are_constant(stamps: list[int], pieces: tuple[tuple[int, int]]) -> None:
    basis = CurveBasis.of(stamps)
    assert basis.pieces == pieces
    curve = basis.curve(np.random.default_rng(0).uniform(-1, 1, (basis.coefficients, 6)))
    assert np.abs(curve).max() <= 1.0  # within the bounds of its coefficients
    for start, end in pieces:
        if end - start < 5 or stamps[start] == stamps[end - 1]:
            assert np.ptp(curve[start:end], axis=0).max() == 0
    one_piece = np.zeros((basis.coefficients, 6))
    one_piece[: basis.first[pieces[0][1] - 1] + 4] = 1.0
    if len(pieces) == 2:
        assert np.allclose(basis.curve(one_piece)[:, 0], np.repeat([1.0, 0.0], 41))


def test_a_slow_recording_is_no_row_of_gaps() -> None:
    assert split_at_gaps(np.arange(20) * 1.3) == ((0, 20),)


def test_the_banded_solver_agrees_with_a_dense_one() -> None:
    rng, basis = np.random.default_rng(1), CurveBasis.of(EVEN)
    half = rng.normal(size=(41, 6, 6))
    curvatures, gradients = half @ half.transpose(0, 2, 1) + np.eye(6), rng.normal(size=(41, 6))
    size = 6 * basis.coefficients
    band, right, dense = np.zeros((size, BAND)), np.zeros((basis.coefficients, 6)), np.eye(size) * 0.1
    add_to_band(band, right, basis.first, basis.values, gradients, curvatures)
    band[:, 0] += 0.1
    expected = np.zeros((basis.coefficients, 6))
    for f in range(41):
        for i in range(4):
            expected[basis.first[f] + i] += basis.values[f, i] * gradients[f]
            for j in range(4):
                rows, columns = (slice(6 * (basis.first[f] + k), 6 * (basis.first[f] + k) + 6) for k in (i, j))
                dense[rows, columns] += basis.values[f, i] * basis.values[f, j] * curvatures[f]
    assert np.allclose(right, expected)
    free = rng.random(size) > 0.2
    solution = solve_band(band.copy(), right.ravel(), free)
    assert np.allclose(solution[free], np.linalg.solve(dense[np.ix_(free, free)], right.ravel()[free]))
    assert (solution[~free] == 0).all()
