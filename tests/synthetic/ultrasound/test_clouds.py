"""Scanned clouds of a leg: on the bone without errors, as many outliers as asked for, only what a probe sees."""

from __future__ import annotations

import numpy as np

from medcli.synthetic.ultrasound.clouds import CloudSettings, scan_leg
from medcli.synthetic.ultrasound.dataset import Leg
from medcli.ultrabones.geometry.bone_surface import Surface
from medcli.ultrabones.reconstruction.point_cloud import seen_share

LEG = Leg.make(3, 1)


def distances(points: np.ndarray) -> np.ndarray:
    surfaces = [Surface.from_mesh(mesh, name) for name, mesh in LEG.meshes_in_ct().items()]
    return np.asarray(np.min([surface.distances(points) for surface in surfaces], axis=0))


def test_a_perfect_scan_lies_on_the_side_of_the_bone_that_a_probe_sees() -> None:
    perfect = CloudSettings(12, 80, 0, 0, 0, 0, 0, 0)
    points = scan_leg(LEG, ("tibia",), 1, perfect)
    assert len(points) > 400
    assert distances(points).max() < 1e-6
    dense = scan_leg(LEG, ("tibia",), 1, CloudSettings(50, 60, 0, 0, 0, 0, 0, 0))
    assert 0.1 < seen_share(Surface.from_mesh(LEG.meshes_in_ct()["tibia"]), dense, 5.0) < 0.6


def test_errors_and_outliers_are_as_asked_for() -> None:
    points = scan_leg(LEG, ("tibia",), 1, CloudSettings(frames=20))
    apart = distances(points)
    assert 0.12 < np.mean(apart > 2.5) < 0.22  # of a fifth, some lie on bone by chance
    assert 0.2 < np.median(apart[apart < 2]) < 0.6
    assert np.array_equal(points, scan_leg(LEG, ("tibia",), 1, CloudSettings(frames=20)))
