"""Commands as text that a shell takes as it is."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from medcli.core import shell
from medcli.core.shell import spell


@pytest.mark.parametrize(("system", "join"), [("posix", shlex.join), ("nt", subprocess.list2cmdline)])
def test_words_are_quoted_as_the_system_wants_it(monkeypatch: pytest.MonkeyPatch, system: str, join: object) -> None:
    monkeypatch.setattr(shell.os, "name", system)
    words = ("medcli", "info", "--runs", "my runs", 3)
    assert callable(join)
    assert spell(*words) == join([str(word) for word in words])


def test_paths_and_plain_words_stay_as_they_are() -> None:
    assert spell("medcli", "report", Path("runs")) == "medcli report runs"
