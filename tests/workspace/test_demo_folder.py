"""The state of a demonstration, and the command that resumes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from medcli.core.locks import folder_in_use
from medcli.core.shell import spell
from medcli.workspace.demo_folder import find_demo


def test_absent_started_and_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path("demo")
    assert find_demo(folder) is None
    folder.mkdir()
    assert find_demo(folder) is None
    (folder / "demo-settings.json").write_text('{"quick": false, "seed": 7}', "utf-8")
    assert (started := find_demo(folder)) is not None
    assert (started.finished, started.report, started.resume) == (False, None, "medcli demo --seed 7")
    with folder_in_use(folder, "demonstration"):
        assert (running := find_demo(folder)) is not None
        assert (running.is_running, running.resume) == (True, None)
    assert not find_demo(folder).is_running  # type: ignore[union-attr]
    folder = folder.rename("my demo")
    assert (elsewhere := find_demo(folder)) is not None
    assert elsewhere.resume == spell("medcli", "demo", "--out", "my demo", "--seed", "7")
    (folder / "demo.json").write_text("{}", "utf-8")
    (folder / "report.html").touch()
    assert (finished := find_demo(folder)) is not None
    assert (finished.finished, finished.report, finished.resume) == (True, folder / "report.html", None)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"quick": true}'])
def test_damaged_files_are_no_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "demo-settings.json").write_text(content, "utf-8")
    (tmp_path / "demo.json").write_text(content[:1], "utf-8")
    assert (found := find_demo(tmp_path)) is not None
    assert (found.finished, found.resume) == (False, None)
