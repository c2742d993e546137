"""``medcli convert coco``: pycocotools reads the same pixels, of thin labels and of closed outlines."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.conftest import Ran


@pytest.mark.parametrize(("labels", "folder"), [("partial", "Labels"), ("full", "Labels_full")])
@pytest.mark.parametrize("polygons", [False, True])
def test_pycocotools_decodes_the_same_pixels(
    labels: str, folder: str, polygons: bool, ultrasound: Path, medcli: Callable[..., Ran], tmp_path: Path
) -> None:
    coco = pytest.importorskip("pycocotools.coco")
    words = ["convert", "coco", "--root", ultrasound, "--labels", labels, "--out", tmp_path / "coco"]
    ran = medcli(*words, *(["--polygons"] if polygons else []))
    assert ran.code == 0, ran.err
    pixels = 0
    for side in ("train", "val"):
        file = coco.COCO(str(tmp_path / f"coco/annotations/instances_{side}.json"))
        for image in file.loadImgs(file.getImgIds()):
            record = ultrasound / f"specimen{image['specimen']:02d}/ultrasound_records/fibula/record01"
            stamp = image["timestamp_ms"]
            true = cv2.imread(str(record / folder / f"{stamp}_label.png"), cv2.IMREAD_UNCHANGED) == 255
            found = file.loadAnns(file.getAnnIds(image["id"]))
            mask = file.annToMask(found[0]).astype(bool) if found else np.zeros_like(true)
            assert np.array_equal(mask, true)
            assert isinstance(found[0]["segmentation"], list) == polygons
            assert found[0]["area"] == true.sum()
            copied = tmp_path / "coco/images" / image["file_name"]
            assert copied.read_bytes() == (record / f"UltrasoundImages/{stamp}.png").read_bytes()
            pixels += int(true.sum())
    assert pixels > 1000


def test_sides_share_no_donor_and_results_are_json(
    ultrasound: Path, medcli: Callable[..., Ran], tmp_path: Path
) -> None:
    pytest.importorskip("pycocotools")
    out = tmp_path / "coco"
    ran = medcli("convert", "coco", "--root", ultrasound, "--val-specimens", "8", "--out", out, "--json")
    result = json.loads(ran.out)
    assert (result["train"], result["val"], result["left_out"]) == ([2, 5, 7], [8], [9])
    assert result["schema"] == "medcli.convert-coco.v1"
    assert medcli("convert", "coco", "--root", ultrasound, "--out", out).code == 2
    (out / "converted.json").unlink()
    ran = medcli("convert", "coco", "--root", ultrasound, "--out", out, "--overwrite")
    assert ran.code == 2
    assert "was not made by medcli convert" in ran.err


def test_without_the_library_it_says_what_to_install(
    ultrasound: Path, medcli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("medcli.interchange.notes.find_spec", lambda name: None)
    ran = medcli("convert", "coco", "--root", ultrasound, "--out", tmp_path / "coco")
    assert ran.code == 1
    assert "medcli[interchange]" in ran.err
