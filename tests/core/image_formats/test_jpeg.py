"""JPEG files: sound ones give OpenCV's pixels; damaged ones are refused without the codec's own words."""

from __future__ import annotations

import random

import cv2
import numpy as np
import pytest

from medcli.core import image_io
from medcli.core.errors import DataError
from medcli.core.image_formats.jpeg import jpeg_header
from tests.support.image_files import (
    MUTATIONS,
    cut_scan,
    encoded,
    jpeg_files,
    textured,
    textured_colour,
    zeroed,
)

FILES = jpeg_files()


def by_opencv(content: bytes, flags: int) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(content, np.uint8), flags)


@pytest.mark.parametrize("name", FILES)
def test_sound_files_give_the_pixels_of_opencv(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("sound") / "image.jpg"
    path.write_bytes(FILES[name])
    np.testing.assert_array_equal(image_io.read_grey(path), by_opencv(FILES[name], cv2.IMREAD_GRAYSCALE))
    colour = image_io.read_rgb(path)
    np.testing.assert_array_equal(colour, by_opencv(FILES[name], cv2.IMREAD_COLOR)[:, :, ::-1])
    assert colour.flags.c_contiguous


def test_the_header_names_size_and_kind() -> None:
    header = jpeg_header(FILES["colour 420, progressive"])
    assert header is not None
    assert (header.rows, header.columns, header.channels) == (120, 150, 3)
    assert header.progressive
    assert not header.has_exif
    rotated = jpeg_header(FILES["rotated by Exif"])
    assert rotated is not None
    assert rotated.has_exif


@pytest.mark.parametrize("name", ["grey", "colour 420", "colour 444, progressive", "grey, progressive", "CMYK"])
def test_a_scan_that_ends_early_is_refused_though_the_end_marker_is_there(
    name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    for percent in range(5, 100, 5):
        with pytest.raises(DataError, match=r"^a\.jpg is damaged: "):
            image_io.decode_grey(cut_scan(FILES[name], percent), "a.jpg")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("percent", [20, 50, 80])
def test_three_thousand_bytes_cut_out_or_zeroed(percent: int) -> None:
    content = encoded(".jpg", textured((600, 700)))
    start = len(content) * percent // 100
    for damaged in (
        content[:start] + content[start + 3000 :],
        content[:start] + bytes(3000) + content[start + 3000 :],
    ):
        with pytest.raises(DataError, match="is damaged: "):
            image_io.decode_grey(damaged, "a.jpg")


def test_wrong_restart_markers() -> None:
    content = FILES["grey, restart markers"]
    scan = content.index(b"\xff\xda")
    first = content.index(b"\xff\xd0", scan)
    for marker in (b"\xff\xd3", b"\xff\xd7", b"\0\0"):
        with pytest.raises(DataError, match="is damaged: "):
            image_io.decode_grey(content[:first] + marker + content[first + 2 :], "a.jpg")


def test_scans_that_are_missing_are_noticed() -> None:
    """Cut between two scans, a file decodes without a warning, to a coarse image."""
    content = FILES["grey, progressive"]
    ends = [at for at in range(len(content) - 1) if content[at : at + 2] == b"\xff\xda"]
    assert len(ends) > 3
    for end in ends[1:]:
        tables = content.rfind(b"\xff\xc4", 0, end)  # the next scan's tables come before it
        cut = tables if content.rfind(b"\xff\xda", 0, end) < tables else end
        with pytest.raises(DataError, match="scans are missing after the first"):
            image_io.decode_grey(content[:cut] + b"\xff\xd9", "a.jpg")


def test_thousands_of_scans_are_refused() -> None:
    content = FILES["grey, progressive"]
    scan = content.rindex(b"\xff\xda")
    with pytest.raises(DataError, match="more than 100 scans"):
        image_io.decode_grey(content[:scan] + content[scan:-2] * 5000 + b"\xff\xd9", "a.jpg")


def test_what_cannot_be_noticed() -> None:
    """A changed bit often leaves a valid file of other values; most longer damage is noticed."""
    rng = random.Random(3)
    noticed = {"flipped": 0, "zeroed": 0}
    content = encoded(".jpg", textured((300, 350)), cv2.IMWRITE_JPEG_QUALITY, 95)
    for _ in range(40):
        for mutate in (MUTATIONS[0], zeroed):
            try:
                image_io.decode_grey(mutate(content, rng), "a.jpg")
            except DataError:
                noticed[mutate.__name__] += 1
    assert noticed["zeroed"] >= 30
    assert 0 < noticed["flipped"] < 40


def test_colour_that_is_damaged_in_one_channel() -> None:
    content = encoded(".jpg", textured_colour((300, 350)))
    with pytest.raises(DataError, match="is damaged: "):
        image_io.decode_grey(cut_scan(content, 97), "a.jpg")


def test_a_quantisation_step_of_zero_is_refused() -> None:
    """The standard forbids it; libjpeg makes one grey of the whole image."""
    for name in ("grey", "grey, progressive", "colour 420"):
        content = bytearray(FILES[name])
        table = content.index(b"\xff\xdb") + 5
        content[table + 63] = 0
        with pytest.raises(DataError, match=r"^a\.jpg is damaged: a quantisation table of its JPEG data holds a 0"):
            image_io.decode_grey(bytes(content), "a.jpg")


def test_a_height_that_leaves_rows_of_units_over_is_noticed() -> None:
    """What cannot be noticed is less than one row of them: 8 rows, or 16 where colour has half the rows."""
    for name, unit in (("grey", 8), ("colour 444", 8), ("colour 420", 16), ("grey, progressive", 8)):
        content = bytearray(FILES[name])
        frame = content.index(b"\xff\xc2" if "progressive" in name else b"\xff\xc0")
        content[frame + 5 : frame + 7] = (120 - 120 % unit - (0 if 120 % unit else unit)).to_bytes(2, "big")
        with pytest.raises(DataError, match="extraneous bytes"):
            image_io.decode_grey(bytes(content), "a.jpg")
