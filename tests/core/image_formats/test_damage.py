"""The limits of size: asked of the header, before anything is decoded."""

from __future__ import annotations

import time
import zlib
from pathlib import Path

import numpy as np
import pytest

from medcli.core import image_io
from medcli.core.errors import DataError, MedcliError, UsageError
from medcli.core.image_formats.damage import DEFAULT_MAX_PIXELS, max_pixels
from tests.support.image_files import bmp_files, jpeg_files, png_file, png_files, tiff_files

LIMIT = "MEDCLI_MAX_PIXELS"
ONE_OF_EACH = {
    "png": png_files()["grey"],
    "jpg": jpeg_files()["colour 420"],
    "tif": tiff_files()["grey, LZW"],
    "bmp": bmp_files()["BMP grey"],
}


def with_size(suffix: str, columns: int, rows: int) -> bytes:
    """The file of a kind whose header names another size."""
    content = bytearray(ONE_OF_EACH[suffix])
    if suffix == "png":
        content[16:24] = columns.to_bytes(4, "big") + rows.to_bytes(4, "big")
        content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    elif suffix == "jpg":
        frame = content.index(b"\xff\xc0")
        content[frame + 5 : frame + 9] = rows.to_bytes(2, "big") + columns.to_bytes(2, "big")
    elif suffix == "bmp":
        content[18:26] = columns.to_bytes(4, "little") + rows.to_bytes(4, "little")
    else:
        directory = int.from_bytes(content[4:8], "little")
        for entry in range(directory + 2, directory + 2 + 12 * content[directory], 12):
            tag = int.from_bytes(content[entry : entry + 2], "little")
            if tag in (256, 257):
                content[entry + 2 : entry + 4] = b"\4\0"
                content[entry + 8 : entry + 12] = (columns if tag == 256 else rows).to_bytes(4, "little")
    return bytes(content)


@pytest.mark.parametrize("suffix", ONE_OF_EACH)
def test_a_large_size_is_refused_within_milliseconds(suffix: str) -> None:
    started = time.perf_counter()
    with pytest.raises(DataError, match=r"^a has 30000 x 29000 pixels, more than the limit of 64000000 \(MEDCLI"):
        image_io.decode_grey(with_size(suffix, 30000, 29000), "a")
    assert time.perf_counter() - started < 0.5


@pytest.mark.parametrize("suffix", ONE_OF_EACH)
def test_the_limit_can_be_set(suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert max_pixels() == DEFAULT_MAX_PIXELS
    monkeypatch.setenv(LIMIT, "18000")
    assert image_io.decode_grey(ONE_OF_EACH[suffix], "a").shape == (120, 150)
    monkeypatch.setenv(LIMIT, "17999")
    with pytest.raises(DataError, match="150 x 120 pixels, more than the limit of 17999"):
        image_io.decode_grey(ONE_OF_EACH[suffix], "a")


@pytest.mark.parametrize("suffix", ONE_OF_EACH)
def test_an_image_without_pixels(suffix: str) -> None:
    with pytest.raises(DataError, match=r"^a is "):
        image_io.decode_grey(with_size(suffix, 0, 120), "a")


def test_a_small_file_of_a_huge_image(tmp_path: Path) -> None:
    """875 kB that unpack to 900 million pixels, where only the size is asked for and where all is read."""
    packing = zlib.compressobj(9)
    packed = b"".join(packing.compress(bytes(30001 * 300)) for _ in range(100)) + packing.flush()
    path = tmp_path / "bomb.png"
    path.write_bytes(png_file((30000, 30000, 8, 0, 0), packed))
    assert path.stat().st_size < 1_000_000
    for read in (image_io.read_size, image_io.read_grey, image_io.read_rgb):
        started = time.perf_counter()
        with pytest.raises(DataError, match="30000 x 30000 pixels, more than the limit of 64000000"):
            read(path)
        assert time.perf_counter() - started < 0.5


@pytest.mark.parametrize("text", ["0", "-5", "64e6", "many", "9" * 30, "１２"])
def test_a_limit_that_is_no_number(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LIMIT, text)
    with pytest.raises(UsageError, match=r"MEDCLI_MAX_PIXELS is .*, expected a whole number of pixels above 0"):
        image_io.decode_grey(ONE_OF_EACH["png"], "a")


@pytest.mark.parametrize("name", bmp_files())
def test_bmp_files(name: str) -> None:
    content = bmp_files()[name]
    assert image_io.decode_grey(content, "a").shape == (120, 150)
    for part in (0.05, 0.5, 0.95):
        with pytest.raises(DataError, match="a is truncated: a BMP file"):
            image_io.decode_grey(content[: int(part * len(content))], "a")


@pytest.mark.parametrize(
    "content", [b"GIF89a" + bytes(900), b"RIFF\0\0\0\0WEBPVP8 " + bytes(90), b"P5 9 9 255 " + bytes(81)]
)
def test_formats_whose_damage_would_not_be_noticed_are_refused(content: bytes) -> None:
    with pytest.raises(DataError, match=r"a is not an image or is damaged: .* no PNG, JPEG, TIFF or BMP file"):
        image_io.decode_grey(content, "a")


@pytest.mark.parametrize("size", [(66_000, 50), (50, 66_000)])
def test_a_side_that_no_format_can_write_is_refused(size: tuple[int, int], capfd: pytest.CaptureFixture[str]) -> None:
    """Far below the limit of pixels; and what is computed to such a size is refused before a codec says so."""
    with pytest.raises(DataError, match=r"^a has \d+ x \d+ pixels, more than the limit of 65500 along a side"):
        image_io.decode_grey(with_size("png", *size), "a")
    for suffix in (".png", ".jpg"):
        with pytest.raises(MedcliError, match=r"cannot write an image of .* 65500 along a side"):
            image_io.encode(np.zeros(size, np.uint8), suffix)
    assert capfd.readouterr().err == ""
