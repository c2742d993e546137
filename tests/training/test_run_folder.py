"""A run's folder: start, go on, done, other settings, left-overs."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from medcli.errors import UsageError
from medcli.training.run_folder import RESULT, RESUMABLE, Start, open_run, save_result
from medcli.training.settings import SETTINGS_FILE, FitSettings, as_dict

SETTINGS = FitSettings(epochs=3)


def test_new_folder_starts_at_the_first_epoch_and_keeps_the_settings(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "one"
    assert open_run(folder, SETTINGS) == Start()
    assert json.loads((folder / SETTINGS_FILE).read_text()) == as_dict(SETTINGS)


def test_folder_where_nothing_was_trained_yet_takes_other_settings(tmp_path: Path) -> None:
    open_run(tmp_path, SETTINGS)
    other = dataclasses.replace(SETTINGS, lr=0.5)
    assert open_run(tmp_path, other) == Start()
    assert json.loads((tmp_path / SETTINGS_FILE).read_text())["lr"] == 0.5


def test_stopped_run_goes_on_and_a_done_one_is_reported(tmp_path: Path) -> None:
    open_run(tmp_path, SETTINGS)
    (tmp_path / RESUMABLE).write_bytes(b"weights")
    assert open_run(tmp_path, SETTINGS).checkpoint == tmp_path / RESUMABLE
    save_result(tmp_path, {"epochs": 3})
    assert open_run(tmp_path, SETTINGS).result == {"epochs": 3}


def test_done_run_goes_on_when_more_epochs_are_asked_for(tmp_path: Path) -> None:
    open_run(tmp_path, SETTINGS)
    (tmp_path / RESUMABLE).write_bytes(b"weights")
    save_result(tmp_path, {"epochs": 3})
    start = open_run(tmp_path, dataclasses.replace(SETTINGS, epochs=5))
    assert start == Start(checkpoint=tmp_path / RESUMABLE)
    assert not (tmp_path / RESULT).exists()


def test_other_settings_are_refused_and_named_and_overwrite_forgets(tmp_path: Path) -> None:
    open_run(tmp_path, SETTINGS)
    (tmp_path / RESUMABLE).write_bytes(b"weights")
    other = dataclasses.replace(SETTINGS, lr=0.5, seed=7)
    with pytest.raises(UsageError, match=r"lr was 1e-05, is 0\.5, seed was 42, is 7") as error:
        open_run(tmp_path, other)
    assert "--overwrite" in str(error.value.hint)
    assert (tmp_path / RESUMABLE).exists()
    assert open_run(tmp_path, other, overwrite=True) == Start()
    assert not (tmp_path / RESUMABLE).exists()


def test_resume_takes_a_named_checkpoint(tmp_path: Path) -> None:
    checkpoint = tmp_path / "other.ckpt"
    with pytest.raises(UsageError, match="no checkpoint"):
        open_run(tmp_path / "run", SETTINGS, resume=str(checkpoint))
    checkpoint.write_bytes(b"weights")
    assert open_run(tmp_path / "run", SETTINGS, resume=str(checkpoint)).checkpoint == checkpoint


def test_damaged_result_means_not_done(tmp_path: Path) -> None:
    open_run(tmp_path, SETTINGS)
    (tmp_path / RESUMABLE).write_bytes(b"weights")
    (tmp_path / RESULT).write_text("{")
    assert open_run(tmp_path, SETTINGS).checkpoint == tmp_path / RESUMABLE
