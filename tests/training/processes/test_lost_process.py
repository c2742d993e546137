"""A lost connection is one line, other errors stay; real processes: ``tests/workflows/test_two_processes.py``."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import distributed

from medcli.core.errors import MedcliError
from medcli.training.processes.lost_process import lost_process_named

GLOO = RuntimeError("[gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:3")


@pytest.mark.parametrize("error", [GLOO, distributed.DistBackendError("NCCL error")])
def test_a_lost_connection_names_the_folder_to_resume(error: RuntimeError) -> None:
    with (
        pytest.raises(MedcliError, match="another process of this training ended") as raised,
        lost_process_named(2, Path("run")),
    ):
        raise error
    assert "the epochs done are in run" in str(raised.value.hint)


@pytest.mark.parametrize(("processes", "error"), [(1, GLOO), (2, RuntimeError("shapes differ"))])
def test_other_errors_stay(processes: int, error: RuntimeError) -> None:
    with pytest.raises(RuntimeError) as raised, lost_process_named(processes, Path("run")):
        raise error
    assert raised.value is error
