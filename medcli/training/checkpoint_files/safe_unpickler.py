"""Read tensors out of what ``torch.save`` wrote without executing anything that the file says.

``torch.save(model, path)`` writes a pickle, and a pickle is a program: loading it the usual way imports and calls
whatever it names. Here ``pickle_machine`` reads it: it knows no class, and the functions that it
admits build records of tensors, never objects of the file's choosing. A pickle that calls anything else is refused
before that call. So it also does not matter which version of which package wrote it.

Both formats of torch are read: the archive (torch 1.6 and later) and the stream before it. The numbers stay in the file
until :meth:`PickledModel.tensors` is asked for them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medcli.core.errors import DataError, printable, quantity
from medcli.training.checkpoint_files.checkpoint_file import check_checkpoint_file, name_kind
from medcli.training.checkpoint_files.inert_values import MOST_DIMENSIONS, Name, PickleRefusedError, are_counts
from medcli.training.checkpoint_files.pickle_machine import LARGEST_PICKLE, PickleMachine
from medcli.training.checkpoint_files.stored_zip import SIGNATURE, StoredMember, StoredZip

if TYPE_CHECKING:
    import torch

_STREAM_MAGIC = 0x1950A86A20F9469CFC6C
_DTYPES = {
    "FloatStorage": ("float32", 4),
    "DoubleStorage": ("float64", 8),
    "HalfStorage": ("float16", 2),
    "BFloat16Storage": ("bfloat16", 2),
    "LongStorage": ("int64", 8),
    "IntStorage": ("int32", 4),
    "ShortStorage": ("int16", 2),
    "CharStorage": ("int8", 1),
    "ByteStorage": ("uint8", 1),
    "BoolStorage": ("bool", 1),
}
_MOST_NUMBERS = 1 << 44
_LONGEST_KEY = 100  # characters of the name of a run of numbers
_SLACK = 64 << 20  # bytes
_MOST_UNUSED = 4
"""Numbers read for each number used: a tensor may be a view into a larger one, which torch.save writes whole."""

Read = Callable[["Storage", int, int], bytes]
"""``read(storage, start, count)`` gives bytes of a run of numbers."""


@dataclass(frozen=True, slots=True)
class Storage:
    """A run of numbers in the file: its place and the type of its numbers."""

    key: str
    dtype: str
    item_size: int
    length: int
    offset: int = 0


class TensorRecord:
    """A tensor as the file describes it; made into a tensor by :meth:`PickledModel.tensors`."""

    __slots__ = ("offset", "size", "storage", "stride")

    def __init__(self, storage: Any, offset: Any, size: Any, stride: Any) -> None:
        if not isinstance(storage, Storage) or not are_counts((offset,)):
            raise ValueError("a tensor is described wrongly")
        if not _are_shape(size) or not _are_shape(stride) or len(size) != len(stride):
            raise ValueError("a tensor has an impossible shape")
        self.storage, self.offset = storage, offset + storage.offset
        self.size: tuple[int, ...] = size
        self.stride: tuple[int, ...] = stride
        if math.prod(max(edge, 1) for edge in size) > _MOST_NUMBERS or max(stride, default=0) > _MOST_NUMBERS:
            raise ValueError("a tensor has an impossible shape")

    @property
    def count(self) -> int:
        """How many numbers it has."""
        return math.prod(self.size)

    @property
    def span(self) -> int:
        """How many numbers lie between its first and its last, both included."""
        if self.count == 0:
            return 0
        return 1 + sum((edge - 1) * step for edge, step in zip(self.size, self.stride, strict=True))


def _rebuild_parameter(data: Any = None, *_: Any) -> Any:
    if not isinstance(data, TensorRecord):
        raise ValueError("a parameter is described wrongly")
    return data


def _functions(records: list[TensorRecord]) -> dict[str, Callable[..., Any]]:
    """What a pickle of torch may call; tensors that it makes are also added to ``records``."""

    def rebuild_tensor(storage: Any = None, offset: Any = None, size: Any = None, stride: Any = None, *_: Any) -> Any:
        records.append(TensorRecord(storage, offset, size, stride))
        return records[-1]

    return {
        "torch._utils._rebuild_tensor": rebuild_tensor,
        "torch._utils._rebuild_tensor_v2": rebuild_tensor,
        "torch._utils._rebuild_parameter": _rebuild_parameter,
        "torch._utils._rebuild_parameter_with_state": _rebuild_parameter,
    }


def _find_reference(pid: Any) -> Any:
    """What a persistent reference of torch stands for: a run of numbers, or a class."""
    if not isinstance(pid, tuple) or len(pid) < 2 or pid[0] not in ("storage", "module"):
        raise ValueError("it holds an unknown kind of reference")
    if pid[0] == "module":  # the stream format keeps a class together with its source text
        return pid[1]
    if len(pid) < 5:
        raise ValueError("a run of numbers is described wrongly")
    kind, key, _location, length = pid[1:5]
    dtype, item_size = _DTYPES.get(kind.origin.rpartition(".")[2] if isinstance(kind, Name) else "", ("", 0))
    view = pid[5] if len(pid) > 5 and pid[5] is not None else (None, 0)
    if not dtype:
        raise ValueError("it holds numbers of an unknown type")
    if not isinstance(key, str) or len(key) > _LONGEST_KEY or not isinstance(view, tuple) or len(view) < 2:
        raise ValueError("a run of numbers is described wrongly")
    if not are_counts((length, view[1])):
        raise ValueError("a run of numbers has an impossible length")
    return Storage(key, dtype, item_size, length, view[1])


@dataclass(frozen=True)
class PickledModel:
    """What a file of torch.save holds.

    Attributes:
        path: the file.
        root: the stored object: stand-ins, mappings, plain values and :class:`TensorRecord`.
        records: all tensors in it.
    """

    path: Path
    root: Any
    records: Sequence[TensorRecord]
    _read: Read
    _archive: StoredZip | None = None

    def check_numbers(self) -> None:
        """Compare every tensor with the numbers that are there, and every checksum: for what another reader loads.

        Raises:
            DataError: they do not match.
        """
        with _damage_named(self.path):
            self._check_proportions(self.records)
            if self._archive is not None:
                self._archive.check_all()

    def tensors(self, records: Mapping[str, TensorRecord]) -> dict[str, torch.Tensor]:
        """The tensors that ``records`` describe.

        Raises:
            DataError: one reaches beyond its numbers in the file, the file lacks them, or they are out of proportion:
                so many numbers that are not used that reading them would take long.
        """
        with _damage_named(self.path):
            self._check_proportions(records.values())
            return {name: self._tensor(record) for name, record in records.items()}

    def _check_proportions(self, records: Collection[TensorRecord]) -> None:
        size = self.path.stat().st_size
        for record in records:
            numbers, item = record.storage.length, record.storage.item_size
            many = record.count > numbers and record.count * item > _SLACK  # a few numbers may be there again and again
            if record.offset + record.span > numbers or numbers * item > size or many:
                raise DataError(f"{self.path} is damaged: a tensor of {record.size} lacks numbers")
        used = sum(record.count * record.storage.item_size for record in records)
        read = {record.storage.key: record.storage.length * record.storage.item_size for record in records}
        spanned = sum(record.span * record.storage.item_size for record in records)
        stored = sum(read.values())
        if max(stored, spanned) > _MOST_UNUSED * used + _SLACK or used > _MOST_UNUSED * stored + _SLACK:
            raise DataError(
                f"{self.path} is out of proportion: tensors of {quantity(used, 'byte')} lie in "
                f"{quantity(stored, 'byte')} of numbers"
            )

    def _tensor(self, record: TensorRecord) -> torch.Tensor:
        import torch

        dtype, item_size = getattr(torch, record.storage.dtype), record.storage.item_size
        if not record.count:
            return torch.empty(record.size, dtype=dtype)
        content = self._read(record.storage, record.offset * item_size, record.span * item_size)
        numbers = torch.frombuffer(bytearray(content), dtype=dtype).as_strided(record.size, record.stride)
        return numbers if record.span == record.count else numbers.clone()


def read_pickled_model(path: Path) -> PickledModel:
    """Read the object that ``torch.save`` wrote to ``path``, as inert records.

    Raises:
        DataError: the file is missing, is not of torch, is damaged, asks for more work than any network does, or asks
            to call a function while loading; in the last case nothing was executed and the function is named.
    """
    path = Path(path)
    size = check_checkpoint_file(path)
    with _damage_named(path), path.open("rb") as file:
        begin = file.read(len(SIGNATURE))
        if begin == SIGNATURE:
            return _read_archive(path, size)
        if begin[:1] != b"\x80":
            raise DataError(f"{path} {name_kind(path) or 'is not a checkpoint that torch.save wrote'}")
        return _read_stream(path, size)


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    try:
        yield
    except PickleRefusedError as refused:
        raise DataError(
            f"{path} asks to call {printable(refused.name)} while loading: refused, nothing was executed",
            "a checkpoint needs no call but those that rebuild tensors; do not load this file in any other way",
        ) from refused
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise DataError(f"{path} is not a checkpoint that torch.save wrote, or is damaged: {error}") from error


def _read_archive(path: Path, size: int) -> PickledModel:
    archive = StoredZip(path, size)
    names = [name for name in archive.members if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(names) != 1:
        raise DataError(f"{path} is a zip file without the data.pkl of a torch checkpoint")
    folder = names[0].removesuffix("data.pkl")
    if f"{folder}constants.pkl" in archive.members:
        raise DataError(f"{path} is a TorchScript program, expected a network or state dict of torch.save")
    order = archive.members.get(f"{folder}byteorder")
    if order and archive.read(order, 0, min(order.size, _LONGEST_KEY)).strip() != b"little":
        raise DataError(f"{path} was written on a big-endian machine, which is not read here")
    pickled = archive.members[names[0]]
    if pickled.size > LARGEST_PICKLE:
        raise ValueError(
            f"its pickle is {quantity(pickled.size, 'byte')} long, no network needs more than {LARGEST_PICKLE:,}"
        )
    records: list[TensorRecord] = []
    root = PickleMachine(archive.read(pickled), 0, _functions(records), _find_reference).run()

    def read(storage: Storage, start: int, count: int) -> bytes:
        return archive.read(_member(archive, f"{folder}data/{storage.key}", storage), start, count)

    return PickledModel(path, root, records, read, archive)


def _member(archive: StoredZip, name: str, storage: Storage) -> StoredMember:
    member = archive.members.get(name)
    if member is None or member.size != storage.length * storage.item_size:
        raise ValueError(f"it lacks the numbers {printable(name)}")
    return member


def _read_stream(path: Path, size: int) -> PickledModel:
    """The format before the archive: five pickles one after another, then the numbers, each run after its length."""
    with path.open("rb") as file:
        content = file.read(LARGEST_PICKLE)
    start = PickleMachine(content)
    if start.run() != _STREAM_MAGIC:
        raise DataError(f"{path} is a pickle, but not one that torch.save wrote")
    version = PickleMachine(content, start.position)
    version.run()
    machine = PickleMachine(content, version.position)
    system = machine.run()
    if isinstance(system, dict) and system.get("little_endian") is False:
        raise DataError(f"{path} was written on a big-endian machine, which is not read here")
    item_sizes: dict[str, int] = {}

    def find_reference(pid: Any) -> Any:
        found = _find_reference(pid)
        if isinstance(found, Storage):
            item_sizes[found.key] = found.item_size
        return found

    records: list[TensorRecord] = []
    model = PickleMachine(content, machine.position, _functions(records), find_reference)
    root = model.run()
    listed = PickleMachine(content, model.position)
    keys = listed.run()
    places = _find_numbers(path, size, listed.position, keys, item_sizes)

    def read(storage: Storage, start: int, count: int) -> bytes:
        begin, length = places.get(storage.key, (0, -1))
        if start + count > length:
            raise ValueError(f"it lacks the numbers {printable(storage.key)}")
        with path.open("rb") as file:
            file.seek(begin + start)
            return file.read(count)

    return PickledModel(path, root, records, read)


def _find_numbers(
    path: Path, size: int, position: int, keys: Any, item_sizes: Mapping[str, int]
) -> dict[str, tuple[int, int]]:
    """Where each run of numbers of a stream begins, and its length in bytes."""
    if not isinstance(keys, list) or not all(isinstance(key, str) and key in item_sizes for key in keys):
        raise ValueError("its list of numbers is damaged")
    places: dict[str, tuple[int, int]] = {}
    with path.open("rb") as file:
        for key in keys:
            file.seek(position)
            length = int.from_bytes(file.read(8), "little", signed=True) * item_sizes[key]
            position += 8
            if length < 0 or position + length > size:
                raise ValueError("it ends too early")
            places[key] = (position, length)
            position += length
    return places


def _are_shape(values: Any) -> bool:
    return isinstance(values, tuple) and len(values) <= MOST_DIMENSIONS and are_counts(values)
