"""The one HTTP client of all sources: GET and HEAD only, byte ranges, and failures worded for the user.

No text that leaves this module holds an address with its query, where a signature would be.
"""

from __future__ import annotations

import email.utils
import json
import logging
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import requests
import requests.adapters
import urllib3.exceptions

from medcli import __version__
from medcli.core.secrets import redact
from medcli.transfer.addresses import follow_link, host_of, in_short, shown_address
from medcli.transfer.pace import TooSlow, pace_connections
from medcli.transfer.protocol import Broken, Busy, Changed, Fault, Missing, Refused, Unexpected
from medcli.transfer.retry_policy import RetryPolicy

MOST_REDIRECTS = 10
LARGEST_ANSWER = 64 << 20
"""Bytes of JSON that are read as one answer; the longest that a source sends is some 10 MB."""
_READING = frozenset({"GET", "HEAD"})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_KEPT_ELSEWHERE = frozenset({"accept", "range", "if-match"})
"""Headers that go along when a redirect leads to another server: none that could be a credential."""
_DRAINED = 1 << 16
_BUSY = frozenset({408, 425, 429})
_BROKEN = (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError)
"""What the libraries below raise when a connection fails; a chunk of negative length is a ``ValueError`` to them."""
_UNSENT = (
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    requests.exceptions.MissingSchema,
    urllib3.exceptions.LocationValueError,
    UnicodeError,
)
"""What they raise when they cannot send a request: its address or a proxy variable is none."""
_NUMBER = re.compile(r"[0-9]{1,18}")
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)")


class _HideSignatures(logging.Filter):
    """Keeps signatures out of the HTTP library's own debug log, which prints whole addresses."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = redact(record.getMessage()), ()
        return True


class ReadOnlyAdapter(requests.adapters.HTTPAdapter):
    """Sends GET and HEAD and nothing else: a credential that could write or delete is never used for it.

    Its connections give a server up that sends less than ``retry_policy`` allows.
    """

    def __init__(self, retry_policy: RetryPolicy, **settings: Any) -> None:
        self.retry_policy = retry_policy
        super().__init__(**settings)

    def get_connection_with_tls_context(self, *words: Any, **settings: Any) -> Any:
        pool = super().get_connection_with_tls_context(*words, **settings)
        return pace_connections(pool, self.retry_policy.least_bytes_per_minute, self.retry_policy.slow_after_s)

    def send(self, request: requests.PreparedRequest, *args: Any, **settings: Any) -> requests.Response:
        if request.method not in _READING:
            raise PermissionError(f"a download sends no {request.method} request")
        return super().send(request, *args, **settings)


class _Session(requests.Session):
    """Follows no redirect: its own rules would send the user's ``.netrc`` along, and lead from https to http."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        return None


def read_only_session(connections: int, retry_policy: RetryPolicy) -> requests.Session:
    """A session that can only read; it honours the proxy variables of the environment, but no ``.netrc``."""
    session = _Session()
    session.headers.update({"User-Agent": f"medcli/{__version__}", "Accept-Encoding": "identity"})
    session.auth = _leave_as_it_is
    adapter = ReadOnlyAdapter(retry_policy, pool_connections=8, pool_maxsize=max(connections, 4), max_retries=0)
    for scheme in ("http://", "https://"):
        session.mount(scheme, adapter)
    logger = logging.getLogger("urllib3.connectionpool")
    if not any(isinstance(item, _HideSignatures) for item in logger.filters):
        logger.addFilter(_HideSignatures())
    return session


def _leave_as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


class HttpBody:
    """The body of an answer to a ranged GET; see :class:`medcli.transfer.protocol.ResponseBody`."""

    def __init__(self, response: requests.Response, host: str) -> None:
        self.response = response
        self.host = host
        self.tag = _tag(response.headers)
        self.start, self.total = _extent(response)

    def read(self, size: int) -> bytes:
        try:
            content: bytes = self.response.raw.read(size, decode_content=False)
        except _BROKEN as error:
            raise Broken(f"{self.host} {words_for(error)}") from None
        return content


@dataclass(frozen=True)
class JsonAnswer:
    """What a server said.

    Attributes:
        content: the JSON, parsed.
        address: where it came from, after redirects.
        following: the link to the next page that its headers name, as it came.
    """

    content: Any
    address: str
    following: str | None


class Http:
    """GET with a retry policy; safe to share between threads."""

    def __init__(self, retry_policy: RetryPolicy, connections: int = 8) -> None:
        self.retry_policy = retry_policy
        self.session = read_only_session(connections, retry_policy)

    @contextmanager
    def open(
        self, url: str, offset: int, length: int | None = None, headers: Mapping[str, str] | None = None
    ) -> Iterator[HttpBody]:
        """Open a byte range. Raises a fault for every answer that is not the file or a range of it."""
        wanted = dict(headers or {})
        if offset or length is not None:
            wanted["Range"] = f"bytes={offset}-" + ("" if length is None else str(offset + length - 1))
        response = self._get(url, wanted)
        try:
            raise_for(response)
            yield HttpBody(response, host_of(url))
        finally:
            response.close()

    def json(self, url: str, headers: Mapping[str, str] | None = None) -> JsonAnswer:
        """The answer to a GET as JSON, retried as the policy allows."""
        return self.retry_policy.call(lambda: self._json_once(url, headers or {}))

    def _json_once(self, url: str, headers: Mapping[str, str]) -> JsonAnswer:
        response = self._get(url, {"Accept": "application/json", **headers})
        try:
            raise_for(response)
            content = self._content(response)
        finally:
            response.close()
        address = shown_address(response.url)
        try:
            parsed = json.loads(content)
        except RecursionError:
            raise Unexpected(f"{address} sent JSON that is nested too deep") from None
        except ValueError:
            kind = in_short(response.headers.get("Content-Type", "nothing"))
            said = in_short(content[:200].decode("utf-8", "replace"))
            raise Unexpected(f"{address} sent {said} ({kind}), which cannot be read as JSON") from None
        return JsonAnswer(parsed, response.url, response.links.get("next", {}).get("url"))

    def _content(self, response: requests.Response) -> bytes:
        content = bytearray()
        try:
            for piece in response.iter_content(1 << 14):
                content += piece
                if len(content) > LARGEST_ANSWER:
                    raise Unexpected(f"{shown_address(response.url)} sent more than {LARGEST_ANSWER >> 20} MB of JSON")
        except _BROKEN as error:
            raise Broken(f"{host_of(response.url)} {words_for(error)}") from None
        return bytes(content)

    def _get(self, url: str, headers: Mapping[str, str]) -> requests.Response:
        """The answer to a GET, redirects followed; a credential is not sent to another server than ``url``'s."""
        start = url
        for _ in range(MOST_REDIRECTS + 1):
            response = self._get_once(url, headers)
            link = response.headers.get("Location") if response.status_code in _REDIRECTS else None
            if link is None:
                return response
            _drain(response)
            target = follow_link(link.encode("latin-1").decode("utf-8", "replace"), url)
            if self.session.should_strip_auth(url, target):
                headers = {name: value for name, value in headers.items() if name.lower() in _KEPT_ELSEWHERE}
            url = target
        raise Unexpected(f"{shown_address(start)} redirects more than {MOST_REDIRECTS} times")

    def _get_once(self, url: str, headers: Mapping[str, str]) -> requests.Response:
        timeout = (self.retry_policy.connect_s, self.retry_policy.stall_s)
        try:
            return self.session.get(url, headers=dict(headers), stream=True, timeout=timeout, allow_redirects=False)
        except _UNSENT as error:
            raise Unexpected(
                f"no request can be sent to {host_of(url)} ({type(error).__name__}): its address or HTTPS_PROXY is none"
            ) from None
        except _BROKEN as error:
            raise Broken(f"{host_of(url)} {words_for(error)}") from None


def _drain(response: requests.Response) -> None:
    """Read what a redirect says, when that is little: its connection then serves further requests."""
    length = response.headers.get("Content-Length", "")
    try:
        if _NUMBER.fullmatch(length) and int(length) <= _DRAINED:
            response.raw.read(_DRAINED, decode_content=False)
    except _BROKEN as error:
        if _slow(error):
            raise Broken(f"{host_of(response.url)} {words_for(error)}") from None
    finally:
        response.close()


def raise_for(response: requests.Response) -> None:
    """Turn every answer but 200 and 206 into a fault; the body's own words are left out, they may echo the request."""
    code, host = response.status_code, host_of(response.url)
    if code in (200, 206):
        return
    reason = response.headers.get("x-ms-error-code") or response.headers.get("X-Error-Message")
    said = f"{host} answered {code} {response.reason or ''}".rstrip() + (f" ({reason[:200]})" if reason else "")
    said = "".join(sign if sign.isprintable() else "?" for sign in redact(said))
    raise fault_for(code, said, response.headers)


def fault_for(code: int, said: str, headers: Mapping[str, str]) -> Fault:
    """The fault that an HTTP status means."""
    if code in _BUSY or code >= 500:
        return Busy(said, retry_after_s(headers.get("Retry-After")))
    if code in (409, 412, 416):
        return Changed(said)
    if code in (404, 410):
        return Missing(said)
    return Refused(said) if code >= 400 else Unexpected(said)


def retry_after_s(value: str | None) -> float | None:
    """Seconds of a Retry-After header, which holds seconds or a date; None when absent or unreadable."""
    if not value:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None


def _tag(headers: Mapping[str, str]) -> str | None:
    value = headers.get("ETag")
    return value.removeprefix("W/").strip('"') if value else None


def _extent(response: requests.Response) -> tuple[int, int | None]:
    """First offset and whole size of the file, from the headers of a 200 or 206.

    Raises:
        Broken: the headers make no sense.
        Unexpected: the content was packed on the way, so that offsets in it mean nothing.
    """
    host, length = host_of(response.url), _content_length(response)
    packed = response.headers.get("Content-Encoding", "identity").strip().lower()
    if packed != "identity" and length is None:
        raise Unexpected(f"{host} sent the file packed ({in_short(packed)}), which was not asked for")
    if response.status_code != 206:
        return 0, length
    text = response.headers.get("Content-Range", "")
    match = _CONTENT_RANGE.fullmatch(text.strip())
    if match is None:
        raise Broken(f"{host} sent a part without saying which (Content-Range {in_short(text)})")
    start, last, total = int(match[1]), int(match[2]), None if match[3] == "*" else int(match[3])
    if not start <= last < (total or last + 1) or length not in (None, last + 1 - start):
        raise Broken(f"{host} contradicts itself: {length} bytes are said to be {in_short(text)}")
    return start, total


def _content_length(response: requests.Response) -> int | None:
    """The length that an answer states, or None."""
    text = response.headers.get("Content-Length")
    if text is None:
        return None
    stated = {value.strip() for value in text.split(",")}
    if len(stated) > 1 or not _NUMBER.fullmatch(min(stated)):
        raise Broken(f"{host_of(response.url)} sent a Content-Length that is not a number: {in_short(text)}")
    return int(stated.pop())


def words_for(error: BaseException) -> str:
    """Why a connection failed, in words of our own: the library's text holds the whole address."""
    slow = _slow(error)
    if slow:
        return f"sent too little: {slow}"
    chain = " ".join(type(item).__name__ for item in _causes(error))
    said = (
        ("NameResolution", "was not found; is this machine online?"),
        ("gaierror", "was not found; is this machine online?"),
        ("ProxyError", "cannot be reached through the proxy"),
        ("SSL", "failed to prove who it is (TLS certificate)"),
        ("ConnectTimeout", "did not answer in time"),
        ("ReadTimeout", "sent nothing for too long"),
        ("ConnectionRefused", "refused the connection"),
        ("PoolTimeout", "did not answer in time"),
        ("ConnectError", "cannot be reached"),
        ("NewConnection", "cannot be reached"),
        ("TimeoutError", "sent nothing for too long"),
    )
    for name, words in said:
        if name in chain:
            return words
    return "broke the connection"


def _slow(error: BaseException) -> TooSlow | None:
    return next((item for item in _causes(error) if isinstance(item, TooSlow)), None)


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    waiting: list[Any] = [error]
    while waiting:
        item = waiting.pop()
        if isinstance(item, BaseException) and id(item) not in seen:
            seen.add(id(item))
            yield item
            waiting += [item.__cause__, item.__context__, getattr(item, "reason", None), *item.args]
            waiting.append(getattr(item, "inner_exception", None))  # of the Azure SDK
