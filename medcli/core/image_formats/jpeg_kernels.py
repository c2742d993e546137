"""Walks through the codes of a progressive JPEG scan, compiled: what libjpeg decodes without a look at it."""

from __future__ import annotations

from typing import Any

import numpy as np

from medcli.core.compiled import njit

SOUND, CUT_OFF, NO_CODE, OUT_OF_BAND, LONG_RUN = range(5)
"""What a walk finds; the words for it stand in :mod:`medcli.core.image_formats.jpeg_scans`."""
SPARE_BYTES = 8


@njit()
def _peek(data: Any, bit: Any) -> Any:
    """The 16 bits from ``bit`` on."""
    at = bit >> 3
    three = (np.int64(data[at]) << 16) | (np.int64(data[at + 1]) << 8) | np.int64(data[at + 2])
    return (three >> (8 - (bit & 7))) & 0xFFFF


@njit()
def _skip_block(mask: Any, k: Any, end: Any) -> Any:
    """How many coefficients of a block from ``k`` on get a bit of refinement."""
    bits: Any = 0
    while k <= end:
        bits += np.int64(mask >> np.uint64(k) & np.uint64(1))
        k += 1
    return bits


@njit()
def walk_band(
    data: Any, bit_count: Any, table: Any, band: Any, refines: Any, known: Any, first: Any, count: Any
) -> Any:
    """Walk through one restart interval of a scan of coefficients 1 to 63 of one component.

    Args:
        data: (bytes + SPARE_BYTES,) uint8, without escapes.
        bit_count: bits of it.
        table: (65536,) int32, symbol << 8 | length of the code that 16 bits begin with; 0 where there is no code.
        band: first and last coefficient.
        refines: whether it adds a bit to what other scans began.
        known: (rows, columns) uint64, bit k set where coefficient k of a block is not 0; brought up to date.
        first, count: range of blocks.

    Returns:
        What was found.
    """
    bit, run = np.int64(0), np.int64(0)
    start, end = band
    one, width = np.uint64(1), known.shape[1]
    for number in range(first, first + count):
        row, column = number // width, number % width
        mask, k = known[row, column], start
        if not run:
            while k <= end:
                entry = np.int64(table[_peek(data, bit)])
                if not entry:
                    return NO_CODE
                bit += entry & 255
                zeros, size = entry >> 12, (entry >> 8) & 15
                if not size and zeros < 15:
                    run = (np.int64(1) << zeros) + (_peek(data, bit) >> (16 - zeros))
                    if run > first + count - number:
                        return LONG_RUN
                    bit += zeros
                    break
                if refines and size > 1:
                    return NO_CODE
                bit += size
                while refines and k <= end and (zeros or mask >> np.uint64(k) & one):
                    if mask >> np.uint64(k) & one:
                        bit += 1
                    else:
                        zeros -= 1
                    k += 1
                if not refines:
                    k += zeros
                if k > end:
                    return OUT_OF_BAND
                if size:
                    known[row, column] |= one << np.uint64(k)
                k += 1
                if bit > bit_count:
                    return CUT_OFF
        if run:
            bit += _skip_block(mask, k, end) if refines else 0
            run -= 1
        if bit > bit_count:
            return CUT_OFF
    return SOUND
