"""Bone-like meshes."""

from __future__ import annotations

import numpy as np
import pytest

from medcli.synthetic.ultrasound.bones import SHAPES, make_bone


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_bones_are_closed_and_point_outwards(name: str) -> None:
    mesh = make_bone(SHAPES[name], np.random.default_rng(3)).mesh
    assert mesh.is_watertight()
    assert mesh.volume > 0
    edges = np.linalg.norm(mesh.triangles - np.roll(mesh.triangles, 1, axis=1), axis=2)
    assert np.quantile(edges, 0.99) < 6.0
