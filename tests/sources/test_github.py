"""Files of a GitHub repository: one commit, one folder, git's own hashes; and one error for nonsense."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from medcli.core.errors import DataError, UsageError
from medcli.sources.github import GitHubFiles
from medcli.transfer.http import Http
from medcli.transfer.protocol import RemoteFile, Unexpected
from medcli.transfer.retry_policy import RetryPolicy
from tests.support.servers import FakeGitHub, Request, git_hash
from tests.transfer.test_http import QUICK

TABLE = b"id,tx\n1,2\n"
REPOSITORY = "wjh19990923/veriserum"
COMMIT = f"/api/repos/{REPOSITORY}/commits/2b35e34"
TREE = f"/api/repos/{REPOSITORY}/git/trees/{FakeGitHub.TREE}"
HASH = "a" * 40
FILE = {"path": "csv_files/a.csv", "type": "blob", "size": 3, "sha": HASH}


def test_files_of_a_folder_at_a_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    server = FakeGitHub("owner/name")
    server.add("csv_files/poses.csv", TABLE)
    server.add("README.md", b"# read me")
    monkeypatch.setenv("MEDCLI_GITHUB_API_URL", f"{server.url}/api/")
    monkeypatch.setenv("MEDCLI_GITHUB_RAW_URL", f"{server.url}/raw")
    source = GitHubFiles("owner/name", "2b35e34", "csv_files", Http(RetryPolicy(tries=1)))
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
        GitHubFiles("owner/name", "main", "csv_files", Http(RetryPolicy(tries=1)))


class Lying(FakeGitHub):
    """Answers what ``say`` has for a path in place of the truth."""

    def __init__(self) -> None:
        self.say: dict[str, Any] = {}
        super().__init__(REPOSITORY)

    def answer(self, request: Request) -> tuple[int, dict[str, str], Any] | None:
        return (200, {}, self.say[request.path]) if request.path in self.say else super().answer(request)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lying]:
    server = Lying()
    server.add("csv_files/a.csv", b"abc")
    monkeypatch.setenv("MEDCLI_GITHUB_API_URL", f"{server.url}/api")
    monkeypatch.setenv("MEDCLI_GITHUB_RAW_URL", f"{server.url}/raw")
    yield server
    server.stop()


def entries() -> list[RemoteFile]:
    return list(GitHubFiles(REPOSITORY, "2b35e34", "csv_files", Http(QUICK)).list())


def test_files_of_the_folder_are_listed(server: Lying) -> None:
    assert [(entry.name, entry.size) for entry in entries()] == [("csv_files/a.csv", 3)]


@pytest.mark.parametrize(
    "value",
    [
        [],
        "text",
        None,
        5,
        {},
        {"sha": None, "commit": {"tree": {"sha": HASH}}},
        {"sha": "../../x", "commit": {"tree": {"sha": HASH}}},
        {"sha": HASH, "commit": None},
        {"sha": HASH, "commit": []},
        {"sha": HASH, "commit": {"tree": HASH}},
        {"sha": HASH, "commit": {"tree": {"sha": 5}}},
        b"[" * 100_000,
        b"\xff",
    ],
)
def test_a_commit_that_is_none_is_reported(server: Lying, value: Any) -> None:
    server.say[COMMIT] = value
    with pytest.raises(Unexpected, match=COMMIT):
        entries()


@pytest.mark.parametrize(
    "value",
    [
        [],
        "text",
        None,
        5,
        {},
        {"tree": None},
        {"tree": {}},
        {"tree": [None]},
        {"tree": [[]]},
        *({"tree": [FILE | {name: value}]} for name in FILE for value in (None, [], {}, True)),
        *({"tree": [FILE | {"size": value}]} for value in ("3", -1, 1.0, float("inf"))),
        *({"tree": [FILE | {"sha": value}]} for value in ("", "A" * 40, "a" * 39)),
        b"[" * 100_000,
        b"\xff",
    ],
)
def test_a_listing_that_is_none_is_reported(server: Lying, value: Any) -> None:
    server.say[TREE] = value
    with pytest.raises(Unexpected, match=TREE):
        entries()


def test_a_listing_that_github_cut_off_is_not_taken_for_the_whole(server: Lying) -> None:
    server.say[TREE] = {"tree": [FILE], "truncated": True}
    with pytest.raises(DataError, match="more files than GitHub lists"):
        entries()
