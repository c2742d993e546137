"""``medcli convert yolo``: label files that matplotlib fills to the same pixels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.conftest import Ran
from tests.interchange.test_mask_polygons import filled


def test_label_files_hold_the_same_pixels(ultrasound: Path, medcli: Callable[..., Ran], tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml")
    out = tmp_path / "yolo"
    ran = medcli("convert", "yolo", "--root", ultrasound, "--labels", "full", "--val-specimens", "2", "--out", out)
    assert ran.code == 0, ran.err
    settings = yaml.safe_load((out / "data.yaml").read_text())
    assert settings["names"] == {0: "bone"}
    for side, specimens in (("train", {5, 7, 8, 9}), ("val", {2})):
        images = sorted((out / settings[side]).iterdir())
        assert {int(path.name[8:10]) for path in images} == specimens
        for path in images:
            text = (out / "labels" / side / path.with_suffix(".txt").name).read_text().split("\n")
            rows = [np.array(line.split(), float) for line in text if line]
            assert all(row[0] == 0 and row[1:].min() >= 0 and row[1:].max() <= 1 for row in rows)
            record = ultrasound / f"{path.name[:10]}/ultrasound_records/fibula/record01"
            stamp = path.stem.rpartition("_")[2]
            true = cv2.imread(str(record / f"Labels_full/{stamp}_label.png"), cv2.IMREAD_UNCHANGED) == 255
            shape = true.shape
            assert np.array_equal(filled([row[1:].reshape(-1, 2) * shape[::-1] for row in rows], shape), true)
