"""``medcli download weights``: fetched, verified and converted on arrival."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import torch

from medcli.ultrabones.dataset.publication import HUB_WEIGHTS, WEIGHTS_FILE
from medcli.ultrabones.segmentation.checkpoint import load_model
from tests.conftest import Ran
from tests.support.servers import FakeHub, Trouble

Medcli = Callable[..., Ran]


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    return smp.FPN("resnet18", encoder_weights=None, in_channels=1, classes=1).half()


@pytest.fixture
def weights_hub(
    network: torch.nn.Module, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FakeHub]:
    """A Hub with a whole pickled network, as the authors publish it."""
    buffer = io.BytesIO()
    torch.save(network, buffer)
    hub = FakeHub(HUB_WEIGHTS, "model")
    hub.add(WEIGHTS_FILE, buffer.getvalue())
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("HF_HOME", str(tmp_path_factory.mktemp("hf")))
    yield hub
    hub.stop()


def test_the_checkpoint_comes_and_is_converted_once(
    weights_hub: FakeHub, network: torch.nn.Module, medcli: Medcli, tmp_path: Path
) -> None:
    weights_hub.trouble(f"/store/{WEIGHTS_FILE}", Trouble(cut_after=5_000_000), Trouble(flip=1000))
    ran = medcli("download", "weights", "--dest", tmp_path, "--json")
    assert ran.code == 0, ran.err
    checkpoint = Path(json.loads(ran.out)["checkpoint"])
    loaded, _ = load_model(checkpoint)
    expected = network.encoder.conv1.weight.float()
    torch.testing.assert_close(loaded.get_parameter("encoder.conv1.weight"), expected, rtol=0, atol=0)
    written = checkpoint.stat().st_mtime_ns
    again = medcli("download", "weights", "--dest", tmp_path)
    assert again.code == 0
    assert str(checkpoint) in again.out
    assert checkpoint.stat().st_mtime_ns == written
    checkpoint.unlink()  # as a kill between download and conversion leaves it
    assert medcli("download", "weights", "--dest", tmp_path).code == 0
    assert checkpoint.is_file()


def test_a_file_that_is_no_network_is_refused_in_a_line(weights_hub: FakeHub, medcli: Medcli, tmp_path: Path) -> None:
    weights_hub.add(WEIGHTS_FILE, b"no network at all" * 100)
    ran = medcli("download", "weights", "--dest", tmp_path)
    assert ran.code == 3
    assert WEIGHTS_FILE in ran.err
    assert len(ran.err.strip().splitlines()) <= 3


def test_a_dry_run_names_the_size(weights_hub: FakeHub, medcli: Medcli, tmp_path: Path) -> None:
    ran = medcli("download", "weights", "--dry-run", "--dest", tmp_path)
    assert ran.code == 0
    assert "MB" in ran.out
    assert list(tmp_path.iterdir()) == []
