"""The table of a training: aligned, and no wider than a terminal as it opens."""

from __future__ import annotations

import math

import pytest

from medcli.training.epoch_table import Column, EpochTable, figure, time_left
from medcli.ultrabones.segmentation.train import COLUMNS
from medcli.veriserum.pose.train import COLUMNS as POSE_COLUMNS


@pytest.mark.parametrize("columns", [COLUMNS, POSE_COLUMNS], ids=["seg", "pose"])
def test_rows_are_aligned_below_their_header(columns: tuple[Column, ...]) -> None:
    """Also the widest: thousands of epochs, days left, figures of any size."""
    table = EpochTable(columns, 1000, repeat_every=2)
    metrics = {column.metric: 1234567.89 for column in columns}
    small = {column.metric: 0.01234 for column in columns}
    lines = table.lines({"epoch": 1, "lr": 1e-5, **metrics, "seconds_left": 359_999.0}, True)
    lines += table.lines({"epoch": 1000, "lr": 8.59e-06, **small, "seconds_left": 59.6}, False)
    lines += table.lines({"epoch": 3, "lr": 0.001, "seconds_left": 9e9}, False)
    assert max(map(len, lines)) <= 80
    above, titles, first, second, *header, third = lines
    assert header == [above, titles]
    assert first.endswith(" 99:59:59 *")
    assert second.split() == ["1000/1000", "8.6e-06", *["0.0123"] * len(columns), "1:00"]
    assert third.split()[2:-2] == ["-"] * len(columns)
    end = titles.index("loss") + len("loss")
    assert all(line[end - 1] != " " and line[end] == " " for line in (above, titles, first, second, third))
    assert len(titles) == len(first) - 2 == len(second)


def test_figures_and_times() -> None:
    assert [figure(value, 7) for value in (0.5, 123.45678, 1e9, math.nan)] == [
        " 0.5000",
        "123.457",
        "  1e+09",
        "      -",
    ]
    assert [time_left(value) for value in (0, 65, 3723, 8.64e5, math.nan)] == [
        "0:00",
        "1:05",
        "1:02:03",
        "10 days",
        "-",
    ]
