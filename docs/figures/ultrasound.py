"""Make the ultrasound figures of the documentation: ``python docs/figures/ultrasound.py``.

- ``docs/images/synthetic_ultrasound.jpg``: frames of three synthetic sweeps and their full and partial labels.
- ``docs/images/evaluate_curves.png``, ``docs/images/evaluate_examples.jpg``: what ``medcli evaluate`` draws.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[2]))

from medcli.core.image_io import read_grey, read_rgb, write_image
from medcli.synthetic.ultrasound.dataset import SweepSettings, make_ultrabones
from medcli.ultrabones.dataset.constants import TEST_SPECIMENS, TRAIN_SPECIMENS
from medcli.ultrabones.dataset.frame_index import index_frames
from medcli.ultrabones.evaluation.evaluate import evaluate_segmentation
from medcli.ultrabones.evaluation.mask_distances import dilate
from medcli.ultrabones.evaluation.prediction_sources import StoredMasks
from medcli.ultrabones.evaluation.settings import EvaluationSettings

IMAGES = Path(__file__).parents[1] / "images"
FULL_COLOUR, PARTIAL_COLOUR = (230, 70, 60), (0, 220, 90)


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        data, out = Path(folder) / "data", Path(folder) / "out"
        settings = SweepSettings(frames=5, predictions=True)
        make_ultrabones(data, TEST_SPECIMENS, anatomies=("fibula", "foot", "tibia"), settings=settings)
        _draw_synthetic(data)
        how = EvaluationSettings(protocols=("strict",), train=TRAIN_SPECIMENS)
        evaluate_segmentation(data, StoredMasks("Labels_pred"), how, out)
        shutil.copy(out / "curves_strict.png", IMAGES / "evaluate_curves.png")
        examples = read_rgb(out / "examples.png")
        size = (900, round(900 * examples.shape[0] / examples.shape[1]))
        smaller = cv2.resize(examples, size, interpolation=cv2.INTER_AREA)
        write_image(IMAGES / "evaluate_examples.jpg", np.asarray(smaller, np.uint8), quality=80)


def _draw_synthetic(data: Path) -> None:
    frames = index_frames(data).query("specimen == 2").groupby("anatomy").nth(2)
    rows = []
    for row in frames.itertuples():
        plain = np.repeat(read_grey(row.image)[:, :, None], 3, axis=2)
        labelled = plain.copy()
        labelled[dilate(read_grey(row.label_full) > 0, 1)] = FULL_COLOUR
        labelled[dilate(read_grey(row.label) > 0, 1)] = PARTIAL_COLOUR
        rows.append(np.vstack([_shrink(plain), _shrink(labelled)]))
    write_image(IMAGES / "synthetic_ultrasound.jpg", np.hstack(rows), quality=80)


def _shrink(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(image, (320, 273), interpolation=cv2.INTER_AREA), np.uint8)


if __name__ == "__main__":
    main()
