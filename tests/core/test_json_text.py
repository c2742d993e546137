"""Every kind of value as JSON, and objects read back from files of any state."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

import numpy as np
import pytest

from medcli.core.json_text import INLINE, parse_json, read_object, recorded_path, to_json, to_plain


class Kind(str, Enum):
    ONE = "one"


@dataclass(frozen=True)
class Inner:
    kind: Kind = Kind.ONE
    places: tuple[Path, ...] = (Path("a") / "b",)


@dataclass(frozen=True)
class Outer:
    inner: Inner = field(default_factory=Inner)
    score: float = float("nan")
    missing: None = None


def test_dataclasses_at_any_depth() -> None:
    place = str(Path("a") / "b")
    assert to_plain(Outer()) == {"inner": {"kind": "one", "places": [place]}, "score": None, "missing": None}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.int64(3), 3),
        (np.float64(0.1), 0.1),
        (np.float32("inf"), None),
        (np.bool_(True), True),
        (np.array([[1.5, np.nan], [2.0, -np.inf]]), [[1.5, None], [2.0, None]]),
        ({1: Kind.ONE, None: {2.5}}, {"1": "one", "None": [2.5]}),
        (True, True),
    ],
)
def test_numbers_arrays_and_keys(value: object, expected: object) -> None:
    plain = to_plain(value)
    assert plain == expected
    assert json.loads(to_json(value)) == expected
    assert type(plain) is type(expected)


def test_what_json_does_not_know_is_refused() -> None:
    with pytest.raises(TypeError, match="object cannot be written as JSON"):
        to_json({"a": [object()]})


def test_text_is_indented_and_in_its_own_letters() -> None:
    assert to_json({"où": 1}) == '{\n  "où": 1\n}'


@pytest.mark.parametrize("content", [None, b"", b"{", b"[1]", b"\xff\xfe"])
def test_files_that_hold_no_object_read_as_empty(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "some.json"
    if content is not None:
        path.write_bytes(content)
    assert read_object(path) == {}


def test_objects_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "some.json"
    path.write_text(to_json({"a": [1, None]}), encoding="utf-8")
    assert read_object(path) == {"a": [1, None]}


@dataclass(frozen=True)
class Measured:
    frames: int
    values: dict[str, float] = field(metadata=INLINE)
    schema: str = "v1"


def test_entries_of_an_inline_field_stand_among_the_fields() -> None:
    assert list(to_plain(Measured(3, {"dice": 0.5, "hd_mm": float("nan")})).items()) == [
        ("frames", 3), ("dice", 0.5), ("hd_mm", None), ("schema", "v1"),
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "", "{", b"\xff", "9" * 10_000])
def test_what_is_no_json_is_one_kind_of_error(text: str | bytes) -> None:
    with pytest.raises(ValueError):
        parse_json(text)


def test_one_key_twice_can_be_refused() -> None:
    assert parse_json('{"a": 1, "a": 2}') == {"a": 2}
    with pytest.raises(ValueError, match="one key twice"):
        parse_json('[{"b": {"a": 1, "a": 2}}]', no_doubles=True)


def test_deep_nesting_and_pipes_are_nothing_to_read(tmp_path: Path) -> None:
    (tmp_path / "deep.json").write_text("[" * 100_000)
    assert read_object(tmp_path / "deep.json") == {}
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        assert read_object(tmp_path / "pipe") == {}


def test_paths_of_another_system_keep_their_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert recorded_path("runs\\seg ä\\best.safetensors") == Path("runs", "seg ä", "best.safetensors")
    assert recorded_path("runs/seg/best.safetensors") == Path("runs", "seg", "best.safetensors")
    away = recorded_path("D:\\Daten\\ultrabones")
    assert (away.name, away.exists()) == ("ultrabones", False)


@pytest.mark.skipif(os.name == "nt", reason="no name of Windows holds a backslash")
def test_a_name_with_a_backslash_is_itself(tmp_path: Path) -> None:
    (tmp_path / "a\\b").touch()
    assert recorded_path(tmp_path / "a\\b") == tmp_path / "a\\b"
