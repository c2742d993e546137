"""DSpace 7 and later, the software of many universities' repositories, by its REST interface."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, urljoin

from medcli.core.errors import DataError
from medcli.transfer.http import Http, HttpBody
from medcli.transfer.protocol import Missing, RemoteFile

_PAGE = 100
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_MD5 = re.compile(r"[0-9a-f]{32}")
_CONTENT = "ORIGINAL"


class DSpaceItem:
    """The files of one item; see :class:`medcli.transfer.protocol.RemoteSource`.

    Args:
        base_url: the repository's address, or that of its REST interface (``…/server/api``).
        item: an item's UUID, handle (``20.500.11850/701146``) or DOI (``10.3929/ethz-b-000701146``); several
            are tried in turn, when separated by commas.
    """

    one_credential = False  # single files of an open item may be closed

    def __init__(self, base_url: str, item: str, http: Http) -> None:
        base = base_url.rstrip("/")
        self.api = base if base.endswith("/api") else f"{base}/server/api"
        self.item = item
        self.http = http
        self.uuid = self._uuid()
        self.address = f"{self.api} item {self.uuid}"

    def list(self) -> Iterator[RemoteFile]:
        address = f"{self.api}/core/items/{self.uuid}/bundles"
        bundles = [bundle for bundle in self._all(address, "bundles") if bundle["name"] == _CONTENT]
        if not bundles:
            raise DataError(f"item {self.item} of {self.api} offers no files (no bundle named {_CONTENT})")
        for bundle in bundles:
            for stream in self._all(f"{self.api}/core/bundles/{bundle['uuid']}/bitstreams", "bitstreams"):
                yield self._entry(stream)

    @contextmanager
    def open(self, entry: RemoteFile, offset: int, length: int | None = None) -> Iterator[HttpBody]:
        # No If-Match: DSpace answers 416 to one that it does not know. The ETag of the answer is compared instead,
        # where it is the MD5 that DSpace makes of it.
        with self.http.open(entry.handle or "", offset, length) as body:
            if not _MD5.fullmatch(body.tag or ""):
                body.tag = None
            yield body

    def refresh(self, entry: RemoteFile) -> RemoteFile:
        """The entry as the listing has it: a changed bitstream is another bitstream."""
        return entry

    def _entry(self, stream: dict[str, Any]) -> RemoteFile:
        links = stream.get("_links", {})
        href = links.get("content", {}).get("href") or f"{self.api}/core/bitstreams/{stream['uuid']}/content"
        check = stream.get("checkSum") or {}
        md5 = check["value"].lower() if check.get("checkSumAlgorithm", "").upper() == "MD5" else None
        return RemoteFile(stream["name"], int(stream["sizeBytes"]), f"md5:{md5}" if md5 else None, md5, href)

    def _uuid(self) -> str:
        """The item's UUID, from whatever name of it the server knows."""
        names = [name.strip() for name in self.item.split(",") if name.strip()]
        for name in names:
            if _UUID.fullmatch(name):
                return name
            for scheme in ("doi", "hdl") if name.startswith("10.") else ("hdl", "doi"):
                try:
                    found = self.http.json(f"{self.api}/pid/find?id={scheme}:{quote(name)}")
                except Missing:
                    continue
                return str(found["uuid"])
        raise DataError(
            f"{self.api} knows no item {' or '.join(names)}", "name it with --item (UUID, handle or DOI) and --base-url"
        )

    def _all(self, url: str, name: str) -> Iterator[dict[str, Any]]:
        """Items of all pages; the server may send smaller pages than asked for, so its own links are followed."""
        address: str | None = f"{url}?page=0&size={_PAGE}"
        seen: set[str] = set()
        while address and address not in seen:
            seen.add(address)
            page = self.http.json(address)
            yield from page.get("_embedded", {}).get(name, [])
            following = page.get("_links", {}).get("next", {}).get("href")
            address = urljoin(address, following) if following else None
