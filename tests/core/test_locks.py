"""A folder that is in use: by one process at a time, and free again however that process ends."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from medcli.core.errors import MedcliError
from medcli.core.locks import folder_in_use, is_in_use, locked
from tests.conftest import REPOSITORY

HOLDER = """
import sys, time
from pathlib import Path
from medcli.core.locks import folder_in_use
with folder_in_use(Path(sys.argv[1]), "training"):
    print("holds", flush=True)
    time.sleep(60)
"""


def test_a_second_process_is_refused_and_a_killed_one_lets_go(tmp_path: Path) -> None:
    words = [sys.executable, "-c", HOLDER, str(tmp_path / "run")]
    with subprocess.Popen(words, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "holds\n"
        assert is_in_use(tmp_path / "run")
        assert not is_in_use(tmp_path / "other")
        with (
            pytest.raises(MedcliError, match=rf"another training \(process {holder.pid}\) is writing to") as raised,
            folder_in_use(tmp_path / "run", "training"),
        ):
            pass
        assert "--out" in (raised.value.hint or "")
        holder.send_signal(signal.SIGTERM)
    assert not is_in_use(tmp_path / "run")
    with folder_in_use(tmp_path / "run", "training"):
        assert list(tmp_path.iterdir()) == []  # nothing is added to the folder


def test_a_full_disk_takes_no_lock_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(number: int, content: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", fail)
    with locked(tmp_path / "lock"), pytest.raises(MedcliError), locked(tmp_path / "lock", MedcliError):
        pass


def test_locks_make_processes_take_turns(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from medcli.core.locks import locked\n"
        "with locked(Path(sys.argv[1])):\n    print('in', flush=True)\n    time.sleep(0.5)\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "l")], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    child.stdout.readline()
    started = time.monotonic()
    with locked(tmp_path / "l"):
        waited = time.monotonic() - started
    assert waited > 0.2
    child.wait()
    child.stdout.close()


def test_info_calls_a_run_under_way(tmp_path: Path) -> None:
    tmp_path /= "run"
    from medcli.ultrabones.segmentation.settings import SegmentationSettings
    from medcli.workspace.runs import UNDER_WAY, find_run
    from tests.support.run_folders import write_training

    write_training(tmp_path, SegmentationSettings(epochs=9), finished=False)
    with folder_in_use(tmp_path, "training"):
        run = find_run(tmp_path)
        assert run is not None
        assert (run.state, run.resume) == (UNDER_WAY, None)
    again = find_run(tmp_path)
    assert again is not None
    assert again.state == "interrupted"
    assert again.resume is not None
