"""The pickle machine against Python's own unpickler where both may read, and its bounds where only it may."""

from __future__ import annotations

import pickle
import struct
import sys
import time
from collections import OrderedDict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medcli.training.checkpoint_files.inert_values import MOST_STEPS, Name, PickleRefusedError, StandIn
from medcli.training.checkpoint_files.pickle_machine import PickleMachine
from tests.support.hostile_checkpoints import pickles

_KEYS = st.text() | st.integers() | st.booleans() | st.none() | st.tuples(st.integers(), st.text())
_VALUES = st.recursive(
    _KEYS | st.floats(allow_nan=False),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(_KEYS, inner)
        | st.tuples(inner, inner)
        | st.tuples(inner, inner, inner, inner)
        | st.sets(_KEYS)
    ),
)


@given(_VALUES, st.integers(0, 5))
def test_plain_values_are_what_they_were(value: Any, protocol: int) -> None:
    assert PickleMachine(pickle.dumps(value, protocol)).run() == value


@pytest.mark.parametrize("protocol", range(6))
def test_a_long_text(protocol: int) -> None:
    """The first protocol writes it as one line."""
    text = "Ā" * 100_000
    assert PickleMachine(pickle.dumps([text, {text: 1}], protocol)).run() == [text, {text: 1}]


@given(st.binary(), st.integers(3, 5))
def test_bytes(value: bytes, protocol: int) -> None:
    """Earlier protocols write them as a call, which is refused."""
    assert PickleMachine(pickle.dumps([value, {value: 1}], protocol)).run() == [value, {value: 1}]


@given(st.integers(), st.integers(0, 5))
def test_integers_of_any_size_up_to_a_bound(value: int, protocol: int) -> None:
    assert PickleMachine(pickle.dumps(value, protocol)).run() == value


def test_mappings_of_torch_and_values_that_occur_twice() -> None:
    inner = [1, 2]
    value = OrderedDict([("a", inner), ("b", inner)])
    value._metadata = OrderedDict(version=1)  # type: ignore[attr-defined]  # as a state dict carries it
    for protocol in range(2, 6):
        found = PickleMachine(pickle.dumps(value, protocol)).run()
        assert found == {"a": [1, 2], "b": [1, 2]}
        assert found["a"] is found["b"]


class Thing:
    """Some class that a network may hold."""

    def __init__(self) -> None:
        self.size = 3
        self.kind = OrderedDict


def test_objects_are_stand_ins_and_classes_names() -> None:
    found = PickleMachine(pickle.dumps([Thing(), Thing], 2)).run()
    assert isinstance(found[0], StandIn)
    assert found[0].origin == f"{__name__}.Thing"
    assert found[0].attribute("size") == 3
    assert found[0].attribute("kind") == Name("collections.OrderedDict")
    assert found[0].attribute("absent") is None
    assert found[1] == Name(f"{__name__}.Thing")


def test_pickles_one_after_another() -> None:
    content = pickle.dumps("first", 2) + pickle.dumps("second", 2)
    first = PickleMachine(content)
    assert first.run() == "first"
    assert PickleMachine(content, first.position).run() == "second"


def test_what_is_called_is_named_and_not_called() -> None:
    with pytest.raises(PickleRefusedError) as refused:
        PickleMachine(b"\x80\x02cos\nsystem\n(X\x01\x00\x00\x00atR.").run()
    assert refused.value.name == "os.system"
    with pytest.raises(PickleRefusedError, match=r"os\.system"):  # in the place of a method of a mapping
        PickleMachine(b"ccollections\nOrderedDict\n)R}X\x05\x00\x00\x00itemscos\nsystem\nsb.").run()


@pytest.mark.parametrize("name", sorted(pickles()))
def test_hostile_programs_end_soon(name: str) -> None:
    """Each in about a second of processor time: with no hang, no deep recursion, and no error but the two."""
    program = b"\x80\x02" + pickles()[name] + b"."
    started, said = time.process_time(), ""
    try:
        PickleMachine(program, find_reference=lambda pid: None).run()
    except (ValueError, PickleRefusedError) as error:
        said = str(error)
    assert time.process_time() - started < 5
    assert len(said) < 200


def test_the_bounds() -> None:
    inside = MOST_STEPS // 2 - 10
    assert PickleMachine(b"N0" * inside + b"N.").run() is None
    with pytest.raises(ValueError, match="more than 1,000,000 steps"):
        PickleMachine(b"N0" * (inside + 20) + b"N.").run()
    assert PickleMachine(b"\x8a\x08" + b"\xff" * 8 + b".").run() == -1
    with pytest.raises(ValueError, match=r"an integer of 1,000 bytes"):
        PickleMachine(b"\x8b" + struct.pack("<i", 1000) + b"\xff" * 1000 + b".").run()
    with pytest.raises(ValueError, match="for a key, or one that is nested"):
        PickleMachine(b"}))\x86\x85Ns.").run()
    with pytest.raises(ValueError, match="pickle protocol 9"):
        PickleMachine(b"\x80\x09N.").run()
    assert PickleMachine(b"Nr" + struct.pack("<I", 1 << 28) + b".").run() is None  # a memo is no list


def test_nothing_deep_is_left_for_python_to_stumble_over() -> None:
    deep = PickleMachine(b")" + b"\x85" * 500_000 + b".").run()
    assert type(deep) is tuple
    del deep
    assert sys.getrecursionlimit() < 500_000
