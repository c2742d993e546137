"""Losses by name with a weight for each term."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from medcli.core.errors import UsageError
from medcli.training.losses import TrainingLoss, check_loss


def weighted(one: Tensor, other: Tensor, first: float, second: float) -> Tensor:
    assert one.dtype == other.dtype == torch.float32
    return first * one + second * other


LOSSES = {"sum": TrainingLoss(weighted, {"one": 1.0, "other": 0.5}, "of both")}


def test_tensors_come_in_float32_and_weights_in_the_order_of_the_terms() -> None:
    loss = LOSSES["sum"](torch.tensor(2, dtype=torch.uint8), torch.tensor(3.0, dtype=torch.bfloat16), (10.0, 1.0))
    assert loss.item() == 23


@pytest.mark.parametrize(
    ("name", "weights", "says"),
    [
        ("other", (1.0, 1.0), "--loss 'other' is not one of sum"),
        ("sum", (1.0,), "takes 2 numbers .one, other. for --loss sum, got 1"),
        ("sum", (1.0, math.inf), "--loss-weights 1 inf: expected finite numbers"),
        ("sum", (1.0, -1.0), "none below 0"),
        ("sum", (0.0, 0.0), "one at least above"),
    ],
)
def test_what_cannot_be_trained_with_is_reported(name: str, weights: tuple[float, ...], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        check_loss(LOSSES, name, weights)


def test_the_default_weights_pass() -> None:
    check_loss(LOSSES, "sum", tuple(LOSSES["sum"].terms.values()))
