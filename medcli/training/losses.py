"""Losses of both trainings: each is one entry of a table, chosen by name, with a weight for each term."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medcli.core.errors import UsageError, quantity

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class TrainingLoss:
    """One loss that ``--loss`` can choose.

    Attributes:
        compute: from float32 tensors and one weight a term to the loss.
        terms: the terms by name, with their default weights, in the order of ``--loss-weights``.
        about: what it is, for the help.
    """

    compute: Callable[..., Tensor]
    terms: Mapping[str, float]
    about: str

    def __call__(self, *arguments: Any) -> Tensor:
        """The loss, computed in float32 whatever the precision of the tensors; the last argument are the weights."""
        *tensors, weights = arguments
        return self.compute(*(tensor.float() for tensor in tensors), *weights)


def check_loss(losses: Mapping[str, TrainingLoss], name: str, weights: Sequence[float]) -> None:
    """Make sure that there is such a loss, and that its weights leave something to learn.

    Raises:
        UsageError: names the option, what came, and what is expected.
    """
    if name not in losses:
        raise UsageError(f"--loss '{name}' is not one of {', '.join(losses)}")
    terms = losses[name].terms
    if len(weights) != len(terms):
        wanted = f"{quantity(len(terms), 'number')} ({', '.join(terms)})"
        raise UsageError(f"--loss-weights takes {wanted} for --loss {name}, got {len(weights)}")
    if not all(math.isfinite(weight) and weight >= 0 for weight in weights) or not any(weights):
        words = " ".join(f"{weight:g}" for weight in weights)
        raise UsageError(f"--loss-weights {words}: expected finite numbers, none below 0 and one at least above")
