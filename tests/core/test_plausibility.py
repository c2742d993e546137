"""Limits of the numbers that enter from files."""

from __future__ import annotations

import math

import numpy as np
import pytest

from medcli.core import plausibility
from medcli.core.plausibility import (
    ANGLE_DEG,
    IMPLANT_EXTENT_MM,
    PIXEL_SPACING_MM,
    POSITION_MM,
    Bound,
    mesh_problem,
    pose_bounds,
    problem_of,
)

BOUNDS = [bound for bound in vars(plausibility).values() if isinstance(bound, Bound)]


@pytest.mark.parametrize("bound", BOUNDS, ids=lambda bound: f"{bound.name}, {bound.unit}")
def test_every_bound_refuses_what_is_no_number_and_says_its_limits(bound: Bound) -> None:
    assert bound.why
    assert bound.problem(bound.low) == bound.problem(bound.high) == ""
    for value in (math.nan, math.inf, -math.inf, 1e308, -1e308, 3e38):
        assert f"expected {bound.low:g} to {bound.high:g} {bound.unit}".strip() in bound.problem(value)
        assert not bound.holds([value]).any()
    assert bound.holds([bound.low, bound.high]).all()


def test_the_first_problem_names_the_column() -> None:
    names = ("x", "y", "z", "a", "b", "c")
    good = dict.fromkeys(names, 1.0)
    assert problem_of(good, pose_bounds(names)) == ""
    assert problem_of(good | {"c": 1e308}, pose_bounds(names)) == "c is 1e+308 degrees, expected -3600 to 3600 degrees"
    assert problem_of(good | {"y": 2e4, "c": 1e308}, pose_bounds(names)).startswith("y is 20000 mm")
    assert (POSITION_MM.unit, ANGLE_DEG.unit) == ("mm", "degrees")
    assert PIXEL_SPACING_MM.problem(53.92, "space_factor").startswith("space_factor is 53.92 mm")  # micrometres
    assert PIXEL_SPACING_MM.problem(5.392e-5)  # metres


@pytest.mark.parametrize(
    ("scale", "said"), [(1.0, ""), (0.001, "looks like metres"), (1000.0, "looks like micrometres"), (1e30, "micro")]
)
def test_a_mesh_in_another_unit_is_recognised(scale: float, said: str) -> None:
    bone = np.random.default_rng(0).uniform([0, 0, 1000], [40, 50, 1400], (500, 3))
    problem, hint = mesh_problem(bone * scale)
    assert said in problem
    assert bool(problem) == bool(hint) == bool(said)


@pytest.mark.parametrize(
    ("scale", "said"),
    [
        (1.0, ""), (0.001, "looks like metres"), (0.1, "looks like centimetres"), (1 / 25.4, "looks like inches"),
        (1000.0, "looks like micrometres"),
    ],
)  # fmt: skip
def test_an_implant_in_another_unit_is_recognised(scale: float, said: str) -> None:
    for size in (60, 70, 80):
        implant = np.random.default_rng(0).uniform(-1, 1, (500, 3)) / 2 * [size, size * 0.7, size * 0.4]
        assert said in mesh_problem(implant * scale, IMPLANT_EXTENT_MM)[0]
        assert bool(mesh_problem(implant * scale, IMPLANT_EXTENT_MM)[0]) == bool(said)


def test_a_wild_vertex_and_a_mesh_elsewhere_are_recognised() -> None:
    bone = np.random.default_rng(0).uniform([0, 0, 1000], [40, 50, 1400], (500, 3))
    wild = bone.copy()
    wild[7, 1] = 3e38
    assert mesh_problem(wild)[0] == (
        "1 of 500 vertices cannot be right: a coordinate is 3e+38 mm, expected -10000 to 10000 mm"
    )
    assert "from the origin" in mesh_problem(bone + 1e6)[0]
