"""What ``predict`` is given, as files and the masks that belong to them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from medcli.core import image_io
from medcli.core.errors import DataError, MedcliError, UsageError
from medcli.core.shell import install_extra
from medcli.ultrabones.segmentation.prediction_inputs import find_sources


def image(seed: int, shape: tuple[int, int] = (120, 150)) -> np.ndarray:
    noise = np.random.default_rng(seed).random(shape, dtype=np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 5)
    return np.uint8(255 * (smooth - smooth.min()) / np.ptp(smooth))


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    folder = tmp_path / "scans"
    folder.mkdir()
    for number, (suffix, shape) in enumerate([("png", (120, 150)), ("jpg", (300, 200)), ("tif", (64, 64))]):
        image_io.write_image(folder / f"scan{number}.{suffix}", image(number, shape))
    return folder


def test_dicom_without_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "scan.dcm").touch()
    monkeypatch.setattr("medcli.ultrabones.segmentation.prediction_inputs.find_spec", lambda name: None)
    with pytest.raises(MedcliError, match=r"scan\.dcm is DICOM, which needs pydicom") as raised:
        find_sources([tmp_path])
    assert raised.value.hint == install_extra("dicom")
    (tmp_path / "scan.webp").touch()
    with pytest.raises(MedcliError, match=r"scan\.webp is none of \.avi, \.bmp, .*, so it would be read as DICOM"):
        find_sources([tmp_path / "scan.webp"])


def test_images_of_kinds_that_are_not_read_are_counted(scans: Path, caplog: pytest.LogCaptureFixture) -> None:
    image_io.write_image(scans / "scan3.png", image(3))
    (scans / "scan3.png").rename(scans / "scan3.BMP")
    for name in ("a.webp", "b.gif", "c.gif", "notes.txt"):
        (scans / name).touch()
    assert [source.path.name for source in find_sources([scans])][-1] == "scan3.BMP"
    assert caplog.messages == [f"{scans}: 3 images of kinds that are not read left out (.gif, .webp)"]


def test_patterns_folders_and_files_mean_each_file_once(scans: Path) -> None:
    (scans / "deeper").mkdir()
    image_io.write_image(scans / "deeper" / "scan0.png", image(0))
    (scans / "notes.txt").touch()
    found = find_sources([scans / "*.png", scans, scans / "scan0.png", str(scans / "**" / "scan0.png")])
    assert [str(source.path.relative_to(scans)) for source in found] == [
        "scan0.png",
        str(Path("deeper") / "scan0.png"),
        "scan1.jpg",
        "scan2.tif",
    ]
    assert found[1].folder == scans / "predictions" / "deeper"


def test_names_that_would_share_a_mask(scans: Path) -> None:
    image_io.write_image(scans / "scan0.jpg", image(0))
    names = sorted(source.mask_of(None).name for source in find_sources([scans]))
    assert names == [f"{stem}_label_pred.png" for stem in ("scan0_jpg", "scan0_png", "scan1", "scan2")]
    (alone,) = find_sources([scans / "scan0.jpg"])  # named as before, or it would be kept for the other's
    assert alone.mask_of(None).name == "scan0_jpg_label_pred.png"
    with pytest.MonkeyPatch.context() as windows:
        windows.setattr("os.path.normcase", str.lower)
        (scans / "scan1.jpg").rename(scans / "SCAN2.jpg")
        names = sorted(source.mask_of(None).name for source in find_sources([scans / "SCAN2.jpg", scans / "scan2.tif"]))
    assert names == ["SCAN2_jpg_label_pred.png", "scan2_tif_label_pred.png"]
    (scans / "b").mkdir()
    image_io.write_image(scans / "b" / "scan2.tif", image(0))
    with pytest.raises(UsageError, match="several inputs would write"):
        find_sources([scans / "scan2.tif", scans / "b" / "scan2.tif"], scans / "out")


def test_inputs_that_mean_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no such file or folder: .*missing"):
        find_sources([tmp_path / "missing.png"])
    with pytest.raises(DataError, match="nothing to predict on in "):
        find_sources([tmp_path])
    with pytest.raises(DataError, match=r"nothing to predict on in .*\*\.png"):
        find_sources([tmp_path / "*.png"])
