"""The Hugging Face Hub: one commit, signed addresses that run out, and no token for the store behind it."""

from __future__ import annotations

import hashlib

import pytest

from medcli.core.errors import DataError
from medcli.sources.hub import HubRepository
from medcli.transfer.http import Http
from medcli.transfer.protocol import Missing
from medcli.transfer.retry_policy import Patience
from tests.support.download_fixtures import CURRENT
from tests.support.servers import FakeHub, git_hash

REPOSITORY = "luohwu/UltraBones100k"


def opened(repository: str = REPOSITORY) -> HubRepository:
    return HubRepository(repository, "dataset", "main", Http(Patience(tries=1)))


def test_files_are_listed_with_checksums_at_one_commit(hub: FakeHub) -> None:
    source = opened()
    assert source.address == f"{hub.url}/datasets/{REPOSITORY}@{hub.COMMIT}"
    checksums = {entry.name: entry.checksum for entry in source.list()}
    assert set(checksums) == {"README.md", *(f"specimen{number:02d}.zip" for number in CURRENT)}
    assert checksums["README.md"] == f"git:{git_hash(hub.content['README.md'])}"
    content = hub.content["specimen01.zip"]
    assert checksums["specimen01.zip"] == f"sha256:{hashlib.sha256(content).hexdigest()}"


def test_a_signed_address_is_used_until_it_runs_out(hub: FakeHub) -> None:
    source = opened()
    entry = next(entry for entry in source.list() if entry.name == "specimen01.zip")

    def read(offset: int) -> bytes:
        with source.open(entry, offset, 10) as body:
            assert body.tag is None
            return body.read(10)

    content = hub.content[entry.name]
    assert [read(0), read(50)] == [content[:10], content[50:60]]
    assert hub.count("/resolve/") == 1
    hub.signature = "second"
    assert read(90) == content[90:100]
    assert hub.count("/resolve/") == 2


def test_what_is_not_there_or_not_wanted_is_said(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Missing, match="answered 404 for dataset nobody/nothing"):
        opened("nobody/nothing")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DataError, match="HF_HUB_OFFLINE is set"):
        opened()
