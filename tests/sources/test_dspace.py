"""A DSpace item: found by any of its names, listed over all pages, read by ranges.

One that answers nonsense ends in one error that says what it sent, where, and from which address.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from medcli.core.errors import DataError, UsageError
from medcli.sources import answers
from medcli.sources.dspace import DSpaceItem
from medcli.transfer.http import Http
from medcli.transfer.protocol import RemoteFile, Unexpected
from medcli.transfer.retry_policy import RetryPolicy
from tests.conftest import Ran
from tests.support.servers import UUID, FakeDSpace, Request
from tests.transfer.test_http import QUICK

FILES = {f"bs_{number:06d}.jpg": bytes([number]) * 100 for number in range(1, 8)}
BITSTREAMS = f"/server/api/core/bundles/{FakeDSpace.BUNDLE}/bitstreams"
BUNDLES = f"/server/api/core/items/{FakeDSpace.ITEM}/bundles"
FIND = "/server/api/pid/find"
NUMBER = "1e400"  # json.dumps writes it as Infinity, which readers accept as well


@pytest.fixture
def true_server() -> Iterator[FakeDSpace]:
    server = FakeDSpace(page=3)
    for name, content in FILES.items():
        server.add(name, content)
    yield server
    server.stop()


def item(true_server: FakeDSpace, name: str) -> DSpaceItem:
    return DSpaceItem(true_server.url, name, Http(RetryPolicy(tries=1)))


@pytest.mark.parametrize("name", [FakeDSpace.ITEM, FakeDSpace.HANDLE, f"10.9/unknown, {FakeDSpace.HANDLE}"])
def test_an_item_is_found_by_any_name_and_listed_over_all_pages(true_server: FakeDSpace, name: str) -> None:
    found = item(true_server, name)
    assert found.address == f"{true_server.url}/server/api item {true_server.ITEM}"
    entries = list(found.list())
    assert [entry.name for entry in entries] == list(FILES)
    assert [entry.checksum for entry in entries] == [f"md5:{md5}" for md5 in true_server.checksums]
    with found.open(entries[1], 90, 5) as body:
        assert (body.start, body.total, body.tag) == (90, 100, true_server.checksums[1])
        assert body.read(100) == FILES[entries[1].name][90:95]


def test_an_item_nobody_knows_is_named(true_server: FakeDSpace) -> None:
    with pytest.raises(DataError, match=r"knows no item 10\.9/a or 10\.9/b") as error:
        item(true_server, "10.9/a,10.9/b")
    assert "--item" in str(error.value.hint)


class Lying(FakeDSpace):
    """Answers what ``say`` has for a path in place of the truth."""

    def __init__(self) -> None:
        super().__init__(page=2)
        self.say: dict[str, Any] = {}
        self.change: Callable[[dict[str, Any]], None] = lambda stream: None

    def answer(self, request: Request) -> tuple[int, dict[str, str], Any] | None:
        if request.path in self.say:
            return 200, {}, self.say[request.path]
        return super().answer(request)

    def _bitstream(self, index: int) -> dict[str, Any]:
        stream = super()._bitstream(index)
        if index == 1:
            self.change(stream)
        return stream


@pytest.fixture
def server() -> Iterator[Lying]:
    server = Lying()
    for number in range(3):
        server.add(f"bs_{number:06d}.jpg", bytes(10 + number))
    yield server
    server.stop()


def entries(server: Lying) -> list[RemoteFile]:
    return list(DSpaceItem(server.url, FakeDSpace.HANDLE, Http(QUICK)).list())


def changed(**values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda stream: stream.update(values)


WRONG = [
    ("sizeBytes", "many", "a number of bytes"),
    ("sizeBytes", "123", "a number of bytes"),
    ("sizeBytes", None, "a number of bytes"),
    ("sizeBytes", float("inf"), "a number of bytes"),
    ("sizeBytes", float("nan"), "a number of bytes"),
    ("sizeBytes", 12.0, "a number of bytes"),
    ("sizeBytes", -5, "a number of bytes"),
    ("sizeBytes", 1 << 70, "a number of bytes"),
    ("sizeBytes", True, "a number of bytes"),
    ("sizeBytes", [], "a number of bytes"),
    ("name", None, "the name of a file"),
    ("name", "", "the name of a file"),
    ("name", 5, "the name of a file"),
    ("name", "x" * 5000, "the name of a file"),
    ("name", "\ud800.jpg", "the name of a file"),
    ("name", {}, "the name of a file"),
    ("uuid", None, "a UUID"),
    ("uuid", "../../../etc", "a UUID"),
    ("uuid", 7, "a UUID"),
    ("checkSum", [], "an object"),
    ("checkSum", "text", "an object"),
    ("checkSum", {"checkSumAlgorithm": "MD5", "value": None}, "an MD5"),
    ("checkSum", {"checkSumAlgorithm": "MD5", "value": "../.."}, "an MD5"),
    ("checkSum", {"checkSumAlgorithm": 5, "value": "x"}, "a text"),
    ("_links", "text", "an object"),
    ("_links", {"content": []}, "an object"),
    ("_links", {"content": {"href": 5}}, "a text"),
]


@pytest.mark.parametrize(("field", "value", "expected"), WRONG)
def test_a_wrong_value_in_a_bitstream_is_named(server: Lying, field: str, value: Any, expected: str) -> None:
    server.change = changed(**{field: value})
    with pytest.raises(Unexpected) as caught:
        entries(server)
    said = str(caught.value)
    assert f"{BITSTREAMS} sent " in said
    assert f" as _embedded.bitstreams.1.{field}" in said
    assert f"expected was {expected}" in said
    assert len(said) < 400
    assert said.isprintable()


@pytest.mark.parametrize("field", ["sizeBytes", "name", "uuid"])
def test_a_value_that_is_not_there_is_named(server: Lying, field: str) -> None:
    server.change = lambda stream: stream.pop(field)
    with pytest.raises(Unexpected, match=rf"sent null as _embedded\.bitstreams\.1\.{field}"):
        entries(server)


@pytest.mark.parametrize(
    "check",
    [
        None,
        {},
        {"checkSumAlgorithm": None, "value": None},
        {"checkSumAlgorithm": "SHA-512", "value": "zz"},
        {"checkSumAlgorithm": "", "value": ""},
    ],
)
def test_without_a_checksum_that_is_known_a_file_has_none(server: Lying, check: Any) -> None:
    server.change = changed(checkSum=check)
    assert [bool(entry.checksum) for entry in entries(server)] == [True, False, True]


def test_what_is_not_needed_may_be_absent(server: Lying) -> None:
    server.change = lambda stream: stream.pop("_links") and None
    assert entries(server)[1].handle == server.url + server.path_of("bs_000001.jpg")


@pytest.mark.parametrize("path", [FIND, BUNDLES, BITSTREAMS])
@pytest.mark.parametrize("value", [[], "text", None, 5, 1.5, True, [[]], {"_embedded": [], "uuid": 5}])
def test_another_kind_of_value_where_an_object_belongs_is_reported(server: Lying, path: str, value: Any) -> None:
    server.say[path] = value
    with pytest.raises(Unexpected, match=rf"{path} sent .* expected was (an object|a UUID)"):
        entries(server)


def test_an_item_without_files_is_reported(server: Lying) -> None:
    server.say[BUNDLES] = {"_embedded": {"bundles": []}}
    with pytest.raises(DataError, match="offers no files"):
        entries(server)


@pytest.mark.parametrize("path", [FIND, BUNDLES, BITSTREAMS])
@pytest.mark.parametrize(
    "content", [b"[" * 100_000, b"", b"<html>", b'{"a": "\xff"}', b'{"_embedded": {"bitstreams": [{"sizeBytes": 1e400']
)
def test_what_cannot_be_read_is_reported(server: Lying, path: str, content: bytes) -> None:
    server.say[path] = content
    with pytest.raises(Unexpected, match=path):
        entries(server)


def test_a_number_without_end_is_named(server: Lying) -> None:
    text = json.dumps({"_embedded": {"bitstreams": [{"uuid": UUID.format(1), "name": "a", "sizeBytes": 12345}]}})
    server.say[BITSTREAMS] = text.replace("12345", NUMBER).encode()
    with pytest.raises(Unexpected, match=r"sent inf as _embedded\.bitstreams\.0\.sizeBytes"):
        entries(server)


def next_is(link: Any) -> dict[str, Any]:
    return {"_embedded": {"bitstreams": []}, "_links": {"next": link}}


@pytest.mark.parametrize("link", ["text", [], 5, {"href": 5}, {"href": []}])
def test_a_next_link_of_another_kind_is_named(server: Lying, link: Any) -> None:
    server.say[BITSTREAMS] = next_is(link)
    with pytest.raises(Unexpected, match=r"as _links\.next"):
        entries(server)


@pytest.mark.parametrize("link", ["http://[::1", "ftp://x/", "javascript:alert(1)", "http://x:y/", "http://"])
def test_a_next_link_that_is_no_address_is_reported(server: Lying, link: str) -> None:
    server.say[BITSTREAMS] = next_is({"href": link})
    with pytest.raises(Unexpected, match=r"names an address that is none|has no end"):
        entries(server)


@pytest.mark.parametrize("link", ["?page=0&size=100", BITSTREAMS, "?page=1"])
def test_pages_that_lead_to_each_other_are_given_up(server: Lying, link: str) -> None:
    server.say[BITSTREAMS] = next_is({"href": link})
    with pytest.raises(Unexpected, match="has no end"):
        entries(server)
    assert server.count("bitstreams") <= 3


@pytest.mark.parametrize(
    "page", [{}, {"page": {"totalElements": 2}}, {"_embedded": {}}, {"_embedded": {"bundles": []}}]
)
def test_a_page_that_says_nothing_is_not_the_end(server: Lying, page: Any) -> None:
    server.say[BITSTREAMS] = page
    with pytest.raises(Unexpected, match=r"sent null as _embedded(\.bitstreams)?, expected was (an object|a list)"):
        entries(server)
    server.say[BITSTREAMS] = {"page": {"totalElements": 0}}
    assert entries(server) == []


def test_a_listing_that_is_cut_short_is_noticed(server: Lying) -> None:
    whole = server._page(0)
    server.say[BITSTREAMS] = whole | {
        "_links": {},
        "page": {"totalElements": len(whole["_embedded"]["bitstreams"]) + 1},
    }
    with pytest.raises(Unexpected, match=r"the listing of .*bitstreams is cut short: 2 files of 3 came"):
        entries(server)
    server.say[BITSTREAMS] = whole | {"_links": {"next": {"href": "not a url"}}}
    with pytest.raises(Unexpected, match=r"names a next page that is no address: 'not a url'"):
        entries(server)


def test_pages_without_end_are_given_up(server: Lying, monkeypatch: pytest.MonkeyPatch) -> None:
    server.answer = lambda request: (200, {}, next_is({"href": f"?page={server.count()}"}))  # type: ignore[method-assign]
    item = DSpaceItem(server.url, FakeDSpace.ITEM, Http(QUICK))
    with pytest.raises(Unexpected, match=r"the listing of .* has no end: 100 pages with 0 files came"):
        list(item._all(f"{server.url}{BITSTREAMS}", "bitstreams", answers.TEXT))
    monkeypatch.setattr(answers, "MOST_FILES", 50)
    full = {"_embedded": {"bitstreams": ["a"] * 10}, "_links": {"next": {"href": "?page={}"}}}
    server.answer = lambda request: (200, {}, json.dumps(full).replace("{}", str(server.count())).encode())  # type: ignore[method-assign]
    with pytest.raises(Unexpected, match="5 pages with 60 files came, and more are announced"):
        list(item._all(f"{server.url}{BITSTREAMS}", "bitstreams", answers.TEXT))


def test_a_next_page_of_another_server_is_not_asked_for(server: Lying) -> None:
    other = FakeDSpace()
    server.say[BITSTREAMS] = next_is({"href": f"{other.url}{BITSTREAMS}?page=1"})
    with pytest.raises(Unexpected, match=f"names a page of another server as its next: {other.url}"):
        entries(server)
    assert other.count() == 0
    other.stop()


@pytest.mark.parametrize("names", ["", ",", " , "])
def test_no_item_at_all_is_a_mistake_of_usage(server: Lying, names: str) -> None:
    with pytest.raises(UsageError, match="--item names no item"):
        list(DSpaceItem(server.url, names, Http(QUICK)).list())
    with pytest.raises(UsageError, match="--item is not UTF-8"):
        list(DSpaceItem(server.url, "\udcff", Http(QUICK)).list())


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"sizeBytes": -5}, "sent -5 as _embedded.bitstreams.1.sizeBytes"),
        ({"name": None}, "sent null as _embedded.bitstreams.1.name"),
        ({"name": "aux.stl"}, "'aux.stl', which is refused: Windows keeps that name"),
        ({"name": "a\0b.stl"}, "which is refused: it has signs"),
        ({"name": "x" * 290 + ".stl"}, "a name in it has 294 bytes"),
        ({"name": "\N{GRINNING FACE}" * 60 + ".stl"}, "a name in it has 244 bytes"),
        ({"name": "a\x1b[2J.stl"}, "a\\x1b[2J.stl', which is refused: it has signs"),
        ({"name": "bs_" + "9" * 1000 + ".jpg"}, "a name in it has"),
    ],
)
def test_the_command_says_it_in_two_lines_and_exits_with_3(
    server: Lying, medcli: Callable[..., Ran], tmp_path: Path, values: dict[str, Any], said: str
) -> None:
    server.change = changed(**values)
    words = ("--only", "images", "anatomies", "--accept-license", "--base-url", server.url)
    ran = medcli("download", "veriserum", *words, "--dest", tmp_path / "data")
    assert ran.code == 3, ran.err
    assert said in ran.err
    assert len(ran.err.strip().splitlines()) <= 2
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("name", ["..", "../../etc/passwd", "a/..", "/etc/x", "readme\0.txt", "CON", "x" * 1000])
def test_a_name_that_is_not_wanted_does_no_harm(
    server: Lying, medcli: Callable[..., Ran], tmp_path: Path, name: str
) -> None:
    server.change = changed(name=name)
    words = ("--only", "images", "--accept-license", "--base-url", server.url, "--dest", tmp_path / "data")
    assert medcli("download", "veriserum", *words).code == 0
    assert sorted(path.name for path in tmp_path.rglob("*.jpg")) == ["bs_000000.jpg", "bs_000002.jpg"]
