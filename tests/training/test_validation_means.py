"""Means over a validation in which some frames have no value."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from medcli.training.validation_means import Totals


class Module:
    """Logs into a dictionary; two processes with the same numbers reduce to their sum."""

    def __init__(self) -> None:
        self.logged: dict[str, float] = {}
        self.trainer = SimpleNamespace(strategy=SimpleNamespace(reduce=lambda both, reduce_op: 2 * both))

    def log(self, name: str, value: Any) -> None:
        self.logged[name] = float(value)


def test_frames_without_a_value_do_not_count() -> None:
    totals, module = Totals(), Module()
    totals.add("dice", torch.tensor([1.0, float("nan")]))
    totals.add("dice", torch.tensor([0.5, 0.0]))
    totals.add("mm", torch.tensor([float("nan")]))
    totals.log(module)  # type: ignore[arg-type]
    assert module.logged["dice"] == pytest.approx(0.5)
    assert module.logged["mm"] != module.logged["mm"]
