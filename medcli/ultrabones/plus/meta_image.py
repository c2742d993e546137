"""Read MetaImage files (``.mha``, ``.mhd``) of 8-bit frames one frame at a time, whatever they claim to hold.

Source: the MetaIO format, and the page *Sequence file* of the PLUS toolkit's user manual. A file begins with lines
``Key = Value``; ``ElementDataFile``, the last, is ``LOCAL`` (the pixels follow) or the name of a file beside it.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from medcli.core.errors import DataError, printable, quantity
from medcli.core.files import open_regular
from medcli.core.image_formats.damage import DamagedImage, check_size

_LONGEST_LINE = 1 << 16
_LONGEST_HEADER = 1 << 27
_MOST_FRAMES = 1_000_000
_LUMA = np.array([0.299, 0.587, 0.114])  # as images in colour are read elsewhere (ITU-R BT.601)
_EXPANSION = 1032  # zlib cannot compress by more
_CHUNK = 1 << 18
_FIELD = re.compile(r"\s*([^=\s][^=]*?)\s*=\s*(.*?)\s*\Z", re.DOTALL)
_ZLIB = b"\x78"
LOCAL = "LOCAL"


@dataclass(frozen=True)
class MetaImage:
    """What the header of a file says, checked against the file's size.

    Attributes:
        path: the file.
        fields: its lines, in order.
        frames, rows, columns, channels: of its pixels.
        compressed: by zlib.
        data: the file with the pixels, and ``start`` and ``length``: where they are, bytes.
    """

    path: Path
    fields: Mapping[str, str]
    frames: int
    rows: int
    columns: int
    channels: int
    compressed: bool
    data: Path
    start: int
    length: int

    @property
    def frame_bytes(self) -> int:
        return self.rows * self.columns * self.channels

    def read_frames(self) -> Iterator[NDArray[np.uint8]]:
        """The frames one after the other, (rows, columns) grey; only one is held at a time.

        Raises:
            DataError: the pixels end too early, go on too long, or are not compressed as the header says.
        """
        with open_regular(self.data) as file:
            file.seek(self.start)
            chunks = _decompressed(file, self) if self.compressed else _plain(file, self)
            for frame in _in_pieces(chunks, self):
                pixels = np.frombuffer(frame, np.uint8)
                if self.channels == 1:
                    yield pixels.reshape(self.rows, self.columns)
                else:
                    colour = pixels.reshape(self.rows, self.columns, self.channels)[:, :, :3]
                    yield np.rint(colour @ _LUMA).astype(np.uint8)


def read_meta_image(path: Path) -> MetaImage:
    """The header of a MetaImage file.

    Raises:
        DataError: it is none, holds other pixels than 8-bit ones, or its numbers do not fit the file; lists all that is
            wrong.
    """
    try:
        with open_regular(path) as file:
            fields, start = _read_header(file, path)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    problems = _kind_problems(fields)
    size = _whole_numbers(fields.get("DimSize", ""))
    if len(size) == 4 and size[2] == 1:
        size = [size[0], size[1], size[3]]
    if len(size) == 2:
        size = [*size, 1]
    channels = _whole_numbers(fields.get("ElementNumberOfChannels", "1"))
    if len(size) != 3 or min(size) < 1 or size[2] > _MOST_FRAMES:
        shown = printable(fields.get("DimSize", "missing"))
        problems.append(f"DimSize is {shown}, expected columns, rows, frames (at most {_MOST_FRAMES:,})")
    if len(channels) != 1 or channels[0] not in (1, 3, 4):
        problems.append(
            f"ElementNumberOfChannels is {printable(fields['ElementNumberOfChannels'])}, expected 1, 3 or 4"
        )
    if problems:
        raise DataError(f"{path} cannot be read: {'; '.join(problems)}")
    try:
        check_size(size[1], size[0])
    except DamagedImage as error:
        raise DataError(f"a frame of {path} {error}") from error
    compressed = fields.get("CompressedData", "False").lower() == "true"
    data, first, length = _find_data(path, fields, start)
    image = MetaImage(path, fields, size[2], size[1], size[0], channels[0], compressed, data, first, length)
    _check_length(image)
    return image


def _read_header(file: IO[bytes], path: Path) -> tuple[dict[str, str], int]:
    fields: dict[str, str] = {}
    while file.tell() < _LONGEST_HEADER:
        line = file.readline(_LONGEST_LINE)
        if not line.endswith(b"\n"):
            break
        found = _FIELD.match(line.decode("utf-8", "replace"))
        if found is None:
            if line.strip():
                break
            continue
        if not fields and found[1] not in ("ObjectType", "NDims", "Comment", "ObjectSubType"):
            break
        if found[1] in fields:
            raise DataError(f"{path} is damaged: its header has the field {printable(found[1])} twice")
        fields[found[1]] = found[2]
        if found[1] == "ElementDataFile":
            return fields, file.tell()
    if not fields:
        raise DataError(f"{path} is no MetaImage file: it does not begin with ObjectType = Image")
    last = printable(next(reversed(fields)))
    raise DataError(f"{path} is truncated or damaged: its header ends after {last}, before ElementDataFile")


def _kind_problems(fields: Mapping[str, str]) -> list[str]:
    expected = {
        "ObjectType": ("Image",),
        "ElementType": ("MET_UCHAR",),
        "BinaryData": ("True",),
        "CompressedData": ("True", "False"),
    }
    problems = []
    for name, values in expected.items():
        default = "missing" if name == "ElementType" else values[-1]
        if fields.get(name, default).lower() not in [value.lower() for value in values]:
            problems.append(f"{name} is {printable(fields.get(name, default))}, expected {' or '.join(values)}")
    return problems


def _find_data(path: Path, fields: Mapping[str, str], start: int) -> tuple[Path, int, int]:
    """The file with the pixels, where they begin, and how many bytes there are."""
    name = fields["ElementDataFile"]
    data = path if name.upper() == LOCAL else path.parent / name
    if data != path and (Path(name).name != name or name in (".", "..", "")):
        raise DataError(
            f"{path} says that its pixels are in {printable(name)}",
            "put that file beside it, and name it without folders",
        )
    try:
        size = data.stat().st_size
    except OSError as error:
        raise DataError(f"cannot read {data}, which holds the pixels of {path.name}: {error.strerror}") from error
    first = start if data == path else 0
    return data, first, size - first


def _check_length(image: MetaImage) -> None:
    """Refuse a header that promises more or fewer pixels than the file can hold, before any is read."""
    wanted = image.frames * image.frame_bytes
    promised = f"its header promises {quantity(image.frames, 'frame')} of {image.columns} x {image.rows} pixels"
    if image.compressed:
        stated = image.fields.get("CompressedDataSize", "")
        if stated.isdecimal() and int(stated) > image.length:
            fault = f"{int(stated):,} bytes of compressed pixels, but {image.length:,} follow"
            raise DataError(f"{image.path} is truncated: its header promises {fault}", "copy or record it again")
        if wanted > _EXPANSION * image.length + 64:
            raise DataError(f"{image.path} is damaged: {promised}, which {image.length:,} compressed bytes cannot hold")
    elif wanted != image.length:
        problem = "is truncated" if wanted > image.length else "does not fit its header"
        with open_regular(image.data) as file:
            file.seek(image.start)
            is_zlib = file.read(1) == _ZLIB
        hint = (
            "the pixels look compressed: CompressedData = False may be wrong" if is_zlib else "copy or record it again"
        )
        raise DataError(f"{image.path} {problem}: {promised}, {wanted:,} bytes, but {image.length:,} follow", hint)


def _plain(file: IO[bytes], image: MetaImage) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK):
        yield chunk


def _decompressed(file: IO[bytes], image: MetaImage) -> Iterator[bytes]:
    unpack = zlib.decompressobj()
    try:
        while not unpack.eof and (chunk := unpack.unconsumed_tail or file.read(_CHUNK)):
            yield unpack.decompress(chunk, _CHUNK)
        yield unpack.flush(_CHUNK)
        if not unpack.eof:
            raise DataError(
                f"{image.path} is truncated: its compressed pixels end too early", "copy or record it again"
            )
    except zlib.error as error:
        raise DataError(f"{image.path} is damaged, or is not compressed by zlib as its header says: {error}") from error


def _in_pieces(chunks: Iterator[bytes], image: MetaImage) -> Iterator[bytes]:
    """The stream in frames; exactly as many as the header promises."""
    buffer, done = bytearray(), 0
    for chunk in chunks:
        buffer += chunk
        while len(buffer) >= image.frame_bytes and done < image.frames:
            yield bytes(buffer[: image.frame_bytes])
            del buffer[: image.frame_bytes]
            done += 1
        if done == image.frames and buffer:
            raise DataError(f"{image.path} does not fit its header: pixels follow after {quantity(done, 'frame')}")
    if done < image.frames:
        raise DataError(f"{image.path} is truncated: {done:,} of {quantity(image.frames, 'frame')} are there")


def _whole_numbers(text: str) -> list[int]:
    words = text.split()
    return [int(word) for word in words] if all(re.fullmatch(r"\d{1,9}", word) for word in words) else []
