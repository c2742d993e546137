"""Standard errors: against many random poses, and unknown where the table does not know them."""

from __future__ import annotations

import numpy as np

from medcli.core.rigid_transforms import invert_rigid
from medcli.veriserum.dataset.pose_tables import matrices_of, pose_numbers
from medcli.veriserum.kinematics.error_bars import spread_of
from medcli.veriserum.kinematics.joint_coordinates import joint_coordinates
from medcli.veriserum.kinematics.low_points import as_columns, find_low_points
from tests.support import knees
from tests.veriserum.kinematics.test_low_points import tori

DRAWS = 800


def test_they_are_those_of_random_poses() -> None:
    (trial,) = knees.draw_knees(1, 3, seed=4)
    numbers = np.array([[pose_numbers(pose.femur), pose_numbers(pose.tibia)] for pose in trial])
    errors = np.broadcast_to([[0.2, 0.3, 0.6, 0.8, 0.4, 0.5], [0.1, 0.2, 0.9, 0.3, 0.6, 0.4]], (3, 2, 6)).copy()
    own = [np.broadcast_to(knees.true_axes(anatomy).matrix(), (3, 4, 4)) for anatomy in (1, 3)]
    side, vertices = np.full(3, -1.0), tori(1.0)[:, [0, 2, 1]] * [-1, 1, 1]
    across = -vertices[:, 0]

    def values(poses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        femur, tibia = (matrices_of(poses[:, i]) @ own[i][0] for i in range(2))
        on_tray = invert_rigid(tibia) @ femur @ invert_rigid(own[0][0])
        low = find_low_points(on_tray, vertices, across, np.full(len(poses), -1.0))
        return joint_coordinates(femur, tibia, np.full(len(poses), -1.0)), as_columns(low.places, -np.ones(len(poses)))

    femur, tibia = (matrices_of(numbers[:, i]) @ own[i] for i in range(2))
    low = find_low_points(invert_rigid(tibia) @ femur @ invert_rigid(own[0]), vertices, across, side)
    found, found_low = spread_of(numbers, errors, (own[0], own[1]), side, low)
    random = np.random.default_rng(0)
    drawn, drawn_low = values(numbers[1] + random.normal(size=(DRAWS, 2, 6)) * errors[1])
    np.testing.assert_allclose(found[1], drawn.std(axis=0), rtol=0.12)
    np.testing.assert_allclose(found_low[1], drawn_low.std(axis=0), rtol=0.12)
    assert np.isfinite(found).all()


def test_unknown_errors_stay_unknown() -> None:
    (trial,) = knees.draw_knees(1, 2)
    numbers = np.array([[pose_numbers(pose.femur), pose_numbers(pose.tibia)] for pose in trial])
    errors = np.full((2, 2, 6), 0.1)
    errors[1, 1, 4] = np.nan
    axes = (np.broadcast_to(np.eye(4), (2, 4, 4)),) * 2
    found, found_low = spread_of(numbers, errors, axes, np.ones(2), None)
    assert np.isfinite(found[0]).all()
    assert np.isnan(found[1]).all()
    assert np.isnan(found_low).all()
