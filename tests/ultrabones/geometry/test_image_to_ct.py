"""From pixels to CT by the dataset's conventions, and frames that they do not hold for."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from medcli.core.errors import DataError
from medcli.core.rigid_transforms import invert_rigid
from medcli.ultrabones.geometry import image_to_ct as poses

S = 0.05392
POSE = np.array([181.2, 334.4, 1517.2, -97.2, -18.5, 123.8])


def test_a_pixel_goes_to_ct_as_the_dataset_says() -> None:
    def rotation(a: float, b: float, c: float) -> np.ndarray:
        a, b, c = np.radians([a, b, c])
        rx = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
        ry = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
        rz = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
        return rz @ ry @ rx

    q = np.array([(40 + 0.5) * S, (700 + 0.5) * S, 0])
    in_probe = rotation(92.48865621, -0.46874914, 179.2277322) @ q + (26.44694442, -0.52572229, 128.00100047)
    expected = rotation(*POSE[3:]) @ in_probe + POSE[:3]
    assert np.allclose(poses.pixels_to_ct(POSE, [40], [700], S)[0], expected, atol=1e-10)
    assert np.allclose(poses.probe_to_ct(POSE)[:3, :3], Rotation.from_euler("xyz", POSE[3:], degrees=True).as_matrix())
    assert np.allclose(poses.ct_to_image(POSE), invert_rigid(poses.image_to_ct(POSE)))
    with pytest.raises(ValueError, match="x y z"):
        poses.probe_to_ct(np.zeros(7))


def test_another_field_of_view_is_refused() -> None:
    poses.check_frame_size((811, 950), S, "a.png")
    poses.check_frame_size((203, 238), 4 * S, "a.png")
    with pytest.raises(DataError, match="884 x 829 pixels, expected 950 x 811"):
        poses.check_frame_size((829, 884), S, "a.png")
