"""Random streams follow from the seed and the place in the run alone."""

from __future__ import annotations

import torch

from medcli.training.seeds import random_stream, seed_torch


def test_streams_depend_on_seed_and_place_only() -> None:
    first = random_stream(1, 2, 3).random(4).tolist()
    random_stream(1, 2, 4).random(100)  # draws elsewhere change nothing
    assert random_stream(1, 2, 3).random(4).tolist() == first
    others = [random_stream(*place).random(4).tolist() for place in ((2, 2, 3), (1, 3, 3), (1, 2, 4))]
    assert first not in others


def test_torch_draws_the_same_at_the_same_place() -> None:
    def draw(*place: int) -> list[float]:
        seed_torch(*place)
        return torch.rand(4).tolist()

    first = draw(42, 0, 1)
    assert draw(42, 0, 2) != first
    assert draw(42, 0, 1) == first
