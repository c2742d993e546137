"""Make the figure of the page on registration to CT: ``python docs/figures/bone_registration.py``.

A synthetic leg is scanned along a sweep of each bone, with label noise and 20 % outliers, moved away at random and
registered: ``docs/images/register-bone.jpg``.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from medcli.core.image_io import read_rgb, write_image
from medcli.core.rigid_transforms import transform_points
from medcli.synthetic.ultrasound.clouds import scan_leg
from medcli.synthetic.ultrasound.dataset import Leg
from medcli.ultrabones.reconstruction.point_cloud import write_xyz
from medcli.ultrabones.registration.random_starts import random_motion
from medcli.ultrabones.registration.register_bone import register_bone

IMAGE = Path(__file__).parents[1] / "images" / "register-bone.jpg"
WIDTH, QUALITY = 1000, 62


def main() -> None:
    leg = Leg.make(3, 0)
    cloud = scan_leg(leg, seed=3)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        leg.write_meshes(folder / "meshes", "current")
        motion = random_motion(np.random.default_rng(0), cloud.mean(axis=0))
        write_xyz(folder / "leg.xyz", transform_points(motion, cloud))
        register_bone(folder / "leg.xyz", folder / "meshes", folder / "out" / "transform.json")
        image = read_rgb(folder / "out" / "transform.png")
    height = round(image.shape[0] * WIDTH / image.shape[1])
    write_image(IMAGE, np.asarray(cv2.resize(image, (WIDTH, height), interpolation=cv2.INTER_AREA), np.uint8), QUALITY)


if __name__ == "__main__":
    main()
