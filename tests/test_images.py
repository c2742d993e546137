from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medcli import images
from medcli.errors import DataError


@pytest.fixture
def picture() -> np.ndarray:
    rows, columns = np.mgrid[:60, :80]
    return ((rows * 3 + columns) % 256).astype(np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_lossless_formats_round_trip(tmp_path: Path, picture: np.ndarray, suffix: str) -> None:
    path = tmp_path / f"Größe 1{suffix}"
    images.write_image(path, picture)
    np.testing.assert_array_equal(images.read_grey(path), picture)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_colour_is_rgb(tmp_path: Path) -> None:
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 200
    images.write_image(tmp_path / "red.png", red)
    np.testing.assert_array_equal(images.read_rgb(tmp_path / "red.png"), red)
    assert abs(int(images.read_grey(tmp_path / "red.png")[0, 0]) - 0.299 * 200) <= 1, "luma"


def test_jpeg_quality(picture: np.ndarray) -> None:
    assert len(images.encode(picture, ".jpg", 95)) > len(images.encode(picture, ".jpg", 20))


def test_jpeg_header(picture: np.ndarray) -> None:
    grey = images.encode(picture, ".jpg").tobytes()
    colour = images.encode(np.dstack([picture] * 3), ".jpg").tobytes()
    assert images.jpeg_header(grey) == images.JpegHeader(1, complete=True)
    assert images.jpeg_header(colour) == images.JpegHeader(3, complete=True)
    assert images.jpeg_header(grey + b"\x00" * 20) == images.JpegHeader(1, complete=True)
    assert images.jpeg_header(images.encode(picture, ".png").tobytes()) is None
    for cut in range(2, len(grey) - 1):
        header = images.jpeg_header(grey[:cut])
        assert header is not None
        assert not header.complete


@pytest.mark.parametrize(("suffix", "end"), [(".jpg", 1), (".png", 3), (".tif", 40)])
def test_cut_off_files_are_refused(
    picture: np.ndarray, suffix: str, end: int, capfd: pytest.CaptureFixture[str]
) -> None:
    """By one error that names the file; the codec itself is silent."""
    content = images.encode(picture, suffix).tobytes()
    for cut in (0, 1, 30, len(content) // 2, len(content) - end):
        with pytest.raises(DataError, match="some name"):
            images.decode_grey(content[:cut], "some name")
    assert "TIFF" not in capfd.readouterr().err


def test_missing_file_says_why(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        images.read_grey(tmp_path / "absent.png")
