from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medcli.core import image_io
from medcli.core.errors import DataError


@pytest.fixture
def image() -> np.ndarray:
    rows, columns = np.mgrid[:60, :80]
    return ((rows * 3 + columns) % 256).astype(np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_lossless_formats_round_trip(tmp_path: Path, image: np.ndarray, suffix: str) -> None:
    path = tmp_path / f"Größe 1{suffix}"
    image_io.write_image(path, image)
    np.testing.assert_array_equal(image_io.read_grey(path), image)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_colour_is_rgb(tmp_path: Path) -> None:
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 200
    image_io.write_image(tmp_path / "red.png", red)
    np.testing.assert_array_equal(image_io.read_rgb(tmp_path / "red.png"), red)
    assert abs(int(image_io.read_grey(tmp_path / "red.png")[0, 0]) - 0.299 * 200) <= 1, "luma"


def test_jpeg_quality(image: np.ndarray) -> None:
    assert len(image_io.encode(image, ".jpg", 95)) > len(image_io.encode(image, ".jpg", 20))


def test_jpeg_header(image: np.ndarray) -> None:
    grey = image_io.encode(image, ".jpg").tobytes()
    colour = image_io.encode(np.dstack([image] * 3), ".jpg").tobytes()
    for content, channels in ((grey, 1), (colour, 3), (grey + b"\x00" * 20, 1)):
        header = image_io.jpeg_header(content)
        assert header is not None
        assert (header.channels, header.complete, header.rows, header.columns) == (channels, True, 60, 80)
    assert image_io.jpeg_header(image_io.encode(image, ".png").tobytes()) is None
    for cut in range(2, len(grey) - 1):
        header = image_io.jpeg_header(grey[:cut])
        assert header is not None
        assert not header.complete


@pytest.mark.parametrize(("suffix", "end"), [(".jpg", 1), (".png", 3), (".tif", 40)])
def test_cut_off_files_are_refused(image: np.ndarray, suffix: str, end: int, capfd: pytest.CaptureFixture[str]) -> None:
    """By one error that names the file; the codec itself is silent."""
    content = image_io.encode(image, suffix).tobytes()
    for cut in (0, 1, 30, len(content) // 2, len(content) - end):
        with pytest.raises(DataError, match="some name"):
            image_io.decode_grey(content[:cut], "some name")
    assert "TIFF" not in capfd.readouterr().err


def test_missing_file_says_why(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        image_io.read_grey(tmp_path / "absent.png")
