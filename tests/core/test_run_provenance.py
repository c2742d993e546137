"""The note of a run: what it says, where it lies, and when it is left alone."""

from __future__ import annotations

import importlib.metadata
import json
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

import numpy as np
import pytest

from medcli.core.run_provenance import (
    SYNTHETIC,
    command_line,
    installed_versions,
    is_synthetic,
    note_path,
    note_run,
)
from medcli.ultrabones.dataset.publication import ABOUT
from medcli.workspace.inventory import PACKAGES


class Kind(str, Enum):
    ONE = "one"


@dataclass(frozen=True)
class Settings:
    root: Path = Path("data")
    kind: Kind = Kind.ONE
    ids: tuple[int, ...] = (1, 2)
    share: float = float("nan")
    more: dict[str, Kind] = field(default_factory=lambda: {"a": Kind.ONE})


def read(path: Path) -> dict:
    return json.loads(path.read_text("utf-8"))


def test_it_says_what_was_run_with_what(tmp_path: Path) -> None:
    with command_line("medcli train seg --epochs 3"):
        path = note_run(tmp_path, "train seg", ABOUT, tmp_path, Settings(), device="cpu")
    found = read(path)
    assert path.name == "medcli-run.json"
    assert found["command"] == "medcli train seg --epochs 3"
    assert found["settings"] == {"root": "data", "kind": "one", "ids": [1, 2], "share": None, "more": {"a": "one"}}
    assert found["packages"]["numpy"] == np.__version__
    assert found["data"]["licence"] == "CC BY 4.0"
    assert read(note_run(tmp_path, "train seg", ABOUT, None, {}))["command"] == ""


def test_it_holds_no_credential_and_is_left_alone_all_the_same(tmp_path: Path) -> None:
    secret = "https://user:Zq7Xv9Kp2Lm4@host/?sig=Zq7Xv9Kp2Lm4"
    written = []
    for _ in range(2):
        with command_line(f"medcli predict seg '{secret}'"):
            path = note_run(tmp_path, "train seg", ABOUT, Path(secret), {"a": [secret]}, result={"b": secret})
        written.append(path.stat().st_mtime_ns)
    assert "Zq7Xv9Kp2Lm4" not in path.read_text()
    assert read(path)["command"] == "medcli predict seg 'https://(hidden)@host/?sig=(hidden)'"
    assert written[0] == written[1]


def test_a_run_that_leaves_one_file_has_its_note_beside_it(tmp_path: Path) -> None:
    assert note_path(tmp_path / "poses.csv", "predict pose") == tmp_path / "poses.medcli-run.json"
    (tmp_path / "v1.2").mkdir()
    assert note_path(tmp_path / "v1.2", "train seg") == tmp_path / "v1.2" / "medcli-run.json"


def test_runs_beside_the_data_do_not_overwrite_each_others_notes(tmp_path: Path) -> None:
    label = note_run(tmp_path, "label ultrabones", ABOUT, tmp_path, {})
    predict = note_run(tmp_path, "predict seg", ABOUT, tmp_path, {})
    assert [read(path)["verb"] for path in (label, predict)] == ["label ultrabones", "predict seg"]
    assert label.parent == predict.parent == tmp_path


def test_a_note_of_the_same_result_is_left_alone(tmp_path: Path) -> None:
    path = note_run(tmp_path, "reconstruct", ABOUT, None, {"seed": 1}, Settings())
    before = path.read_bytes()
    with command_line("medcli again"):
        note_run(tmp_path, "reconstruct", ABOUT, None, {"seed": 1}, Settings())
        assert path.read_bytes() == before
        note_run(tmp_path, "reconstruct", ABOUT, None, {"seed": 2}, Settings())
    assert read(path)["command"] == "medcli again"


def test_synthetic_data_are_known_from_any_folder_inside(tmp_path: Path) -> None:
    record = tmp_path / "specimen01" / "ultrasound_records" / "fibula" / "record01"
    record.mkdir(parents=True)
    assert not is_synthetic(record)
    (tmp_path / SYNTHETIC).write_text("{}")
    assert is_synthetic(record)
    assert is_synthetic(tmp_path)


def test_a_note_that_cannot_be_written_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    note_run(tmp_path / "absent" / "deeper", "label", ABOUT, None, {})
    assert "cannot write" in caplog.text


def test_versions_are_those_of_the_metadata() -> None:
    found = installed_versions((*PACKAGES, "typer", "no-such-package"))
    assert {"torch", "numpy", "segmentation-models-pytorch", "typer"} <= found.keys()
    assert found == {name: importlib.metadata.version(name) for name in found}
    for name in {*PACKAGES, "no-such-package"} - found.keys():
        with pytest.raises(importlib.metadata.PackageNotFoundError):
            importlib.metadata.version(name)


def test_the_first_on_the_path_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("a/My_Package-1.2.dist-info", "b/my_package-1.1.dist-info", "b/old-0.9-py3.10.egg-info"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.setattr("sys.path", [str(tmp_path / name) for name in ("none", "a", "b")])
    assert installed_versions(["old", "my-package"]) == {"old": "0.9", "my-package": "1.2"}
