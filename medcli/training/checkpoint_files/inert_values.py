"""The values that a pickle may describe, and the work that it may ask for, counted before it is done."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from medcli.core.errors import quantity

MOST_STEPS = 1_000_000
"""Instructions, and members copied by them. The largest network of segmentation_models_pytorch takes 160,000."""
MOST_DIMENSIONS = 16
"""Of a tensor."""
_PLAIN_KEY = 1 << 60  # integers below it are their own hash: keys that collide cannot be made of them
_MOST_ODD_KEYS = 1000  # of types whose hash a file can choose: with so few, collisions cost nothing
_LONGEST_KEY = 16  # members of a tuple
_ODD_KEYS = (int, float, bytes)
_SCALARS = (str, int, float, bytes, bool, type(None))


def are_counts(values: Collection[Any]) -> bool:
    """Whether all are whole numbers that can count bytes or members."""
    return all(type(value) is int and 0 <= value < 1 << 63 for value in values)


class PickleRefusedError(Exception):
    """The pickle asks to call ``name``, which is not among the functions it may call."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


@dataclass(frozen=True)
class Name:
    """A class or function that the file names; never imported.

    Attributes:
        origin: module and name, with dots.
    """

    origin: str


class StandIn:
    """An object of a class that is not known here. It keeps its state and does nothing.

    Attributes:
        origin: the dotted name of its class.
        state: what the file stored in it, usually a mapping of attributes.
    """

    __slots__ = ("origin", "state")

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.state: Any = None

    def attribute(self, name: str) -> Any:
        """An attribute of the stored object, None where it has none of that name."""
        return self.state.get(name) if isinstance(self.state, dict) else None


class Builder:
    """Builds containers, whose members are hashed and compared, and counts all work of one pickle.

    Every method raises ValueError where the pickle describes what cannot be, or more than any network holds.
    """

    def __init__(self) -> None:
        self._steps = 0
        self._odd_keys = 0

    def charge(self, steps: int) -> None:
        """Count work before it is done."""
        self._steps += steps
        if self._steps > MOST_STEPS:
            raise ValueError(f"its pickle has more than {quantity(MOST_STEPS, 'step')}, which no network needs")

    def fill_dict(self, target: dict[Any, Any], items: list[Any]) -> dict[Any, Any]:
        """Put keys and values, which alternate in ``items``, into ``target``."""
        if len(items) % 2:
            raise ValueError("a mapping of it lacks a value")
        for index in range(0, len(items), 2):
            target[self._checked_key(items[index])] = items[index + 1]
        return target

    def fill_set(self, target: set[Any], items: Collection[Any]) -> set[Any]:
        """Put ``items`` into ``target``."""
        self.charge(len(items))
        target.update(self._checked_key(item) for item in items)
        return target

    def make_dict(self, pairs: Any = (), *more: Any) -> dict[Any, Any]:
        """What ``collections.OrderedDict(pairs)`` is."""
        made: dict[Any, Any] = {}
        if not isinstance(pairs, (list, tuple)) or more:
            raise ValueError("a mapping is made of something else than pairs")
        self.charge(len(pairs))
        for pair in pairs:
            if not isinstance(pair, (list, tuple)) or len(pair) != 2:
                raise ValueError("a mapping is made of something else than pairs")
            self.fill_dict(made, list(pair))
        return made

    def make_set(self, members: Any = (), *more: Any) -> set[Any]:
        """What ``set(members)`` is."""
        if not isinstance(members, (list, tuple, set)) or more:
            raise ValueError("a set is made of something else than a list")
        return self.fill_set(set(), members)

    def check_attributes(self, state: Any) -> None:
        """Attributes of a mapping, which are dropped: a function in the place of a method would be an attack.

        Raises:
            PickleRefusedError: there is one.
        """
        for attributes in state[:2] if isinstance(state, tuple) else (state,):
            if isinstance(attributes, dict):
                self.charge(len(attributes))
                for value in attributes.values():
                    if isinstance(value, Name):
                        raise PickleRefusedError(value.origin)

    def _checked_key(self, key: Any) -> Any:
        """``key``, if to hash and compare it costs next to nothing whatever the file chose."""
        kind = type(key)
        if kind in (str, bool, type(None)) or (kind is int and -_PLAIN_KEY < key < _PLAIN_KEY):
            return key
        by_identity: object = object.__hash__
        if kind.__hash__ is by_identity:
            return key
        flat = kind is tuple and len(key) <= _LONGEST_KEY and all(type(item) in _SCALARS for item in key)
        if not flat and kind not in _ODD_KEYS and kind is not Name:
            raise ValueError(f"a mapping of it has a {kind.__name__} for a key, or one that is nested")
        self._odd_keys += 1
        if self._odd_keys > _MOST_ODD_KEYS:
            raise ValueError(f"its mappings have more than {_MOST_ODD_KEYS:,} keys that are no text")
        return key
