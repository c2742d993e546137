"""Files with the same contents among very many, without reading them whole.

Files of one size are compared by their last bytes (of a PNG or JPEG file a checksum or the end of the compressed
data), and only those that agree there are read.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence

from medcli.core.files import open_regular, read_whole
from medcli.core.progress import SILENT, Progress
from medcli.core.threads import map_in_threads

_END_BYTES = 256


def duplicate_files(paths: Sequence[str], workers: int = 1, progress: Progress = SILENT) -> list[tuple[str, ...]]:
    """Groups of files with the same contents, each in the order of ``paths``; unreadable files are left out."""
    with progress.task("compare contents", len(paths), "files") as advance:
        groups = _grouped([paths], _size_and_end, workers, advance)
    return [tuple(group) for group in _grouped(groups, _digest, workers, lambda _: None)]


def _grouped(
    groups: Iterable[Sequence[str]], key: Callable[[str], Hashable], workers: int, advance: Callable[[float], object]
) -> list[list[str]]:
    """The parts of each group that agree in a key; files that are alone are dropped."""
    found: list[list[str]] = []
    for group in groups:
        parts: dict[Hashable, list[str]] = defaultdict(list)
        for path, value in zip(group, map_in_threads(key, group, workers), strict=True):
            advance(1)
            if value is not None:
                parts[value].append(path)
        found += [part for part in parts.values() if len(part) > 1]
    return found


def _size_and_end(path: str) -> tuple[int, bytes] | None:
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(size - _END_BYTES, 0))
            return size, file.read(_END_BYTES)
    except OSError:
        return None


def _digest(path: str) -> bytes | None:
    try:
        return hashlib.sha256(read_whole(path)).digest()
    except OSError:
        return None
