from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from medcli.core.errors import DataError
from medcli.training.seeds import seed_torch
from medcli.ultrabones.segmentation import checkpoint
from medcli.ultrabones.segmentation.checkpoint_metadata import Metadata, find_newest_best
from medcli.ultrabones.segmentation.network import build_model
from tests.conftest import Ran

METADATA = Metadata(
    encoder="resnet18", settings={"epochs": 3, "out": Path("runs/x")}, metrics={"val_loss": float("nan")}
)


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    torch.manual_seed(1)
    return build_model("fpn", "resnet18").eval()


@pytest.fixture
def saved(tmp_path: Path, model: torch.nn.Module) -> Path:
    return checkpoint.save_checkpoint(tmp_path / "best.safetensors", model, METADATA)


def test_round_trip_gives_the_same_weights(saved: Path, model: torch.nn.Module) -> None:
    loaded, metadata = checkpoint.load_model(saved)
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    assert metadata.settings == {"epochs": 3, "out": "runs/x"}
    assert metadata.metrics == {"val_loss": None}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_others_may_read_it_as_the_umask_says(saved: Path) -> None:
    (saved.parent / "plain").touch()
    assert saved.stat().st_mode == (saved.parent / "plain").stat().st_mode


def test_json_beside_it_says_the_same(saved: Path) -> None:
    beside = json.loads(saved.with_suffix(".json").read_text(encoding="utf-8"))
    assert beside == json.loads(checkpoint.read_metadata(saved).to_json())
    assert beside["schema"] == "medcli.segmenter.v1"
    assert "110435" in beside["citation"]


def test_weights_file_alone_is_enough(saved: Path) -> None:
    saved.with_suffix(".json").unlink()
    assert checkpoint.load_model(saved)[1].encoder == "resnet18"


def test_compiled_and_channels_last_models_save_the_same(tmp_path: Path, model: torch.nn.Module, saved: Path) -> None:
    compiled = torch.compile(build_model("fpn", "resnet18").to(memory_format=torch.channels_last))
    compiled.load_state_dict({f"_orig_mod.{name}": value for name, value in model.state_dict().items()})
    again = checkpoint.save_checkpoint(tmp_path / "again", compiled, METADATA)
    assert again.name == "again.safetensors"
    assert again.read_bytes() == saved.read_bytes()


def test_an_interrupted_save_keeps_the_old_checkpoint(
    saved: Path, model: torch.nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = saved.read_bytes()

    def fail(path: Path, content: bytes) -> None:
        with path.open("wb") as file:
            file.write(content[:1000])
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save_checkpoint(saved, model, METADATA)
    assert saved.read_bytes() == before
    assert sorted(path.name for path in saved.parent.iterdir()) == ["best.json", "best.safetensors"]


def test_newest_best(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no checkpoint") as raised:
        find_newest_best(tmp_path)
    assert "medcli train seg" in str(raised.value.hint)
    for name, age_s in (("old", 100), ("new", 10), ("oldest", 1000)):
        path = tmp_path / "seg" / name / "best.safetensors"
        path.parent.mkdir(parents=True)
        path.touch()
        os.utime(path, (1_700_000_000 - age_s,) * 2)
    assert find_newest_best(tmp_path).parent.name == "new"


def test_foreign_and_damaged_files_are_named(tmp_path: Path, saved: Path) -> None:
    with pytest.raises(DataError, match="no checkpoint"):
        checkpoint.load_model(tmp_path / "missing.safetensors")
    save_file({"weight": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(DataError, match="no description"):
        checkpoint.load_model(tmp_path / "foreign.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(saved.read_bytes()[:5000])
    with pytest.raises(DataError, match="cannot read checkpoint"):
        checkpoint.load_model(tmp_path / "cut.safetensors")


def test_weights_that_do_not_fit_their_description(tmp_path: Path, model: torch.nn.Module) -> None:
    path = checkpoint.save_checkpoint(tmp_path / "wrong", model, Metadata(encoder="resnet34"))
    with pytest.raises(DataError, match=r"does not fit the network it names \(fpn on resnet34\)"):
        checkpoint.load_model(path)


def test_later_schema_is_refused(tmp_path: Path, model: torch.nn.Module) -> None:
    path = checkpoint.save_checkpoint(tmp_path / "later", model, Metadata(schema="medcli.segmenter.v9"))
    with pytest.raises(DataError, match=r"schema medcli\.segmenter\.v9, expected medcli\.segmenter\.v1"):
        checkpoint.load_model(path)


def test_new_network_is_the_one_that_a_training_begins_with(medcli: Callable[..., Ran], tmp_path: Path) -> None:
    words = ["--arch", "pan", "--encoder", "tu-mobilenetv3_small_050", "--seed", "7"]
    made = medcli("checkpoint", "new", tmp_path / "new.safetensors", *words, "--json")
    assert made.code == 0, made.err
    assert json.loads(made.out)["metadata"]["source"] == "medcli checkpoint new, untrained"
    seed_torch(7)
    expected = build_model("pan", "tu-mobilenetv3_small_050", "none").state_dict()
    found = checkpoint.load_model(tmp_path / "new.safetensors")[0].state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())

    shown = medcli("checkpoint", "show", tmp_path / "new.safetensors").out
    assert ("none: random weights, no data" in shown, "citation" in shown) == (True, False)

    written = (tmp_path / "new.safetensors").stat().st_mtime_ns
    assert medcli("checkpoint", "new", tmp_path / "new.safetensors", *words).code == 0
    assert (tmp_path / "new.safetensors").stat().st_mtime_ns == written
    other = medcli("checkpoint", "new", tmp_path / "new.safetensors", *words[:-1], "8")
    assert other.code == 2
    assert "is another network" in other.err
