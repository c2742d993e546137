"""Frames with label and prediction drawn in."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from medcli.core.image_io import read_rgb, write_image
from medcli.ultrabones.evaluation.figures import overlay_label_and_prediction, write_examples
from medcli.ultrabones.evaluation.prediction_sources import LoadedFrame, Prediction

GREEN, PINK = (0, 220, 90), (255, 60, 160)


def test_the_label_is_filled_and_the_prediction_outlined_a_little_apart() -> None:
    grey = np.full((40, 60), 80, np.uint8)
    label, prediction = np.zeros((40, 60), bool), np.zeros((40, 60), bool)
    label[10, 10:30], prediction[25, 10:30] = True, True
    image = overlay_label_and_prediction(grey, label, prediction)
    assert (image[label] == GREEN).all()
    assert (image[[25, 26], 20] == 80).all()
    assert (image[[23, 27], 20] == PINK).all()


def test_examples_are_small_and_named(tmp_path: Path) -> None:
    grey = np.full((811, 950), 90, np.uint8)
    write_image(tmp_path / "a.png", grey)
    label = np.zeros(grey.shape, bool)
    label[400, 100:800] = True
    frame = LoadedFrame(0, np.zeros((256, 256), np.float32), label)
    write_examples([(str(tmp_path / "a.png"), frame, Prediction(label, label), "best: 1")], tmp_path / "out")
    assert json.loads((tmp_path / "out/examples.json").read_text("utf-8")) == {"01.jpg": "best: 1"}
    image = read_rgb(tmp_path / "out/01.jpg")
    assert image.shape == (615, 720, 3)
    assert np.ptp(image.astype(int), axis=2).max() > 60  # thin lines stay visible
