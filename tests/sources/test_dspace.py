"""A DSpace item: found by any of its names, listed over all pages, read by ranges."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from medcli.core.errors import DataError
from medcli.sources.dspace import DSpaceItem
from medcli.transfer.http import Http
from medcli.transfer.retry_policy import Patience
from tests.support.servers import FakeDSpace

FILES = {f"bs_{number:06d}.jpg": bytes([number]) * 100 for number in range(1, 8)}


@pytest.fixture
def server() -> Iterator[FakeDSpace]:
    server = FakeDSpace(page=3)
    for name, content in FILES.items():
        server.add(name, content)
    yield server
    server.stop()


def item(server: FakeDSpace, name: str) -> DSpaceItem:
    return DSpaceItem(server.url, name, Http(Patience(tries=1)))


@pytest.mark.parametrize("name", [FakeDSpace.ITEM, FakeDSpace.HANDLE, f"10.9/unknown, {FakeDSpace.HANDLE}"])
def test_an_item_is_found_by_any_name_and_listed_over_all_pages(server: FakeDSpace, name: str) -> None:
    found = item(server, name)
    assert found.address == f"{server.url}/server/api item {server.ITEM}"
    entries = list(found.list())
    assert [entry.name for entry in entries] == list(FILES)
    assert [entry.checksum for entry in entries] == [f"md5:{md5}" for md5 in server.checksums]
    with found.open(entries[1], 90, 5) as body:
        assert (body.start, body.total, body.tag) == (90, 100, server.checksums[1])
        assert body.read(100) == FILES[entries[1].name][90:95]


def test_an_item_nobody_knows_is_named(server: FakeDSpace) -> None:
    with pytest.raises(DataError, match=r"knows no item 10\.9/a or 10\.9/b") as error:
        item(server, "10.9/a,10.9/b")
    assert "--item" in str(error.value.hint)
