"""The one HTTP client of all sources: GET and HEAD only, byte ranges, and failures worded for the user.

No text that leaves this module holds an address with its query, where a signature would be.
"""

from __future__ import annotations

import email.utils
import logging
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import requests
import requests.adapters
import urllib3.exceptions

from medcli import __version__
from medcli.core.errors import UsageError
from medcli.transfer.protocol import Broken, Busy, Changed, Fault, Missing, Refused
from medcli.transfer.retry_policy import Patience

_READING = frozenset({"GET", "HEAD"})
_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
_SIGNATURE = re.compile(r"(?i)\b(sig|signature|x-amz-signature|x-amz-credential|token)=[^&\s\"']+")
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


def without_secrets(text: str) -> str:
    """``text`` with the values of signatures replaced, wherever an address carries one."""
    return _SIGNATURE.sub(r"\1=(hidden)", text)


class _HideSignatures(logging.Filter):
    """Keeps signatures out of the HTTP library's own debug log, which prints whole addresses."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = without_secrets(record.getMessage()), ()
        return True


class ReadOnlyAdapter(requests.adapters.HTTPAdapter):
    """Sends GET and HEAD and nothing else: a credential that could write or delete is never used for it."""

    def send(self, request: requests.PreparedRequest, *args: Any, **settings: Any) -> requests.Response:
        if request.method not in _READING:
            raise PermissionError(f"a download sends no {request.method} request")
        return super().send(request, *args, **settings)


def read_only_session(connections: int) -> requests.Session:
    """A session that can only read; it honours the proxy variables of the environment, but no ``.netrc``."""
    session = requests.Session()
    session.headers.update({"User-Agent": f"medcli/{__version__}", "Accept-Encoding": "identity"})
    session.auth = _leave_as_it_is
    adapter = ReadOnlyAdapter(pool_connections=8, pool_maxsize=max(connections, 4), max_retries=0)
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
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Broken(f"{self.host} {words_for(error)}") from None
        return content


class Http:
    """GET with the patience given; safe to share between threads."""

    def __init__(self, patience: Patience, connections: int = 8) -> None:
        self.patience = patience
        self.session = read_only_session(connections)

    @contextmanager
    def open(
        self, url: str, offset: int, length: int | None = None, headers: Mapping[str, str] | None = None
    ) -> Iterator[HttpBody]:
        """Open a byte range. Raises a fault for every answer that is not the file or a range of it."""
        wanted = dict(headers or {})
        if offset or length is not None:
            wanted["Range"] = f"bytes={offset}-" + ("" if length is None else str(offset + length - 1))
        response = self._get(url, wanted, stream=True)
        try:
            raise_for(response)
            yield HttpBody(response, host_of(url))
        finally:
            response.close()

    def json(self, url: str) -> Any:
        """The answer to a GET as JSON, tried again as patience allows."""
        return self.patience.insist(lambda: self._json_once(url))

    def _json_once(self, url: str) -> Any:
        response = self._get(url, {"Accept": "application/json"})
        raise_for(response)
        try:
            return response.json()
        except ValueError:
            kind = response.headers.get("Content-Type", "nothing")
            raise Refused(f"{host_of(url)} answered with {kind} where JSON was expected") from None

    def _get(self, url: str, headers: dict[str, str], stream: bool = False) -> requests.Response:
        timeout = (self.patience.connect_s, self.patience.stall_s)
        try:
            return self.session.get(url, headers=headers, stream=stream, timeout=timeout)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise Broken(f"{host_of(url)} {words_for(error)}") from None


def host_of(url: str) -> str:
    """Host (and port) of an address: what a message may show of it."""
    return urlsplit(url).netloc.rpartition("@")[2]


def checked_address(address: str, name: str) -> str:
    """``address``, without its last slashes, when a request can be sent there.

    Args:
        name: the option or variable that it was given by.

    Raises:
        UsageError: it is no http(s) address.
    """
    try:
        parts = urlsplit(address.strip())
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number
        usable = False
    if not usable:
        shown = without_secrets(address.rpartition("@")[2])
        raise UsageError(f"{name} is not an http(s) address: {shown!r}", "it looks like https://example.org")
    return address.strip().rstrip("/")


def raise_for(response: requests.Response) -> None:
    """Turn every answer but 200 and 206 into a fault; the body's own words are left out, they may echo the request."""
    code, host = response.status_code, host_of(response.url)
    if code in (200, 206):
        return
    said = f"{host} answered {code} {response.reason or ''}".rstrip()
    reason = response.headers.get("x-ms-error-code") or response.headers.get("X-Error-Message")
    if reason:
        said += f" ({without_secrets(reason)[:200]})"
    raise fault_for(code, said, response.headers)


def fault_for(code: int, said: str, headers: Mapping[str, str]) -> Fault:
    """The fault that an HTTP status means."""
    if code in _BUSY:
        return Busy(said, retry_after_s(headers.get("Retry-After")))
    if code in (409, 412, 416):
        return Changed(said)
    if code in (404, 410):
        return Missing(said)
    return Refused(said)


def retry_after_s(value: str | None) -> float | None:
    """Seconds of a Retry-After header, which holds seconds or a date; None when absent or unreadable."""
    if not value:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        date = email.utils.parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return None
    return max(0.0, date.timestamp() - time.time())


def _tag(headers: Mapping[str, str]) -> str | None:
    value = headers.get("ETag")
    return value.removeprefix("W/").strip('"') if value else None


def _extent(response: requests.Response) -> tuple[int, int | None]:
    """First offset and whole size of the file, from the headers of a 200 or 206."""
    if response.status_code == 206:
        match = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
        if match is None:
            raise Broken(f"{host_of(response.url)} sent a part without saying which")
        return int(match[1]), None if match[3] == "*" else int(match[3])
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdecimal() else None


def words_for(error: BaseException) -> str:
    """Why a connection failed, in words of our own: the library's text holds the whole address."""
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


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    waiting: list[Any] = [error]
    while waiting:
        item = waiting.pop()
        if isinstance(item, BaseException) and id(item) not in seen:
            seen.add(id(item))
            yield item
            waiting += [item.__cause__, item.__context__, getattr(item, "reason", None), *item.args]
