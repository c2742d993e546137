"""Poses from two planes: recovery of the ground truth."""

from __future__ import annotations

import numpy as np
import pytest

from medcli.core.errors import DataError
from medcli.synthetic.fluoroscopy.dataset import FluoroscopySettings as StudySettings
from medcli.synthetic.fluoroscopy.dataset import Study, SyntheticVeriserum
from medcli.synthetic.fluoroscopy.implants import make_implants
from medcli.veriserum.geometry.biplane import ImageGrid
from medcli.veriserum.registration.gradient_matching import ImplantView, Matcher, Refined, refine
from medcli.veriserum.registration.resolution_levels import LEVELS
from medcli.veriserum.registration.rigid_motion import moved
from medcli.veriserum.registration.start_poses import Sources, StartPoses
from tests.support.known_poses import errors, shaken

PAIRS = 3


def test_correlation_is_one_at_the_truth_of_a_rendering(study: SyntheticVeriserum) -> None:
    made = study.study
    frame = made.frames[1]
    mesh, cameras = made.implants[frame.anatomy_id].mesh, made.cameras(1)
    pose = frame.knee.of("femur")
    grid = ImageGrid.calibrated(LEVELS[-1].size)
    images = {plane: np.exp(-0.2 * cameras.camera(plane).path_length(mesh, pose, grid)) for plane in ("bs", "fs")}
    matcher = Matcher(ImplantView(images, cameras, mesh), [pose], LEVELS[-1])
    assert matcher.correlation(pose, 0.2) == pytest.approx(1, abs=1e-5)
    away = matcher.correlation(moved(pose, np.array([1.0, 0, 0, 0, 0, 0]), np.zeros(3)), 0.2)
    assert away < 0.9
    # An implant outside the window is the worst match.
    assert matcher.correlation(moved(pose, np.array([0, 300.0, 0, 0, 0, 0]), np.zeros(3)), 0.2) == pytest.approx(-1)
    # Brightness and contrast of the image do not matter.
    brighter = ImplantView({plane: 40 + 150 * image for plane, image in images.items()}, cameras, mesh)
    assert Matcher(brighter, [pose], LEVELS[-1]).correlation(pose, 0.2) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    "number", [1, *(pytest.param(number, marks=pytest.mark.deep) for number in range(2, PAIRS + 1))]
)
def test_the_truth_is_recovered_from_realistic_images(study: SyntheticVeriserum, number: int) -> None:
    starts = StartPoses(Sources(study.root))
    begin = shaken(study.study, number, np.random.default_rng(number))
    mesh = starts.geometry.implant(number).mesh
    found = refine(ImplantView(starts.images(number), starts.geometry.cameras(number), mesh), begin)
    away, angle = errors(study.study, number, found.pose)
    assert np.all(np.abs(away) < [0.3, 0.3, 0.3])
    assert angle < 0.6
    assert found.after > 0.7 > found.before + 0.1


@pytest.mark.deep
def test_the_truth_is_recovered_in_the_median() -> None:
    study = Study(StudySettings(pairs=14, seed=5, frames_per_trial=1))
    generator = np.random.default_rng(0)
    found = []
    for number in study.frames:
        frame = study.frames[number]
        images = {plane: study.truth(number, plane, 512) for plane in ("bs", "fs")}
        mesh = study.implants[frame.anatomy_id].mesh
        result = refine(ImplantView(images, study.cameras(number), mesh), shaken(study, number, generator))
        away, angle = errors(study, number, result.pose)
        found.append([*np.abs(away), angle])
    x, y, z, angle = np.median(found, axis=0)
    assert max(x, y) <= 0.3
    assert z <= 1.0
    assert angle <= 0.5


def test_an_implant_outside_the_image_is_reported(study: SyntheticVeriserum) -> None:
    made = study.study
    frame = made.frames[1]
    pose = frame.knee.of("femur").copy()
    pose[0, 3] += 400
    images = {plane: np.zeros((256, 256), np.float32) for plane in ("bs", "fs")}
    with pytest.raises(DataError, match="the implant is not in the image at its start pose"):
        refine(ImplantView(images, made.cameras(1), made.implants[frame.anatomy_id].mesh), pose)


def test_a_result_can_be_told_from_another_start() -> None:
    mesh, start = make_implants()[0].mesh, np.diag([-1.0, 1, -1, 1])
    twin = Refined(np.eye(4), 0.9, 0.95, {"bs": 0.95}, 0.1, 0.2, 0.3, 7)
    seen = twin.since(start, 0.4, mesh)
    assert seen.rotation_deg == pytest.approx(180)
    x, _, z = mesh.bounds.mean(axis=0)
    assert seen.displacement_mm == pytest.approx(2 * np.hypot(x, z))
    assert (seen.before, seen.after, seen.evaluations) == (0.4, 0.95, 7)
