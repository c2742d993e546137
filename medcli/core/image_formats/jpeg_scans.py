"""Progressive JPEG files: whether the codes of every scan fit the image.

libjpeg follows whatever a damaged scan happens to say: coefficients beyond their band, runs of empty blocks that go on
after the last block. Each of that shows that the place in the data was lost, so every scan of coefficients is walked
through once (ITU-T T.81, annex G) without computing pixels; libjpeg itself notices what is wrong with scans of mean
values. Arithmetic codes are taken as libjpeg takes them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from medcli.core.image_formats.damage import DamagedImage

_FRAME, _TABLES, _RESTARTS, _SCAN = 0xC2, 0xC4, 0xDD, 0xDA
_RESTART = re.compile(rb"\xff+[\xd0-\xd7]")
_WORDS = (
    "",
    "it ends too early",
    "a code in it has no meaning",
    "a coefficient lies beyond its band",
    "a run of empty blocks goes beyond the image",
)


@dataclass
class ScanWalk:
    """What goes from scan to scan: tables of codes by class and number, and which coefficients are not 0.

    Attributes:
        codes: for 16 bits, the symbol and length of the code that they begin with.
        known: by component, see :func:`medcli.core.image_formats.jpeg_kernels.walk_band`.
        restarts: units of an interval, 0 for one interval.
    """

    codes: dict[int, NDArray[np.int32]] = field(default_factory=dict)
    known: dict[int, NDArray[np.uint64]] = field(default_factory=dict)
    restarts: int = 0

    def take(self, marker: int, segment: bytes, packed: bytes) -> None:
        """Take one segment; ``packed`` is what follows a scan's header.

        Raises:
            DamagedImage: the codes of a scan do not fit the image, or its header does not fit the others.
        """
        try:
            if marker == _TABLES:
                self._take_tables(segment)
            elif marker == _RESTARTS:
                self.restarts = int.from_bytes(segment[:2], "big")
            elif marker == _FRAME:
                self._take_frame(segment)
            elif marker == _SCAN and self.known:
                self._walk(segment, packed)
        except (IndexError, KeyError, ValueError, ZeroDivisionError) as error:
            raise DamagedImage("is damaged: a JPEG scan whose header does not fit the others") from error

    def _take_tables(self, segment: bytes) -> None:
        while len(segment) > 17:
            counts = np.frombuffer(segment, np.uint8, 16, 1)
            end = 17 + int(counts.sum())
            symbols = np.array(list(segment[17:end]), np.int32)
            lengths = np.repeat(np.arange(1, 17, dtype=np.int32), counts)
            entries = np.repeat(symbols << 8 | lengths, 1 << (16 - lengths))
            self.codes[segment[0]] = np.pad(entries, (0, (1 << 16) - len(entries)))
            segment = segment[end:]

    def _take_frame(self, segment: bytes) -> None:
        rows, columns = (int.from_bytes(segment[at : at + 2], "big") for at in (1, 3))
        parts = [segment[at : at + 3] for at in range(6, 6 + 3 * segment[5], 3)]
        across, down = max(factors >> 4 for _, factors, _ in parts), max(factors & 15 for _, factors, _ in parts)
        for number, factors, _ in parts:
            size = _blocks(rows, factors & 15, down), _blocks(columns, factors >> 4, across)
            self.known[number] = np.zeros(size, np.uint64)

    def _walk(self, segment: bytes, packed: bytes) -> None:
        from medcli.core.image_formats.jpeg_kernels import SOUND, walk_band

        count, component, tables = segment[:3]
        start, end, bits = segment[1 + 2 * count : 4 + 2 * count]
        if not start:
            return
        if count != 1 or not start <= end < 64:
            raise ValueError
        table, known, refines = self.codes[0x10 | tables & 15], self.known[component], bits >> 4 > 0
        for first, blocks, data, size in _intervals(packed, known.size, self.restarts):
            found = walk_band(data, size, table, (start, end), refines, known, first, blocks)
            if found != SOUND:
                raise DamagedImage(f"is damaged: a JPEG scan does not fit the image: {_WORDS[found]}")


def _blocks(pixels: int, factor: int, most: int) -> int:
    """Blocks along one side of a component that is sampled ``factor`` times where another is ``most`` times."""
    return math.ceil(math.ceil(pixels * factor / most) / 8)


def _intervals(packed: bytes, blocks: int, restarts: int) -> Iterator[tuple[int, int, NDArray[np.uint8], int]]:
    """First block, number of blocks, bytes without escapes and number of bits of each restart interval."""
    from medcli.core.image_formats.jpeg_kernels import SPARE_BYTES

    step = restarts or blocks
    for first, piece in zip(range(0, blocks, step), _RESTART.split(packed) if restarts else [packed], strict=False):
        plain = piece.rstrip(b"\xff").replace(b"\xff\0", b"\xff")
        yield first, min(step, blocks - first), np.frombuffer(plain + bytes(SPARE_BYTES), np.uint8), 8 * len(plain)
