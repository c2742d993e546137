"""What an answer means, and that nothing said of it holds a signature.

Answers of servers that are broken, slow or hostile end in a fault that says what came, and never in a traceback.
"""

from __future__ import annotations

import datetime
import email.utils
import gzip
import ipaddress
import itertools
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from medcli.transfer import http as module
from medcli.transfer.fetch_file import Effort, fetch_file, part_for
from medcli.transfer.http import Http, fault_for, retry_after_s, words_for
from medcli.transfer.protocol import Broken, Busy, Changed, Corrupt, Fault, Missing, Refused, RemoteFile, Unexpected
from medcli.transfer.retry_policy import RetryPolicy
from tests.support.raw_server import Answer, RawServer, head, trickle
from tests.transfer.test_fetch_file import CONTENT, entry

QUICK = RetryPolicy(
    tries=2,
    first_wait_s=0.01,
    longest_wait_s=0.05,
    connect_s=2.0,
    stall_s=0.5,
    least_bytes_per_minute=6_000,
    shortest_slow_s=0.5,
)
Serve = Callable[[Answer], RawServer]


@pytest.mark.parametrize(
    ("code", "fault"),
    [(429, Busy), (503, Busy), (412, Changed), (416, Changed), (404, Missing), (410, Missing), (401, Refused)],
)
def test_status_codes(code: int, fault: type[Fault]) -> None:
    found = fault_for(code, "said", {"Retry-After": "7"})
    assert type(found) is fault
    assert str(found) == "said"
    assert getattr(found, "retry_after_s", 7.0) == 7.0


def test_a_server_says_when_to_come_back_in_seconds_or_by_a_date() -> None:
    in_a_minute = email.utils.formatdate(time.time() + 60, usegmt=True)
    assert retry_after_s(in_a_minute) == pytest.approx(60, abs=5)
    assert [retry_after_s(text) for text in ("12", "", None, "soon")] == [12.0, None, None, None]
    assert retry_after_s(email.utils.formatdate(0, usegmt=True)) == 0.0


def test_failures_are_worded_by_their_cause() -> None:
    outer = OSError("outer")
    outer.__cause__ = TimeoutError("https://host/?sig=secret")
    assert words_for(outer) == "sent nothing for too long"
    assert words_for(OSError("https://host/?sig=secret")) == "broke the connection"


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers: list[RawServer] = []

    def start(answer: Answer) -> RawServer:
        servers.append(RawServer(answer))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


class At:
    """Files of a raw server; see :class:`medcli.transfer.protocol.RemoteSource`."""

    one_credential = False
    address = "test"

    def __init__(self, server: RawServer, retry_policy: RetryPolicy = QUICK) -> None:
        self.server, self.http = server, Http(retry_policy)

    def list(self) -> list[RemoteFile]:
        return []

    def open(self, entry: RemoteFile, offset: int, length: int | None = None):  # type: ignore[no-untyped-def]
        return self.http.open(self.server.url + entry.name, offset, length)

    def refresh(self, entry: RemoteFile) -> RemoteFile:
        return entry


def fetch(
    server: RawServer, tmp_path: Path, wanted: RemoteFile | None = None, retry_policy: RetryPolicy = QUICK
) -> bytes:
    target = tmp_path / "file.bin"
    fetch_file(At(server, retry_policy), wanted or entry("/file"), target, Effort(retry_policy))
    return target.read_bytes()


@pytest.mark.parametrize("length", ["5" * 5000, "-5", "many", "", "1e400", "0x10", "5, 6", "5 6", "²"])
def test_a_length_that_is_no_number_is_a_broken_answer(serve: Serve, tmp_path: Path, length: str) -> None:
    server = serve(lambda path, headers: [head("200 OK", f"Content-Length: {length}"), CONTENT])
    with pytest.raises(Broken):
        fetch(server, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "date",
    [
        "Wed, 21 Oct 99999999999999999999 07:28:00 GMT",
        "Wed, 99 Oct 2026 07:28:00 GMT",
        "-5",
        "1e400",
        "nan",
        "inf",
        "",
        "soon",
        "\x00",
    ],
)
def test_a_time_to_wait_that_makes_no_sense_is_none(date: str) -> None:
    assert retry_after_s(date) is None


def test_a_time_to_wait_that_has_passed_is_no_time_and_one_without_end_is_not_waited_for() -> None:
    assert retry_after_s("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert retry_after_s("0001") == 1
    assert retry_after_s("9" * 5000) == float("inf")
    assert QUICK.pause_s(1, module.Busy("busy", float("inf"))) is None
    assert (retry_after_s("Wed, 21 Oct 9999 07:28:00 GMT") or 0) > 1e9


LOCATIONS = ["http://[::1", "ftp://x/y", "file:///etc/passwd", "javascript:alert(1)", "http://a b:x/"]


@pytest.mark.parametrize("location", [*LOCATIONS, "http://\xff\xfe", "http://h:99999", "http://a..b/", "http://user@/"])
@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary"])
def test_a_redirect_to_no_address_is_reported(serve: Serve, status: str, location: str) -> None:
    server = serve(lambda path, headers: [head(status, f"Location: {location}", "Content-Length: 0")])
    with pytest.raises(Unexpected, match=r"http://127\.0\.0\.1:\d+/x (names an address that is none|leads)"):
        Http(QUICK).json(f"{server.url}/x?sig=SECRET")
    assert len(server.requests) == 1


def test_a_redirect_without_an_address_is_reported(serve: Serve) -> None:
    server = serve(lambda path, headers: [head("302 Found", "Content-Length: 0")])
    with pytest.raises(Unexpected, match="answered 302 Found"):
        Http(QUICK).json(server.url)


@pytest.mark.parametrize("location", ["/", "", "http://", "//", "?page={}", "/{}"])
def test_redirects_without_an_end_are_given_up(serve: Serve, location: str) -> None:
    count = iter(range(10_000))
    server = serve(
        lambda path, headers: [head("302 Found", f"Location: {location.format(next(count))}", "Content-Length: 0")]
    )
    with pytest.raises(Unexpected, match="redirects more than 10 times"):
        Http(QUICK).json(f"{server.url}/")
    assert len(server.requests) == 11


def test_a_redirect_with_a_body_without_end_is_not_read_to_its_end(serve: Serve) -> None:
    def answer(path: str, headers: dict[str, str]) -> Iterator[bytes]:
        if path == "/there":
            yield from (head("200 OK", "Content-Length: 2"), b"{}")
            return
        yield head("302 Found", "Location: /there")
        while True:
            yield bytes(1 << 16)

    assert Http(QUICK).json(serve(answer).url).content == {}


SECRETS = {"Authorization": "Bearer SECRET", "X-Api-Key": "SECRET", "If-Match": '"a"'}


@pytest.mark.parametrize("code", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
def test_no_credential_travels_to_another_server(
    serve: Serve, code: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "netrc").write_text("default login user password SECRET\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    other = serve(lambda path, headers: [head("206 Part", "Content-Range: bytes 1-1/3", "Content-Length: 1"), b"2"])
    first = serve(lambda path, headers: [head(code, f"Location: {other.url}/y?mine=1", "Content-Length: 0")])
    with Http(QUICK).open(f"{first.url}/x?sig=SECRET", 1, 1, SECRETS) as body:
        assert body.read(10) == b"2"
    ((path, sent),) = first.requests
    assert sent["authorization"] == "Bearer SECRET"
    ((path, sent),) = other.requests
    assert path == "/y?mine=1"
    assert "SECRET" not in str(sent)
    assert "authorization" not in sent
    assert (sent["range"], sent["if-match"]) == ("bytes=1-1", '"a"')


def test_a_redirect_on_the_same_server_keeps_the_credential(serve: Serve) -> None:
    def answer(path: str, headers: dict[str, str]) -> list[bytes]:
        if path == "/y":
            return [head("200 OK", "Content-Length: 2"), b"{}"]
        return [head("302 Found", "Location: y", "Content-Length: 0")]

    server = serve(answer)
    Http(QUICK).json(f"{server.url}/x", SECRETS)
    assert [sent["authorization"] for _, sent in server.requests] == ["Bearer SECRET"] * 2


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a certificate for 127.0.0.1 and its key, signed by itself."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    today = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    form = serialization.PrivateFormat.PKCS8
    file = tmp_path_factory.mktemp("tls") / "server.pem"
    file.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    )
    return file


@pytest.mark.parametrize("same_host", [True, False])
def test_a_redirect_from_https_to_http_is_refused(
    serve: Serve, certificate: Path, monkeypatch: pytest.MonkeyPatch, same_host: bool
) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    plain = serve(lambda path, headers: [head("200 OK", "Content-Length: 2"), b"{}"])
    target = plain.url if same_host else plain.url.replace("127.0.0.1", "localhost")
    secure = RawServer(lambda path, headers: [head("302 Found", f"Location: {target}/y", "Content-Length: 0")], tls)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    with pytest.raises(Unexpected, match="leads from https to http"):
        Http(QUICK).json(f"{secure.url}/x")
    secure.stop()
    assert [path for path, _ in secure.requests] == ["/x"]
    assert plain.requests == []


def test_https_is_read_with_the_watch_on_its_pace(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    content = b"[" + b"1," * 500_000 + b"1]"
    secure = RawServer(lambda path, headers: [head("200 OK", f"Content-Length: {len(content)}"), content], tls)
    with pytest.raises(Broken, match="TLS certificate"):
        Http(QUICK).json(secure.url)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    assert len(Http(QUICK).json(secure.url).content) == 500_001
    secure.stop()


def endless(start: bytes, piece: bytes) -> Answer:
    def answer(path: str, headers: dict[str, str]) -> Iterator[bytes]:
        yield start
        while True:
            yield piece

    return answer


@pytest.mark.parametrize(
    "answer",
    [
        lambda path, headers: [head("200 OK", "X: " + "x" * (1 << 20), "Content-Length: 2"), b"{}"],
        lambda path, headers: [head("200 OK", *["X: " + "x" * 10_000] * 101, "Content-Length: 2"), b"{}"],
        endless(b"HTTP/1.1 200 OK\r\n", b"X: " + b"x" * 60_000 + b"\r\n"),
        endless(b"HTTP/1.1 200 OK\r\nX: ", b"x" * 60_000),
        endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
        lambda path, headers: [b"HTTP/1.1 abc\r\n\r\n"],
        lambda path, headers: [b"\x00" * 1000],
        lambda path, headers: [],
        lambda path, headers: [b"HTTP/1.1 200 OK\r\nContent-Len"],
        lambda path, headers: [b"HTTP/9.9 200 OK\r\n\r\n{}"],
    ],
    ids=["1 MB", "101 lines", "endless lines", "endless line", "1xx", "status", "zeros", "nothing", "cut", "version"],
)
def test_headers_that_are_too_long_or_none_are_a_broken_answer(serve: Serve, answer: Answer) -> None:
    began = time.monotonic()
    with pytest.raises((Broken, Unexpected)):
        Http(QUICK).json(serve(answer).url)
    assert time.monotonic() - began < 20


def test_a_megabyte_of_headers_in_usual_lines_is_read(serve: Serve) -> None:
    lines = [f"X-{index}: " + "x" * 15_000 for index in range(70)]
    server = serve(lambda path, headers: [head("200 OK", *lines, "Content-Length: 2"), b"{}"])
    assert Http(QUICK).json(server.url).content == {}


def test_an_error_in_a_servers_words_cannot_write_to_the_terminal(serve: Serve) -> None:
    server = serve(
        lambda path, headers: [head("403 \x1b[2Jgone", "x-ms-error-code: \x1b]0;x\x07 sig=SECRET", "Content-Length: 0")]
    )
    with pytest.raises(Refused) as caught:
        Http(QUICK).json(server.url)
    assert str(caught.value).isprintable()
    assert "SECRET" not in str(caught.value)


SIZE = len(CONTENT)
RANGES = [
    f"bytes 100-{SIZE - 1}/{'9' * 5000}",
    f"bytes {'1' * 5000}-{SIZE - 1}/{SIZE}",
    f"bytes 100-99/{SIZE}",
    f"bytes -5-{SIZE}/{SIZE}",
    f"bytes 100-{SIZE}/{SIZE}",
    f"bytes 100-{SIZE - 2}/{SIZE}",
    f"bytes 100-{SIZE - 1}/100",
    f"bytes */{SIZE}",
    "bytes",
    "",
    "items 100-200/300",
    f"bytes 100-{SIZE - 1}/-1",
]


@pytest.mark.parametrize("said", RANGES)
def test_a_range_that_makes_no_sense_is_never_written(serve: Serve, tmp_path: Path, said: str) -> None:
    def answer(path: str, headers: dict[str, str]) -> list[bytes]:
        rest = CONTENT[100:]
        return [head("206 Part", f"Content-Range: {said}", f"Content-Length: {len(rest)}"), rest]

    wanted = RemoteFile("/file", SIZE)  # no checksum would notice it
    part_for(tmp_path / "file.bin", wanted).write_bytes(CONTENT[:100])
    with pytest.raises((Broken, Changed)):
        fetch(serve(answer), tmp_path, wanted)
    assert not (tmp_path / "file.bin").exists()


@pytest.mark.parametrize("ranged", [True, False])
@pytest.mark.parametrize("with_length", [True, False])
def test_content_that_was_packed_on_the_way_is_not_taken_for_the_file(
    serve: Serve, tmp_path: Path, ranged: bool, with_length: bool
) -> None:
    def answer(path: str, headers: dict[str, str]) -> list[bytes]:
        start = int(headers["range"][6:].partition("-")[0]) if "range" in headers and ranged else 0
        packed = gzip.compress(bytes(SIZE - start))
        lines = ["Content-Encoding: gzip"] + [f"Content-Length: {len(packed)}"] * with_length
        if "range" in headers and ranged:
            return [head("206 Part", f"Content-Range: bytes {start}-{SIZE - 1}/{SIZE}", *lines), packed]
        return [head("200 OK", *lines), packed]

    with pytest.raises(Fault) as caught:
        fetch(serve(answer), tmp_path, RemoteFile("/file", SIZE))
    assert not isinstance(caught.value, Corrupt)
    assert not (tmp_path / "file.bin").exists()


def test_content_that_is_stored_packed_is_the_file(serve: Serve, tmp_path: Path) -> None:
    server = serve(lambda path, headers: [head("200 OK", "Content-Encoding: gzip", f"Content-Length: {SIZE}"), CONTENT])
    assert fetch(server, tmp_path) == CONTENT


CHUNK = f"{SIZE:x}\r\n".encode()


@pytest.mark.parametrize(
    "content",
    [
        CHUNK + CONTENT[:5000],
        CHUNK + CONTENT,
        b"10\r\n" + CONTENT[:16],
        b"zz\r\n" + CONTENT,
        b"-5\r\n" + CONTENT,
        b"f" * 5000 + b"\r\n" + CONTENT,
        b"\r\n" * 10,
        b"",
        b"0\r\n\r\n",
    ],
    ids=["cut", "no end", "one chunk", "no number", "negative", "5,000 digits", "empty lines", "nothing", "only end"],
)
def test_a_chunked_body_that_ends_early_is_not_the_file(serve: Serve, tmp_path: Path, content: bytes) -> None:
    server = serve(lambda path, headers: [head("200 OK", "Transfer-Encoding: chunked"), content])
    with pytest.raises(Fault):
        fetch(server, tmp_path)
    assert not (tmp_path / "file.bin").exists()


LINES = (f"Content-Length: {SIZE}",)


@pytest.mark.parametrize(
    "pieces",
    [
        lambda: itertools.chain([head("200 OK", *LINES)], trickle(CONTENT, 0.05)),
        lambda: itertools.chain([head("200 OK", "Transfer-Encoding: chunked")], trickle(b"1\r\nx\r\n" * 5000, 0.05)),
        lambda: trickle(head("200 OK", *LINES), 0.05),
        lambda: trickle(b"HTTP/1.1 100 Continue\r\n\r\n" * 100, 0.05),
        lambda: itertools.chain(
            [head("302 Found", "Location: /y", "Content-Length: 60000")], trickle(bytes(60_000), 0.05)
        ),
    ],
    ids=["content", "chunks", "headers", "1xx", "redirect"],
)
def test_a_server_that_sends_by_the_byte_is_given_up(
    serve: Serve, tmp_path: Path, pieces: Callable[[], Iterator[bytes]]
) -> None:
    server = serve(lambda path, headers: pieces())
    began = time.monotonic()
    with pytest.raises(Broken, match=r"sent too little: \d+ bytes in 1 s"):
        fetch(server, tmp_path)
    assert time.monotonic() - began < 15
    assert not (tmp_path / "file.bin").exists()


def test_json_by_the_byte_is_given_up(serve: Serve) -> None:
    server = serve(lambda path, headers: itertools.chain([head()], trickle(b"[" + b"1," * 9999, 0.05)))
    with pytest.raises(Broken, match="sent too little"):
        Http(QUICK).json(server.url)


def test_a_server_that_sends_a_byte_a_connection_is_given_up(serve: Serve, tmp_path: Path) -> None:
    def answer(path: str, headers: dict[str, str]) -> list[bytes]:
        start = int(headers.get("range", "bytes=0-")[6:].partition("-")[0])
        lines = (f"Content-Range: bytes {start}-{SIZE - 1}/{SIZE}", f"Content-Length: {SIZE - start}")
        return [head("206 Part", *lines), CONTENT[start : start + 1]]

    server = serve(answer)
    with pytest.raises(Broken):
        fetch(server, tmp_path)
    assert len(server.requests) == QUICK.tries


def test_a_slow_server_that_sends_enough_is_waited_for(serve: Serve, tmp_path: Path) -> None:
    pieces = [CONTENT[at : at + 100_000] for at in range(0, SIZE, 100_000)]

    def answer(path: str, headers: dict[str, str]) -> Iterator[bytes]:
        yield head("200 OK", *LINES)
        for piece in pieces:
            yield piece
            time.sleep(0.2)  # longer in all than the time after which a pace is judged

    assert fetch(serve(answer), tmp_path) == CONTENT


def test_time_that_is_not_spent_waiting_for_the_server_does_not_count(serve: Serve) -> None:
    with Http(QUICK).open(serve(lambda path, headers: [head("200 OK", *LINES), CONTENT]).url, 0) as body:
        content = body.read(1)
        time.sleep(1.0)
        while piece := body.read(1 << 16):
            content += piece
    assert content == CONTENT


def test_the_stated_pace_is_a_hundred_bytes_a_second_judged_each_minute() -> None:
    assert RetryPolicy().least_bytes_per_minute == 6000
    assert RetryPolicy().slow_after_s == 60
    assert (
        RetryPolicy(stall_s=300).slow_after_s == 300
    )  # who allows a silence of so long is not given less for a trickle


NOT_JSON = {
    "deep list": b"[" * 100_000,
    "deep and whole": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"a":' * 100_000,
    "no UTF-8": b'{"name": "\xff\xfe"}',
    "page": b"<html>sig=SECRET</html>",
    "nothing": b"",
    "cut": b'{"name": "a',
    "a number of 5,000 digits": b"9" * 5000,
    "zeros": b"\x00" * 100,
    "escape": b"\x1b[2J",
}


@pytest.mark.parametrize("content", NOT_JSON.values(), ids=NOT_JSON.keys())
def test_what_is_no_json_is_reported_with_its_address(serve: Serve, content: bytes) -> None:
    server = serve(lambda path, headers: [head("200 OK", "Content-Type: x\x1b[2J"), content])
    with pytest.raises(Unexpected, match=r"http://127\.0\.0\.1:\d+/where sent ") as caught:
        Http(QUICK).json(f"{server.url}/where?sig=SECRET")
    assert len(server.requests) == 1
    assert str(caught.value).isprintable()
    assert "SECRET" not in str(caught.value)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize("packed", [True, False])
def test_json_without_an_end_is_given_up(serve: Serve, packed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST_ANSWER", 2 << 20)
    piece = b"1," * (1 << 20)
    content = [gzip.compress(b"[" + piece * 10)] if packed else itertools.chain([b"["], itertools.repeat(piece))
    lines = ["Content-Encoding: gzip"] if packed else []
    server = serve(lambda path, headers: itertools.chain([head("200 OK", *lines)], content))
    with pytest.raises(Unexpected, match="sent more than 2 MB of JSON"):
        Http(QUICK).json(server.url)


def test_an_error_page_without_an_end_is_not_read(serve: Serve) -> None:
    with pytest.raises(Refused):
        Http(QUICK).json(serve(endless(head("403 Forbidden"), bytes(1 << 16))).url)


@pytest.mark.parametrize("proxy", ["http://[::1", "http://127.0.0.1:x", "ftp://x", "http://"])
def test_a_proxy_that_is_none_is_reported(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with pytest.raises(Fault):
        Http(QUICK).json("http://example.invalid/x?sig=SECRET")
