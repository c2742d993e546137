"""Faults of a source as errors for the user."""

from __future__ import annotations

import pytest

from medcli.core.errors import DataError
from medcli.transfer.protocol import Broken, Busy, Changed, Corrupt, Fault, Missing, Refused, unreachable


@pytest.mark.parametrize(
    ("fault", "begins", "hint"),
    [
        (Broken("cut"), "the source cannot be reached: cut", "network"),
        (Busy("503"), "the source cannot be reached: 503", "network"),
        (Changed("other"), "the source cannot be reached: other", "network"),
        (Corrupt("wrong"), "the source cannot be reached: wrong", "network"),
        (Missing("404"), "not found: 404", "check --revision"),
        (Refused("403"), "access refused: 403", "token"),
    ],
)
def test_every_fault_says_what_to_do(fault: Fault, begins: str, hint: str) -> None:
    with pytest.raises(DataError) as error, unreachable("check --revision"):
        raise fault
    assert error.value.message == begins
    assert hint in str(error.value.hint)


def test_other_errors_pass() -> None:
    with pytest.raises(KeyError), unreachable():
        raise KeyError("bug")
