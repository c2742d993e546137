"""Status and standard errors of a pose."""

from __future__ import annotations

import numpy as np

from medcli.synthetic.fluoroscopy.dataset import SyntheticVeriserum
from medcli.veriserum.registration.gradient_matching import ImplantView
from medcli.veriserum.registration.pose_quality import (
    GOOD_SIMILARITY,
    LEAST_MARGIN,
    errors_of_numbers,
    pose_covariance,
    standard_errors,
    status_of,
)


def test_the_worse_plane_and_the_margin_decide() -> None:
    high, wide = GOOD_SIMILARITY + 0.01, LEAST_MARGIN + 0.01
    assert status_of({"bs": high, "fs": high}, wide, 0.4) == "good"
    assert status_of({"bs": 0.95, "fs": GOOD_SIMILARITY - 0.01}, wide, 0.4) == "doubtful"
    assert status_of({"bs": high, "fs": high}, LEAST_MARGIN - 0.01, 0.4) == "ambiguous"
    assert status_of({"bs": 0.39, "fs": 0.39}, wide, 0.4) == "failed"
    assert status_of({"bs": 0.9, "fs": -0.2}, wide, 0.4) == "failed"


def test_one_plane_is_less_certain_than_two(study: SyntheticVeriserum) -> None:
    made = study.study
    frame = made.frames[1]
    implant, cameras = made.implants[frame.anatomy_id], made.cameras(1)
    pose = frame.knee.of(implant.kind)
    images = {plane: 255 * made.truth(1, plane, 512) for plane in ("bs", "fs")}
    covariance = pose_covariance(ImplantView(images, cameras, implant.mesh), pose, 0.17)
    both = standard_errors(covariance)
    one = standard_errors(pose_covariance(ImplantView({"bs": images["bs"]}, cameras, implant.mesh), pose, 0.17))
    assert 0 < both[0] < 0.5
    assert 0 < both[1] < 1
    assert one[0] > 3 * both[0]  # the position along the rays
    noisy = {p: i + np.random.default_rng(0).normal(0, 25, i.shape).clip(-i) for p, i in images.items()}
    assert standard_errors(pose_covariance(ImplantView(noisy, cameras, implant.mesh), pose, 0.17))[0] > both[0]

    def numbers(matrix: np.ndarray) -> np.ndarray:
        return np.concatenate([matrix[:3, 3], [90.0, 0, 0]])

    # Of the origin, which the rotation about the centre moves as well.
    of_numbers = errors_of_numbers(covariance, pose, implant.mesh.bounds.mean(axis=0), numbers)
    centred = errors_of_numbers(covariance, pose, np.zeros(3), numbers)
    assert np.all(of_numbers[:3] > 0)
    assert np.allclose(of_numbers[3:], 0)
    assert np.allclose(centred[:3], np.sqrt(np.diag(covariance)[:3]), rtol=1e-6)


def test_from_one_plane_no_pose_is_good() -> None:
    assert status_of({"bs": 0.95, "fs": 0.95}, 0.3, 0.5) == "good"
    assert status_of({"fs": 0.95}, 0.3, 0.5) == "doubtful"
