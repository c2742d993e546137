"""Read tensors out of a pickled network without executing anything that the pickle says.

``torch.save(model, path)`` writes a pickle, and a pickle is a program: loading it the usual way imports and calls
whatever it names. The reader here knows no class. Every name becomes an inert stand-in that only keeps the state it
is given; the functions that it admits build records of tensors, never objects of the file's choosing. A pickle that
calls anything else is refused before that call. So it also does not matter which version of which package wrote it.

Both formats of torch are read: the archive (torch 1.6 and later) and the stream before it.
"""

from __future__ import annotations

import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from medcli.core.errors import DataError

if TYPE_CHECKING:
    import torch

_STREAM_MAGIC = 0x1950A86A20F9469CFC6C
_DTYPES = {
    "FloatStorage": "float32",
    "DoubleStorage": "float64",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}


class _Refused(Exception):
    """The pickle asks to call ``name``."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class _StandInType(type):
    """The type of every stand-in class: calling one, which is what an attack needs, is refused."""

    origin = ""

    def __call__(cls, *args: Any, **named: Any) -> Any:
        raise _Refused(cls.origin)


class StandIn(metaclass=_StandInType):
    """An object of a class that is not known here. It keeps its state and does nothing.

    Attributes:
        origin: (of the class) the dotted name that the file gave it.
        state: what the file stored in it, usually a mapping of attributes.
    """

    __slots__ = ("state",)
    origin = ""
    state: Any

    def __new__(cls, *args: Any, **named: Any) -> StandIn:
        return object.__new__(cls)

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def attribute(self, name: str) -> Any:
        """An attribute of the stored object, None where it has none of that name."""
        state = getattr(self, "state", None)
        return state.get(name) if isinstance(state, dict) else None


@dataclass(frozen=True)
class _Storage:
    """A run of numbers in the file: where it lies and of which type the numbers are."""

    key: str
    dtype: str
    length: int
    offset: int = 0


class TensorRecord:
    """A tensor as the file describes it; made into a tensor by :meth:`PickledModel.tensor`."""

    __slots__ = ("offset", "size", "storage", "stride")

    def __init__(self, storage: Any, offset: Any, size: Any, stride: Any) -> None:
        if not isinstance(storage, _Storage) or not _are_counts((offset, *size, *stride)) or len(size) != len(stride):
            raise ValueError("a tensor is described wrongly")
        self.storage, self.offset = storage, offset + storage.offset
        self.size, self.stride = tuple(size), tuple(stride)

    def __setstate__(self, state: Any) -> None:
        raise ValueError("a tensor cannot be changed after it was described")


class _Admitted:
    """One of the few functions that a pickle may call; its attributes cannot be changed."""

    __slots__ = ("_function",)
    _function: Callable[..., Any]

    def __init__(self, function: Callable[..., Any]) -> None:
        object.__setattr__(self, "_function", function)

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __setattr__(self, name: str, value: Any) -> None:
        raise ValueError("a function cannot be changed")

    def __setstate__(self, state: Any) -> None:
        raise ValueError("a function cannot be changed")


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, *flags: Any) -> TensorRecord:
    return TensorRecord(storage, offset, size, stride)


def _rebuild_parameter(data: Any, *flags: Any) -> TensorRecord:
    if not isinstance(data, TensorRecord):
        raise ValueError("a parameter is described wrongly")
    return data


_ADMITTED: dict[str, Any] = {
    "torch._utils._rebuild_tensor": _Admitted(_rebuild_tensor),
    "torch._utils._rebuild_tensor_v2": _Admitted(_rebuild_tensor),
    "torch._utils._rebuild_parameter": _Admitted(_rebuild_parameter),
    "torch._utils._rebuild_parameter_with_state": _Admitted(_rebuild_parameter),
    "collections.OrderedDict": OrderedDict,
    "builtins.set": set,
    "__builtin__.set": set,
}


class _InertUnpickler(pickle.Unpickler):
    """An unpickler for which every name is a stand-in, but for the functions in :data:`_ADMITTED`."""

    def find_class(self, module: str, name: str) -> Any:
        origin = f"{module}.{name}"
        if origin in _ADMITTED:
            return _ADMITTED[origin]
        return _StandInType("StandIn", (StandIn,), {"__slots__": (), "origin": origin})

    def persistent_load(self, pid: Any) -> Any:
        if not isinstance(pid, tuple) or not pid:
            raise ValueError("an unknown kind of reference")
        if pid[0] == "module":  # the stream format keeps a class together with its source text
            return pid[1]
        if pid[0] != "storage":
            raise ValueError("an unknown kind of reference")
        kind, key, _location, length = pid[1:5]
        dtype = _DTYPES.get(getattr(kind, "origin", "").rpartition(".")[2])
        if dtype is None or not _are_counts((length,)):
            raise ValueError("numbers of an unknown type")
        view = pid[5] if len(pid) > 5 else None
        return _Storage(str(key), dtype, length, view[1] if view else 0)


@dataclass(frozen=True)
class PickledModel:
    """What a pickle file holds.

    Attributes:
        path: the file.
        root: the stored object: stand-ins, mappings, plain values and :class:`TensorRecord`.
    """

    path: Path
    root: Any
    _read: Callable[[_Storage], bytes]

    def tensor(self, record: TensorRecord) -> torch.Tensor:
        """The tensor that ``record`` describes.

        Raises:
            DataError: it reaches beyond its numbers in the file, or the file lacks them.
        """
        import torch

        dtype = getattr(torch, record.storage.dtype)
        content = self._read(record.storage)
        numbers = torch.frombuffer(bytearray(content), dtype=dtype) if content else torch.empty(0, dtype=dtype)
        count = 1
        for length in record.size:
            count *= length
        try:
            if count > numbers.numel():
                raise RuntimeError("more numbers than are stored")
            return numbers.as_strided(record.size, record.stride, record.offset).clone()
        except RuntimeError as error:
            raise DataError(f"{self.path} is damaged: a tensor of {record.size} lacks numbers") from error


def read_pickled_model(path: Path) -> PickledModel:
    """Read the object that ``torch.save`` wrote to ``path``, as inert records.

    Raises:
        DataError: the file is missing, is not of torch, is damaged, or asks to call a function while loading;
            in the last case nothing was executed and the function is named.
    """
    path = Path(path)
    try:
        return _read_archive(path) if zipfile.is_zipfile(path) else _read_stream(path)
    except _Refused as refused:
        raise DataError(
            f"{path} asks to call {_printable(refused.name)} while loading: refused, nothing was executed",
            "a checkpoint needs no call but those that rebuild tensors; do not load this file in any other way",
        ) from refused
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except Exception as error:  # a damaged pickle can raise anything
        raise DataError(f"{path} is not a checkpoint that torch.save wrote, or is damaged ({error})") from error


def _read_archive(path: Path) -> PickledModel:
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        names = [name for name in entries if name == "data.pkl" or name.endswith("/data.pkl")]
        if len(names) != 1:
            raise DataError(f"{path} is a zip file without the data.pkl of a torch checkpoint")
        folder = names[0].removesuffix("data.pkl")
        order = folder + "byteorder"
        if order in entries and archive.read(order).strip() != b"little":
            raise DataError(f"{path} was written on a big-endian machine, which is not read here")
        with archive.open(names[0]) as content:
            root = _InertUnpickler(content).load()

    def read(storage: _Storage) -> bytes:
        name = f"{folder}data/{storage.key}"
        if name not in entries or entries[name].compress_type != zipfile.ZIP_STORED:
            raise DataError(f"{path} is damaged: it lacks the numbers {name}")
        with zipfile.ZipFile(path) as archive:
            return archive.read(name)

    return PickledModel(path, root, read)


def _read_stream(path: Path) -> PickledModel:
    with path.open("rb") as content:
        if content.read(1) != b"\x80":
            raise DataError(f"{path} is not a checkpoint that torch.save wrote")
        content.seek(0)
        if _InertUnpickler(content).load() != _STREAM_MAGIC:
            raise DataError(f"{path} is a pickle, but not one that torch.save wrote")
        _InertUnpickler(content).load()  # version of the protocol
        machine = _InertUnpickler(content).load()
        if isinstance(machine, dict) and machine.get("little_endian") is False:
            raise DataError(f"{path} was written on a big-endian machine, which is not read here")
        unpickler = _CountingUnpickler(content)
        root = unpickler.load()
        keys = _InertUnpickler(content).load()
        stored = _read_storages(content, [str(key) for key in keys], unpickler.dtypes)

    def read(storage: _Storage) -> bytes:
        if storage.key not in stored:
            raise DataError(f"{path} is damaged: it lacks the numbers {storage.key}")
        return stored[storage.key]

    return PickledModel(path, root, read)


class _CountingUnpickler(_InertUnpickler):
    """Also remembers the type of every run of numbers, which the stream format needs to find their ends."""

    def __init__(self, content: IO[bytes]) -> None:
        super().__init__(content)
        self.dtypes: dict[str, str] = {}

    def persistent_load(self, pid: Any) -> Any:
        storage = super().persistent_load(pid)
        if isinstance(storage, _Storage):
            self.dtypes[storage.key] = storage.dtype
        return storage


def _read_storages(content: IO[bytes], keys: list[str], dtypes: Mapping[str, str]) -> dict[str, bytes]:
    import torch

    stored: dict[str, bytes] = {}
    for key in keys:
        (length,) = struct.unpack("<q", content.read(8))
        size = length * torch.empty(0, dtype=getattr(torch, dtypes[key])).element_size()
        stored[key] = content.read(max(size, 0))
        if length < 0 or len(stored[key]) != size:
            raise ValueError("it ends too early")
    return stored


def _are_counts(values: Any) -> bool:
    return all(type(value) is int and value >= 0 for value in values)


def _printable(name: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in name)[:100]
