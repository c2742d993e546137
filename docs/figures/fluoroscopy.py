"""Make the fluoroscopy figures of the documentation: ``python docs/figures/fluoroscopy.py``.

- ``docs/images/before_after.jpg``: part of what ``medcli demo`` shows of a study.
- ``docs/images/calibrated_pair.jpg``: both planes of one pair, calibrated, with the outline that the pose, the
  source-intensifier calibration and the implant's surface predict.
- ``docs/images/implants.jpg``: the synthetic components, path length seen from the front, the side and above.
- ``docs/images/resampling.jpg``: both resamplings of one image and their difference from the truth.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[2]))

from medcli.core.image_io import read_grey, write_image
from medcli.core.mesh import read_stl
from medcli.core.rigid_transforms import VERISERUM_EULER, rigid_transform
from medcli.demo.calibration_figures import compare
from medcli.synthetic.fluoroscopy.dataset import IMAGE_FOLDER, FluoroscopySettings, Study, make_veriserum
from medcli.synthetic.fluoroscopy.implants import make_implants
from medcli.synthetic.fluoroscopy.motion import CROSSING_MM
from medcli.veriserum.calibration.undistort import CalibrationSettings, calibrate
from medcli.veriserum.dataset.detector import PLANES
from medcli.veriserum.geometry.biplane import Camera, ImageGrid, InterPlane

IMAGES = Path(__file__).parents[1] / "images"
PAIR = 8
FEMUR_COLOUR, TIBIA_COLOUR = (255, 150, 30), (60, 190, 255)


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        made = make_veriserum(Path(folder))
        result = calibrate(made.root)
        sheet = compare(made.root, result.out, made.study, CalibrationSettings()).sheet
        write_image(IMAGES / "before_after.jpg", np.ascontiguousarray(sheet[: 36 + 3 * 336]), quality=66)
        write_image(IMAGES / "calibrated_pair.jpg", overlay(result.out, made.root), quality=80)
    write_image(IMAGES / "implants.jpg", implant_views(), quality=85)
    resampling()


def overlay(calibrated: Path, root: Path) -> NDArray[np.uint8]:
    """Both planes of pair 8 with the outlines of both components."""
    study = Study(FluoroscopySettings())
    frame, cameras, panels = study.frames[PAIR], study.cameras(PAIR), []
    for plane in PLANES:
        image = np.repeat(read_grey(calibrated / f"calibrated_{plane}_{PAIR:06d}.jpg")[..., None], 3, axis=2)
        for anatomy in (frame.anatomy_id, frame.companion_id):
            kind = study.implants[anatomy].kind
            mesh = read_stl(root / "veriserum_anatomies" / f"ana_{anatomy:06d}.stl")
            shadow = cameras.camera(plane).silhouette(mesh, frame.knee.of(kind), ImageGrid.calibrated(len(image)))
            inner = cv2.erode(shadow.astype(np.uint8), np.ones((3, 3), np.uint8))
            image[shadow & (inner == 0)] = FEMUR_COLOUR if kind == "femur" else TIBIA_COLOUR
        panels.append(image)
    return np.hstack(panels)


def implant_views() -> NDArray[np.uint8]:
    """A column for each component; the front, the side, from above."""
    camera, grid = Camera(InterPlane().bs, np.zeros(2), 1855.0), ImageGrid.calibrated(800).cropped(290, 262, 220, 296)
    columns = []
    for implant in make_implants():
        views = []
        for angles in ((0, 0, 0), (0, 0, 90), (0, 90, 0)):
            pose = rigid_transform(CROSSING_MM, angles, VERISERUM_EULER)
            length = camera.path_length(implant.mesh, pose, grid)
            views.append(np.clip(255 * np.exp(-0.06 * length), 0, 255).astype(np.uint8))
        columns.append(np.vstack(views))
    sheet = np.hstack(columns)
    return cv2.resize(sheet, None, fx=0.66, fy=0.66, interpolation=cv2.INTER_AREA).astype(np.uint8)


def titled(image: NDArray[np.uint8], title: str) -> NDArray[np.uint8]:
    """(H, W) grey or (H, W, 3) RGB with a line of text above it, (H + 28, W, 3) RGB."""
    colour = image if image.ndim == 3 else np.dstack([image] * 3)
    bar = np.full((28, colour.shape[1], 3), 255, np.uint8)
    cv2.putText(bar, title, (4, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (20, 20, 20), 1, cv2.LINE_AA)
    return np.vstack([bar, colour])


def resampling() -> None:
    """The two resamplings of one image, their error against the truth, and the edge of the field of view."""
    with tempfile.TemporaryDirectory() as folder:
        made = make_veriserum(Path(folder), pairs=1, seed=3)
        native = read_grey(made.root / IMAGE_FOLDER / "fs_000001.jpg")
        truth = made.study.truth(1, "fs", 512) * (255 * 255 / native.max())
        panels = [titled(np.clip(truth, 0, 255).astype(np.uint8), "truth")]
        for resample in ("reference", "area"):
            out = Path(folder) / resample
            calibrate(made.root, out, CalibrationSettings(format="png", resample=resample))
            result = read_grey(out / "calibrated_fs_000001.png")
            error = np.sqrt(((result - truth) ** 2).mean())
            panels.append(titled(result, f"{resample}: RMSE {error:.1f} grey levels"))
            wrong = np.clip(np.abs(result - truth) * 8, 0, 255).astype(np.uint8)
            panels.append(titled(255 - wrong, f"{resample}: difference x 8"))
        sheet = np.hstack(panels)
    write_image(IMAGES / "resampling.jpg", cv2.resize(sheet, None, fx=0.62, fy=0.62, interpolation=cv2.INTER_AREA))


if __name__ == "__main__":
    main()
