"""Joint coordinates: bones moved by hand, both sides, an independent twin, and what is undefined."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import ArrayLike
from scipy.spatial.transform import Rotation

from medcli.core.rigid_transforms import rigid_transform
from medcli.veriserum.kinematics.joint_coordinates import (
    COORDINATES,
    SIDES,
    joint_coordinates,
    undefined_reason,
    unwrap_flexion,
)

RIGHT, ANTERIOR, PROXIMAL = np.eye(3)
MIRROR = np.diag([-1.0, 1.0, 1.0, 1.0])


def axes_from_coordinates(coordinates: ArrayLike, side: ArrayLike) -> np.ndarray:
    """The inverse of :func:`joint_coordinates`: the tibia's axes in those of the femur, (..., 4, 4).

    Args:
        coordinates: (..., 6) in degrees and mm.
        side: (...) of :data:`SIDES`.
    """
    coordinates = np.asarray(coordinates, np.float64)
    sign = np.asarray(side, np.float64)
    flexion, adduction, rotation = np.moveaxis(np.radians(coordinates[..., :3]), -1, 0)
    zero = np.zeros_like(flexion)
    e1 = np.stack([sign + zero, zero, zero], axis=-1)  # lateral
    e2 = np.stack([zero, np.cos(flexion), -np.sin(flexion)], axis=-1)
    up = np.stack([zero, np.sin(flexion), np.cos(flexion)], axis=-1)
    cosine, sine = np.cos(adduction)[..., None], np.sin(adduction)[..., None]
    e3, out = sine * e1 + cosine * up, cosine * e1 - sine * up  # out: lateral, in the plane of the tray
    matrix = np.zeros((*coordinates.shape[:-1], 4, 4))
    cosine, sine = np.cos(rotation)[..., None], np.sin(rotation)[..., None]
    matrix[..., :3, 0] = sign[..., None] * (cosine * out + sine * e2)
    matrix[..., :3, 1] = cosine * e2 - sine * out
    matrix[..., :3, 2] = e3
    # The shifts are projections on axes that are not perpendicular: solve for the vector.
    rows = np.stack([e1, e2, -e3], axis=-2)
    matrix[..., :3, 3] = np.linalg.solve(rows, coordinates[..., 3:, None])[..., 0]
    matrix[..., 3, 3] = 1
    return matrix


def turned_tibia(axis: np.ndarray, degrees: float) -> np.ndarray:
    """The tibia, aligned with the femur, turned by the right-hand rule about an axis through the joint."""
    tibia = np.eye(4)
    tibia[:3, :3] = Rotation.from_rotvec(np.radians(degrees) * np.asarray(axis)).as_matrix()
    return tibia


def shifted_tibia(direction: np.ndarray) -> np.ndarray:
    tibia = np.eye(4)
    tibia[:3, 3] = 5 * direction
    return tibia


def ends(tibia: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the tibia's distal end and its front went, from straight below and straight ahead."""
    return tibia[:3, :3] @ -PROXIMAL + PROXIMAL, tibia[:3, :3] @ ANTERIOR - ANTERIOR


@pytest.mark.parametrize("side", SIDES)
def test_each_coordinate_has_the_sign_of_its_anatomy(side: str) -> None:
    """A bone moved by hand in each of the six ways; that it went that way is checked by where its ends are."""
    lateral = SIDES[side] * RIGHT
    flexed = turned_tibia(RIGHT, -20)
    assert ends(flexed)[0] @ ANTERIOR < 0, "the distal end went backwards"
    varus = turned_tibia(ANTERIOR, 20 * SIDES[side])
    assert ends(varus)[0] @ lateral < 0, "the distal end went to the midline"
    internal = turned_tibia(PROXIMAL, 20 * SIDES[side])
    assert ends(internal)[1] @ lateral < 0, "the front went to the midline"
    moved = [flexed, varus, internal, *map(shifted_tibia, (lateral, ANTERIOR, -PROXIMAL))]
    found = joint_coordinates(np.eye(4), np.stack(moved), np.full(6, SIDES[side]))
    np.testing.assert_allclose(found, np.diag([20, 20, 20, 5, 5, 5]), atol=1e-9)


def random_axes(generator: np.random.Generator, count: int, most_deg: float) -> tuple[np.ndarray, np.ndarray]:
    """Femora anywhere, and tibiae near them."""
    femora = rigid_transform(generator.uniform(-300, 300, (count, 3)), generator.uniform(-180, 180, (count, 3)), "xyz")
    between = rigid_transform(
        generator.uniform(-40, 40, (count, 3)), generator.uniform(-most_deg, most_deg, (count, 3)), "xyz"
    )
    return femora, femora @ between


def slow_coordinates(femur: np.ndarray, tibia: np.ndarray, side: str) -> list[float]:
    """The twin, by SciPy's Euler angles: a left knee is made a right one by mirroring right and left of all axes.

    For a right knee the tibia is turned about right, anterior', proximal'' of the femur: by minus flexion, plus
    adduction, plus internal rotation.
    """
    relative = np.linalg.inv(femur) @ tibia
    if side == "left":
        relative = MIRROR @ relative @ MIRROR
    angles = Rotation.from_matrix(relative[:3, :3]).as_euler("XYZ", degrees=True)
    flexed = Rotation.from_euler("X", angles[0], degrees=True)
    floating, proximal = flexed.apply(ANTERIOR), relative[:3, 2]
    offset = relative[:3, 3]
    return [-angles[0], angles[1], angles[2], offset @ RIGHT, offset @ floating, -offset @ proximal]


@pytest.mark.parametrize("side", SIDES)
def test_the_coordinates_are_those_of_the_slow_twin(side: str) -> None:
    femora, tibiae = random_axes(np.random.default_rng(3), 200, 80)
    found = joint_coordinates(femora, tibiae, np.full(200, SIDES[side]))
    expected = np.array([slow_coordinates(*both, side) for both in zip(femora, tibiae, strict=True)])
    defined = np.isfinite(found).all(axis=1)
    assert defined.mean() > 0.9
    np.testing.assert_allclose(found[defined], expected[defined], atol=1e-7)
    relative = axes_from_coordinates(found[defined], np.full(defined.sum(), SIDES[side]))
    np.testing.assert_allclose(femora[defined] @ relative, tibiae[defined], atol=1e-6)


def test_a_mirrored_left_knee_gives_the_numbers_of_the_right_one() -> None:
    """The world is mirrored by an arbitrary plane; right and left of each bone exchange, and so do their axes."""
    femora, tibiae = random_axes(np.random.default_rng(5), 50, 60)
    normal = np.array([2.0, -1.0, 3.0]) / np.sqrt(14)
    world = np.eye(4)
    world[:3, :3] -= 2 * np.outer(normal, normal)
    world[:3, 3] = 70 * normal
    left = joint_coordinates(world @ femora @ MIRROR, world @ tibiae @ MIRROR, np.full(50, SIDES["left"]))
    np.testing.assert_allclose(left, joint_coordinates(femora, tibiae, np.ones(50)), atol=1e-9)


def test_near_90_degrees_of_adduction_there_is_no_number_but_a_reason() -> None:
    at = [[20, angle, 3, 1, 2, 3] for angle in (84.0, 86.0, 90.0, -89.0)]
    found = joint_coordinates(np.eye(4), axes_from_coordinates(at, np.ones(4)), np.ones(4))
    np.testing.assert_allclose(found[0], at[0], atol=1e-9)
    assert undefined_reason(found[0]) == ""
    for one, given in zip(found[1:], at[1:], strict=True):
        assert np.isnan(one[[0, 2, 4]]).all()
        np.testing.assert_allclose(one[[1, 3, 5]], [given[1], 1, 3], atol=1e-6)
        assert "adduction" in undefined_reason(one)
    assert np.isnan(joint_coordinates(np.eye(4), np.full((4, 4), np.nan), 1.0)).all()
    assert undefined_reason(np.full(6, np.nan)) == "", "a missing pose has another reason"


def test_flexion_is_unwrapped_along_a_trial_over_gaps() -> None:
    true = np.linspace(-30, 230, 40)
    wrapped = (true + 180) % 360 - 180
    wrapped[7:9] = np.nan
    expected = np.where(np.isnan(wrapped), np.nan, true)
    np.testing.assert_allclose(unwrap_flexion(wrapped), expected)
    np.testing.assert_allclose(unwrap_flexion(wrapped + 720), expected)
    assert np.isnan(unwrap_flexion(np.full(3, np.nan))).all()


def test_every_coordinate_names_its_sign() -> None:
    assert [one.name for one in COORDINATES][2] == "internal_rotation_deg"
    assert all(one.positive for one in COORDINATES)
