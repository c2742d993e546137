"""Helpers shared by both trainings of the demonstration."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def one_thread() -> Iterator[None]:
    """Limit PyTorch to one core within the block.

    Batches of a few small frames gain little from a second core. Where other programs use it, PyTorch's threads mostly
    wait for each other: on a busy machine with two cores the training takes eight times as long.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def first_and_last(metrics: Path, name: str) -> str:
    """The values of a column in the last and in the first epoch, as text."""
    with metrics.open(encoding="utf-8", newline="") as file:
        values = [float(row[name]) for row in csv.DictReader(file)]
    return f"{values[-1]:.2f} in the last epoch; {values[0]:.2f} in the first"
