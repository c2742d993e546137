"""Make the pictures of the README: ``python docs/pictures.py`` from the repository."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))

from medcli import images
from medcli.synthetic.fluoroscopy import IMAGE_FOLDER, make_veriserum
from medcli.veriserum.calibrate import CalibrationSettings, calibrate

FOLDER = Path(__file__).parent / "images"


def titled(picture: NDArray[np.uint8], title: str) -> NDArray[np.uint8]:
    """(H, W) grey or (H, W, 3) RGB with a line of text above it, (H + 28, W, 3) RGB."""
    colour = picture if picture.ndim == 3 else np.dstack([picture] * 3)
    bar = np.full((28, colour.shape[1], 3), 255, np.uint8)
    cv2.putText(bar, title, (4, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (20, 20, 20), 1, cv2.LINE_AA)
    return np.vstack([bar, colour])


def resampling() -> None:
    """The two resamplings of one image, their error against the truth, and the edge of the field of view."""
    with tempfile.TemporaryDirectory() as folder:
        made = make_veriserum(Path(folder), pairs=1, seed=3)
        native = images.read_grey(made.root / IMAGE_FOLDER / "fs_000001.jpg")
        truth = made.study.truth(1, "fs", 512) * (255 * 255 / native.max())
        panels = [titled(np.clip(truth, 0, 255).astype(np.uint8), "truth")]
        for resample in ("reference", "area"):
            out = Path(folder) / resample
            calibrate(made.root, out, CalibrationSettings(format="png", resample=resample))
            result = images.read_grey(out / "calibrated_fs_000001.png")
            error = np.sqrt(((result - truth) ** 2).mean())
            panels.append(titled(result, f"{resample}: RMSE {error:.1f} grey levels"))
            wrong = np.clip(np.abs(result - truth) * 8, 0, 255).astype(np.uint8)
            panels.append(titled(255 - wrong, f"{resample}: difference x 8"))
        sheet = np.hstack(panels)
    images.write_image(
        FOLDER / "resampling.jpg", cv2.resize(sheet, None, fx=0.62, fy=0.62, interpolation=cv2.INTER_AREA)
    )


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    resampling()
