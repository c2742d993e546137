"""Whether a process runs: asked of the system, on each in its own way, and without an effect on the process."""

from __future__ import annotations

import os
import subprocess
import sys

from medcli.core.system.processes import is_other_running_process


def test_a_process_runs_until_it_has_ended() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert is_other_running_process(child.pid)
        assert is_other_running_process(child.pid)  # it was not ended by the question
        child.communicate(b"\n")
        assert child.returncode == 0
        assert not is_other_running_process(child.pid)


def test_this_process_and_numbers_of_none() -> None:
    for number in (os.getpid(), 0, 999_999_999, 10**30):
        assert not is_other_running_process(number)
