"""Frames decoded once into memory-mapped files, so that training decodes no images.

Files in the cache folder, one slot a frame:

- ``frames.tsv``: what each slot holds, one line each (the frame's files);
- one ``NAME.u8`` for each part of a frame: (slots, H, W) uint8;
- ``stamps.i64``: (slots, S + 1) int64: the S numbers that show whether a frame is up to date (modification times and
  sizes of its files), and the slot's state (0 empty, 1 decoded, 2 unreadable);
- ``unreadable.tsv``: why, one line for each slot that is unreadable.

A slot's stamp is written after its pixels, so that a build which is killed at any moment can be resumed, and
a frame whose files changed since is decoded again. A folder of another version gets new files, and the old ones are
removed: a process that has them mapped keeps what it sees (POSIX), or the removal is refused (Windows).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcli.core.errors import DISK_FULL, DataError, MedcliError
from medcli.core.files import usable_cores, write_text
from medcli.core.image_io import use_single_threaded_codecs
from medcli.core.locks import locked
from medcli.core.progress import SILENT, Progress
from medcli.core.system.open_files import remove_file

_DECODED, _UNREADABLE = 1, 2
_CHUNK = 512
_KEYS, _STAMPS, _REASONS = "frames.tsv", "stamps.i64", "unreadable.tsv"

Shape = tuple[int, ...]
Decode = Callable[[int], Sequence[NDArray[np.uint8]]]
"""Gives the parts of the i-th frame; raises DataError for one that cannot be read."""


@dataclass(frozen=True)
class Decoded:
    """Frames of a store.

    Attributes:
        parts: for each part (n, H, W) uint8, a memory map where the slots are contiguous in the file, otherwise an
            object that is read like one (``len``, ``shape``, integers, slices, index arrays).
        good: (n,) which of the frames asked for could be read.
        bad: the others.
        reasons: why, of each of ``bad``.
    """

    parts: tuple[Any, ...]
    good: NDArray[np.int64]
    bad: NDArray[np.int64]
    reasons: Mapping[int, str]


@dataclass(frozen=True)
class DecodedStore:
    """The files of one cache folder.

    Attributes:
        folder: created if absent.
        version: part of the file; a folder of another version is rebuilt.
        parts: name of a part -> shape of its pixels.
        stamp_size: numbers in a frame's stamp.
    """

    folder: Path
    version: str
    parts: Mapping[str, Shape]
    stamp_size: int

    def open(
        self,
        keys: Sequence[str],
        stamps: NDArray[np.int64],
        decode: Decode,
        workers: int | None = None,
        progress: Progress = SILENT,
    ) -> Decoded:
        """Decode what is new or changed, and open the rest as it is.

        Args:
            keys: what each frame is, a line of text.
            stamps: (N, S); a frame whose stamp differs from the one in its slot is decoded again.
            decode: see :data:`Decode`.
            workers: threads that decode; default: one for each usable core.

        Raises:
            MedcliError: not enough disk space for the cache, it cannot be written, or it is of another version and in
                use (Windows).
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with locked(self.folder / "lock"):
                slots = self._reserve(keys)
                self._decode(slots, stamps, decode, workers or usable_cores(), progress)
                reasons = self._read_reasons()
                states = self._map(_STAMPS, "r")[slots, -1]
                maps = [self._map(f"{name}.u8", "r") for name in self.parts]
        except OSError as error:
            if error.errno in DISK_FULL:
                raise _no_space(self.folder, error) from error
            raise
        good = np.flatnonzero(states == _DECODED)
        parts = tuple(_select(pixels, slots[good]) for pixels in maps)
        bad = np.flatnonzero(states != _DECODED)
        return Decoded(parts, good, bad, {i: reasons.get(int(slots[i]), "is unreadable") for i in bad.tolist()})

    def _reserve(self, keys: Sequence[str]) -> NDArray[np.int64]:
        """Slot of each frame; frames that are new get slots at the end."""
        known = self._read_keys()
        if not known:
            self._remove_files()
        slot_of = {key: slot for slot, key in enumerate(known)}
        new = [key for key in dict.fromkeys(keys) if key not in slot_of]
        slot_of |= {key: len(known) + i for i, key in enumerate(new)}
        for name in self._file_names():
            _make_room(self.folder / name, (len(known) + len(new)) * self._slot_bytes(name))
        if new:
            write_text(self.folder / _KEYS, "\n".join([self.version, *known, *new]) + "\n")
        return np.array([slot_of[key] for key in keys], dtype=np.int64)

    def _remove_files(self) -> None:
        """Remove what the folder has; its list of frames first, so that no part of the rest is taken for whole."""
        try:
            for name in (_KEYS, _REASONS, *self._file_names()):
                remove_file(self.folder / name)
        except OSError as error:
            raise MedcliError(
                f"the frame cache in {self.folder} is of another version and cannot be removed: "
                f"{error.strerror or error}",
                "wait until the process that uses it has ended, or go without the cache (--no-cache)",
            ) from error

    def _decode(
        self, slots: NDArray[np.int64], stamps: NDArray[np.int64], decode: Decode, workers: int, progress: Progress
    ) -> None:
        """Decode the frames whose slot is empty or whose files changed; pixels reach the file before their stamp."""
        written = self._map(_STAMPS, "r+")
        todo = np.flatnonzero((written[slots, :-1] != stamps).any(axis=1) | (written[slots, -1] == 0))
        if len(todo) == 0:
            return
        reasons: dict[int, str] = {}
        maps = [self._map(f"{name}.u8", "r+") for name in self.parts]
        written[slots[todo], -1] = 0
        use_single_threaded_codecs()

        def decode_one(i: int) -> int:
            state = _DECODED
            try:
                for pixels, part in zip(maps, decode(i), strict=True):
                    pixels[slots[i]] = part
            except DataError as error:
                state, reasons[int(slots[i])] = _UNREADABLE, error.message
            advance(1)
            return state

        with progress.task("decoding frames", len(todo), "frames") as advance, ThreadPoolExecutor(workers) as pool:
            for start in range(0, len(todo), _CHUNK):
                chunk = todo[start : start + _CHUNK]
                states = list(pool.map(decode_one, chunk.tolist()))
                for pixels in maps:
                    pixels.flush()
                self._keep_reasons(slots[chunk], reasons)
                written[slots[chunk], :-1] = stamps[chunk]
                written[slots[chunk], -1] = states
                written.flush()

    def _read_reasons(self) -> dict[int, str]:
        """Why a slot is unreadable."""
        try:
            lines = (self.folder / _REASONS).read_text(encoding="utf-8").splitlines()
        except OSError:
            return {}
        pairs = [line.split("\t", 1) for line in lines]
        return {int(slot): reason for slot, reason in pairs if slot.isdigit()}

    def _keep_reasons(self, decoded: NDArray[np.int64], reasons: Mapping[int, str]) -> None:
        """Write down what is known of all slots, after those of ``decoded`` were decoded again."""
        before, again = self._read_reasons(), set(decoded.tolist())
        now = {slot: reason for slot, reason in before.items() if slot not in again} | dict(reasons)
        if now != before:
            lines = [f"{slot}\t{' '.join(reason.split())}\n" for slot, reason in sorted(now.items())]
            write_text(self.folder / _REASONS, "".join(lines))

    def _read_keys(self) -> list[str]:
        """What each slot holds; nothing where the folder is new, damaged, or of another version."""
        try:
            lines = (self.folder / _KEYS).read_text(encoding="utf-8").split("\n")
        except (OSError, UnicodeDecodeError):
            return []
        whole, keys = lines[0] == self.version, lines[1:-1]
        for name in self._file_names():
            path = self.folder / name
            whole = whole and path.is_file() and path.stat().st_size >= len(keys) * self._slot_bytes(name)
        return keys if whole else []

    def _file_names(self) -> list[str]:
        return [*(f"{name}.u8" for name in self.parts), _STAMPS]

    def _layout(self, name: str) -> tuple[Any, Shape]:
        if name == _STAMPS:
            return np.int64, (self.stamp_size + 1,)
        return np.uint8, self.parts[name.removesuffix(".u8")]

    def _slot_bytes(self, name: str) -> int:
        kind, shape = self._layout(name)
        return int(int(np.prod(shape)) * np.dtype(kind).itemsize)

    def _map(self, name: str, mode: Any) -> Any:
        kind, shape = self._layout(name)
        path = self.folder / name
        count = path.stat().st_size // self._slot_bytes(name)
        return np.memmap(path, kind, mode, shape=(count, *shape)) if count else np.zeros((0, *shape), kind)


def file_stamp(path: str) -> tuple[int, int]:
    """Modification time (ns) and size; -1 for a file that is not there, 0 for none."""
    if not path:
        return 0, 0
    try:
        state = os.stat(path)  # noqa: PTH116 (200,000 times: no object for each)
    except OSError:
        return -1, -1
    return state.st_mtime_ns, state.st_size


class RowsOnDemand:
    """Rows of uint8 that are fetched when asked for, read like an array: integers, slices, index arrays.

    Args:
        names: (N,) what ``fetch`` knows each row by.
        shape: of a row.
        fetch: gives the rows (n, ...) of names (n,).
    """

    def __init__(self, names: NDArray[Any], shape: Shape, fetch: Callable[[NDArray[Any]], NDArray[np.uint8]]) -> None:
        self._names, self._fetch = names, fetch
        self.shape = (len(names), *shape)
        self.dtype = np.dtype(np.uint8)
        self.ndim = len(self.shape)

    @classmethod
    def one_by_one(cls, names: Sequence[Any], shape: Shape, read: Callable[[Any], NDArray[np.uint8]]) -> RowsOnDemand:
        """Rows that ``read`` gives one at a time."""

        def fetch(chosen: NDArray[Any]) -> NDArray[np.uint8]:
            return np.array([read(name) for name in chosen.tolist()], np.uint8).reshape(-1, *shape)

        return cls(np.array(names, dtype=object), shape, fetch)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, key: Any) -> Any:
        first, rest = (key[0], key[1:]) if isinstance(key, tuple) else (key, ())
        chosen = self._names[first]
        if isinstance(chosen, np.ndarray):
            return self._fetch(chosen)[(slice(None), *rest)]
        return self._fetch(self._names[[first]])[(0, *rest)]

    def __array__(self, dtype: Any = None, copy: Any = None) -> NDArray[Any]:
        return np.asarray(self[:], dtype=dtype)


def _select(source: NDArray[np.uint8], slots: NDArray[np.int64]) -> Any:
    together = len(slots) > 0 and bool((np.diff(slots) == 1).all())
    if together:
        return source[slots[0] : slots[-1] + 1]
    return RowsOnDemand(slots, source.shape[1:], lambda chosen: source[chosen])


def _make_room(path: Path, size: int) -> None:
    """Grow a file to ``size`` and allocate its disk space: writing to a map on a full disk kills the process.

    It is never made shorter: another process may have it mapped.
    """
    try:
        with path.open("ab") as file:
            have = file.seek(0, os.SEEK_END)
            if have >= size:
                return
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), have, size - have)
            else:
                for block in _zeros(size - have):
                    file.write(block)
    except OSError as error:
        raise _no_space(path.parent, error, f" ({size / 1e9:.1f} GB)") from error


def _no_space(folder: Path, error: OSError, needed: str = "") -> MedcliError:
    return MedcliError(
        f"no space for the frame cache in {folder}{needed}: {error.strerror or error}",
        "set MEDCLI_CACHE_DIR to a larger disk, or go without the cache (--no-cache)",
    )


def _zeros(count: int) -> Iterator[bytes]:
    block = bytes(1 << 24)
    while count > 0:
        yield block[:count]
        count -= len(block)
