"""Addresses: what is one, what a message may show of one, and where a server's link leads.

No text that this module makes holds user information or a query, where a password or a signature would be.
"""

from __future__ import annotations

import ipaddress
import logging
import re
from functools import lru_cache
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from medcli.core.errors import UsageError
from medcli.core.secrets import redact
from medcli.transfer.protocol import Unexpected

log = logging.getLogger(__name__)
_ADDRESS = re.compile(r"(https?://[^/?#\s]+)(?:[/?#]\S*)?", re.IGNORECASE)
_NO_HOST = re.compile(r"[\s<>\"{}|\\^`%]")
_LONGEST_SHOWN = 60


def in_short(value: Any) -> str:
    """A value that a server sent, for a message: one short line, unprintable characters escaped."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = redact(str(value))
    shown = "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text[: 2 * _LONGEST_SHOWN])
    shown = shown[:_LONGEST_SHOWN] + ("…" if len(shown) > _LONGEST_SHOWN else "")
    return f"'{shown}'" if isinstance(value, str) else shown


def host_of(url: str) -> str:
    """Host (and port) of an address: what a message may show of it."""
    return urlsplit(url).netloc.rpartition("@")[2]


def shown_address(url: str) -> str:
    """An address as a message may show it, without user information, query and fragment."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{host_of(url)}{parts.path}"


def server_of(url: str) -> tuple[str, str, int]:
    """Scheme, host and port: a credential that was given for one of them is sent to no other."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or {"http": 80}.get(parts.scheme, 443)


def is_address(address: str) -> bool:
    """Whether a request can be sent to ``address``."""
    match = _ADDRESS.fullmatch(address)
    return match is not None and _is_place(match[1]) and address.isprintable()


@lru_cache(maxsize=64)  # a listing names the same server with each of its files
def _is_place(place: str) -> bool:
    """Whether scheme, host and port are such."""
    try:
        parts = urlsplit(place)
        host = parts.hostname or ""
        host.encode("idna")
        if ":" in host or "[" in place:
            ipaddress.IPv6Address(host)  # from Python 3.11.4 on, urlsplit itself looks at what stands in brackets
        return bool(host) and not _NO_HOST.search(host) and parts.port != 0
    except ValueError:  # no IPv6 address in brackets, a port that is not a number, an empty or too long label
        return False


def checked_address(address: str, name: str, warn: bool = True) -> str:
    """``address`` when a request can be sent there and further folders be added to it, without its last slashes.

    A user name and password in it are left out, with a warning: they would not be sent, but written beside the data.

    Args:
        name: the option or variable that it was given by.
        warn: warn of them; once in a command is enough.

    Raises:
        UsageError: it is not an http(s) address, or has a query.
    """
    address = address.strip()
    if not is_address(address):
        raise UsageError(f"{name} is not an http(s) address: {_echo(address)}", "it looks like https://example.org")
    if "?" in address or "#" in address:
        raise UsageError(f"{name} must end before its query: {_echo(address)}", "leave out the part from ? or # on")
    scheme, _, rest = address.partition("://")
    place, slash, folders = rest.partition("/")
    user, _, server = place.rpartition("@")
    if user and warn:
        log.warning("the user name and password in %s are not used; medcli reads what is open to everyone", name)
    return f"{scheme}://{server}{slash}{folders}".rstrip("/")


def part_of_address(text: str, name: str, safe: str = "/") -> str:
    """``text`` quoted, to be a part of an address; the signs in ``safe`` stay.

    Raises:
        UsageError: it was given by ``name`` in bytes that are not UTF-8.
    """
    try:
        return quote(text, safe)
    except UnicodeEncodeError:
        raise UsageError(f"{name} is not UTF-8: {text!r}") from None


def follow_link(link: str, base: str) -> str:
    """The address that ``link`` means in an answer that came from ``base``.

    Raises:
        Unexpected: it is not an address, or leads from https to http, where anyone on the way could read and change it.
    """
    target = link
    if not _ADDRESS.fullmatch(link):
        try:
            target = urljoin(base, link.strip().replace(" ", "%20"))
        except ValueError:
            target = ""
    if not is_address(target):
        raise Unexpected(f"{shown_address(base)} names an address that is none: {_echo(link)}")
    if base[:6].lower() == "https:" and target[:5].lower() == "http:":
        raise Unexpected(f"{shown_address(base)} leads from https to http ({host_of(target)}), which is not secure")
    return target


def _echo(address: str) -> str:
    """What may be shown of a text that is not an address, quoted."""
    if "@" in address:
        return "(not shown: it may hold a password)"
    head = re.split(r"[?#]", address)[0]
    return in_short(head if head == address else head + "?…")
