"""How many bytes the packed data of a TIFF file unpack to, without unpacking them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcli.core.compiled import njit

_CLEAR, _END, _FIRST = 256, 257, 258
_MOST_CODES = 4096


@njit()
def lzw_size(data: NDArray[np.uint8]) -> Any:
    """Bytes that LZW codes (9 to 12 bits, highest bit first) stand for; -1 where a code is not defined yet."""
    lengths = np.ones(_MOST_CODES, np.int64)
    size, codes, width, previous = 0, _FIRST, 9, -1
    held, bits = 0, 0
    for byte in data:
        held, bits = ((held << 8) | byte) & 0xFFFFFF, bits + 8
        if bits < width:
            continue
        bits -= width
        code = (held >> bits) & ((1 << width) - 1)
        if code == _END:
            return size
        if code == _CLEAR:
            codes, width, previous = _FIRST, 9, -1
            continue
        if previous < 0:
            if code > _END:
                return -1
            size, previous = size + 1, code
            continue
        if code > codes or codes >= _MOST_CODES:
            return -1
        lengths[codes] = lengths[previous] + 1
        size += lengths[code]
        codes, previous = codes + 1, code
        if codes + 1 >= 1 << width and width < 12:  # one code before it is needed, as the format has it
            width += 1
    return size


@njit()
def packbits_size(data: NDArray[np.uint8]) -> Any:
    """Bytes that runs and literal bytes stand for; -1 where the data end within one."""
    size, position = 0, 0
    while position < len(data):
        count = data[position]
        if count < 128:
            position += count + 2
            size += count + 1
        else:
            position += 1 if count == 128 else 2
            size += 0 if count == 128 else 257 - count
    return size if position == len(data) else -1
