"""The Hugging Face Hub: one commit, signed addresses that run out, and no token for the store behind it.

A Hub that answers nonsense is said in one error; the user's token goes to it and to nobody else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from medcli.core.errors import DataError, UsageError
from medcli.sources.hub import HubRepository
from medcli.transfer.http import Http
from medcli.transfer.protocol import Missing, RemoteFile, Unexpected
from medcli.transfer.retry_policy import RetryPolicy
from tests.conftest import Ran
from tests.support.download_fixtures import CURRENT
from tests.support.servers import FakeHub, Request, Server, git_hash
from tests.transfer.test_http import QUICK

REPOSITORY = "luohwu/UltraBones100k"
REVISION = f"/api/datasets/{REPOSITORY}/revision/main"
TREE = f"/api/datasets/{REPOSITORY}/tree/{FakeHub.COMMIT}"
FILE = {"type": "file", "path": "a.csv", "size": 3, "oid": "a" * 40}


def opened(repository: str = REPOSITORY) -> HubRepository:
    return HubRepository(repository, "dataset", "main", Http(RetryPolicy(tries=1)))


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


def test_what_is_not_there_or_not_wanted_is_reported(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Missing, match="answered 404 Not Found for dataset nobody/nothing"):
        opened("nobody/nothing")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DataError, match="HF_HUB_OFFLINE is set"):
        opened()


class Lying(FakeHub):
    """Answers what ``say`` has for a path in place of the truth, with ``headers``."""

    def __init__(self) -> None:
        self.say: dict[str, Any] = {}
        self.headers: dict[str, str] = {}
        super().__init__(REPOSITORY)

    def answer(self, request: Request) -> tuple[int, dict[str, str], Any] | None:
        if request.path in self.say:
            return 200, self.headers, self.say[request.path]
        return super().answer(request)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Lying]:
    server = Lying()
    server.add("a.csv", b"abc")
    server.add("specimen01.zip", b"abc")
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    yield server
    server.stop()


def entries() -> list[RemoteFile]:
    return list(HubRepository(REPOSITORY, "dataset", "main", Http(QUICK)).list())


def test_a_listing_has_sizes_and_checksums_and_no_folders(server: Lying) -> None:
    names = {entry.name: (entry.checksum or "").partition(":")[0] for entry in entries()}
    assert names == {"a.csv": "git", "specimen01.zip": "sha256"}
    server.say[TREE] = [{"type": "directory", "path": "x", "size": 0, "oid": "1"}, FILE]
    assert [entry.name for entry in entries()] == ["a.csv"]


def test_all_pages_are_read(server: Lying) -> None:
    server.say[TREE] = [FILE]
    real = server.answer

    def answer(request: Request) -> tuple[int, dict[str, str], Any] | None:
        if request.path != TREE or int(request.query.get("cursor", ["0"])[0]) == 3:
            server.headers = {}
        else:
            server.headers = {"Link": f'<{server.url}{TREE}?cursor={server.count("/tree/")}>; rel="next"'}
        return real(request)

    server.answer = answer  # type: ignore[method-assign]
    assert len(entries()) == 4


def _no_answer_is_remembered() -> None:
    from huggingface_hub.utils import _detect_agent

    for function in vars(_detect_agent).values():
        getattr(function, "cache_clear", lambda: None)()


@pytest.mark.parametrize("value", [[], 7])
def test_nothing_is_asked_but_what_is_needed_and_a_lying_server_is_reported(
    server: Lying, medcli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, value: Any
) -> None:
    """huggingface_hub, too, asks the endpoint, for instance for a list of tools that it tells it about."""
    monkeypatch.setattr(server, "answer", lambda request: (200, {}, value))
    constants = {
        "ENDPOINT": server.url,
        "HF_TOKEN_PATH": str(tmp_path / "a"),
        "AGENT_HARNESSES_PATH": str(tmp_path / "b"),
    }
    for name, text in constants.items():  # which huggingface_hub reads when it is imported
        monkeypatch.setattr(f"huggingface_hub.constants.{name}", text, raising=False)
    _no_answer_is_remembered()
    ran = medcli("download", "ultrabones", "--dest", tmp_path / "data")
    assert ran.code == 3
    assert f"{REVISION} sent {'a list' if value == [] else 7}, expected was an object" in ran.err
    assert {request.path for request in server.requests} == {REVISION}


@pytest.mark.parametrize("value", [[], "text", None, 5, {}, {"sha": None}, {"sha": "../../x"}, {"sha": 5}])
def test_a_commit_that_is_none_is_reported(server: Lying, value: Any) -> None:
    server.say[REVISION] = value
    with pytest.raises(Unexpected, match=rf"{REVISION} sent .*, expected was (an object|a hash of git)"):
        entries()


@pytest.mark.parametrize(
    "value",
    [
        {},
        "text",
        None,
        5,
        [None],
        [[]],
        ["a"],
        [{}],
        *([FILE | {name: value}] for name in ("path", "size", "oid", "type") for value in (None, [], {}, True)),
        *([FILE | {"size": value}] for value in ("3", -1, 1.0, float("inf"), 1 << 70)),
        *([FILE | {"path": value}] for value in ("", "\udcff", "x" * 5000)),
        *([FILE | {"lfs": value}] for value in ([], "x", {}, {"oid": None}, {"oid": "x"}, {"oid": "a" * 40})),
    ],
)
def test_a_listing_that_is_none_is_reported(server: Lying, value: Any) -> None:
    server.say[TREE] = value
    with pytest.raises(Unexpected, match=rf"{TREE} sent .*, expected was "):
        entries()


@pytest.mark.parametrize("content", [b"[" * 100_000, b"", b"<html>", b'[{"path": "\xff"}]'])
@pytest.mark.parametrize("path", [REVISION, TREE])
def test_what_cannot_be_read_is_reported(server: Lying, path: str, content: bytes) -> None:
    server.say[path] = content
    with pytest.raises(Unexpected, match=path):
        entries()


@pytest.mark.parametrize(
    "link", ["<http://[::1>; rel=next", '<ftp://x/>; rel="next"', "<?>; rel=next", "<javascript:x>;rel=next"]
)
def test_a_next_link_that_leads_nowhere_is_reported(server: Lying, link: str) -> None:
    server.say[TREE], server.headers = [FILE], {"Link": link}
    with pytest.raises(Unexpected, match=r"names an address that is none|has no end"):
        entries()


@pytest.mark.parametrize("link", ["nonsense", "<>", ";;;", "<a", "<a>; rel", ", <,", "<a>; rel=prev"])
def test_a_link_header_without_a_next_page_ends_the_listing(server: Lying, link: str) -> None:
    server.say[TREE], server.headers = [FILE], {"Link": link}
    assert len(entries()) == 1


def test_the_token_does_not_follow_a_next_link_to_another_server(
    server: Lying, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_SECRET")
    other = Server()
    server.say[TREE], server.headers = [FILE], {"Link": f'<{other.url}/x>; rel="next"'}
    with pytest.raises(Unexpected, match="a page of another server"):
        entries()
    assert other.count() == 0
    assert server.requests[-1].headers["authorization"] == "Bearer hf_SECRET"
    other.stop()


@pytest.mark.parametrize("what", [REVISION, TREE, f"/datasets/{REPOSITORY}/resolve/{FakeHub.COMMIT}/a.csv"])
def test_the_token_does_not_follow_a_redirect_to_another_server(
    server: Lying, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_SECRET")
    mirror = FakeHub(REPOSITORY)  # it has all that the hub has
    mirror.add("a.csv", b"abc")
    mirror.files[f"/datasets/{REPOSITORY}/resolve/{FakeHub.COMMIT}/a.csv"] = mirror.files["/store/a.csv"]
    real, real_mirror = server.answer, mirror.answer

    def answer(request: Request) -> tuple[int, dict[str, str], Any] | None:
        return (307, {"Location": f"{mirror.url}{what}"}, b"") if request.path == what else real(request)

    server.answer = answer  # type: ignore[method-assign]
    mirror.answer = lambda request: None if "/resolve/" in request.path else real_mirror(request)  # type: ignore[method-assign]
    source = HubRepository(REPOSITORY, "dataset", "main", Http(QUICK))
    entry = next(entry for entry in source.list() if entry.name == "a.csv")
    with source.open(entry, 0) as body:
        assert body.read(10) == b"abc"
    assert mirror.count() == 1
    for request in mirror.requests:
        assert "SECRET" not in str(request.headers)
    mirror.stop()


@pytest.mark.parametrize(
    "token", ["hf_\N{LATIN SMALL LETTER E WITH ACUTE}", "hf_日本", "hf SECRET", "hf_\x07", "hf_\udcff"]
)
@pytest.mark.parametrize("what", ["ultrabones", "weights"])
def test_a_token_that_cannot_be_sent_is_reported_and_not_repeated(
    server: Lying, medcli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, token: str, what: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", f"{token}SECRET")
    ran = medcli("download", what, "--dest", tmp_path / "data")
    assert ran.code == 2
    assert "error: the Hugging Face token has signs that no token has" in ran.err
    assert "SECRET" not in ran.err
    assert len(ran.err.strip().splitlines()) == 2
    assert server.count() == 0


def test_a_token_with_line_ends_around_it_is_sent_without_them(server: Lying, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "\r\nhf_good\n")
    entries()
    assert {request.headers["authorization"] for request in server.requests} == {"Bearer hf_good"}


def test_a_token_file_that_is_no_text_is_reported(
    server: Lying, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "token").write_bytes(b"\xffSECRET")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    with pytest.raises(UsageError, match=r"cannot be read|signs that no token has") as caught:  # Windows reads any byte
        entries()
    assert "SECRET" not in str(caught.value)
