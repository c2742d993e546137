"""The best epoch by different figures, and the end of a run that does not improve."""

from __future__ import annotations

import math

import pytest

from medcli.core.errors import UsageError
from medcli.training.monitors import Monitor, check_monitor
from medcli.ultrabones.segmentation.settings import MONITORS
from medcli.veriserum.pose.settings import MONITORS as POSE_MONITORS

LOSS, DICE = Monitor("val_loss", ""), Monitor("val_dice", "", higher_is_better=True)
MISSING = math.nan
STOPPED = "early stop: loss has not improved for 2 epochs"


def history(*values: float) -> list[dict[str, float]]:
    return [{"val_loss": value, "val_dice": value} for value in values]


@pytest.mark.parametrize(
    ("values", "lowest", "highest"),
    [
        ((3, 1, 2), 1, 0),
        ((1, 1, 2, 2), 0, 2),  # of equal ones the first
        ((MISSING, 5, math.inf), 1, 1),
        ((MISSING, MISSING), 0, 0),
        ((), None, None),
    ],
)
def test_best_epoch(values: tuple[float, ...], lowest: int | None, highest: int | None) -> None:
    assert LOSS.best_of(history(*values)) == lowest
    assert DICE.best_of(history(*values)) == highest


@pytest.mark.parametrize(
    ("values", "stops"), [((3, 2, 2), False), ((3, 2, 2, 2), True), ((MISSING,) * 5, False), ((1, MISSING, 2), True)]
)
def test_run_ends_after_epochs_without_improvement(values: tuple[float, ...], stops: bool) -> None:
    """Epochs before the first value do not count: no bone is detected yet."""
    assert LOSS.reason_to_stop(history(*values), 2) == STOPPED * stops
    assert LOSS.reason_to_stop(history(*values), None) == ""


def test_the_reason_names_what_the_option_names() -> None:
    for monitors in (MONITORS, POSE_MONITORS):
        assert [one.option for one in monitors.values()] == list(monitors)


def test_an_epoch_that_detects_nothing_is_not_marked_as_best() -> None:
    """No bone is predicted: there is no distance, and Dice is 0."""
    reached = [[monitor.is_reached(row) for row in history(MISSING, 0.0, 0.1)] for monitor in (LOSS, DICE)]
    assert reached == [[False, True, True], [False, False, True]]


def test_options_are_checked() -> None:
    check_monitor({"loss": LOSS}, "loss", 1)
    with pytest.raises(UsageError, match="--monitor 'dice' is not one of loss"):
        check_monitor({"loss": LOSS}, "dice", None)
    with pytest.raises(UsageError, match="--early-stop 0"):
        check_monitor({"loss": LOSS}, "loss", 0)
