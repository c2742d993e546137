"""Settings of a run: as JSON, compared with those of an earlier run, and what a run is trained on."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import pytest

from medcli.core.errors import UsageError
from medcli.training.settings import (
    FitSettings,
    as_dict,
    check_learning_rate,
    check_same_settings,
    data_fingerprint,
    differing,
    read_settings,
    save_settings,
)


@dataclass(frozen=True)
class Settings(FitSettings):
    root: Path = Path("data")
    weights: tuple[float, ...] = (1.0, 0.5)


def test_settings_as_json_has_them() -> None:
    values = as_dict(Settings())
    assert (values["root"], values["weights"], values["loggers"]) == ("data", [1.0, 0.5], ["csv"])


def test_saved_settings_are_read_back_and_none_is_empty(tmp_path: Path) -> None:
    assert read_settings(tmp_path) == {}
    save_settings(tmp_path, Settings(), "4 frames", ["old.ckpt"])
    assert read_settings(tmp_path) == {**as_dict(Settings()), "data": "4 frames", "resumed_from": ["old.ckpt"]}


def test_what_does_not_alter_numbers_may_change() -> None:
    before = as_dict(Settings())
    free = dataclasses.replace(Settings(), root=Path("elsewhere"), epochs=7, compile=True, loggers=())
    assert differing(before, free, "") == []
    assert differing(before, dataclasses.replace(free, lr=0.5), "") == ["lr was 1e-05, is 0.5"]


def test_a_folder_of_other_settings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"settings\.json cannot be read"):
        check_same_settings(tmp_path, Settings())
    save_settings(tmp_path, Settings(), "4 frames")
    check_same_settings(tmp_path, Settings(), "4 frames")
    with pytest.raises(UsageError, match="made with other options: seed was 42, is 1, data was 4 frames, is 5 frames"):
        check_same_settings(tmp_path, dataclasses.replace(Settings(), seed=1), "5 frames")


def test_data_are_told_by_each_frame_and_their_order() -> None:
    found = data_fingerprint(["a", "b"], {"training frames": 1, "validation frames": 1})
    assert found.startswith("1 training frames, 1 validation frames, digest ")
    assert data_fingerprint(["b", "a"], {"training frames": 1, "validation frames": 1}) != found


@pytest.mark.parametrize("lr", [0.0, -1.0, float("nan"), float("inf")])
def test_a_learning_rate_is_positive(lr: float) -> None:
    check_learning_rate(FitSettings())
    with pytest.raises(UsageError, match="--lr"):
        check_learning_rate(FitSettings(lr=lr))
