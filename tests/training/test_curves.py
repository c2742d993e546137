"""The figure of a run is an image of as many panels as asked for."""

from __future__ import annotations

from pathlib import Path

from medcli.core.image_io import read_size
from medcli.training.curves import plot_curves


def test_panels_lie_side_by_side_whatever_was_measured(tmp_path: Path) -> None:
    history = [{"epoch": 1.0, "loss": 0.5}, {"epoch": 2.0, "loss": 0.4, "dice": 0.8}]
    panels = [("loss", {"loss": "training"}), ("Dice", {"dice": "validation", "absent": "nowhere"})]
    plot_curves(tmp_path / "one.png", history, panels[:1])
    plot_curves(tmp_path / "two.png", history, panels)
    one, two = read_size(tmp_path / "one.png"), read_size(tmp_path / "two.png")
    assert two[0] == one[0]
    assert two[1] == 2 * one[1]
