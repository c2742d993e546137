"""Make synthetic data for, and the figures of, `medcli calibrate fit` and `medcli register pose`.

python docs/figures/registration.py [FOLDER]

Writes a study of 7 pairs, start poses up to 5 mm and 5 degrees off, and an image of the bead grid for each plane to
FOLDER (default demo/pose-fit), runs both commands there, and puts the figures into docs/images.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[2]))

from medcli.cli.app import app
from medcli.core.image_io import read_rgb, write_image
from medcli.synthetic.fluoroscopy.dataset import make_veriserum
from medcli.synthetic.fluoroscopy.grid_phantom import grid_image
from medcli.veriserum.dataset.detector import PLANES
from medcli.veriserum.dataset.folder_index import POSE_COLUMNS

DOCS = Path(__file__).parents[1]
WIDTH, QUALITY = 900, 62


def make_data(folder: Path) -> None:
    study = make_veriserum(folder / "study", pairs=7, seed=1, frames_per_trial=1).study
    generator = np.random.default_rng(0)
    for plane in PLANES:
        image = grid_image(study.calibrations[1].distortion(plane), generator, missing_share=0.05)
        write_image(folder / f"grid_{plane}.png", image)
    table = pd.read_csv(folder / "study" / "csv_files" / "veriserum_pose_reloaded_refined_all.csv")
    names = list(POSE_COLUMNS)
    table[names] += generator.uniform(-5, 5, (len(table), 6))
    table[["id", *names]].to_csv(folder / "start.csv", index=False)


def keep(source: Path, name: str) -> None:
    """A smaller copy in docs/images."""
    image = read_rgb(source)
    height = round(image.shape[0] * WIDTH / image.shape[1])
    resized = np.asarray(cv2.resize(image, (WIDTH, height), interpolation=cv2.INTER_AREA), np.uint8)
    write_image(DOCS / "images" / name, resized, QUALITY)


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else DOCS.parent / "demo" / "pose-fit"
    folder.mkdir(parents=True, exist_ok=True)
    make_data(folder)
    grids, table = [f"{plane}={folder / f'grid_{plane}.png'}" for plane in PLANES], folder / "table.csv"
    fit = ["calibrate", "fit", *grids, "--id", "1", "--out", str(table), "--overwrite"]
    register = ["register", "pose", "--root", str(folder / "study"), "--start", str(folder / "start.csv")]
    register += ["--out", str(folder / "poses.csv"), "--overlays", str(folder / "overlays"), "--overwrite"]
    for words in (fit, register):
        app(words, standalone_mode=False)
    keep(folder / "table_01.png", "calibrate-fit.jpg")
    keep(folder / "overlays" / "register_000001.png", "register-pose.jpg")


if __name__ == "__main__":
    main()
