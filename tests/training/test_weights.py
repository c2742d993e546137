"""Which checkpoint is taken when none is named, and which weights are taken by a network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from medcli.core.errors import DataError, UnwrittenFileError, UsageError
from medcli.training.weights import build_and_load, complete_copy, find_newest, read_description, save_weights
from tests.support.small_disk import small_disk


def test_folds_of_a_cross_validation_are_named(tmp_path: Path) -> None:
    folds = [tmp_path / "seg" / "fpn-loo" / name / "best.safetensors" for name in ("specimen01", "specimen03")]
    with pytest.raises(DataError, match="no checkpoint") as error:
        find_newest(tmp_path, "seg")
    assert "medcli train seg" in str(error.value.hint)
    for fold in folds:
        fold.parent.mkdir(parents=True)
        fold.touch()
    with pytest.raises(DataError, match="but those of 2 folds") as error:
        find_newest(tmp_path, "seg")
    assert error.value.hint == f"name one: --checkpoint {folds[0]} (to specimen03)"
    whole = tmp_path / "seg" / "fpn" / "best.safetensors"
    whole.parent.mkdir()
    whole.touch()
    assert find_newest(tmp_path, "seg") == whole


def linear() -> torch.nn.Module:
    return torch.nn.Linear(2, 3)


def test_weights_are_loaded_as_they_were_saved(tmp_path: Path) -> None:
    model = linear()
    path = save_weights(tmp_path / "a.safetensors", model, "{}")
    loaded = build_and_load(linear, path, "linear")
    assert torch.equal(loaded.weight, model.weight)
    assert loaded.weight.device.type == "cpu"


def test_a_full_disk_leaves_neither_weights_nor_description_or_both_old_ones(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 1) as disk:
        for before in ([], ["a.json", "a.safetensors"]):
            with pytest.raises(UnwrittenFileError, match=r"a\.safetensors"):
                save_weights(disk / "a", torch.nn.Linear(600, 600), "new")
            assert sorted(path.name for path in disk.iterdir()) == before
            if before:
                assert (disk / "a.json").read_text() == read_description(disk / "a.safetensors", "") + "\n" == "old\n"
            save_weights(disk / "a", linear(), "old")


def test_a_description_is_never_that_of_other_weights_and_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_weights(tmp_path / "a", linear(), "old")
    replaced = Path.replace

    def die_after(part: Path, target: Path) -> None:
        replaced(part, target)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", die_after)
        with pytest.raises(KeyboardInterrupt):
            save_weights(path, linear(), "new")
    assert (read_description(path, ""), path.with_suffix(".json").exists()) == ("new", False)
    complete_copy(path)
    assert path.with_suffix(".json").read_text() == "new\n"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"weight": torch.full((3, 2), float("nan"))}, "weight holds numbers that are not finite"),
        ({"bias": torch.full((3,), float("-inf"))}, "bias holds numbers that are not finite"),
        ({"weight": torch.ones(3, 2, dtype=torch.int64)}, r"does not fit linear: weight is of type int64"),
        ({"weight": torch.ones(2, 3)}, r"does not fit the network it names \(linear\): weight has another shape"),
        ({"more": torch.ones(2)}, "more is not part of it"),
        ({"bias": None}, "bias is missing"),
    ],
)
def test_weights_that_do_not_fit_are_named(changed: dict[str, torch.Tensor], words: str, tmp_path: Path) -> None:
    state = {**linear().state_dict(), **changed}
    path = tmp_path / "a.safetensors"
    save_file({name: tensor for name, tensor in state.items() if tensor is not None}, path)
    with pytest.raises(DataError, match=words) as raised:
        build_and_load(linear, path, "linear")
    assert str(path) in raised.value.message


def test_a_network_too_large_for_the_file_is_never_built(tmp_path: Path) -> None:
    """The file names a network of 400 GB: it is compared as an outline without numbers."""
    path = save_weights(tmp_path / "a.safetensors", linear(), "{}")
    with pytest.raises(DataError, match="has another shape"):
        build_and_load(lambda: torch.nn.Linear(1_000_000, 100_000), path, "giant")


def test_a_network_that_cannot_be_built_is_the_file_s_fault(tmp_path: Path) -> None:
    path = save_weights(tmp_path / "a.safetensors", linear(), "{}")

    def build() -> torch.nn.Module:
        raise UsageError("no encoder 'x'", "another one")

    with pytest.raises(DataError, match=r"a\.safetensors names a network that cannot be built: no encoder 'x'"):
        build_and_load(build, path, "x")
