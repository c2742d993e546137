"""What both trainings of the demonstration share."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def one_thread() -> Iterator[None]:
    """Let PyTorch compute on one core in the block.

    Batches of a few small frames gain little from a second one. Where other programs want it, its threads wait for each
    other most of the time: on a busy machine with two cores the training takes eight times as long.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def first_and_last(metrics: Path, name: str) -> str:
    """A column at the first and at the last epoch, in words."""
    with metrics.open(encoding="utf-8", newline="") as file:
        values = [float(row[name]) for row in csv.DictReader(file)]
    return f"{values[0]:.2f} in the first epoch, {values[-1]:.2f} in the last"
