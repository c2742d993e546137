"""How long a failure is waited for, and when the policy gives up."""

from __future__ import annotations

import threading

import pytest

from medcli.transfer.protocol import Broken, Busy, Fault, Refused, Stopped
from medcli.transfer.retry_policy import RetryPolicy

PATIENCE = RetryPolicy(tries=4, first_wait_s=1.0, longest_wait_s=3.0, longest_obeyed_s=60.0)


def test_pauses_double_up_to_the_longest_and_end_with_the_tries() -> None:
    for failures, longest in ((1, 1.0), (2, 2.0), (3, 3.0)):
        pause = PATIENCE.pause_s(failures, Broken("cut"))
        assert pause is not None
        assert longest / 2 <= pause <= longest
    assert PATIENCE.pause_s(4, Broken("cut")) is None
    assert PATIENCE.pause_s(1, Refused("403")) is None


def test_a_server_is_obeyed_within_reason() -> None:
    pause = PATIENCE.pause_s(1, Busy("429", 30.0))
    assert pause is not None
    assert 30 <= pause < 31
    assert PATIENCE.pause_s(1, Busy("429", 3600.0)) is None


def test_insisting_ends_with_a_result_the_last_fault_or_the_stop() -> None:
    retry_policy = RetryPolicy(tries=3, first_wait_s=0.001)
    faults: list[Fault] = [Broken("first"), Broken("second")]

    def action() -> str:
        if faults:
            raise faults.pop(0)
        return "done"

    assert retry_policy.call(action) == "done"
    faults += [Broken(str(number)) for number in range(9)]
    with pytest.raises(Broken, match="2"):
        retry_policy.call(action)
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        retry_policy.call(action, stop)
