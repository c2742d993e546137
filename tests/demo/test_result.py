"""Steps are written to ``demo.json`` and read back."""

from __future__ import annotations

import dataclasses
import json

import pytest

from medcli.demo.result import BeforeAfter, ResultImage, Step


@pytest.mark.parametrize("pair", [None, BeforeAfter("a.jpg", "b.jpg", "alt", "caption")])
def test_a_step_is_read_as_it_was_written(pair: BeforeAfter | None) -> None:
    image = ResultImage("x.jpg", "alt", "caption")
    step = Step("a", "A", "About.", "medcli info", 1.5, 1.0, "runs/a", {"frames": "3"}, (image,), pair)
    assert Step.from_json(json.loads(json.dumps(dataclasses.asdict(step)))) == step


def test_other_objects_are_rejected() -> None:
    with pytest.raises((KeyError, TypeError)):
        Step.from_json({"name": "a"})
