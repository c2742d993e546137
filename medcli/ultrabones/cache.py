"""Frames and labels decoded once to 256 x 256 uint8, memory-mapped, so that training reads no PNG.

Files in the cache folder, one slot a frame, slot i at byte i · 65,536 of the two big files:

- ``frames.tsv``: image and label path of each slot, one line each;
- ``images.u8``, ``labels.u8``: (slots, 256, 256) uint8;
- ``stamps.i64``: (slots, 5) int64: modification time (ns) and size of image and label when they were decoded, and the
  slot's state (0 empty, 1 decoded, 2 unreadable).

A slot's stamp is written after its pixels, so that a build which is killed at any moment goes on where it stopped, and
a file that changed since is decoded again.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medcli.errors import DataError, MedcliError
from medcli.files import cache_folder, locked, usable_cores, write_text
from medcli.images import use_single_threaded_codecs
from medcli.progress import SILENT, Progress
from medcli.ultrabones.frames import read_image, read_label
from medcli.ultrabones.layout import LABEL_COLUMNS
from medcli.ultrabones.registry import INPUT_SIZE

_PIXELS = INPUT_SIZE * INPUT_SIZE
_VERSION = "2"
_DECODED, _UNREADABLE = 1, 2
_CHUNK = 512


@dataclass(frozen=True)
class FrameCache:
    """Frames at the size that the network sees.

    Attributes:
        images: (N, 256, 256) uint8, a memory map where the rows lie together in the file, else an object that is read
            like one (``len``, ``shape``, integers, slices, index arrays).
        labels: the same for the labels, 0 or 255; zero where a row has no label.
        rows: the index rows, numbered from 0, without the frames that cannot be read.
        failures: the frames left out, one line each.
    """

    images: Any
    labels: Any
    rows: pd.DataFrame
    failures: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    @staticmethod
    def open_or_build(
        frames: pd.DataFrame,
        folder: Path | None = None,
        workers: int | None = None,
        progress: Progress = SILENT,
        labels: str = "partial",
    ) -> FrameCache:
        """Decode what is new or changed in ``frames``, and open the rest as it is.

        Args:
            frames: rows of :func:`medcli.ultrabones.index.index_frames`, any selection in any order.
            folder: where the cache lies; default: :func:`default_folder`.
            workers: threads that decode; default: one for each usable core.
            progress: shows how far decoding is.
            labels: ``partial`` or ``full``.

        Raises:
            MedcliError: no room for the cache, or it cannot be written.
        """
        keys = _keys(frames, labels)
        store = _Store(folder or default_folder(frames, labels))
        stamps = _stamp_files(keys)
        with locked(store.folder / "lock"):
            slots = store.reserve(keys)
            store.decode(slots, keys, stamps, workers or usable_cores(), progress)
        return store.open(frames, slots, keys)

    @staticmethod
    def without_files(frames: pd.DataFrame, labels: str = "partial") -> FrameCache:
        """The same object that reads the PNGs each time it is asked and writes nothing."""
        keys = _keys(frames, labels)
        images = _Pictures([image for image, _ in keys], read_image)
        masks = _Pictures([label for _, label in keys], read_label)
        return FrameCache(images, masks, frames.reset_index(drop=True))


def default_folder(frames: pd.DataFrame, labels: str) -> Path:
    """The place in the user's cache for the data folder that ``frames`` come from."""
    records = sorted({str(Path(path).parent) for path in frames["record_dir"]})
    root = os.path.commonpath(records) if records else ""
    return cache_folder("ultrabones") / f"{hashlib.sha256(root.encode()).hexdigest()[:12]}-{labels}"


class _Selection:
    """Some slots of a memory map, read like an array of their own."""

    def __init__(self, source: NDArray[np.uint8], slots: NDArray[np.int64]) -> None:
        self._source, self._slots = source, slots
        self.shape = (len(slots), INPUT_SIZE, INPUT_SIZE)
        self.dtype = np.dtype(np.uint8)
        self.ndim = 3

    def __len__(self) -> int:
        return len(self._slots)

    def __getitem__(self, key: Any) -> Any:
        first, rest = (key[0], key[1:]) if isinstance(key, tuple) else (key, ())
        return self._source[(self._slots[first], *rest)]

    def __array__(self, dtype: Any = None, copy: Any = None) -> NDArray[Any]:
        return np.asarray(self[:], dtype=dtype)


class _Pictures:
    """Files decoded on demand, read like an array (N, 256, 256) of uint8."""

    def __init__(self, paths: Sequence[str], read: Any) -> None:
        self._paths, self._read = np.array(paths, dtype=object), read
        self.shape = (len(paths), INPUT_SIZE, INPUT_SIZE)
        self.dtype = np.dtype(np.uint8)
        self.ndim = 3

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, key: Any) -> Any:
        first, rest = (key[0], key[1:]) if isinstance(key, tuple) else (key, ())
        chosen = self._paths[first]
        if isinstance(chosen, str):
            return self._read(chosen)[rest]
        pictures = [self._read(path) for path in chosen]
        whole = np.stack(pictures) if pictures else np.zeros((0, *self.shape[1:]), np.uint8)
        return whole[(slice(None), *rest)]

    def __array__(self, dtype: Any = None, copy: Any = None) -> NDArray[Any]:
        return np.asarray(self[:], dtype=dtype)


class _Store:
    """The files of one cache folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def reserve(self, keys: list[tuple[str, str]]) -> NDArray[np.int64]:
        """Slot of each frame; frames that are new get slots at the end."""
        known = self._read_keys()
        slot_of = {key: slot for slot, key in enumerate(known)}
        new = [key for key in dict.fromkeys(keys) if key not in slot_of]
        slot_of |= {key: len(known) + i for i, key in enumerate(new)}
        count = len(known) + len(new)
        for name, bytes_a_slot in (("images.u8", _PIXELS), ("labels.u8", _PIXELS), ("stamps.i64", 40)):
            _make_room(self.folder / name, count * bytes_a_slot, fresh=not known)
        if new:
            lines = [_VERSION, *("\t".join(key) for key in [*known, *new])]
            write_text(self.folder / "frames.tsv", "\n".join(lines) + "\n")
        return np.array([slot_of[key] for key in keys], dtype=np.int64)

    def decode(
        self,
        slots: NDArray[np.int64],
        keys: list[tuple[str, str]],
        stamps: NDArray[np.int64],
        workers: int,
        progress: Progress,
    ) -> None:
        """Decode the frames whose slot is empty or whose files changed; pixels reach the file before their stamp."""
        written = self._map("stamps.i64", np.int64, (5,), "r+")
        todo = np.flatnonzero((written[slots, :4] != stamps).any(axis=1) | (written[slots, 4] == 0))
        if len(todo) == 0:
            return
        images, labels = (self._map(name, np.uint8, (INPUT_SIZE, INPUT_SIZE), "r+") for name in _BIG_FILES)
        written[slots[todo], 4] = 0
        use_single_threaded_codecs()

        def decode_one(i: int) -> int:
            state = _DECODED
            try:
                images[slots[i]], labels[slots[i]] = read_image(keys[i][0]), read_label(keys[i][1])
            except DataError:
                state = _UNREADABLE
            advance(1)
            return state

        with (
            progress.task("decoding frames", len(todo), "frames") as advance,
            ThreadPoolExecutor(workers) as pool,
        ):
            for start in range(0, len(todo), _CHUNK):
                chunk = todo[start : start + _CHUNK]
                states = list(pool.map(decode_one, chunk.tolist()))
                images.flush()
                labels.flush()
                written[slots[chunk], :4] = stamps[chunk]
                written[slots[chunk], 4] = states
                written.flush()

    def open(self, frames: pd.DataFrame, slots: NDArray[np.int64], keys: list[tuple[str, str]]) -> FrameCache:
        """The rows that could be read, aligned with their pixels."""
        states = self._map("stamps.i64", np.int64, (5,), "r")[slots, 4]
        good = np.flatnonzero(states == _DECODED)
        failures = tuple(f"{keys[i][0]}: cannot be decoded, or its label" for i in np.flatnonzero(states != _DECODED))
        views = [_select(self._map(name, np.uint8, (INPUT_SIZE, INPUT_SIZE), "r"), slots[good]) for name in _BIG_FILES]
        return FrameCache(views[0], views[1], frames.iloc[good].reset_index(drop=True), failures)

    def _read_keys(self) -> list[tuple[str, str]]:
        """What each slot holds; nothing where the folder is new or of another version."""
        try:
            lines = (self.folder / "frames.tsv").read_text(encoding="utf-8").split("\n")
        except OSError:
            return []
        pairs = [tuple(line.split("\t")) for line in lines[1:-1]]
        whole = lines[0] == _VERSION and all(len(pair) == 2 for pair in pairs)
        sizes = (("images.u8", _PIXELS), ("labels.u8", _PIXELS), ("stamps.i64", 40))
        for name, bytes_a_slot in sizes:
            path = self.folder / name
            whole = whole and path.is_file() and path.stat().st_size >= len(pairs) * bytes_a_slot
        return [(image, label) for image, label in pairs] if whole else []

    def _map(self, name: str, kind: type, shape: tuple[int, ...], mode: Any) -> Any:
        path = self.folder / name
        count = path.stat().st_size // (int(np.prod(shape)) * np.dtype(kind).itemsize)
        if count == 0:
            return np.zeros((0, *shape), kind)
        return np.memmap(path, kind, mode, shape=(count, *shape))


_BIG_FILES = ("images.u8", "labels.u8")


def _keys(frames: pd.DataFrame, labels: str) -> list[tuple[str, str]]:
    if labels not in LABEL_COLUMNS:
        raise ValueError(f"labels must be one of {', '.join(LABEL_COLUMNS)}, got {labels!r}")
    return list(zip(frames["image"].tolist(), frames[LABEL_COLUMNS[labels]].tolist(), strict=True))


def _stamp_files(keys: list[tuple[str, str]]) -> NDArray[np.int64]:
    """Modification time and size of image and label, (N, 4); -1 for a file that is not there."""
    stamps = np.zeros((len(keys), 4), np.int64)
    for column in (0, 1):
        stamps[:, 2 * column : 2 * column + 2] = [_stamp(key[column]) for key in keys] or np.zeros((0, 2), np.int64)
    return stamps


def _stamp(path: str) -> tuple[int, int]:
    if not path:
        return 0, 0
    try:
        state = os.stat(path)  # noqa: PTH116 (200,000 times: no object for each)
    except OSError:
        return -1, -1
    return state.st_mtime_ns, state.st_size


def _select(source: NDArray[np.uint8], slots: NDArray[np.int64]) -> Any:
    together = len(slots) > 0 and bool((np.diff(slots) == 1).all())
    return source[slots[0] : slots[-1] + 1] if together else _Selection(source, slots)


def _make_room(path: Path, size: int, fresh: bool) -> None:
    """Grow a file to ``size``; the disk's room is taken now, since a full disk kills a process that writes to a map."""
    try:
        with path.open("wb" if fresh else "r+b") as file:
            have = file.seek(0, os.SEEK_END)
            if have >= size:
                return
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), have, size - have)
            else:
                for block in _zeros(size - have):
                    file.write(block)
    except OSError as error:
        raise MedcliError(
            f"cannot make room for the frame cache in {path.parent} ({size / 1e9:.1f} GB): {error.strerror or error}",
            "set MEDCLI_CACHE_DIR to a larger disk, or go without the cache (--no-cache)",
        ) from error


def _zeros(count: int) -> Iterator[bytes]:
    block = bytes(1 << 24)
    while count > 0:
        yield block[:count]
        count -= len(block)
