"""``medcli convert yolo``: label files that matplotlib and Ultralytics fill to the same pixels."""

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


@pytest.mark.deep
def test_ultralytics_reads_the_same_pixels(
    ultrasound: Path, medcli: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own data set for segmentation and its own filling (``pip install ultralytics``)."""
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path))  # where it writes its settings
    monkeypatch.setenv("YOLO_OFFLINE", "true")
    utils = pytest.importorskip("ultralytics.data.utils", reason="Ultralytics is not installed")
    dataset = pytest.importorskip("ultralytics.data.dataset")
    out = tmp_path / "yolo"
    assert medcli("convert", "yolo", "--root", ultrasound, "--labels", "full", "--out", out).code == 0
    settings = utils.check_det_dataset(str(out / "data.yaml"), autodownload=False)
    read = 0
    for side in ("train", "val"):
        for one in dataset.YOLODataset(img_path=settings[side], data=settings, task="segment", augment=False).labels:
            rows, columns = one["shape"]
            filled_by_it = np.zeros((rows, columns), bool)
            for polygon in one["segments"]:
                flat = (polygon * [columns, rows]).reshape(1, -1)
                filled_by_it |= utils.polygon2mask((rows, columns), flat, 1, 1).astype(bool)
            specimen, bone, record, stamp = Path(one["im_file"]).stem.split("_")
            label = ultrasound / specimen / "ultrasound_records" / bone / record / f"Labels_full/{stamp}_label.png"
            assert np.array_equal(filled_by_it, cv2.imread(str(label), cv2.IMREAD_UNCHANGED) == 255)
            read += 1
    assert read == 15
