"""Descriptions in headers: read back as they were written, and refused where a value cannot be."""

from __future__ import annotations

import json

import pytest

from medcli.core.errors import DataError
from medcli.training.description import are_splits, parse_description
from medcli.ultrabones.segmentation.checkpoint_metadata import Metadata


def test_what_was_written_is_read_back() -> None:
    told = Metadata(
        splits={"train": [1, 3], "val": [2], "train_frames": 5, "warnings": ["mind\nthis"]},
        settings={"lr": 0.1, "augment": None, "specimens": [1, 2], "root": "data/ä"},
        metrics={"val_dice": 0.5, "val_assd_mm": None},
    )
    assert Metadata.from_json(told.to_json(), "x") == told


@pytest.mark.parametrize("text", ["", "[]", "5", "null", "[" * 100_000, '{"a": "\\u001b"}', '{"\\ud800": 1}'])
def test_what_cannot_be_shown_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_description(text)


def test_nesting_has_a_bound() -> None:
    assert parse_description('{"a": ' + "[" * 8 + "]" * 8 + "}")
    with pytest.raises(ValueError, match="nested deeply"):
        parse_description('{"a": ' + "[" * 20 + "1" + "]" * 20 + "}")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("arch", 5), ("arch", ""), ("arch", "a b"), ("encoder", "tu-hf-hub:a/b"), ("encoder", "a" * 101),
        ("mean", 2), ("mean", True), ("std", 0), ("std", "1"), ("input_size", 256.0), ("input_size", 31),
        ("threshold", 1.5), ("settings", []), ("splits", {"train": "1"}), ("metrics", None), ("source", 5),
    ],
)  # fmt: skip
def test_fields_that_cannot_be_are_named(field: str, value: object) -> None:
    text = json.dumps({"schema": "medcli.segmenter.v1", field: value})
    with pytest.raises(DataError, match=f"some file describes its network wrongly: {field} is not"):
        Metadata.from_json(text, "some file")


def test_splits() -> None:
    assert are_splits({})
    assert are_splits({"train": [1], "val": [], "warnings": ["a"], "more": 5})
    assert not are_splits({"train": [True]})
    assert not are_splits({"train": [1.5]})
    assert not are_splits([])
