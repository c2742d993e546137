"""The beginning of a safetensors file: what it holds and where, checked before anything is read.

A file begins with the length of its header (8 bytes, little-endian) and the header as JSON: type, shape and place of
each tensor, and under ``__metadata__`` texts. Everything that the header says is compared with the file, so that a
library that loads it finds what its header promises.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medcli.core.errors import DataError, printable, quantity
from medcli.core.json_text import parse_json
from medcli.training.checkpoint_files.checkpoint_file import FOR_RESUMING, SAFETENSORS, check_checkpoint_file, name_kind
from medcli.training.checkpoint_files.inert_values import MOST_DIMENSIONS, are_counts

LARGEST_HEADER = 4 << 20
"""Bytes. The largest network takes 0.3 MB; the format's own limit, 100 MB, would take a gigabyte to read."""
_TYPES = {1: "BOOL U8 I8 F8_E5M2 F8_E4M3", 2: "U16 I16 F16 BF16", 4: "U32 I32 F32", 8: "U64 I64 F64"}
_ITEM_SIZES = {name: size for size, names in _TYPES.items() for name in names.split()}


@dataclass(frozen=True)
class SafetensorsHeader:
    """What the file holds.

    Attributes:
        metadata: the texts under ``__metadata__``.
        shapes: of each tensor, in the file's order.
    """

    metadata: Mapping[str, str]
    shapes: Mapping[str, tuple[int, ...]]

    @property
    def parameters(self) -> int:
        """Numbers that the file holds."""
        return sum(math.prod(shape) for shape in self.shapes.values())


def read_safetensors_header(path: Path, hint: str | None = None) -> SafetensorsHeader:
    """Read the header and compare it with the file.

    Raises:
        DataError: there is no such file, not a safetensors file, truncated, or its header contradicts itself or the
            file; ``hint`` says what to do.
    """
    size = check_checkpoint_file(path, hint)
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= size - 8:
                raise DataError(f"{path} {_other_kind(path, size)}", hint)
            if length > LARGEST_HEADER:
                raise ValueError(
                    f"its header is {quantity(length, 'byte')} long, no network needs more than {LARGEST_HEADER:,}"
                )
            header = _object(parse_json(file.read(length), no_doubles=True), "its header")
        return _checked(header, path, 8 + length, size, hint)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}", hint) from error
    except ValueError as error:
        raise DataError(f"{path} is not a safetensors file, or is damaged: {error}", hint) from error


def _checked(header: dict[str, Any], path: Path, begin: int, size: int, hint: str | None) -> SafetensorsHeader:
    metadata = _object(header.pop("__metadata__", {}), "its metadata")
    if not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("its metadata are not texts")
    shapes: dict[str, tuple[int, ...]] = {}
    places: list[tuple[int, int]] = []
    for name, entry in header.items():
        shapes[name], place = _tensor(entry, printable(name))
        places.append(place)
    reached = 0
    for start, end in sorted(places):
        if start != reached:
            raise ValueError(f"its tensors overlap or leave gaps at byte {reached:,}")
        reached = end
    if size < begin + reached:
        raise DataError(f"{path} is truncated: {size:,} of {quantity(begin + reached, 'byte')} are there", hint)
    if size > begin + reached:
        raise ValueError(f"{quantity(size - begin - reached, 'byte')} follow its last tensor")
    return SafetensorsHeader(metadata, shapes)


def _tensor(entry: Any, name: str) -> tuple[tuple[int, ...], tuple[int, int]]:
    """Shape and place (first byte and the one after the last) of a tensor."""
    told = _object(entry, name)
    dtype, shape, place = (told.get(key) for key in ("dtype", "shape", "data_offsets"))
    if not isinstance(dtype, str) or dtype not in _ITEM_SIZES:
        raise ValueError(f"{name} is of an unknown type")
    if not isinstance(shape, list) or not isinstance(place, list) or not are_counts([*shape, *place]):
        raise ValueError(f"shape or place of {name} are not numbers of bytes")
    if len(shape) > MOST_DIMENSIONS or len(place) != 2:
        raise ValueError(f"shape or place of {name} are not numbers of bytes")
    if place[1] - place[0] != math.prod(shape) * _ITEM_SIZES[dtype]:
        raise ValueError(f"{name} has not the bytes that its shape needs")
    return tuple(shape), (place[0], place[1])


def _other_kind(path: Path, size: int) -> str:
    kind = FOR_RESUMING if path.suffix == ".ckpt" else name_kind(path)
    if kind is None or kind == SAFETENSORS:
        return f"is not a safetensors file, or it is truncated ({quantity(size, 'byte')})"
    return kind


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{what} is not a JSON object")
    return value
