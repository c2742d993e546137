"""``medcli download weights``: fetched, verified and converted on arrival."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import torch

from medcli.ultrabones.dataset.constants import TRAIN_SPECIMENS
from medcli.ultrabones.dataset.published_networks import PUBLISHED_NETWORKS, UNKNOWN_TRAINING, training_origin
from medcli.ultrabones.segmentation.checkpoint import load_model
from medcli.ultrabones.segmentation.checkpoint_metadata import read_metadata
from tests.conftest import Ran
from tests.support.servers import FakeGitHub, FakeHub, Trouble

Medcli = Callable[..., Ran]
ON_HUB, ON_GITHUB = PUBLISHED_NETWORKS["epoch_30_leave_12_out"], PUBLISHED_NETWORKS["epoch_100"]
WEIGHTS_FILE = ON_HUB.path


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
    hub = FakeHub(ON_HUB.repository, "model")
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
    loaded, metadata = load_model(checkpoint)
    assert metadata.train_specimens is None
    assert metadata.splits["warnings"] == [UNKNOWN_TRAINING]
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


def test_both_networks_come_each_with_its_training_specimens(
    weights_hub: FakeHub, network: torch.nn.Module, medcli: Medcli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    github = FakeGitHub(ON_GITHUB.repository)
    github.add(ON_GITHUB.path, weights_hub.content[WEIGHTS_FILE])
    monkeypatch.setenv("MEDCLI_GITHUB_API_URL", f"{github.url}/api")
    monkeypatch.setenv("MEDCLI_GITHUB_RAW_URL", f"{github.url}/raw")
    github.trouble(github.path_of(ON_GITHUB.path), Trouble(cut_after=5_000_000))
    ran = medcli("download", "weights", "--name", "all", "--dest", tmp_path)
    assert ran.code == 0, ran.err
    assert "trained on  specimens 1 3 4 5 6 9 10 11 12 13 14" in ran.out
    assert UNKNOWN_TRAINING in " ".join(ran.out.split())
    assert "files     2 of 2" in ran.out
    pickled, converted = tmp_path / "epoch_100.pth", tmp_path / "epoch_100.safetensors"
    for metadata in (load_model(pickled)[1], read_metadata(converted)):
        assert metadata.train_specimens == TRAIN_SPECIMENS
        assert f"github.com/{ON_GITHUB.repository}@{github.COMMIT}" in metadata.source
    again = medcli("download", "weights", "--name", "epoch_100", "--dest", tmp_path, "--json")
    assert json.loads(again.out)["networks"][0]["train_specimens"] == list(TRAIN_SPECIMENS)
    # What is brought by hand is recognised by nothing but its content: another file of that name is not the network.
    pickled.write_bytes((tmp_path / WEIGHTS_FILE).read_bytes()[:-1] + b"0")
    assert training_origin(pickled) is None
    github.stop()


def test_a_repository_without_the_network_and_one_revision_for_two_are_refused(
    weights_hub: FakeHub, medcli: Medcli, tmp_path: Path
) -> None:
    weights_hub.content = {}
    ran = medcli("download", "weights", "--dest", tmp_path)
    assert ran.code == 3
    assert f"has no {WEIGHTS_FILE}" in ran.err
    assert "--name epoch_100" in ran.err
    ran = medcli("download", "weights", "--name", "all", "--revision", "v1", "--dest", tmp_path)
    assert (ran.code, "--revision is of one repository" in ran.err) == (2, True)


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
