"""Make the figure of the prediction section: ``python docs/figures/predictions.py``.

``docs/images/predict-contact-sheet.jpg``: the contact sheet that ``medcli predict seg --overlay`` leaves, as a smaller
file. All of it is synthetic: a small network learns from six specimens on one core of the CPU (a few minutes), its best
epoch is chosen on a seventh, and it predicts on an eighth.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is loaded; sums then have one order
sys.path.insert(0, str(Path(__file__).parents[2]))

from medcli.core.image_io import read_rgb, write_image
from medcli.synthetic.ultrasound.dataset import SweepSettings, make_ultrabones
from medcli.ultrabones.segmentation.predict import PredictSettings, predict_seg
from medcli.ultrabones.segmentation.settings import SegmentationSettings
from medcli.ultrabones.segmentation.train import train_segmentation

IMAGES = Path(__file__).parents[1] / "images"
TRAIN, VALIDATE, PREDICT = (21, 22, 23, 24, 25, 26), (27,), (28,)
ANATOMIES = ("fibula", "tibia")
LEARN_FRAMES, PREDICT_FRAMES = 12, 4


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MEDCLI_CACHE_DIR"] = str(Path(folder) / "cache")
        data, out = Path(folder) / "data", Path(folder) / "run"
        make_ultrabones(data, TRAIN + VALIDATE, anatomies=ANATOMIES, settings=SweepSettings(LEARN_FRAMES))
        make_ultrabones(data, PREDICT, anatomies=ANATOMIES, settings=SweepSettings(PREDICT_FRAMES))
        trained = train_segmentation(_settings(data), out)
        made = predict_seg([], trained.best, PredictSettings(overlay=True, device="cpu"), data, PREDICT)
        assert made.contact_sheet is not None
        write_image(IMAGES / "predict-contact-sheet.jpg", read_rgb(made.contact_sheet), quality=75)


def _settings(data: Path) -> SegmentationSettings:
    return SegmentationSettings(
        root=data,
        train_specimens=TRAIN,
        val_specimens=VALIDATE,
        epochs=10,
        batch_size=8,
        lr=1e-3,
        encoder="tu-mobilenetv3_small_050",
        encoder_weights="none",
        augment="none",
        gpus="0",
    )


if __name__ == "__main__":
    main()
