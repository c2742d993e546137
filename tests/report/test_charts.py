"""Curves stay inside their axes, are interrupted at missing values, and use the colours of the page."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from medcli.report.charts import Axes, Curve, draw, ticks


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0.68, 1.37), (-3, 8), (0, 0.1), (10, 10_000)])
def test_ticks_are_round_few_and_inside(low: float, high: float) -> None:
    found = ticks(low, high)
    steps = np.diff(found)
    assert 3 <= len(found) <= 12
    assert low <= found[0] <= found[-1] <= high
    assert np.allclose(steps, steps[0])
    assert ticks(1, 4, whole=True) == [1, 2, 3, 4]


def test_a_curve_is_interrupted_at_a_missing_value_and_stays_inside() -> None:
    curve = Curve("loss", [0, 1, 2, 3, 4], [0.1, 0.2, math.nan, 9.0, -9.0], style=2)
    drawn = ElementTree.fromstring(draw(Axes("Loss <1>", "epoch", y_range=(0, 1)), [curve], "It falls."))
    lines = [node.attrib["d"] for node in drawn.iter("path") if node.attrib["class"] == "line s2"]
    assert len(lines) == 2
    heights = [float(pair.split()[1]) for line in lines for pair in line[1:].split("L")]
    assert min(heights) >= 0
    assert max(heights) <= 226
    assert drawn.attrib["role"] == "img"
    assert drawn.attrib["aria-label"] == "Loss <1>. It falls."


def test_curves_use_the_colours_of_the_page() -> None:
    drawn = draw(Axes("a", "b"), [Curve("c", [0, 1], [0, 1], [0, 0.9], [0.1, 1.1], style=1)], "d")
    assert "band s1" in drawn
    assert not re.search(r"#[0-9a-f]{3}|rgb|style=", drawn), "a fixed colour would not follow dark mode"


def test_a_band_does_not_bridge_missing_values() -> None:
    low, high = [0.0, 0.1, math.nan, 0.3, 0.2], [0.5, 0.6, math.nan, 0.9, 0.7]
    middle = [0.2, 0.3, math.nan, 0.6, 0.5]
    drawn = draw(Axes("a", "b"), [Curve("c", [0, 1, 2, 3, 4], middle, low, high, style=1)], "d")
    assert drawn.count('class="band s1"') == 2


def test_a_curve_without_values_leaves_empty_axes() -> None:
    drawn = draw(Axes("a", "b"), [Curve("c", [0.0, 1.0], [math.nan, math.nan])], "d")
    assert "line s0" not in drawn


def test_a_title_never_leaves_its_panel() -> None:
    short, long = (draw(Axes(title, "epoch"), [], "Nothing.") for title in ("Loss", "Prediction to label, " * 3))
    assert "textLength" not in short
    assert 'textLength="292"' in long
