"""Thousands of damaged files: an image or one error, nothing else, and never a long wait or a codec's own words.

What cannot be noticed, and is therefore allowed to give other pixels: a changed value in data without a checksum
(plain, PackBits and fax-coded TIFF, BMP), a changed bit of JPEG or LZW data that leaves as many values as there were,
and a changed header field or table of JPEG, TIFF and BMP that still fits the data.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest

from medcli.core import image_io
from medcli.core.errors import DataError
from tests.support.image_files import (
    MUTATIONS,
    Mutation,
    bmp_files,
    cut_off,
    cut_out,
    jpeg_files,
    png_files,
    tiff_files,
)

PER_FORMAT = 2000
FORMATS = {"jpeg": jpeg_files, "png": png_files, "tiff": tiff_files, "bmp": bmp_files}


def outcomes(files: dict[str, bytes], count: int, seed: int) -> Iterator[tuple[str, Mutation, str]]:
    """Name, mutation and what came of it: ``refused``, ``same`` pixels or ``other`` pixels."""
    rng = random.Random(seed)
    names = sorted(name for name in files if "one pixel" not in name)
    sound = {name: image_io.decode_grey(files[name], name) for name in names}
    for number in range(count):
        name, mutate = names[number % len(names)], MUTATIONS[number // len(names) % len(MUTATIONS)]
        damaged = mutate(files[name], rng)
        if damaged == files[name]:
            continue
        started = time.perf_counter()
        try:
            image = image_io.decode_grey(damaged, name)
            what = "same" if np.array_equal(image, sound[name]) else "other"
        except DataError as error:
            what = (
                "refused" if error.message.startswith(name) and "\n" not in error.message else "refused in other words"
            )
        assert time.perf_counter() - started < 10
        assert what != "refused in other words"
        yield name, mutate, what


def check(kind: str, count: int, seed: int) -> None:
    found = Counter((mutate, what) for _, mutate, what in outcomes(FORMATS[kind](), count, seed))
    assert found[cut_off, "other"] == 0
    assert found[cut_off, "refused"] > 0
    if kind == "png":
        assert sum(number for (_, what), number in found.items() if what == "other") == 0
    if kind in ("jpeg", "tiff"):
        assert found[cut_out, "other"] < 0.15 * (found[cut_out, "refused"] + found[cut_out, "other"])


@pytest.mark.parametrize("kind", FORMATS)
def test_some_mutations(kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    check(kind, 200, 1)
    assert capfd.readouterr().err == ""


@pytest.mark.deep
@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("seed", [2, 3])
def test_many_mutations(kind: str, seed: int, capfd: pytest.CaptureFixture[str]) -> None:
    check(kind, PER_FORMAT, seed)
    assert capfd.readouterr().err == ""
