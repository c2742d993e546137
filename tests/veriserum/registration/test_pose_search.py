"""The search without a start pose, on images of a simulator that shares no code with the package."""

from __future__ import annotations

import numpy as np
import pytest

from medcli.core.errors import DataError
from medcli.core.mesh import Mesh
from medcli.core.rigid_transforms import rotation_angle_deg
from medcli.veriserum.geometry.biplane import DualPlane, SourceIntensifier
from medcli.veriserum.registration.gradient_matching import Beside, ImplantView, refine, similarity
from medcli.veriserum.registration.pose_quality import pose_covariance, standard_errors, status_of
from medcli.veriserum.registration.pose_search import compare_with_twins, search_pose
from medcli.veriserum.registration.resolution_levels import LOG_LEVELS
from medcli.veriserum.registration.rigid_motion import moved
from tests.support.ray_cast_knees import MESHES, Knee, knee, photograph


@pytest.fixture(scope="module")
def seen() -> Knee:
    return knee(41, 1)


def cameras(of: Knee) -> DualPlane:
    return DualPlane.from_calibration(SourceIntensifier.from_row(of.source))


def off(of: Knee, anatomy: int, pose: np.ndarray) -> tuple[float, float]:
    middle, true = np.append(MESHES[anatomy].bounds.mean(axis=0), 1.0), of.pose(anatomy)
    distance = float(np.linalg.norm(((pose - true) @ middle)[:3]))
    return distance, float(rotation_angle_deg(pose[:3, :3] @ true[:3, :3].T))


@pytest.mark.deep
def test_both_components_are_found_without_a_start(seen: Knee) -> None:
    beside = None
    for anatomy in (seen.femur_id, seen.tibia_id):
        found = search_pose(ImplantView(seen.images, cameras(seen), MESHES[anatomy], beside))
        distance, angle = off(seen, anatomy, found.refined.pose)
        assert distance < 0.5
        assert angle < 1
        assert found.margin > 0
        assert status_of(found.refined.after_planes, found.margin, 0.5) in ("good", "doubtful")
        beside = Beside(MESHES[anatomy], found.refined.pose, found.refined.per_mm)


def test_the_similarity_of_a_pose_does_not_depend_on_the_start(seen: Knee) -> None:
    mesh, true = MESHES[seen.femur_id], seen.pose(seen.femur_id)
    view = ImplantView(seen.images, cameras(seen), mesh)
    middle = mesh.bounds.mean(axis=0)
    for start in (true, moved(true, np.array([4.0, -3, 4, 4, -4, 3]), middle)):
        result = refine(view, start)
        measured, by_plane = similarity(view, result.pose, result.per_mm)
        assert result.after == pytest.approx(measured, abs=1e-9)
        assert result.after == pytest.approx(np.mean(list(by_plane.values())))


@pytest.mark.deep
def test_a_tray_turned_by_half_is_corrected_by_its_twin(seen: Knee) -> None:
    anatomy, beside = seen.tibia_id, Beside(MESHES[seen.femur_id], seen.femur, 0.35)
    view = ImplantView(seen.images, cameras(seen), MESHES[anatomy], beside)
    turned = seen.pose(anatomy) @ np.diag([-1.0, 1, -1, 1])
    wrong = refine(view.in_logarithms(), turned, LOG_LEVELS)
    assert off(seen, anatomy, wrong.pose)[1] > 90
    found = compare_with_twins(view, wrong)
    assert off(seen, anatomy, found.refined.pose)[1] < 15


def test_images_without_an_implant_and_surfaces_in_metres_are_reported(seen: Knee) -> None:
    planes, mesh = cameras(seen), MESHES[seen.femur_id]
    black = seen.images | {"fs": np.zeros((512, 512), np.uint8)}
    with pytest.raises(DataError, match="plane fs is uniform"):
        search_pose(ImplantView(black, planes, mesh))
    with pytest.raises(DataError, match="there is no image"):
        search_pose(ImplantView({}, planes, mesh))
    with pytest.raises(DataError, match=r"not 10 to 250"):
        search_pose(ImplantView(seen.images, planes, Mesh(mesh.vertices / 1000, mesh.faces)))
    turned = mesh.faces.copy()
    turned[::7] = turned[::7, ::-1]
    for faces, words in (
        (turned, "is not closed"),
        (mesh.faces[: len(mesh.faces) * 2 // 3], "is not closed"),
        (mesh.faces[:, ::-1], "is inside out"),
    ):
        with pytest.raises(DataError, match=words):
            search_pose(ImplantView(seen.images, planes, Mesh(mesh.vertices, np.ascontiguousarray(faces))))


@pytest.mark.deep
def test_swapped_and_mirrored_images_are_not_good(seen: Knee) -> None:
    planes, mesh = cameras(seen), MESHES[seen.femur_id]
    swapped = {"bs": seen.images["fs"], "fs": seen.images["bs"]}
    mirrored = {plane: np.ascontiguousarray(image[:, ::-1]) for plane, image in seen.images.items()}
    for images in (swapped, mirrored):
        found = search_pose(ImplantView(images, planes, mesh))
        assert status_of(found.refined.after_planes, found.margin, 0.5) != "good"


@pytest.mark.deep
def test_a_pair_without_implants_and_a_wrong_surface_are_not_good(seen: Knee) -> None:
    random = np.random.default_rng(3)
    empty = photograph(seen.femur_id, seen.tibia_id, seen.femur, seen.tibia, seen.source, random, metals=()).images
    with pytest.raises(DataError, match="nothing in the images matches the implant"):
        search_pose(ImplantView(empty, cameras(seen), MESHES[seen.femur_id]))
    try:
        found = search_pose(ImplantView(seen.images, cameras(seen), MESHES[3 - seen.femur_id]))
    except DataError:
        return
    assert status_of(found.refined.after_planes, found.margin, 0.5) != "good"


@pytest.mark.deep
def test_one_plane_gives_the_orientation_and_says_how_uncertain_the_depth_is(seen: Knee) -> None:
    anatomy, planes = seen.femur_id, cameras(seen)
    mesh, true = MESHES[anatomy], seen.pose(anatomy)
    view = ImplantView({"fs": seen.images["fs"]}, planes, mesh)
    refined = search_pose(view).refined
    middle = np.append(mesh.bounds.mean(axis=0), 1.0)
    away = ((refined.pose - true) @ middle)[:3]
    ray = (true @ middle)[:3] - planes.fs.source_mm
    along = float(away @ ray / np.linalg.norm(ray))
    assert np.linalg.norm(away - along * ray / np.linalg.norm(ray)) < 0.5  # in plane
    assert off(seen, anatomy, refined.pose)[1] < 4  # 90 % of one-plane poses: Vogl et al. 2022
    one = standard_errors(pose_covariance(view, refined.pose, refined.per_mm))[0]
    whole = ImplantView(seen.images, planes, mesh)
    both = standard_errors(pose_covariance(whole, refined.pose, refined.per_mm))[0]
    assert one > 3 * both
    assert abs(along) < 3 * one
