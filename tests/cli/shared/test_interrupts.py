"""A second interrupt ends the process with the status of the first, whatever still runs in it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from medcli.cli.shared.interrupts import INTERRUPTED
from tests.conftest import REPOSITORY

WITH_A_THREAD = """
import threading, time
from medcli.cli import app
from medcli.workspace import inventory

def work(*_):
    threading.Thread(target=time.sleep, args=(60,)).start()  # Python waits for its end
    print("ready", flush=True)
    time.sleep(60)

inventory.take_inventory = work
app.main(["info"])
"""
AT_ITS_END = """
import atexit, time
from medcli.cli import app
from medcli.workspace import inventory

def work(*_):
    raise KeyboardInterrupt

atexit.register(lambda: (print("ready", flush=True), time.sleep(1)))
inventory.take_inventory = work
app.main(["info"])
"""


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize(
    ("program", "numbers"),
    [(WITH_A_THREAD, [signal.SIGTERM, signal.SIGINT]), (AT_ITS_END, [signal.SIGINT])],
    ids=["a thread runs", "at its end"],
)
def test_a_second_interrupt_ends_it_at_once(program: str, numbers: list[signal.Signals]) -> None:
    running = subprocess.Popen(
        [sys.executable, "-c", program], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert running.stdout is not None
    assert running.stdout.readline() == "ready\n"
    for number in numbers:
        time.sleep(0.2)
        running.send_signal(number)
    _, errors = running.communicate(timeout=10)
    assert (running.returncode, errors) == (INTERRUPTED, "interrupted; run the same command again to resume\n")


ONE_SIGNAL = """
import signal, sys, time
from medcli.cli import app
from medcli.workspace import inventory

def work(*_):
    signal.raise_signal(getattr(signal, sys.argv[1]))
    time.sleep(60)

inventory.take_inventory = work
app.main(["info"])
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"])
def test_each_signal_of_the_system_interrupts(name: str) -> None:
    if not hasattr(signal, name):
        pytest.skip("this system has no such signal")
    words = [sys.executable, "-c", ONE_SIGNAL, name]
    ran = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=60)
    assert (ran.returncode, ran.stderr) == (INTERRUPTED, "interrupted; run the same command again to resume\n")
