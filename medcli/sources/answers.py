"""What a server's answer must look like: one check for each, of the parts that are needed; and listings that end."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from medcli.core.errors import quantity
from medcli.transfer.addresses import follow_link, in_short, server_of, shown_address
from medcli.transfer.http import JsonAnswer
from medcli.transfer.protocol import Unexpected
from medcli.transfer.zip_ranges import LONGEST_PATH

Check = Callable[[Any], None]
"""Accepts a value of an answer, or raises :class:`Misfit`."""
MOST_FILES = 2_000_000
"""Files of one listing; the largest data set has a tenth of them."""
MOST_EMPTY_PAGES = 100
"""Pages of a listing that may follow each other without a single file."""
_LARGEST = 1 << 62


class Misfit(Exception):
    """A value is not what is needed: where it stands in the answer, from the inside out, and what was expected."""

    def __init__(self, value: Any, expected: str) -> None:
        super().__init__(expected)
        self.value, self.expected = value, expected
        self.where: list[str] = []


def check_answer(answer: Any, shape: Check, address: str) -> Any:
    """``answer``, which came from ``address`` and has ``shape``.

    Raises:
        Unexpected: says what the server sent, where, and from which address.
    """
    try:
        shape(answer)
    except Misfit as misfit:
        where = f" as {'.'.join(reversed(misfit.where))}" if misfit.where else ""
        raise Unexpected(
            f"{shown_address(address)} sent {in_short(misfit.value)}{where}, expected was {misfit.expected}"
        ) from None
    return answer


def is_object(needed: Mapping[str, Check], if_there: Mapping[str, Check] | None = None) -> Check:
    """An object with the ``needed`` values, and with those of ``if_there`` that are neither absent nor null."""
    all_needed, others = tuple(needed.items()), tuple((if_there or {}).items())

    def accept(value: Any) -> None:
        if type(value) is not dict:
            raise Misfit(value, "an object")
        name = ""
        try:
            for name, inner in all_needed:
                inner(value.get(name))
            for name, inner in others:
                if value.get(name) is not None:
                    inner(value[name])
        except Misfit as misfit:
            misfit.where.append(name)
            raise

    return accept


def is_list(item: Check) -> Check:
    """A list in which each value is an ``item``."""

    def accept(value: Any) -> None:
        if type(value) is not list:
            raise Misfit(value, "a list")
        for index, inner in enumerate(value):
            try:
                item(inner)
            except Misfit as misfit:
                misfit.where.append(str(index))
                raise

    return accept


def is_text(pattern: str, words: str) -> Check:
    """A text that ``pattern`` matches whole; ``words`` say what it is."""
    matches = re.compile(pattern, re.DOTALL).fullmatch

    def accept(value: Any) -> None:
        if type(value) is not str or not matches(value):
            raise Misfit(value, words)

    return accept


def is_size(value: Any) -> None:
    """A number of bytes."""
    if type(value) is not int or not 0 <= value < _LARGEST:
        raise Misfit(value, "a number of bytes")


def is_count(value: Any) -> None:
    """A number of things."""
    if type(value) is not int or not 0 <= value < _LARGEST:
        raise Misfit(value, "a count")


def is_name(value: Any) -> None:
    """The name of a file, with or without folders. Whether it can be written to a disk is asked of those wanted."""
    if type(value) is not str or not 0 < len(value) <= LONGEST_PATH:
        raise Misfit(value, "the name of a file")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise Misfit(value, "the name of a file in Unicode") from None


def within(value: Any, *names: str) -> Any:
    """What stands in nested objects under ``names``; None where one of them is absent or null."""
    for name in names:
        value = value.get(name) if value else None
    return value


UUID_PATTERN = r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
TEXT = is_text(r".*", "a text")
UUID = is_text(UUID_PATTERN, "a UUID")
GIT_HASH = is_text(r"[0-9a-f]{40}([0-9a-f]{24})?", "a hash of git")
SHA256 = is_text(r"[0-9a-f]{64}", "a SHA-256")


class Listing:
    """Ends a listing in pages that would never end.

    Args:
        address: where it comes from, for the error.
    """

    def __init__(self, address: str) -> None:
        self.address = shown_address(address)
        self.seen: set[str] = set()
        self.files = self.empty = 0

    def turn(self, mark: str, files: int) -> None:
        """Note a page with so many files; ``mark`` distinguishes it from the others.

        Raises:
            Unexpected: the page was here before, or too many have come.
        """
        self.files += files
        self.empty = 0 if files else self.empty + 1
        if mark in self.seen or self.files > MOST_FILES or self.empty > MOST_EMPTY_PAGES:
            raise Unexpected(
                f"the listing of {self.address} has no end: {quantity(len(self.seen), 'page')} with "
                f"{quantity(self.files, 'file')} came, "
                + ("and then the first ones again" if mark in self.seen else "and more are announced")
            )
        self.seen.add(mark)


def pages(
    get: Callable[[str], JsonAnswer],
    url: str,
    count: Callable[[JsonAnswer], int],
    following: Callable[[JsonAnswer], str | None],
) -> Iterator[JsonAnswer]:
    """All pages of a listing in JSON.

    Args:
        get: asks for a page, checked.
        count: files of a page.
        following: a page's link to the next one; the server may send smaller pages than asked for.

    Raises:
        Unexpected: the listing has no end, or a link leads to another server.
    """
    listing, address = Listing(url), url
    while True:
        page = get(address)
        listing.turn(address, count(page))
        yield page
        link = following(page)
        if not link:
            return
        if re.search(r"\s", link.strip()):  # in the link to a file, a blank is a slip; here it is no link at all
            raise Unexpected(f"{shown_address(page.address)} names a next page that is no address: {in_short(link)}")
        address = follow_link(link, page.address)
        if server_of(address) != server_of(page.address):
            raise Unexpected(
                f"{shown_address(page.address)} names a page of another server as its next: {shown_address(address)}"
            )
