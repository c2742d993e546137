"""Connection strings of Azure Storage, read leniently, as web pages and mails deliver them."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote, urlsplit

from medcli.core.errors import DataError
from medcli.transfer.addresses import is_address

_LINK = re.compile(r"\[(?P<text>[^\]]*)\]\((?P<address>[^)]*)\)")
_SIGNED_ADDRESS = re.compile(r"https?://[^\s;]+\?[^\s;]*$", re.IGNORECASE)
_RIGHTS = {
    "r": "read", "l": "list", "w": "write", "d": "delete", "a": "add", "c": "create", "u": "update", "p": "process",
    "x": "delete versions", "y": "delete for good", "t": "tags", "f": "filter", "m": "move", "e": "execute",
    "o": "ownership", "i": "immutability",
}  # fmt: skip
_NEEDED = "rl"
_ACCOUNT = re.compile(r"[a-z0-9]{3,24}")
_SUFFIX = re.compile(r"[a-z][a-z0-9-]{0,30}(?:\.[a-z0-9-]{1,30}){0,5}(?::\d{1,5})?", re.IGNORECASE)


@dataclass(frozen=True)
class Connection:
    """What is needed to read an account's blobs.

    Attributes:
        endpoint: address of the blob service, without a trailing slash.
        signature: shared-access signature (query string without ``?``), or empty. Never printed.
        account: its name.
        key: account key, or empty. Never printed.
        container: the one that the address named, or empty.
    """

    endpoint: str
    account: str
    signature: str = field(default="", repr=False)
    key: str = field(default="", repr=False)
    container: str = ""

    @property
    def rights(self) -> str:
        """The letters of ``sp``; empty when there is no signature or it does not say."""
        return parse_qs(self.signature).get("sp", [""])[0]

    def surplus_rights(self) -> list[str]:
        """Rights beyond reading and listing, in words."""
        if self.key:
            return ["everything (it is the account's key)"]
        return [_RIGHTS.get(letter, letter) for letter in self.rights if letter not in _NEEDED]

    def check_usable(self, now: datetime.datetime | None = None) -> None:
        """Say what is wrong with the signature before the server does.

        Raises:
            DataError: expired, not valid yet, or without the right to read or list.
        """
        now = now or datetime.datetime.now(datetime.timezone.utc)
        hint = "get the current one from the dataset's page"
        start, end = self._time("st"), self._time("se")
        if end and end < now:
            raise DataError(f"the connection string expired on {end:%Y-%m-%d %H:%M} UTC", hint)
        if start and start > now:
            raise DataError(f"the connection string is valid from {start:%Y-%m-%d %H:%M} UTC only", hint)
        for right in _NEEDED:
            if self.rights and right not in self.rights:
                raise DataError(f"the connection string gives no right to {_RIGHTS[right]} (sp={self.rights})", hint)

    def _time(self, name: str) -> datetime.datetime | None:
        values = parse_qs(self.signature).get(name)
        if not values:
            return None
        try:
            time = datetime.datetime.fromisoformat(values[0].replace("Z", "+00:00"))
        except ValueError:
            return None
        return time if time.tzinfo else time.replace(tzinfo=datetime.timezone.utc)


def parse_connection(text: str) -> Connection:
    """Read a connection string: any case, blanks, quotes, line ends, Markdown links, a leading ``?``.

    An address with its signature (``https://ACCOUNT.blob.core.windows.net/CONTAINER?sv=…&sig=…``) is read as well.

    Raises:
        DataError: a part is missing; says which, and repeats nothing of the text.
    """
    parts = _parts(text)
    account = parts.get("accountname", "")
    endpoint = parts.get("blobendpoint", "")
    if not endpoint and account:
        suffix = parts.get("endpointsuffix", "core.windows.net")
        if not (_ACCOUNT.fullmatch(account) and _SUFFIX.fullmatch(suffix)):
            raise DataError(
                "the connection string lacks its BlobEndpoint (https://ACCOUNT.blob.core.windows.net), and what it "
                "gives as AccountName and EndpointSuffix cannot be one (not shown)"
            )
        endpoint = f"{parts.get('defaultendpointsprotocol', 'https')}://{account}.blob.{suffix}"
    if not is_address(endpoint):
        raise DataError("the connection string lacks its BlobEndpoint (https://ACCOUNT.blob.core.windows.net)")
    address = urlsplit(endpoint)
    signature = (parts.get("sharedaccesssignature", "") or address.query).lstrip("?")
    key = parts.get("accountkey", "")
    if not signature and not key:
        raise DataError("the connection string lacks its SharedAccessSignature (sv=…&sp=rl&sig=…)")
    if signature and "sig" not in parse_qs(signature):
        raise DataError("the SharedAccessSignature of the connection string is truncated: it has no sig")
    folders = [part for part in address.path.split("/") if part]
    of_account = folders[: _is_by_path(address.hostname or "")]
    plain = "/".join([f"{address.scheme}://{address.netloc.rpartition('@')[2]}", *of_account])
    container = unquote("".join(folders[len(of_account) :][:1]))
    return Connection(plain, account or _account(plain), signature, key, container)


def _parts(text: str) -> dict[str, str]:
    text = _LINK.sub(lambda match: match["address"], text.strip()).strip().strip("`\"'<> \t")
    if _SIGNED_ADDRESS.match(text):
        return {"blobendpoint": text}
    parts: dict[str, str] = {}
    for piece in re.split(r"[;\r\n]+", text):
        name, equals, value = piece.partition("=")
        if equals:
            parts[name.strip(" \t\"'").lower()] = value.strip(" \t\"'<>")
    return parts


def _account(endpoint: str) -> str:
    address = urlsplit(endpoint)
    host = address.hostname or ""
    return address.path.strip("/").split("/")[0] if _is_by_path(host) else host.split(".")[0]


def _is_by_path(host: str) -> bool:
    """Whether the account is the first folder of the address, as emulators have it, and not part of the host's name."""
    return host == "localhost" or re.fullmatch(r"[\d.]+|.*:.*", host) is not None
