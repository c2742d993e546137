"""Clouds registered without a start: recovered poses, directions that are not determined, the other leg, bad clouds."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from medcli.core.errors import DataError
from medcli.core.mesh import Mesh
from medcli.core.rigid_transforms import rotation_angle_deg, transform_points
from medcli.synthetic.ultrasound.clouds import CloudSettings, scan_leg
from medcli.synthetic.ultrasound.dataset import Leg
from medcli.ultrabones.geometry.bone_surface import Surface
from medcli.ultrabones.registration import register_cloud as module
from medcli.ultrabones.registration.hypotheses import Hypothesis, cost_of, lead_of
from medcli.ultrabones.registration.register_cloud import BoneRegistration, register_cloud
from medcli.ultrabones.registration.surface_fit import SurfaceFit
from medcli.ultrabones.registration.surface_samples import BoneTarget
from medcli.ultrabones.registration.verdict import Evidence, judge

LEG = Leg.make(41, 6)


def moved_away(seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    motion = np.eye(4)
    motion[:3, :3] = Rotation.random(random_state=generator).as_matrix()
    motion[:3, 3] = generator.uniform(-200, 200, 3)
    return motion


def target_of(meshes: dict[str, Mesh]) -> BoneTarget:
    return BoneTarget.of([Surface.from_mesh(mesh, name) for name, mesh in meshes.items()])


@pytest.fixture(scope="module")
def scan() -> np.ndarray:
    return scan_leg(LEG, seed=5, settings=CloudSettings(frames=30))


@pytest.fixture(scope="module")
def found(scan: np.ndarray) -> tuple[BoneRegistration, np.ndarray]:
    motion = moved_away(1)
    return register_cloud(transform_points(motion, scan), target_of(LEG.meshes_in_ct())), motion


def test_a_leg_is_found_from_far_away(found: tuple[BoneRegistration, np.ndarray]) -> None:
    registration, motion = found
    error = registration.matrix @ motion
    vertices = np.concatenate([mesh.vertices for mesh in LEG.meshes_in_ct().values()])
    assert np.linalg.norm(transform_points(error, vertices) - vertices, axis=1).max() < 2
    assert rotation_angle_deg(error[:3, :3]) < 2
    assert (registration.status, registration.reasons, registration.undetermined) == ("good", (), ())
    assert registration.mirror_lead is not None
    assert registration.mirror_lead > 3
    assert set(registration.by_bone) == {"fibula", "foot", "tibia"}
    assert 0.55 < registration.explained < 0.85  # a fifth of the points is not bone, and thinning favours them
    assert all(one.standard_error < 1 for one in registration.determination.directions)


def hypothesis(distances: np.ndarray) -> Hypothesis:
    weights = np.ones(len(distances))
    fit = SurfaceFit(np.eye(4), distances, 2.0, weights, np.zeros((len(distances), 6)), np.zeros(3))
    return Hypothesis(fit, cost_of(fit))


def test_another_pose_is_the_result_only_where_it_leads_by_three_standard_errors() -> None:
    dense = np.random.default_rng(0).uniform(0, 9, (600, 3))  # one cube, where the first pose fits
    sparse = np.stack([np.arange(100) * 10.0 + 15, np.zeros(100), np.zeros(100)], axis=1)  # a cube each
    points = np.concatenate([dense, sparse])
    first = hypothesis(np.repeat([0.1, 1.9], [600, 100]))
    far = hypothesis(np.repeat([1.9, 1.5], [600, 100]))
    second = hypothesis(np.concatenate([np.full(600, 1.0), np.linspace(0.0, 1.0, 100)]))
    assert first.cost < second.cost < far.cost
    chosen = module.best_and_next([first, second, far], points)
    assert chosen[0] is second
    assert chosen[1] is far  # which the result leads by less than the first
    chance = hypothesis(np.concatenate([np.full(600, 1.0), np.resize([1.7, 2.0], 100)]))
    assert -3 < lead_of(first.fit, chance.fit, points) < 0
    chosen = module.best_and_next([first, chance], points)
    assert chosen[0] is first
    assert chosen[1] is chance
    assert module.best_and_next([first], points) == (first, None)


@pytest.mark.deep
def test_the_mesh_of_the_other_leg_is_found_out(scan: np.ndarray) -> None:
    mirrored = {
        name: Mesh(mesh.vertices * [-1, 1, 1], mesh.faces[:, ::-1]) for name, mesh in LEG.meshes_in_ct().items()
    }
    registration = register_cloud(scan, target_of(mirrored))
    assert registration.status == "failed"
    assert "the other leg" in " ".join(registration.reasons)


def tube(length_mm: float, radius_mm: float) -> Mesh:
    """An open cylinder: it says nothing about sliding and turning."""
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    ring = radius_mm * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    heights = np.linspace(0, length_mm, 60)
    vertices = np.concatenate([np.column_stack([ring, np.full(48, z)]) for z in heights])
    corner = np.arange(60 * 48).reshape(60, 48)
    after = np.roll(corner, -1, axis=1)
    low, high, low_next, high_next = corner[:-1], corner[1:], after[:-1], after[1:]
    faces = [np.stack([low, low_next, high_next], -1), np.stack([low, high_next, high], -1)]
    return Mesh(vertices, np.concatenate([part.reshape(-1, 3) for part in faces]))


def test_a_shaft_gets_no_confident_number_along_its_axis() -> None:
    generator = np.random.default_rng(0)
    angle, height = generator.uniform(0, 2.4, 3_000), generator.uniform(90, 210, 3_000)
    points = np.column_stack([10 * np.cos(angle), 10 * np.sin(angle), height]) + generator.normal(0, 0.2, (3_000, 3))
    target = target_of({"shaft": tube(300, 10)})
    registration = register_cloud(points, target, init=np.eye(4))
    directions = {(one.kind, one.name.split(" (")[0]): one for one in registration.determination.directions}
    slide, turn = directions["shift", "sliding along the long axis"], directions["turn", "turning about the long axis"]
    assert not slide.determined
    assert not turn.determined
    assert slide.standard_error > 10
    assert abs(slide.axis[2]) > 0.999
    assert all(one.determined for key, one in directions.items() if key[1].startswith(("shift across", "tilt")))
    assert registration.status == "doubtful"
    assert any(
        text.startswith("not determined by the points (standard error above 1 mm or 1 degree): sliding along")
        for text in registration.reasons
    )
    assert {text.split(" (")[0] for text in registration.undetermined} >= {"sliding along the long axis"}
    assert registration.explained > 0.99


def test_a_start_is_refined_and_the_same_again(scan: np.ndarray) -> None:
    target = target_of(LEG.meshes_in_ct())
    start = np.eye(4)
    start[:3, :3] = Rotation.from_rotvec([2, -3, 4], degrees=True).as_matrix()
    middle = scan.mean(axis=0)
    start[:3, 3] = middle - start[:3, :3] @ middle + [4, -3, 5]
    one, again = (register_cloud(scan, target, init=start) for _ in range(2))
    assert one == again
    assert np.linalg.norm(transform_points(one.matrix, middle[None])[0] - middle) < 1
    assert (one.runner_up, one.mirror_lead) == (None, None)


@pytest.mark.parametrize(
    ("points", "words"),
    [
        (np.random.default_rng(0).normal(0, 30, (10, 3)), "10 points"),
        (np.random.default_rng(0).normal(0, 0.1, (500, 3)), "metres"),
        (np.random.default_rng(0).normal(0, 1e5, (500, 3)), "micrometres"),
        (np.linspace(0, 200, 600).reshape(-1, 1) * [1.0, 2.0, 0.5], "straight line"),
        (np.random.default_rng(0).uniform(0, 90, (500, 3)) * [1, 1, 0], "one plane"),
    ],
)
def test_clouds_that_fix_no_pose_are_refused(points: np.ndarray, words: str) -> None:
    with pytest.raises(DataError, match=words):
        register_cloud(points, target_of({"shaft": tube(100, 10)}))


def test_the_distances_of_a_large_cloud_are_of_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_MEASURED", 100)
    assert len(module.measured_part(np.zeros((100, 3)))) == 100
    assert len(module.measured_part(np.zeros((1_001, 3)))) == 91


def test_the_verdict_states_each_limit(found: tuple[BoneRegistration, np.ndarray]) -> None:
    good = Evidence(0.8, 0.4, 5.0, 6.0, found[0].determination, 0.9)
    assert judge(good) == ("good", ())
    cases = {
        "only 20 %": ({"explained": 0.2}, "failed"),
        "only 40 %": ({"explained": 0.4}, "doubtful"),
        "69 % of the explained points are within 1 mm": ({"close": 0.69}, "doubtful"),
        "1.40 mm": ({"median_mm": 1.4}, "doubtful"),
        "do not use this transform alone": ({"lead": 2.9}, "doubtful"),
        "cannot be told from its mirror image": ({"mirror_lead": -2.9}, "doubtful"),
        "other leg": ({"mirror_lead": -3.1}, "failed"),
    }
    for words, (change, status) in cases.items():
        verdict, reasons = judge(dataclasses.replace(good, **change))
        assert verdict == status
        assert words in reasons[0]
