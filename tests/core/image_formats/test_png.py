"""PNG files: sound ones give OpenCV's pixels; damaged ones are refused, and libpng does not get to say anything."""

from __future__ import annotations

import random
import sys
import zlib
from typing import Any

import cv2
import numpy as np
import pytest

from medcli.core import image_io
from medcli.core.errors import DataError
from medcli.core.image_formats import few_images, png, png_kernels
from medcli.core.image_formats.few_images import FewImages
from tests.support.image_files import encoded, interlaced_png, png_chunk, png_file, png_files, textured

FILES = png_files()
HEADER = (150, 120, 8, 0, 0)


def rows_of(image: np.ndarray, filter_: int = 0) -> bytes:
    return b"".join(bytes([filter_]) + row.tobytes() for row in image)


@pytest.mark.parametrize("name", FILES)
def test_sound_files_give_the_pixels_of_opencv(
    name: str, tmp_path_factory: pytest.TempPathFactory, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path_factory.mktemp("sound") / "image.png"
    path.write_bytes(FILES[name])
    grey, colour = image_io.read_grey(path), image_io.read_rgb(path)
    assert capfd.readouterr().err == "", "the codec's own words"
    content = np.frombuffer(FILES[name], np.uint8)
    np.testing.assert_array_equal(grey, cv2.imdecode(content, cv2.IMREAD_GRAYSCALE))
    np.testing.assert_array_equal(colour, cv2.imdecode(content, cv2.IMREAD_COLOR)[:, :, ::-1])
    assert grey.flags.c_contiguous
    assert grey.flags.writeable


def test_interlaced_files_hold_the_image() -> None:
    for shape in ((1, 1), (2, 3), (8, 8), (13, 5), (120, 150)):
        image = textured(shape) if min(shape) > 1 else np.full(shape, 7, np.uint8)
        np.testing.assert_array_equal(image_io.decode_grey(interlaced_png(image), "a.png"), image)


def test_every_changed_byte_is_noticed(capfd: pytest.CaptureFixture[str]) -> None:
    content = FILES["grey"]
    rng = random.Random(1)
    places = [*range(60), *range(len(content) - 30, len(content)), *rng.sample(range(len(content)), 200)]
    for place in places:
        changed = bytearray(content)
        changed[place] ^= 1 << rng.randrange(8)
        with pytest.raises(DataError, match=r"^a\.png "):
            image_io.decode_grey(bytes(changed), "a.png")
    assert capfd.readouterr().err == ""


PACKED = zlib.compress(rows_of(textured()))
BAD_CHECKSUM = PACKED[:-1] + bytes([PACKED[-1] ^ 1])
WRONG = {
    "half of the data": (HEADER, PACKED[: len(PACKED) // 2], ()),
    "no end of the data": (HEADER, PACKED[:-4], ()),
    "zlib's checksum": (HEADER, BAD_CHECKSUM, ()),
    "no zlib data": (HEADER, b"no zlib data", ()),
    "no data": (HEADER, b"", ()),
    "rows missing": ((150, 121, 8, 0, 0), PACKED, ()),
    "filter 5": (HEADER, zlib.compress(rows_of(textured(), 5)), ()),
    "3 bits": ((150, 120, 3, 0, 0), PACKED, ()),
    "type of colour 5": ((150, 120, 8, 5, 0), PACKED, ()),
    "interlacing 2": ((150, 120, 8, 0, 2), PACKED, ()),
    "no palette": ((150, 120, 8, 3, 0), PACKED, ()),
    "broken palette": ((150, 120, 8, 3, 0), PACKED, [(b"PLTE", bytes(10))]),
    "long palette": ((150, 120, 4, 3, 0), PACKED, [(b"PLTE", bytes(51))]),
    "unknown chunk": (HEADER, PACKED, [(b"ABCD", b"")]),
    "second header": (HEADER, PACKED, [(b"IHDR", bytes(13))]),
    "no columns": ((0, 120, 8, 0, 0), PACKED, ()),
}


@pytest.mark.parametrize("name", WRONG)
def test_nonsense_with_right_checksums(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DataError, match=r"^a\.png is damaged"):
        image_io.decode_grey(png_file(*WRONG[name]), "a.png")
    assert capfd.readouterr().err == ""


def test_a_chunk_that_is_missing_among_the_data() -> None:
    content = png_file(HEADER, PACKED, pieces=9)
    first = content.index(b"IDAT") - 4
    size = 12 + int.from_bytes(content[first : first + 4], "big")
    image_io.decode_grey(content, "a.png")
    with pytest.raises(DataError, match="is damaged"):
        image_io.decode_grey(content[: first + 3 * size] + content[first + 4 * size :], "a.png")


def test_what_follows_the_data_does_no_harm() -> None:
    """Bytes after the end, and rows or bytes more than the header says, as some programs write them."""
    expected = textured()
    for content in (
        FILES["grey"] + b"anything",
        png_file(HEADER, PACKED + b"more"),
        png_file(HEADER, zlib.compress(rows_of(textured()) + bytes(400))),
    ):
        np.testing.assert_array_equal(image_io.decode_grey(content, "a.png"), expected)


def test_data_that_unpack_to_gigabytes_are_not_unpacked() -> None:
    bomb = zlib.compressobj(9)
    packed = b"".join(bomb.compress(bytes(1 << 24)) for _ in range(40)) + bomb.flush()
    assert len(packed) > 1 << 19
    image = image_io.decode_grey(png_file(HEADER, packed), "a.png")
    assert image.shape == (120, 150)
    assert not image.any()


def test_large_files_are_unpacked_within_their_size() -> None:
    """And what is missing at their end is noticed."""
    noise = np.random.default_rng(1).integers(0, 256, (900, 1000)).astype(np.uint8)
    content = encoded(".png", noise)
    assert len(content) > 1 << 19
    np.testing.assert_array_equal(image_io.decode_grey(content, "a.png"), noise)
    packed = zlib.compress(rows_of(noise))
    for wrong in (packed[:-4], packed[: len(packed) // 2], packed[:-1] + b"\0"):
        with pytest.raises(DataError, match="is damaged"):
            image_io.decode_grey(png_file((1000, 900, 8, 0, 0), wrong), "a.png")


def test_chunks_that_do_not_decide_pixels_are_left_out() -> None:
    """libpng would write a line about each of these."""
    content, expected = FILES["colour"], image_io.decode_grey(FILES["colour"], "a.png")
    for kind, data in ((b"gAMA", b"\0"), (b"sRGB", b"\x09"), (b"eXIf", b"none"), (b"tRNS", b"\0"), (b"cHRM", b"")):
        changed = content[:33] + png_chunk(kind, data) + content[33:]
        np.testing.assert_array_equal(image_io.decode_grey(changed, "a.png"), expected)


def slow_unfiltered(rows: bytes, shape: tuple[int, int]) -> np.ndarray:
    """The filters as the format's description has them, a byte at a time."""
    image = np.zeros((shape[0] + 1, shape[1] + 1), int)  # with a row above and a column to the left
    for row in range(shape[0]):
        line = rows[row * (shape[1] + 1) : (row + 1) * (shape[1] + 1)]
        for column, value in enumerate(line[1:], 1):
            left, above, corner = image[row + 1, column - 1], image[row, column], image[row, column - 1]
            guess = left + above - corner
            paeth = min((left, above, corner), key=lambda near: abs(guess - near))
            predicted = (0, left, above, (left + above) // 2, paeth)[line[0]]
            image[row + 1, column] = (value + predicted) % 256
    return image[1:, 1:]


@pytest.mark.parametrize("few", [0, 1000], ids=["compiled", "by OpenCV, as few files are"])
def test_unfiltering_equals_its_slow_twin(few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled, unfilter_rows = [], png_kernels.unfilter_rows

    def watched(rows: np.ndarray) -> Any:
        compiled.append(len(rows))
        return unfilter_rows(rows)

    monkeypatch.setattr(png, "_few", FewImages())
    monkeypatch.setattr(few_images, "_FEW", few)
    monkeypatch.setattr(png_kernels, "unfilter_rows", watched)
    monkeypatch.delitem(sys.modules, "numba")
    rng = np.random.default_rng(5)
    for shape in ((1, 1), (3, 1), (1, 7), (40, 23)):
        lines = rng.integers(0, 256, (shape[0], shape[1] + 1)).astype(np.uint8)
        lines[:, 0] = rng.integers(0, 5, shape[0])
        content = png_file((shape[1], shape[0], 8, 0, 0), zlib.compress(lines.tobytes()))
        decoded = image_io.decode_grey(content, "a.png")
        np.testing.assert_array_equal(decoded, slow_unfiltered(lines.tobytes(), shape))
        np.testing.assert_array_equal(decoded, cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE))
    assert len(compiled) == (0 if few else 4)


def test_rows_that_span_the_pieces_they_are_unpacked_in() -> None:
    """Rows wider than a piece, and data that come in chunks of every size."""
    for shape in ((3, 65_000), (5000, 3), (700, 900)):
        image = np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)
        for pieces in (1, 7, 400):
            packed = zlib.compress(rows_of(image))
            content = png_file((shape[1], shape[0], 8, 0, 0), packed, pieces=pieces)
            np.testing.assert_array_equal(image_io.decode_grey(content, "a.png"), image)
