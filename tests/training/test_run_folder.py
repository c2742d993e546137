"""A run's folder: start, go on, done, other settings, leftovers."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from medcli.core.errors import DataError, UsageError
from medcli.core.files import write_json
from medcli.training.run_folder import RESULT, RESUMABLE, Start, open_run
from medcli.training.settings import SETTINGS_FILE, FitSettings, as_dict, data_fingerprint, read_settings
from medcli.training.training_run import begin

SETTINGS = FitSettings(epochs=3)


def test_new_folder_starts_at_the_first_epoch_and_keeps_the_settings(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "one"
    assert open_run(folder, SETTINGS) == Start()
    assert as_dict(SETTINGS).items() <= json.loads((folder / SETTINGS_FILE).read_text()).items()


def test_folder_where_nothing_was_trained_yet_takes_other_settings(tmp_path: Path) -> None:
    open_run(tmp_path, SETTINGS)
    other = dataclasses.replace(SETTINGS, lr=0.5)
    assert open_run(tmp_path, other) == Start()
    assert json.loads((tmp_path / SETTINGS_FILE).read_text())["lr"] == 0.5


def test_stopped_run_resumes_and_a_done_one_is_reported(tmp_path: Path) -> None:
    open_run(tmp_path, SETTINGS)
    (tmp_path / RESUMABLE).write_bytes(b"weights")
    assert open_run(tmp_path, SETTINGS).checkpoint == tmp_path / RESUMABLE
    write_json(tmp_path / RESULT, {"epochs": 3})
    assert open_run(tmp_path, SETTINGS).result == {"epochs": 3}


def test_finished_run_resumes_when_more_epochs_are_asked_for(tmp_path: Path) -> None:
    open_run(tmp_path, SETTINGS)
    (tmp_path / RESUMABLE).write_bytes(b"weights")
    write_json(tmp_path / RESULT, {"epochs": 3})
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


def test_a_field_that_came_later_has_had_its_default(tmp_path: Path) -> None:
    open_run(tmp_path, SETTINGS)
    saved = json.loads((tmp_path / SETTINGS_FILE).read_text())
    del saved["compile"], saved["precision"]
    (tmp_path / SETTINGS_FILE).write_text(json.dumps(saved))
    (tmp_path / RESUMABLE).write_bytes(b"weights")
    assert open_run(tmp_path, SETTINGS).checkpoint
    with pytest.raises(UsageError, match="precision was auto, is bf16"):
        open_run(tmp_path, dataclasses.replace(SETTINGS, precision="bf16"))


def test_resume_takes_a_named_checkpoint(tmp_path: Path) -> None:
    checkpoint = tmp_path / "other.ckpt"
    with pytest.raises(UsageError, match="no checkpoint"):
        open_run(tmp_path / "run", SETTINGS, resume=str(checkpoint))
    checkpoint.write_bytes(b"weights")
    assert open_run(tmp_path / "run", SETTINGS, resume=str(checkpoint)).checkpoint == checkpoint


def test_fewer_epochs_than_done_are_refused_and_nothing_is_deleted(tmp_path: Path) -> None:
    open_run(tmp_path, SETTINGS)
    (tmp_path / RESUMABLE).write_bytes(b"weights")
    write_json(tmp_path / RESULT, {"epochs": 3})
    with pytest.raises(UsageError, match="3 epochs behind it, --epochs 2 leaves none to train"):
        open_run(tmp_path, dataclasses.replace(SETTINGS, epochs=2))
    assert (tmp_path / RESULT).exists()


def test_checkpoint_with_as_many_epochs_as_asked_is_refused_in_a_new_folder(tmp_path: Path) -> None:
    content = {"state_dict": {}, "optimizer_states": [], "loops": {}, "epoch": 2}
    old, new = tmp_path / "old", tmp_path / "new"
    begin(old, SETTINGS, "auto", False, "")
    torch.save(content, old / RESUMABLE)
    with pytest.raises(UsageError, match="3 epochs behind it, --epochs 3 leaves none"):
        begin(new, SETTINGS, str(old / RESUMABLE), False, "")
    assert not new.exists()
    assert begin(old, SETTINGS, "auto", False, "").checkpoint  # killed before its result: it only has to finish
    with pytest.raises(UsageError, match="--epochs 2 leaves none"):
        begin(old, dataclasses.replace(SETTINGS, epochs=2), "auto", False, "")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"no archive", "it is a text file, not a checkpoint"),
        (b"", "it is empty (0 bytes): it was truncated, or never written"),
        (b"\x80\x02", "it is not a checkpoint that torch.save wrote, or is damaged: its pickle is truncated"),
    ],
)
def test_file_that_is_no_checkpoint_is_refused_in_plain_words(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "some.ckpt"
    path.write_bytes(content)
    with pytest.raises(DataError) as error:
        begin(tmp_path / "run", SETTINGS, str(path), False, "")
    assert error.value.message.startswith(f"{path} is not a checkpoint that can be resumed: {words}")
    assert not (tmp_path / "run").exists()


def test_other_data_are_refused_although_the_folder_may_move(tmp_path: Path) -> None:
    first = data_fingerprint(["a", "b"], {"training frames": 2})
    open_run(tmp_path, SETTINGS, data=first)
    (tmp_path / RESUMABLE).write_bytes(b"weights")
    write_json(tmp_path / RESULT, {"epochs": 3})
    assert open_run(tmp_path, SETTINGS, data=first).result
    with pytest.raises(UsageError, match=r"data was 2 training frames, digest [0-9a-f]*, is 2 training frames"):
        open_run(tmp_path, SETTINGS, data=data_fingerprint(["a", "c"], {"training frames": 2}))


def test_going_on_from_another_run_says_and_records_what_differs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    open_run(old, SETTINGS)
    (old / RESUMABLE).write_bytes(b"weights")
    other = dataclasses.replace(SETTINGS, lr=0.5)
    open_run(new, other, resume=str(old / RESUMABLE))
    assert "is of a run with other settings: lr was 1e-05, is 0.5" in caplog.text
    recorded = read_settings(new)["resumed_from"]
    assert recorded == [f"{old / RESUMABLE}: lr was 1e-05, is 0.5"]
    (new / RESUMABLE).write_bytes(b"weights")
    open_run(new, other)
    assert read_settings(new)["resumed_from"] == recorded


def test_damaged_result_means_not_done(tmp_path: Path) -> None:
    open_run(tmp_path, SETTINGS)
    (tmp_path / RESUMABLE).write_bytes(b"weights")
    (tmp_path / RESULT).write_text("{")
    assert open_run(tmp_path, SETTINGS).checkpoint == tmp_path / RESUMABLE
