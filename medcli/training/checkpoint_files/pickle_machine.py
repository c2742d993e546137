"""A pickle read as the small program it is, by a machine that can build plain values and nothing else.

Python's own unpickler imports, calls, hashes and compares what a file tells it to, and it allocates before it checks.
This machine has no import and no call: a class or function that a pickle names is a :class:`Name`, an object of it a
:class:`StandIn`, and the few functions that may be "called" are given by the caller. Every instruction is counted, and
what a value costs is known before it is built, so the worst file is refused after about a second and some 300 MB.
"""

from __future__ import annotations

import gc
import struct
from collections.abc import Callable, Mapping
from typing import Any

from medcli.core.errors import quantity
from medcli.training.checkpoint_files.inert_values import Builder, Name, PickleRefusedError, StandIn

LARGEST_PICKLE = 16 << 20
"""Bytes. The largest network of segmentation_models_pytorch takes 0.4 MB, numbers not counted."""
_LONGEST_LINE = 1000  # bytes of a name or a number written as text
_LONGEST_INTEGER = 256  # bytes
_LATEST_PROTOCOL = 5
_LARGEST_MEMO = 1 << 32
_MARK = object()


class PickleMachine:
    """Runs the pickle that begins at ``position`` of ``data``.

    Args:
        data: bytes with the pickle in it.
        position: where it begins; after :meth:`run`, where it ended.
        functions: what may be called, by dotted name. They get the arguments as the file gives them: any plain values.
        find_reference: gives the value of a persistent reference (``BINPERSID``).
    """

    def __init__(
        self,
        data: bytes,
        position: int = 0,
        functions: Mapping[str, Callable[..., Any]] | None = None,
        find_reference: Callable[[Any], Any] | None = None,
    ) -> None:
        self.data, self.position = data, position
        self._builder = Builder()
        self._functions: dict[str, Callable[..., Any]] = {
            "collections.OrderedDict": self._builder.make_dict,
            **dict.fromkeys(_SETS, self._builder.make_set),
            **(functions or {}),
        }
        self._find_reference = find_reference
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self) -> Any:
        """The value that the pickle describes.

        Raises:
            PickleRefusedError: it asks to call something.
            ValueError: it is damaged, or asks for more work than any network does; says which.
        """
        collecting = gc.isenabled()
        gc.disable()  # it would look through all that was built again and again; what is built has a bound
        try:
            while True:
                self._builder.charge(1)
                code = self.data[self.position]
                self.position += 1
                if code == _STOP:
                    return self._stack.pop()
                instruction = _INSTRUCTIONS.get(code)
                if instruction is None:
                    raise ValueError(f"it holds the pickle instruction {code:#04x}, which no network needs")
                instruction(self)
        except (IndexError, KeyError, struct.error) as error:
            raise ValueError(f"its pickle is truncated or damaged at byte {self.position:,}") from error
        finally:
            if collecting:
                gc.enable()

    # What instructions are followed by.

    def _take(self, count: int) -> bytes:
        end = self.position + count
        if count < 0 or end > len(self.data):
            raise IndexError
        taken = self.data[self.position : end]
        self.position = end
        return taken

    def _number(self, form: struct.Struct) -> Any:
        (value,) = form.unpack_from(self.data, self.position)
        self.position += form.size
        return value

    def _line(self, encoding: str = "utf-8", longest: int | None = _LONGEST_LINE) -> str:
        end = self.data.find(b"\n", self.position, None if longest is None else self.position + longest)
        if end < 0:
            raise ValueError(f"a line of its pickle does not end (byte {self.position:,})")
        line = self.data[self.position : end]
        self.position = end + 1
        return line.decode(encoding, "replace")

    def _since_mark(self) -> list[Any]:
        stack = self._stack
        start = len(stack) - 1
        while stack[start] is not _MARK:  # an index below the first is an IndexError after one turn through the list
            start -= 1
            if start < 0:
                raise IndexError
        items = stack[start + 1 :]
        del stack[start:]
        return items

    def _pop(self) -> Any:
        value = self._stack.pop()
        if value is _MARK:
            raise IndexError
        return value

    # Instructions.

    def _check_protocol(self, protocol: int) -> None:
        if protocol > _LATEST_PROTOCOL:
            raise ValueError(f"it is of the pickle protocol {protocol}")

    def _push_text(self, form: struct.Struct) -> None:
        self._stack.append(self._take(self._number(form)).decode("utf-8", "replace"))

    def _push_bytes(self, form: struct.Struct) -> None:
        self._stack.append(self._take(self._number(form)))

    def _push_integer(self, form: struct.Struct) -> None:
        count = self._number(form)
        if not 0 <= count <= _LONGEST_INTEGER:
            raise ValueError(f"it holds an integer of {quantity(count, 'byte')}")
        self._stack.append(int.from_bytes(self._take(count), "little", signed=True))

    def _push_integer_line(self) -> None:
        line = self._line()
        truth = {"00": False, "01": True}.get(line)
        self._stack.append(_parsed(int, line.removesuffix("L")) if truth is None else truth)

    def _push_tuple(self, count: int) -> None:
        self._stack.append(tuple(reversed([self._pop() for _ in range(count)])))

    def _memo_put(self, index: int) -> None:
        if not 0 <= index < _LARGEST_MEMO or self._stack[-1] is _MARK:
            raise IndexError
        self._memo[index] = self._stack[-1]

    def _duplicate(self) -> None:
        self._stack.append(self._pop())
        self._stack.append(self._stack[-1])

    def _append(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, list):
            target.extend(items)
        elif isinstance(target, set):
            self._builder.fill_set(target, items)
        elif not isinstance(target, StandIn):  # the members of an unknown kind of list are nothing to us
            raise ValueError(f"it adds members to a {type(target).__name__}")

    def _set_items(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if isinstance(target, dict):
            self._builder.fill_dict(target, items)
        elif not isinstance(target, StandIn):
            raise ValueError(f"it adds members to a {type(target).__name__}")

    def _two(self) -> list[Any]:
        value = self._pop()
        return [self._pop(), value]

    def _name_from_stack(self) -> None:
        module, name = self._two()
        if not isinstance(module, str) or not isinstance(name, str):
            raise ValueError("it names a class by something that is not text")
        self._builder.charge(len(module) + len(name) >> 6)  # the text may stand in the file once and be joined often
        self._stack.append(Name(f"{module}.{name}"))

    def _call(self) -> None:
        function, arguments = self._two()
        if not isinstance(function, Name) or not isinstance(arguments, tuple):
            raise ValueError("it calls something that is not a function")
        if function.origin not in self._functions:
            raise PickleRefusedError(function.origin)
        self._builder.charge(len(arguments))
        self._stack.append(self._functions[function.origin](*arguments))

    def _call_since_mark(self) -> None:
        function = self._since_mark()[0]
        if isinstance(function, Name):
            raise PickleRefusedError(function.origin)
        raise ValueError("it calls something that is not a function")

    def _call_named(self) -> None:
        raise PickleRefusedError(f"{self._line()}.{self._line()}")

    def _new(self, arguments: int) -> None:
        for _ in range(arguments):
            self._pop()
        kind = self._pop()
        if not isinstance(kind, Name):
            raise ValueError("it makes an object of something that is not a class")
        self._stack.append(StandIn(kind.origin))

    def _build(self) -> None:
        state = self._pop()
        target = self._stack[-1]
        if isinstance(target, StandIn):
            target.state = state
        elif isinstance(target, dict):  # an OrderedDict may carry attributes, as the _metadata of a state dict
            self._builder.check_attributes(state)
        else:
            raise ValueError(f"it changes a {type(target).__name__} after it was made")

    def _refer(self) -> None:
        if self._find_reference is None:
            raise ValueError("it refers to something outside of it")
        self._stack.append(self._find_reference(self._pop()))


def _parsed(kind: type[int] | type[float], text: str) -> Any:
    try:
        return kind(text)
    except ValueError:
        raise ValueError("a number in its pickle cannot be read") from None  # without the text, which may be anything


_STOP = ord(".")
_SETS = ("builtins.set", "__builtin__.set", "builtins.frozenset", "__builtin__.frozenset")
_U1, _U2, _U4, _U8 = struct.Struct("<B"), struct.Struct("<H"), struct.Struct("<I"), struct.Struct("<Q")
_I4, _F8 = struct.Struct("<i"), struct.Struct(">d")

_Instruction = Callable[[PickleMachine], object]


def _push(make: Callable[[PickleMachine], Any]) -> _Instruction:
    return lambda machine: machine._stack.append(make(machine))


_TABLE: dict[str | int, _Instruction] = {
    0x80: lambda m: m._check_protocol(m._number(_U1)),
    0x95: lambda m: m._take(8),  # FRAME: says how much to read ahead, which we do not do
    "(": _push(lambda m: _MARK),
    "0": lambda m: m._stack.pop(),
    "1": lambda m: m._since_mark(),
    "2": lambda m: m._duplicate(),
    "N": _push(lambda m: None),
    0x88: _push(lambda m: True),
    0x89: _push(lambda m: False),
    "I": lambda m: m._push_integer_line(),
    "L": lambda m: m._push_integer_line(),
    "J": _push(lambda m: m._number(_I4)),
    "K": _push(lambda m: m._number(_U1)),
    "M": _push(lambda m: m._number(_U2)),
    0x8A: lambda m: m._push_integer(_U1),
    0x8B: lambda m: m._push_integer(_I4),
    "F": _push(lambda m: _parsed(float, m._line())),
    "G": _push(lambda m: m._number(_F8)),
    "T": lambda m: m._push_text(_I4),  # text of Python 2
    "U": lambda m: m._push_text(_U1),
    "V": _push(lambda m: m._line("raw-unicode-escape", longest=None)),
    "X": lambda m: m._push_text(_U4),
    0x8C: lambda m: m._push_text(_U1),
    0x8D: lambda m: m._push_text(_U8),
    "B": lambda m: m._push_bytes(_U4),
    "C": lambda m: m._push_bytes(_U1),
    0x8E: lambda m: m._push_bytes(_U8),
    0x96: lambda m: m._push_bytes(_U8),  # BYTEARRAY8
    ")": _push(lambda m: ()),
    0x85: lambda m: m._push_tuple(1),
    0x86: lambda m: m._push_tuple(2),
    0x87: lambda m: m._push_tuple(3),
    "t": _push(lambda m: tuple(m._since_mark())),
    "]": _push(lambda m: []),
    "l": _push(lambda m: m._since_mark()),
    "a": lambda m: m._append([m._pop()]),
    "e": lambda m: m._append(m._since_mark()),
    "}": _push(lambda m: {}),
    "d": _push(lambda m: m._builder.fill_dict({}, m._since_mark())),
    "s": lambda m: m._set_items(m._two()),
    "u": lambda m: m._set_items(m._since_mark()),
    0x8F: _push(lambda m: set()),
    0x90: lambda m: m._append(m._since_mark()),
    0x91: _push(lambda m: m._builder.make_set(m._since_mark())),
    "c": _push(lambda m: Name(f"{m._line()}.{m._line()}")),
    0x93: lambda m: m._name_from_stack(),
    "R": lambda m: m._call(),
    "o": lambda m: m._call_since_mark(),
    "i": lambda m: m._call_named(),
    0x81: lambda m: m._new(1),
    0x92: lambda m: m._new(2),
    "b": lambda m: m._build(),
    "g": _push(lambda m: m._memo[_parsed(int, m._line())]),
    "h": _push(lambda m: m._memo[m._number(_U1)]),
    "j": _push(lambda m: m._memo[m._number(_U4)]),
    "p": lambda m: m._memo_put(_parsed(int, m._line())),
    "q": lambda m: m._memo_put(m._number(_U1)),
    "r": lambda m: m._memo_put(m._number(_U4)),
    0x94: lambda m: m._memo_put(len(m._memo)),
    "Q": lambda m: m._refer(),
}
_INSTRUCTIONS = {ord(code) if isinstance(code, str) else code: instruction for code, instruction in _TABLE.items()}
