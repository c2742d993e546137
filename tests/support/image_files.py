"""Sound image files of every kind that is read, and ways to damage them."""

from __future__ import annotations

import io
import random
import zlib
from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
ROTATED = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
"""Exif data that ask for a quarter turn."""


def textured(shape: tuple[int, int] = (120, 150), seed: int = 0) -> NDArray[np.uint8]:
    """A grey image with detail at every scale, so that its files are as long as those of real images."""
    rng = np.random.default_rng(seed)
    layers = [cv2.resize(rng.random((n, n), dtype=np.float32), shape[::-1]) for n in (4, 15, 60)]
    image = sum(layers) / 3 + 0.1 * rng.random(shape, dtype=np.float32)
    return np.uint8(255 * (image - image.min()) / np.ptp(image))


def textured_colour(shape: tuple[int, int] = (120, 150)) -> NDArray[np.uint8]:
    """A colour image, (H, W, 3) in OpenCV's order."""
    return np.dstack([textured(shape, seed) for seed in (1, 2, 3)])


def encoded(suffix: str, image: NDArray, *parameters: int) -> bytes:
    written, content = cv2.imencode(suffix, image, list(parameters))
    assert written
    return content.tobytes()


def jpeg_files() -> dict[str, bytes]:
    """JPEG files of every kind that OpenCV reads, by a name."""
    grey, colour = textured(), textured_colour()
    quality, factor = cv2.IMWRITE_JPEG_QUALITY, cv2.IMWRITE_JPEG_SAMPLING_FACTOR
    files = {
        "grey": encoded(".jpg", grey),
        "grey of low quality": encoded(".jpg", grey, quality, 30),
        "grey, progressive": encoded(".jpg", grey, cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
        "grey, restart markers": encoded(".jpg", grey, cv2.IMWRITE_JPEG_RST_INTERVAL, 4),
        "one pixel": encoded(".jpg", grey[:1, :1]),
        "odd size": encoded(".jpg", grey[:33, :17]),
    }
    for name in ("444", "422", "420", "440", "411"):
        parameters = (factor, getattr(cv2, f"IMWRITE_JPEG_SAMPLING_FACTOR_{name}"))
        files[f"colour {name}"] = encoded(".jpg", colour, *parameters)
        files[f"colour {name}, progressive"] = encoded(".jpg", colour, *parameters, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    exif = b"Exif\0\0" + ROTATED
    files["rotated by Exif"] = (
        files["colour 420"][:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + files["colour 420"][2:]
    )
    return files | pillow_jpeg_files(colour)


def pillow_jpeg_files(colour: NDArray[np.uint8]) -> dict[str, bytes]:
    """JPEG files with inks instead of colours, and with RGB that is not turned into luma; none without Pillow."""
    try:
        from PIL import Image
    except ImportError:
        return {}
    files = {}
    image = Image.fromarray(colour[:, :, ::-1])
    for name, made, options in (("CMYK", image.convert("CMYK"), {}), ("RGB", image, {"keep_rgb": True})):
        content = io.BytesIO()
        made.save(content, "JPEG", **options)
        files[name] = content.getvalue()
    return files


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def png_file(
    header: Sequence[int], packed: bytes, before: Sequence[tuple[bytes, bytes]] = (), pieces: int = 1
) -> bytes:
    """A PNG file of (columns, rows, bits, type of colour, interlacing) and packed rows, in ``pieces`` chunks."""
    columns, rows, *rest = header
    start = columns.to_bytes(4, "big") + rows.to_bytes(4, "big") + bytes([rest[0], rest[1], 0, 0, rest[2]])
    size = max(-(-len(packed) // pieces), 1)
    data = [(b"IDAT", packed[at : at + size]) for at in range(0, max(len(packed), 1), size)]
    chunks = [(b"IHDR", start), *before, *data, (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*each) for each in chunks)


def interlaced_png(image: NDArray[np.uint8]) -> bytes:
    """An 8-bit grey image in seven passes, which OpenCV does not write."""
    passes = [image[row::down, column::right] for row, column, down, right in ADAM7]
    rows = b"".join(b"\0" + line.tobytes() for part in passes if part.size for line in part)
    return png_file((image.shape[1], image.shape[0], 8, 0, 1), zlib.compress(rows))


def png_files() -> dict[str, bytes]:
    """PNG files of every kind, by a name."""
    grey, colour = textured(), textured_colour()
    files = {
        "grey": encoded(".png", grey),
        "colour": encoded(".png", colour),
        "alpha": encoded(".png", np.dstack([colour, grey])),
        "grey 16": encoded(".png", grey.astype(np.uint16) * 251),
        "colour 16": encoded(".png", colour.astype(np.uint16) * 251),
        "bilevel": encoded(".png", (grey > 120).astype(np.uint8) * 255, cv2.IMWRITE_PNG_BILEVEL, 1),
        "interlaced": interlaced_png(grey),
        "interlaced, 3 x 2": interlaced_png(grey[:2, :3]),
        "one pixel": encoded(".png", grey[:1, :1]),
    }
    filters = ("none", 8), ("left", 16), ("up", 32), ("mean", 64), ("Paeth", 128), ("any", 248)
    for name, number in filters:
        files[f"filter {name}"] = encoded(".png", grey, cv2.IMWRITE_PNG_FILTER, number)
    palette = textured((256, 3), 7).tobytes()[:768]
    rows = b"".join(b"\0" + row.tobytes() for row in grey)
    files["palette"] = png_file((150, 120, 8, 3, 0), zlib.compress(rows), [(b"PLTE", palette)])
    start = 33  # after signature and IHDR
    for kind, data in (
        (b"gAMA", (45455).to_bytes(4, "big")),
        (b"sRGB", b"\0"),
        (b"eXIf", ROTATED),
        (b"iCCP", b"x\0\0" + zlib.compress(b"no profile")),
        (b"bKGD", b"\0\1"),
        (b"tIME", b"\x07\xd0\1\1\0\0\0"),
        (b"tEXt", b"Title\0a frame"),
    ):
        for name in ("grey", "colour"):
            files[f"{name} with {kind.decode()}"] = files[name][:start] + png_chunk(kind, data) + files[name][start:]
    return files


def tiff_files() -> dict[str, bytes]:
    """TIFF files of every packing that OpenCV writes, by a name."""
    packings = {"plain": 1, "LZW": 5, "deflate": 8, "Adobe deflate": 32946, "PackBits": 32773, "JPEG": 7}
    files = {}
    for image, name in ((textured(), "grey"), (textured_colour(), "colour")):
        for packing, number in packings.items():
            try:
                files[f"{name}, {packing}"] = encoded(".tif", image, cv2.IMWRITE_TIFF_COMPRESSION, number)
            except (AssertionError, cv2.error):
                continue
    files["grey 16"] = encoded(".tif", textured().astype(np.uint16) * 251)
    return files


def bmp_files() -> dict[str, bytes]:
    return {"BMP grey": encoded(".bmp", textured()), "BMP colour": encoded(".bmp", textured_colour())}


def cut_scan(content: bytes, percent: float) -> bytes:
    """A JPEG file of which ``percent`` of the first scan are left, with an end marker."""
    scan = content.index(b"\xff\xda")
    return content[: scan + 14 + int((len(content) - scan - 16) * percent / 100)] + b"\xff\xd9"


def flipped(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    changed[rng.randrange(2, len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def zeroed(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(2, len(content))
    return content[:start] + bytes(min(300, len(content) - start)) + content[start + 300 :]


def cut_out(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(2, len(content))
    return content[:start] + content[start + rng.randrange(1, 3000) :]


def inserted(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(2, len(content))
    return content[:start] + rng.randbytes(rng.randrange(1, 50)) + content[start:]


def copied(content: bytes, rng: random.Random) -> bytes:
    start, source, count = rng.randrange(2, len(content)), rng.randrange(2, len(content)), rng.randrange(1, 500)
    return content[:start] + content[source : source + count] + content[start + count :]


def cut_off(content: bytes, rng: random.Random) -> bytes:
    end = b"\xff\xd9" if content[:2] == b"\xff\xd8" else b""
    return content[: rng.randrange(2, len(content))] + end


def changed_head(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    changed[rng.randrange(2, min(200, len(content)))] = rng.randrange(256)
    return bytes(changed)


def changed_tail(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    changed[-rng.randrange(1, min(300, len(content)))] = rng.randrange(256)
    return bytes(changed)


Mutation = Callable[[bytes, random.Random], bytes]
MUTATIONS: tuple[Mutation, ...] = (
    *(flipped, zeroed, cut_out, inserted, copied),
    *(cut_off, changed_head, changed_tail),
)
