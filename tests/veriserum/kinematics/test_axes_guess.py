"""The guess of the axes, on components whose axes are known, in turned meshes with noise; and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from medcli.core.errors import DataError
from medcli.core.mesh import Mesh, write_stl
from medcli.synthetic.fluoroscopy.implants import FEMORAL_SHAPES, TibialShape, tibial_component
from medcli.veriserum.dataset.implant_surfaces import Surfaces
from medcli.veriserum.kinematics.axes_guess import guess_axes, known_axes
from medcli.veriserum.kinematics.implant_axes import ImplantAxes
from tests.support import knees

ANGLE_DEG, FEMUR_MM, TRAY_MM = 0.4, 0.5, 0.1
"""Promised: the largest angle of an axis, and distance of the origin, on synthetic components with 0.05 mm of noise."""


def turned(mesh: Mesh, seed: int, noise_mm: float = 0.05) -> tuple[Mesh, np.ndarray]:
    """The mesh in another frame, its vertices displaced by noise; and the (4, 4) transform into that frame."""
    random = np.random.default_rng(seed)
    frame = np.eye(4)
    frame[:3, :3] = Rotation.random(random_state=seed).as_matrix()
    frame[:3, 3] = random.uniform(-150, 150, 3)
    noisy = Mesh(mesh.vertices + random.normal(size=mesh.vertices.shape) * noise_mm, mesh.faces)
    return noisy.transformed(frame), frame


def away(found: ImplantAxes, true: ImplantAxes, frame: np.ndarray) -> tuple[float, np.ndarray]:
    """Degrees between the axes, and the vector between the origins along the true axes, mm."""
    expected, there = frame @ true.matrix(), found.matrix()
    between = np.linalg.inv(expected) @ there
    return float(np.degrees(Rotation.from_matrix(between[:3, :3]).magnitude())), between[:3, 3]


def cylinder_centre(number: int) -> tuple[float, float]:
    """Centre (y, z) of the circle through the posterior part of the curve that the shape was made from."""
    from medcli.synthetic.fluoroscopy.implants import _joint_surface

    curve = _joint_surface(FEMORAL_SHAPES[number - 1])  # z, y from the flange round to the tips behind
    lengths = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(curve, axis=0), axis=1))])
    even = np.linspace(0, lengths[-1], 4000)
    z, y = (np.interp(even, lengths, curve[:, i]) for i in (0, 1))
    along_z, along_y = np.gradient(z), np.gradient(y)  # backwards: the outward normal is (y, z) = (along_z, -along_y)
    angle = np.degrees(np.arctan2(along_y, -along_z))  # from distal to posterior
    chosen = (angle > 15) & (angle < 85)
    points = np.stack([y, z], axis=1)[chosen]
    fit = least_squares(lambda c: np.linalg.norm(points - c[:2], axis=1) - c[2], [10, -5, 25])
    return float(fit.x[0]), float(fit.x[1])


@pytest.mark.parametrize("anatomy", [1, 2, 3, 6, *(pytest.param(n, marks=pytest.mark.deep) for n in (4, 5, 7))])
def test_the_guess_finds_the_axes_of_turned_and_noisy_components(anatomy: int) -> None:
    implant = knees.implants()[anatomy]
    mesh, frame = turned(implant.mesh, anatomy)
    found = guess_axes(mesh, implant.kind, anatomy)
    angle, offset = away(found, knees.true_axes(anatomy), frame)
    assert angle < ANGLE_DEG
    assert np.linalg.norm(offset) < (FEMUR_MM if implant.kind == "femur" else TRAY_MM)
    assert found.found_by.startswith("guess from the mesh")
    assert found.remarks == ()


@pytest.mark.parametrize("number", [1, pytest.param(2, marks=pytest.mark.deep)])
def test_the_cylinder_is_that_of_the_curve_the_condyles_were_made_from(number: int) -> None:
    found = guess_axes(knees.implants()[number].mesh, "femur", number)
    y, z = cylinder_centre(number)
    np.testing.assert_allclose(found.origin_mm, [0, y, z], atol=0.4)


def test_the_depth_of_the_notch_does_not_move_the_origin() -> None:
    deep = guess_axes(tibial_component(TibialShape(notch=12)), "tibia", 3)
    np.testing.assert_allclose(deep.origin_mm, [0, 0, 0], atol=0.1)


def test_without_a_notch_the_fins_tell_front_from_back_and_a_person_is_asked() -> None:
    shape = TibialShape(notch=0, fin_angle_deg=25)
    mesh, frame = turned(tibial_component(shape), 5)
    found = guess_axes(mesh, "tibia", 3)
    assert away(found, knees.true_axes(3), frame)[0] < ANGLE_DEG
    assert "check anterior" in found.remarks[0]
    plain = guess_axes(tibial_component(TibialShape(notch=0, fin_angle_deg=0)), "tibia", 3)
    assert "cannot be told" in plain.remarks[0]


@pytest.mark.parametrize(("kind", "anatomy"), [("femur", 3), ("tibia", 1), ("tibia", 2)])
def test_a_femur_is_no_tibia(kind: str, anatomy: int) -> None:
    with pytest.raises(DataError, match="does not look like") as caught:
        guess_axes(knees.implants()[anatomy].mesh, kind, anatomy)
    assert caught.value.hint is not None
    assert "--axes" in caught.value.hint


def test_a_mesh_in_metres_is_a_problem_of_its_own_and_the_others_go_on(tmp_path: Path) -> None:
    tray = knees.implants()[3].mesh
    write_stl(Mesh(tray.vertices / 1000, tray.faces), tmp_path / "metres.stl")
    write_stl(tray, tmp_path / "tray.stl")
    surfaces = Surfaces(tmp_path, {3: tmp_path / "metres.stl", 4: tmp_path / "tray.stl"})
    known = known_axes(surfaces, [3, 4, 5])
    assert sorted(known.axes) == sorted(known.meshes) == [4]
    assert "metres" in known.problems[3]
    assert "no surface of anatomy 5" in known.problems[5]
    assert known.source == "guessed from the meshes (anatomies 4), not confirmed by a person"
