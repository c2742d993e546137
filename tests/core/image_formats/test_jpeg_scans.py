"""Progressive JPEG files whose scans libjpeg follows without a word, to other pixels."""

from __future__ import annotations

import random

import cv2
import numpy as np
import pytest

from medcli.core import image_io
from medcli.core.errors import DataError
from medcli.core.image_formats.jpeg_scans import ScanWalk
from tests.support.image_files import encoded, textured

PROGRESSIVE = (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
MISFIT = "a JPEG scan does not fit the image: "


def test_zeroed_scans_that_libjpeg_accepts_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 40 files with 300 bytes zeroed, libjpeg takes a third; nearly all of those with pixels far off are refused."""
    content = encoded(".jpg", textured((300, 350)), *PROGRESSIVE, cv2.IMWRITE_JPEG_QUALITY, 90)
    sound = image_io.decode_grey(content, "a").astype(int)
    rng, taken, noticed, damages = random.Random(12), 0, 0, []
    for _ in range(40):
        start = rng.randrange(content.index(b"\xff\xda") + 300, len(content) - 302)
        damages.append(content[:start] + bytes(300) + content[start + 300 :])
    refused = [reason_of(damaged) for damaged in damages]
    with monkeypatch.context() as without:
        without.setattr(ScanWalk, "take", lambda *_: None)
        for damaged, reason in zip(damages, refused, strict=True):
            if not reason_of(damaged) and np.abs(image_io.decode_grey(damaged, "a") - sound).max() > 20:
                taken += 1
                noticed += MISFIT in reason
    assert taken >= 5
    assert noticed >= taken - 1


def reason_of(content: bytes) -> str:
    try:
        image_io.decode_grey(content, "a")
    except DataError as error:
        return error.message
    return ""


@pytest.mark.parametrize("interval", [0, 3])
@pytest.mark.parametrize("quality", [5, 100])
def test_sound_scans_of_images_that_are_hard_to_code(quality: int, interval: int) -> None:
    """Flat, periodic and random images have the longest runs, the rarest and the longest codes."""
    noise = np.random.default_rng(4).integers(0, 256, (70, 90)).astype(np.uint8)
    rows, columns = np.mgrid[:233, :301]
    for image in (
        noise,
        noise[:1, :9],
        np.zeros((800, 3000), np.uint8),
        np.uint8((rows // 4 + columns // 4) % 2 * 255),
    ):
        for shown in (image, np.dstack([image, image[::-1], image[:, ::-1]])):
            options = (*PROGRESSIVE, cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_RST_INTERVAL, interval)
            content = encoded(".jpg", shown, *options)
            assert image_io.decode_grey(content, "a").shape == image.shape


def test_an_empty_scan_header_is_refused_by_name() -> None:
    walk = ScanWalk(known={1: np.zeros((2, 2), np.uint64)})
    for segment in (b"", b"\1\1\0\1", b"\1\1\0\1\x3f\0", b"\1\1\0\x3f\1\0"):
        with pytest.raises(Exception, match="header does not fit"):
            walk.take(0xDA, segment, b"")
