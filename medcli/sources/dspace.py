"""DSpace 7 and later, the software of many universities' repositories, by its REST interface."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from medcli.core.errors import DataError, UsageError, quantity
from medcli.sources.answers import (
    TEXT,
    UUID,
    UUID_PATTERN,
    Check,
    check_answer,
    is_count,
    is_list,
    is_name,
    is_object,
    is_size,
    is_text,
    pages,
    within,
)
from medcli.transfer.addresses import follow_link, part_of_address, shown_address
from medcli.transfer.http import Http, HttpBody, JsonAnswer
from medcli.transfer.protocol import Missing, RemoteFile, Unexpected

_PAGE = 100
_MD5 = re.compile(r"[0-9a-f]{32}")
_CONTENT = "ORIGINAL"
_ITEM = is_object({"uuid": UUID})
_BUNDLE = is_object({"uuid": UUID, "name": TEXT})
_CHECKSUM = is_object({}, {"checkSumAlgorithm": TEXT, "value": TEXT})
_CHECKSUM_BY_MD5 = is_object({"value": is_text(r"[0-9a-fA-F]{32}", "an MD5")})


def _is_checksum(value: Any) -> None:
    """An MD5, or what another algorithm (or none) gave, which is not used."""
    _CHECKSUM(value)
    if _is_by_md5(value):
        _CHECKSUM_BY_MD5(value)


def _is_by_md5(found: dict[str, Any]) -> bool:
    return (found.get("checkSumAlgorithm") or "").upper() == "MD5"


_BITSTREAM = is_object(
    {"uuid": UUID, "name": is_name, "sizeBytes": is_size},
    {"checkSum": _is_checksum, "_links": is_object({}, {"content": is_object({}, {"href": TEXT})})},
)
_PAGE_OF = is_object({}, {"totalElements": is_count})
_NEXT = is_object({}, {"next": is_object({}, {"href": TEXT})})


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
        bundles = [bundle for bundle, _ in self._all(address, "bundles", _BUNDLE) if bundle["name"] == _CONTENT]
        if not bundles:
            raise DataError(f"item {self.item} of {self.api} offers no files (no bundle named {_CONTENT})")
        for bundle in bundles:
            url = f"{self.api}/core/bundles/{bundle['uuid']}/bitstreams"
            for stream, address in self._all(url, "bitstreams", _BITSTREAM):
                yield self._entry(stream, address)

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

    def _entry(self, stream: dict[str, Any], address: str) -> RemoteFile:
        href = within(stream, "_links", "content", "href")
        url = follow_link(href, address) if href else f"{self.api}/core/bitstreams/{stream['uuid']}/content"
        found = stream.get("checkSum") or {}
        md5 = found["value"].lower() if _is_by_md5(found) else None
        return RemoteFile(stream["name"], stream["sizeBytes"], f"md5:{md5}" if md5 else None, md5, url)

    def _uuid(self) -> str:
        """The item's UUID, from whatever name of it the server knows."""
        names = [name.strip() for name in self.item.split(",") if name.strip()]
        if not names:
            raise UsageError("--item names no item", "give a UUID, handle or DOI, or leave it out")
        for name in names:
            if re.fullmatch(UUID_PATTERN, name):
                return name
            for scheme in ("doi", "hdl") if name.startswith("10.") else ("hdl", "doi"):
                url = f"{self.api}/pid/find?id={scheme}:{part_of_address(name, '--item')}"
                try:
                    found = self.http.json(url)
                except Missing:
                    continue
                return str(check_answer(found.content, _ITEM, found.address)["uuid"])
        raise DataError(
            f"{self.api} knows no item {' or '.join(names)}", "name it with --item (UUID, handle or DOI) and --base-url"
        )

    def _all(self, url: str, name: str, item: Check) -> Iterator[tuple[dict[str, Any], str]]:
        """Items of all pages, each with its page's address.

        Raises:
            Unexpected: a page is not one, or the listing ends before the number of items that it announces.
        """
        listed = {"_embedded": is_object({name: is_list(item)})}
        shape, full = is_object({}, {**listed, "_links": _NEXT, "page": _PAGE_OF}), is_object(listed)
        came, announced = 0, 0

        def get(address: str) -> JsonAnswer:
            answer = self.http.json(address)
            check_answer(answer.content, shape, answer.address)
            if within(answer.content, "page", "totalElements") != 0:  # only where there are none, the list may lack
                check_answer(answer.content, full, answer.address)
            return answer

        def items(page: JsonAnswer) -> list[dict[str, Any]]:
            return within(page.content, "_embedded", name) or []

        def following(page: JsonAnswer) -> str | None:
            link: str | None = within(page.content, "_links", "next", "href")
            return link

        for page in pages(get, f"{url}?page=0&size={_PAGE}", lambda page: len(items(page)), following):
            came += len(items(page))
            announced = within(page.content, "page", "totalElements") or 0
            for found in items(page):
                yield found, page.address
        if came < announced:
            raise Unexpected(
                f"the listing of {shown_address(url)} is cut short: {quantity(came, 'file')} of {announced:,} came"
            )
