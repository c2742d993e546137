"""A real command that is signalled while it imports: ``tests/ultrabones/segmentation/test_train.py``."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from medcli.training.processes.early_signal import EarlySignal
from medcli.training.processes.time_limit import TimeLimit

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")


@pytest.fixture
def early() -> Iterator[EarlySignal]:
    before = signal.getsignal(signal.SIGUSR1)
    signals = EarlySignal()
    signals.receive()
    yield signals
    signal.signal(signal.SIGUSR1, before)


def test_the_training_knows_what_came_before_it(early: EarlySignal) -> None:
    with TimeLimit().receiving() as limit:
        assert not limit.asked
    os.kill(os.getpid(), signal.SIGUSR1)
    with TimeLimit().receiving() as limit:
        assert limit.asked


def test_the_next_training_of_the_process_knows_what_came_in_the_last_epoch_of_one(early: EarlySignal) -> None:
    with TimeLimit().receiving():
        os.kill(os.getpid(), signal.SIGUSR1)
    assert early.came
    with TimeLimit().receiving() as fold:
        assert fold.asked
