"""TIFF files: sound ones give OpenCV's pixels; strips that are damaged are refused where their packing shows it."""

from __future__ import annotations

import io
import random
import time
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from medcli.core import image_io
from medcli.core.errors import DataError
from medcli.core.image_formats import tiff_kernels
from medcli.core.image_formats.tiff import tiff_pages
from tests.support.image_files import MUTATIONS, textured, textured_colour, tiff_files

FILES = tiff_files()


def tiff(
    strips: list[bytes],
    size: tuple[int, int],
    packing: int,
    rows_per_strip: int,
    order: str = "little",
    big: bool = False,
) -> bytes:
    """An 8-bit grey TIFF file."""
    width = 8 if big else 4
    long = 16 if big else 4
    start = (b"II" if order == "little" else b"MM") + (43 if big else 42).to_bytes(2, order)
    start += (b"\x08\0\0\0" if order == "little" else b"\0\x08\0\0") if big else b""
    offsets, place = [], len(start) + width
    for strip in strips:
        offsets.append(place)
        place += len(strip)
    tables = b"".join(number.to_bytes(width, order) for number in [*offsets, *map(len, strips)])
    count = len(strips)
    values = [
        (256, long, 1, size[1]),
        (257, long, 1, size[0]),
        (258, long, 1, 8),
        (259, long, 1, packing),
        (262, long, 1, 1),
        (273, long, count, place if count > 1 else offsets[0]),
        (278, long, 1, rows_per_strip),
        (279, long, count, place + width * count if count > 1 else len(strips[0])),
    ]
    directory = len(values).to_bytes(8 if big else 2, order)
    for tag, kind, number, value in values:
        directory += tag.to_bytes(2, order) + kind.to_bytes(2, order)
        directory += number.to_bytes(width, order) + value.to_bytes(width, order)
    position = place + len(tables)
    return start + position.to_bytes(width, order) + b"".join(strips) + tables + directory + bytes(width)


def by_opencv(content: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE)


@pytest.mark.parametrize("name", FILES)
def test_sound_files_give_the_pixels_of_opencv(name: str) -> None:
    np.testing.assert_array_equal(image_io.decode_grey(FILES[name], "a.tif"), by_opencv(FILES[name]))


@pytest.mark.parametrize("packing", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "group4"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_files_of_another_program(packing: str, mode: str) -> None:
    images = pytest.importorskip("PIL.Image")
    image = images.fromarray(textured_colour()).convert("1" if packing == "group4" else mode)
    content = io.BytesIO()
    image.save(content, "TIFF", compression=packing)
    np.testing.assert_array_equal(image_io.decode_grey(content.getvalue(), "a"), by_opencv(content.getvalue()))


@pytest.mark.parametrize(
    ("kind", "words"),
    [(np.float32, "floating-point numbers of 32"), (np.float64, "floating-point numbers of 64"), (np.int32, "whole")],
)
def test_deep_images_are_named_as_such(kind: type[np.generic], words: str, tmp_path: Path) -> None:
    path = tmp_path / "deep.tif"
    path.write_bytes(cv2.imencode(".tif", np.linspace(0, 1, 600).reshape(20, 30).astype(kind))[1].tobytes())
    with pytest.raises(DataError, match=rf"deep.tif has {words}.* only TIFF images of 8 and 16 bits are read"):
        image_io.read_grey(path)
    with pytest.raises(DataError, match="only TIFF images of 8 and 16 bits"):
        image_io.read_pages(path)[0]()


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("rows", [1, 50, 120, 1000])
def test_byte_orders_strips_and_64_bits(order: str, big: bool, rows: int) -> None:
    image = textured()
    parts = [image[at : at + rows].tobytes() for at in range(0, 120, rows)]
    for packing, strips in ((1, parts), (8, [zlib.compress(part) for part in parts])):
        content = tiff(strips, image.shape, packing, rows, order, big)
        np.testing.assert_array_equal(image_io.decode_grey(content, "a.tif"), image)


@pytest.mark.parametrize("name", [name for name in FILES if "plain" not in name and "16" not in name])
def test_damage_that_a_packing_shows(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    rng = random.Random(5)
    noticed = {mutate.__name__: 0 for mutate in MUTATIONS}
    for mutate in MUTATIONS:
        for _ in range(25):
            try:
                image_io.decode_grey(mutate(FILES[name], rng), "a.tif")
            except DataError:
                noticed[mutate.__name__] += 1
    assert noticed["cut_off"] == 25
    assert noticed["zeroed"] >= 20
    assert noticed["cut_out"] >= 20
    if "deflate" in name:
        assert noticed["flipped"] >= 24
    assert capfd.readouterr().err == ""


def test_strips_that_are_too_short_or_elsewhere() -> None:
    image = textured()
    parts = [image[:60].tobytes(), image[60:].tobytes()]
    for strips, packing, reason in (
        ([parts[0], parts[1][:-1]], 1, "expected 9000"),
        ([zlib.compress(parts[0]), zlib.compress(parts[1][:-1])], 8, "expected 9000"),
        ([zlib.compress(parts[0]), zlib.compress(parts[1])[:-2]], 8, "expected 9000"),
        ([zlib.compress(parts[0]), zlib.compress(bytes(1 << 20))], 8, "expected 9000"),
        ([parts[0]], 1, "1 part, expected 2"),
    ):
        with pytest.raises(DataError, match=reason):
            image_io.decode_grey(tiff(strips, image.shape, packing, 60), "a.tif")
    content = tiff(parts, image.shape, 1, 60)
    with pytest.raises(DataError, match="is truncated"):
        image_io.decode_grey(content[:8] + content[600:], "a.tif")


def test_pages_are_read_one_by_one_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    pages = [textured(seed=seed) for seed in range(3)]
    path = tmp_path / "stack.tif"
    cv2.imwritemulti(str(path), pages, [cv2.IMWRITE_TIFF_COMPRESSION, 8])
    for read, page in zip(image_io.read_pages(path), pages, strict=True):
        np.testing.assert_array_equal(read(), page)
    content = bytearray(path.read_bytes())
    second = list(tiff_pages(bytes(content)))[1]
    content[int(second.tags[273][0]) + 40] ^= 255
    path.write_bytes(content)
    first, damaged, third = image_io.read_pages(path)
    np.testing.assert_array_equal(first(), pages[0])
    np.testing.assert_array_equal(third(), pages[2])
    with pytest.raises(DataError, match=r"stack\.tif, page 1, is damaged"):
        damaged()


def test_pages_in_a_circle_and_nowhere(tmp_path: Path) -> None:
    image = textured()
    content = tiff([image.tobytes()], image.shape, 1, 120)
    directory = int.from_bytes(content[4:8], "little")
    path = tmp_path / "a.tif"
    for changed, reason in (
        (content[:-4] + directory.to_bytes(4, "little"), "in a circle"),
        (content[:-4] + (10**9).to_bytes(4, "little"), "is truncated"),
        (content[:4] + bytes(4) + content[8:], "without a page"),
        (content[:4], "is truncated"),
    ):
        path.write_bytes(changed)
        with pytest.raises(DataError, match=reason):
            image_io.read_pages(path)


def test_many_pages_take_no_long_time(tmp_path: Path) -> None:
    path = tmp_path / "stack.tif"
    cv2.imwritemulti(str(path), [textured((20, 30), seed) for seed in range(600)])
    started = time.perf_counter()
    assert len([read() for read in image_io.read_pages(path)]) == 600
    assert time.perf_counter() - started < 10


def slow_lzw_size(data: bytes) -> int:
    """Unpacks the codes, as the format's description does."""
    bits = "".join(f"{byte:08b}" for byte in data)
    table: list[bytes] = []
    out, place, previous = b"", 0, b""
    while True:
        width = next(width for width in (9, 10, 11, 12) if 258 + len(table) + 1 < 1 << width or width == 12)
        if place + width > len(bits):
            return len(out)
        code = int(bits[place : place + width], 2)
        place += width
        if code == 257:
            return len(out)
        if code == 256:
            table, previous = [], b""
            continue
        if code < 256:
            entry = bytes([code])
        elif code - 258 < len(table):
            entry = table[code - 258]
        elif previous and code - 258 == len(table):
            entry = previous + previous[:1]
        else:
            return -1
        if previous:
            table.append(previous + entry[:1])
        out, previous = out + entry, entry


def test_lzw_kernel_equals_its_slow_twin() -> None:
    content = FILES["grey, LZW"]
    page = next(tiff_pages(content))
    rng = random.Random(2)
    for offset, count in zip(page.tags[273].tolist(), page.tags[279].tolist(), strict=True):
        strip = content[offset : offset + count]
        assert int(tiff_kernels.lzw_size(np.frombuffer(strip, np.uint8))) == slow_lzw_size(strip) > 0
        for _ in range(3):
            changed = bytearray(strip)
            changed[rng.randrange(len(strip))] ^= 1 << rng.randrange(8)
            assert int(tiff_kernels.lzw_size(np.frombuffer(changed, np.uint8))) == slow_lzw_size(bytes(changed))


def slow_packbits_size(data: bytes) -> int:
    out, place = b"", 0
    while place < len(data):
        count = data[place]
        if count < 128:
            if place + 2 + count > len(data):
                return -1
            out += data[place + 1 : place + 2 + count]
            place += 2 + count
        elif count > 128:
            if place + 2 > len(data):
                return -1
            out += data[place + 1 : place + 2] * (257 - count)
            place += 2
        else:
            place += 1
    return len(out)


def test_packbits_kernel_equals_its_slow_twin() -> None:
    rng = random.Random(2)
    for _ in range(300):
        data = rng.randbytes(rng.randrange(1, 400))
        assert int(tiff_kernels.packbits_size(np.frombuffer(data, np.uint8))) == slow_packbits_size(data)
