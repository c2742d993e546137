"""Where Windows takes no long paths, a path that is too long says so; elsewhere there is no such limit."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from medcli.core import errors
from medcli.core.errors import DataError, MedcliError, UnwrittenFileError, system_failure
from medcli.core.files import check_output_folder, write_text
from medcli.core.system import long_paths
from medcli.core.system.long_paths import long_path_fault, takes_long_paths
from medcli.core.tables import read_table_text


def test_other_systems_take_them(tmp_path: Path) -> None:
    assert takes_long_paths() or os.name == "nt"
    assert not long_path_fault(tmp_path / "short")


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_paths, "takes_long_paths", lambda: False)


@pytest.mark.usefixtures("limited")
def test_a_path_that_is_too_long_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path.joinpath(*["deeper"] * 40)
    assert not long_path_fault(tmp_path / "xxx")
    assert "characters, and this Windows takes 259" in long_path_fault(deep)
    with pytest.raises(MedcliError, match="this Windows takes 259"):
        check_output_folder(deep)
    with pytest.raises(DataError, match="this Windows takes 259"):
        read_table_text(deep / "table.csv", "test table")
    with pytest.raises(UnwrittenFileError) as raised:
        write_text(deep / "note.txt", "text")
    failure = system_failure(raised.value)
    assert failure is not None
    assert failure.message.startswith("a name is too long: cannot write ")
    assert "this Windows takes 259" in failure.message
    monkeypatch.setattr(errors.os, "name", "nt")
    failure = system_failure(FileNotFoundError(2, "No such file or directory", str(deep)))
    assert failure is not None
    assert "this Windows takes 259" in failure.message
