"""Each command printed in README and docs about downloads runs as printed, against the local servers."""

from __future__ import annotations

import io
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import segmentation_models_pytorch as smp
import torch

from medcli.ultrabones.dataset.published_networks import PUBLISHED_NETWORKS
from tests.conftest import REPOSITORY, Ran
from tests.support.azurite import Azurite
from tests.support.download_fixtures import CURRENT, example_server, files_in, set_github, zipped
from tests.support.servers import FakeDSpace, FakeGitHub, FakeHub

SECTIONS = (("README.md", "Get the data"), ("docs/download.md", "Download the data"))


def commands() -> list[str]:
    """Every command printed about downloads, once."""
    found = []
    for page, title in SECTIONS:
        parts = re.split(r"^## ", (REPOSITORY / page).read_text("utf-8"), flags=re.MULTILINE)
        section = next(part for part in parts if part.startswith(f"{title}\n"))
        for block in re.findall(r"^```console\n(.*?)^```", section, re.MULTILINE | re.DOTALL):
            lines = block.replace("\\\n", " ").splitlines()
            found += [
                line.removeprefix("$ ").partition(" #")[0].strip() for line in lines if line.startswith("$ medcli")
            ]
    return list(dict.fromkeys(found))


@pytest.fixture(scope="module")
def weights() -> bytes:
    buffer = io.BytesIO()
    torch.save(smp.FPN("resnet18", encoder_weights=None, in_channels=1, classes=1).half(), buffer)
    return buffer.getvalue()


@pytest.fixture
def all_servers(hub: FakeHub, veriserum_server: FakeDSpace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeHub:
    """A working folder, and servers that have every specimen the section names."""
    hub.add("specimen08.zip", zipped(CURRENT[7]).replace(b"specimen07", b"specimen08"))
    monkeypatch.chdir(tmp_path)
    return hub


def test_every_source_and_the_check_are_shown() -> None:
    text = "\n".join(commands())
    for word in ("ultrabones", "veriserum", "weights", "examples", "--verify", "--dry-run", "--connection-string-file"):
        assert word in text


@pytest.mark.parametrize("command", commands())
def test_it_runs_as_printed(
    command: str,
    all_servers: FakeHub,
    weights: bytes,
    medcli: Callable[..., Ran],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    words = shlex.split(command)[1:]
    if "weights" in words:
        hub, github = PUBLISHED_NETWORKS.values()
        server, other = FakeHub(hub.repository, "model"), FakeGitHub(github.repository)
        server.add(hub.path, weights)
        other.add(github.path, weights)
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        set_github(other, monkeypatch)
        request.addfinalizer(server.stop)
        request.addfinalizer(other.stop)
    if "examples" in words:
        other = example_server()
        set_github(other, monkeypatch)
        request.addfinalizer(other.stop)
    if "--connection-string-file" in words:
        azurite: Azurite = request.getfixturevalue("azurite")
        Path("connection.txt").write_text(azurite.connection_string())
    if "--verify" in words:  # there must be something to check
        assert medcli(*[word for word in words if word != "--verify"], *_accepting(words)).code == 0
    accepted = [] if "--accept-license" in words or "--verify" in words else _accepting(words)
    if accepted:  # the section accepts it in an earlier command
        assert medcli("download", "veriserum", "--only", "csv", *accepted).code == 0
    ran = medcli(*words)
    assert ran.code == 0, ran.err
    assert ran.out
    assert bool(files_in(tmp_path / "data")) == ("--dry-run" not in words)


def _accepting(words: list[str]) -> list[str]:
    return ["--accept-license"] if "veriserum" in words else []
