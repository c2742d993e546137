"""What a training's ``metrics.csv`` says."""

from __future__ import annotations

import csv
from pathlib import Path


def first_and_last(metrics: Path, name: str) -> str:
    """A column at the first and at the last epoch, in words."""
    with metrics.open(encoding="utf-8", newline="") as file:
        values = [float(row[name]) for row in csv.DictReader(file)]
    return f"{values[0]:.2f} in the first epoch, {values[-1]:.2f} in the last"
