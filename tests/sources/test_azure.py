"""An Azure Storage that answers nonsense: the real SDK against a server that sends what it is told to."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from medcli.core.errors import UsageError
from medcli.sources import answers
from medcli.sources.azure import AzureBlobs
from medcli.sources.azure_connection import Connection
from medcli.transfer.http import Http
from medcli.transfer.protocol import Fault, Refused, RemoteFile, Unexpected
from tests.conftest import Ran
from tests.support.servers import Request, Server
from tests.transfer.test_http import QUICK

SIGNATURE = "sv=2022-11-02&sp=rl&sig=SECRET"
MD5 = "<Content-MD5>AAAAAAAAAAAAAAAAAAAAAA==</Content-MD5>"


def blob(name: str = "a.png", size: str = "5", etag: str = "<Etag>0x1</Etag>", md5: str = MD5) -> str:
    return (
        f"<Blob><Name>{name}</Name><Properties><Content-Length>{size}</Content-Length>{etag}{md5}"
        "<BlobType>BlockBlob</BlobType></Properties></Blob>"
    )


def listing(content: str, marker: str = "") -> bytes:
    head = (
        '<?xml version="1.0" encoding="utf-8"?><EnumerationResults ServiceEndpoint="http://x/" ContainerName="bones">'
    )
    return f"{head}<Blobs>{content}</Blobs><NextMarker>{marker}</NextMarker></EnumerationResults>".encode()


class Saying(Server):
    """Answers every request with the same."""

    def __init__(self) -> None:
        super().__init__()
        self.say: tuple[int, dict[str, str], bytes] = (200, {}, listing(blob()))

    def answer(self, request: Request) -> tuple[int, dict[str, str], Any] | None:
        status, headers, content = self.say
        return status, {"Content-Type": "application/xml", **headers}, content


@pytest.fixture
def server() -> Iterator[Saying]:
    server = Saying()
    yield server
    server.stop()


def blobs(server: Saying) -> AzureBlobs:
    return AzureBlobs(Connection(f"{server.url}/account", "account", SIGNATURE), "bones", Http(QUICK))


def test_a_listing_as_it_should_be_is_read(server: Saying) -> None:
    assert list(blobs(server).list()) == [RemoteFile("a.png", 5, "md5:" + "00" * 16, "0x1")]


@pytest.mark.parametrize(
    "content",
    [
        *(blob(size=size) for size in ("many", "", "-5", "1e400", "nan", "9" * 5000, "4611686018427387904")),
        blob(name=""),
        blob(name="x" * 5000),
        blob(etag=""),
        blob(etag="<Etag></Etag>"),
        blob(md5="<Content-MD5>AAAA</Content-MD5>"),
        "<Blob><Name>a</Name></Blob>",
        "<Blob/>",
        "<Blob>text</Blob>",
    ],
)
def test_a_blob_that_is_none_is_reported(server: Saying, content: str) -> None:
    server.say = (200, {}, listing(content))
    with pytest.raises(
        Unexpected, match=r"127\.0\.0\.1:\d+.* (sent .*expected was|does not answer as Azure)"
    ) as caught:
        list(blobs(server).list())
    assert "SECRET" not in str(caught.value)


ENTITIES = b"".join(b'<!ENTITY %c "%s">' % (98 + i, (b"&%c;" % (97 + i)) * 10) for i in range(8))
NOT_XML = {
    "nothing": b"",
    "page": b"<html><body>hello</body></html>",
    "JSON": b'{"a": 1}',
    "text": b"hello",
    "cut": listing(blob())[:-30],
    "no UTF-8": listing(blob()).replace(b"a.png", b"\xff\xfe"),
    "zero": listing(blob()).replace(b"a.png", b"\x00"),
    "deep": b"<a>" * 100_000,
    "deep and whole": b"<a>" * 100_000 + b"</a>" * 100_000,
    "entities": b'<!DOCTYPE l [<!ENTITY a "aaaaaaaaaa">' + ENTITIES + b"]><EnumerationResults>&i;</EnumerationResults>",
    "empty": b"<EnumerationResults/>",
}


@pytest.mark.parametrize("what", ["list", "folders", "containers"])
@pytest.mark.parametrize("content", NOT_XML.values(), ids=NOT_XML.keys())
def test_what_is_no_listing_is_reported_once(
    server: Saying, content: bytes, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    server.say = (200, {}, content)
    source = blobs(server)
    actions: dict[str, Callable[[], Any]] = {
        "list": lambda: list(source.list()),
        "folders": lambda: source.folders("x"),
        "containers": source.containers,
    }
    with pytest.raises(Unexpected, match=r"not (answer )?as Azure Storage does"):
        actions[what]()
    assert server.count() == 1
    assert [record for record in caplog.records if record.name.startswith("azure")] == []


@pytest.mark.parametrize(
    "answer",
    [
        (204, {}, b""),
        (300, {}, b""),
        (302, {}, b""),
        (302, {"Location": "http://[::1"}, b""),
        (418, {}, b"<a/>"),
        (999, {}, b""),
        (403, {}, b"<Error><Code>&x;</Code>"),
        (403, {}, b"<a>" * 100_000),
        (403, {}, b"\xff\xfe\x00"),
        (503, {"Retry-After": "Wed, 21 Oct 99999999999999999999 07:28:00 GMT"}, b""),
    ],
)
def test_an_answer_of_another_status_is_a_fault(server: Saying, answer: tuple[int, dict[str, str], bytes]) -> None:
    server.say = answer
    with pytest.raises(Fault) as caught:
        list(blobs(server).list())
    assert "SECRET" not in str(caught.value)


def test_a_page_that_leads_to_itself_is_given_up(server: Saying) -> None:
    server.say = (200, {}, listing(blob(), "again"))
    with pytest.raises(Unexpected, match="has no end"):
        list(blobs(server).list())
    assert server.count() == 3


def test_pages_without_end_are_given_up(server: Saying, monkeypatch: pytest.MonkeyPatch) -> None:
    server.answer = lambda request: (  # type: ignore[method-assign]
        200,
        {"Content-Type": "application/xml"},
        listing(blob(), f"page{server.count()}"),
    )
    monkeypatch.setattr(answers, "MOST_FILES", 10)
    with pytest.raises(Unexpected, match="10 pages with 11 files came, and more are announced"):
        list(blobs(server).list())


def test_the_signature_does_not_follow_a_redirect(server: Saying) -> None:
    other = Server()
    other.put("/y", b"abc")
    server.say = (302, {"Location": f"{other.url}/y"}, b"")
    source = blobs(server)
    with pytest.raises(Unexpected, match="answered 302"):
        list(source.list())
    assert other.count() == 0  # Azure Storage leads nowhere when it lists
    with source.open(RemoteFile("a.png", 3, None, "0x1"), 0) as body:
        assert body.read(10) == b"abc"
    (request,) = other.requests
    assert "SECRET" not in str(request)
    other.stop()


def test_a_signature_that_ran_out_on_the_way_is_the_reason_that_is_reported(server: Saying) -> None:
    server.say = (403, {"x-ms-error-code": "AuthenticationFailed"}, b"")
    signature = SIGNATURE.replace("sp=rl", "se=2024-01-01T00:00:00Z&sp=rl")
    source = AzureBlobs(Connection(f"{server.url}/account", "account", signature), "bones", Http(QUICK))
    said = r"answered 403.*AuthenticationFailed.*; the connection string expired on 2024-01-01 00:00 UTC"
    for action in (lambda: list(source.list()), lambda: source.open(RemoteFile("a", 3), 0).__enter__()):
        with pytest.raises(Refused, match=said):
            action()


@pytest.mark.parametrize("name", ["https://x.blob.core.windows.net/c?sig=SECRET", "a/b", "", "A", "a" * 64, "\udcff"])
def test_a_container_that_is_none_is_refused_and_not_repeated(
    server: Saying, medcli: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    if not name:  # the data set's container is looked for
        assert AzureBlobs(Connection(server.url, "a", SIGNATURE), name, Http(QUICK)).container == ""
        return
    with pytest.raises(UsageError) as caught:
        AzureBlobs(Connection(server.url, "a", SIGNATURE), name, Http(QUICK))
    assert name not in str(caught.value)
    monkeypatch.setenv(
        "MEDCLI_ULTRABONES_CONNECTION_STRING", f"BlobEndpoint={server.url};SharedAccessSignature={SIGNATURE}"
    )
    ran = medcli("download", "ultrabones", "--container", name, "--dest", tmp_path)
    assert ran.code == 2
    assert "SECRET" not in ran.err
    assert server.count() == 0
