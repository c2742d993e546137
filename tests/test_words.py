"""Plain technical English: words to avoid in code, page templates and pages, and what to use instead."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

AVOID = {
    r"pictures?": "image, figure, plot or rendering, by what it is",
    r"one's own": "your own",
    r"learnt": "trained (on)",
    r"turned_deg": "rotation_deg",
    r"moved_mm": "displacement_mm",
    r"(?:leaves?|left) with \d": "exit with status N",
    r"go(?:es)? on where": "resume, continue",
    r"(?:a|the|no|its) floors?|floors? of": "threshold, minimum",
    r"cut off": "truncated",
    r"patience|insists?": "retry policy, call",
    r"manner": "options, way",
    r"rooms|(?:a|each|every|another) room(?! for| to)": "package",
}
"""Regular expression of a word or phrase -> what to use instead. Underscores separate words, as in ``read_picture``."""
ROOTS = ("medcli/**/*.py", "medcli/**/*.j2", "medcli/**/*.js", "docs/*.md", "README.md", "CONTRIBUTING.md")


def pages() -> Iterator[Path]:
    for root in ROOTS:
        yield from sorted(REPOSITORY.glob(root))


def hits(word: str, text: str) -> Iterator[tuple[int, str]]:
    """Number and text of the lines that contain a word."""
    for match in re.finditer(rf"(?<![^\W_])(?:{word})(?![^\W_])", text, re.IGNORECASE):
        start = text.rfind("\n", 0, match.start()) + 1
        yield text.count("\n", 0, match.start()) + 1, text[start:].partition("\n")[0].strip()


@pytest.mark.parametrize("word", AVOID)
def test_plain_words_are_used(word: str) -> None:
    found = []
    for path in pages():
        lines = hits(word, path.read_text("utf-8"))
        found += [f"{path.relative_to(REPOSITORY)}:{number}: {line}" for number, line in lines]
    assert not found, f"use {AVOID[word]}:\n" + "\n".join(found)


def test_words_are_found_as_whole_words_in_names_too() -> None:
    assert [number for number, _ in hits(r"pictures?", "pictured\nread_picture(\nA Picture, two pictures")] == [2, 3, 3]
    assert not list(hits("rooms", "mushrooms, brooms"))
