"""Files of a GitHub repository: one commit, one folder, git's own hashes."""

from __future__ import annotations

import pytest

from medcli.core.errors import UsageError
from medcli.sources.github import GitHubFiles
from medcli.transfer.http import Http
from medcli.transfer.retry_policy import Patience
from tests.support.servers import FakeGitHub, git_hash

TABLE = b"id,tx\n1,2\n"


def test_files_of_a_folder_at_a_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    server = FakeGitHub("owner/name")
    server.add("csv_files/poses.csv", TABLE)
    server.add("README.md", b"# read me")
    monkeypatch.setenv("MEDCLI_GITHUB_API_URL", f"{server.url}/api/")
    monkeypatch.setenv("MEDCLI_GITHUB_RAW_URL", f"{server.url}/raw")
    source = GitHubFiles("owner/name", "2b35e34", "csv_files", Http(Patience(tries=1)))
    assert source.address == f"https://github.com/owner/name@{server.COMMIT}"
    (entry,) = source.list()
    assert (entry.name, entry.size, entry.checksum) == ("csv_files/poses.csv", len(TABLE), f"git:{git_hash(TABLE)}")
    with source.open(entry, 3) as body:
        assert body.read(100) == TABLE[3:]
    assert source.refresh(entry) is entry
    server.stop()


def test_a_mirror_that_is_no_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDCLI_GITHUB_API_URL", "mirror")
    with pytest.raises(UsageError, match="MEDCLI_GITHUB_API_URL is not an http"):
        GitHubFiles("owner/name", "main", "csv_files", Http(Patience(tries=1)))
