"""What a checkpoint says of its network, as JSON and back."""

from __future__ import annotations

import json

import pytest

from medcli.core.errors import DataError
from medcli.ultrabones.dataset.constants import IMAGE_MEAN, IMAGE_STD
from medcli.ultrabones.segmentation.checkpoint_metadata import SCHEMA, Metadata


def test_there_and_back() -> None:
    metadata = Metadata("unet", "resnet18", threshold=0.3, splits={"train": [1, 2]}, metrics={"val_dice": 0.5})
    assert Metadata.from_json(metadata.to_json(), "a") == metadata
    assert (metadata.mean, metadata.std) == (IMAGE_MEAN, IMAGE_STD)


def test_numbers_that_are_not_finite_become_null_and_later_fields_are_left_out() -> None:
    values = json.loads(Metadata(metrics={"val_loss": float("nan")}).to_json())
    assert values["metrics"] == {"val_loss": None}
    assert Metadata.from_json(json.dumps({**values, "of_a_later_version": 1}), "a").schema == SCHEMA


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "a does not describe"),
        ("[]", "a does not describe"),
        ('{"schema": "medcli.pose_network.v1"}', "a holds another kind of network"),
        ('{"schema": "medcli.segmenter.v9"}', f"expected {SCHEMA}"),
    ],
)
def test_other_descriptions_are_refused(text: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        Metadata.from_json(text, "a")
