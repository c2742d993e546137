"""Columns beyond the published ones that state the side of a knee, the frame rate, or the time of a frame."""

from __future__ import annotations

from collections.abc import Iterable

RATE_COLUMNS = ("frame_rate", "framerate", "fps", "frequency_hz")
TIME_COLUMNS = {"time_s": 1.0, "time_ms": 1e3, "timestamp_ms": 1e3, "acquisition_time_s": 1.0}
"""Name of a column of times, and its units in a second."""
SIDE_COLUMNS = ("side", "laterality", "leg", "knee_side")


def first_of(names: Iterable[str], columns: Iterable[str]) -> str | None:
    """The first name that is among the columns."""
    there = set(columns)
    return next((name for name in names if name in there), None)
