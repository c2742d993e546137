"""SIGUSR1, and what SLURM is asked; under a real one in ``tests/workflows/test_cluster.py``."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from medcli.training.processes.time_limit import TimeLimit, requeue_job

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a job with a ``scontrol`` of its own asked."""
    program = tmp_path / "scontrol"
    program.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n[ "$2" != 9_3 ] || {{ echo refused >&2; exit 1; }}\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    for name in ("RANK", "SLURM_PROCID", "SLURM_ARRAY_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "asked"


def test_a_job_that_is_interrupted_after_the_signal_is_resubmitted_once(asked: Path) -> None:
    before = signal.getsignal(signal.SIGUSR1)
    with pytest.raises(KeyboardInterrupt), TimeLimit().receiving():
        raise KeyboardInterrupt
    assert not asked.exists()
    with pytest.raises(KeyboardInterrupt), TimeLimit().receiving():
        interrupt_after_the_signal()
    assert asked.read_text() == "requeue 7\n"
    assert signal.getsignal(signal.SIGUSR1) is before


def interrupt_after_the_signal() -> None:
    os.kill(os.getpid(), signal.SIGUSR1)
    raise KeyboardInterrupt


def test_a_refusal_is_a_warning(asked: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "9")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    requeue_job()
    assert asked.read_text() == "requeue 9_3\n"
    assert "job 9_3 cannot be resubmitted: refused" in caplog.text
    monkeypatch.delenv("SLURM_JOB_ID")
    requeue_job()
    assert asked.read_text() == "requeue 9_3\n"
