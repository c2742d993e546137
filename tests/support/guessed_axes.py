"""Axes of implants, guessed once for all commands that a file of tests runs on the same meshes: most of their time."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from medcli.core.mesh import Mesh
from medcli.veriserum.kinematics import axes_guess
from medcli.veriserum.kinematics.axes_guess import guess_axes
from medcli.veriserum.kinematics.implant_axes import ImplantAxes


@cache
def _guessed(vertices: bytes, faces: bytes, kind: str, anatomy: int) -> ImplantAxes:
    points = np.frombuffer(vertices).reshape(-1, 3)
    return guess_axes(Mesh(points, np.frombuffer(faces, np.int64).reshape(-1, 3)), kind, anatomy)


@pytest.fixture
def axes_guessed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands of this test take the axes of a mesh from an earlier guess where there is one."""

    def guess(mesh: Mesh, kind: str, anatomy: int) -> ImplantAxes:
        return _guessed(mesh.vertices.tobytes(), mesh.faces.tobytes(), kind, anatomy)

    monkeypatch.setattr(axes_guess, "guess_axes", guess)
