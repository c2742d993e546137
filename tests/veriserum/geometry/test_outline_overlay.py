"""Outlines drawn on images."""

from __future__ import annotations

import numpy as np

from medcli.synthetic.fluoroscopy.dataset import FluoroscopySettings, Study
from medcli.veriserum.dataset.detector import PLANES
from medcli.veriserum.geometry.biplane import ImageGrid
from medcli.veriserum.geometry.outline_overlay import AFTER, BEFORE, draw_planes, outline


def test_the_outline_is_the_rim_of_the_silhouette() -> None:
    made = Study(FluoroscopySettings(pairs=1, seed=1, frames_per_trial=1))
    camera, mesh = made.cameras(1).bs, made.implants[made.frames[1].anatomy_id].mesh
    pose, grid = made.frames[1].knee.of("femur"), ImageGrid.calibrated(256)
    seen, rim = camera.silhouette(mesh, pose, grid), outline(camera, mesh, pose, grid)
    padded = np.pad(seen, 1)
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:] & seen
    assert np.array_equal(rim, seen & ~inner)
    assert 50 < rim.sum() < seen.sum()


def test_images_are_enlarged_and_later_outlines_are_on_top() -> None:
    made = Study(FluoroscopySettings(pairs=1, seed=1, frames_per_trial=1))
    mesh, pose = made.implants[made.frames[1].anatomy_id].mesh, made.frames[1].knee.of("femur")
    images = {plane: np.full((64, 64), 90, np.uint8) for plane in PLANES}
    (bs, fs) = draw_planes(images, made.cameras(1), [(mesh, pose, BEFORE), (mesh, pose, AFTER)])
    assert bs.shape == fs.shape == (640, 640, 3)
    for plane, side in zip(PLANES, (bs, fs), strict=True):
        rim = outline(made.cameras(1).camera(plane), mesh, pose, ImageGrid.calibrated(640))
        assert (side[rim] == AFTER).all()
        assert (side[~rim] == 90).all()
