"""Counts in messages are in the singular where there is one."""

from __future__ import annotations

import ast
import re
from itertools import pairwise
from pathlib import Path

from medcli.core.errors import numbered, quantity
from tests.conftest import REPOSITORY

NOUNS = "epochs|images|rows|pairs|frames|files|records|masks|folds|steps|cores|trials|points|folders|runs|ids"
NOT_COUNTS = ("name", "rank", "side", "labels", "split", "verb", "settings.split", "MANUAL", "extent[1]")
"""Words, not numbers, before such a noun."""


def test_one_is_in_the_singular() -> None:
    assert [quantity(number, "frame") for number in (0, 1, 1110)] == ["0 frames", "1 frame", "1,110 frames"]
    assert quantity(1, "id has", "ids have") == "1 id has"
    assert quantity(2, "mesh", "meshes") == "2 meshes"


def test_numbered_things() -> None:
    assert [numbered("specimen", [2]), numbered("specimen", [2, 7])] == ["specimen 2", "specimens 2 7"]


def test_counts_are_written_by_quantity() -> None:
    """A whole number before a plural: ``{count} frames`` would read ``1 frames``; rates and sizes are no counts."""
    wrong = []
    for path in sorted((REPOSITORY / "medcli").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            parts = node.values if isinstance(node, ast.JoinedStr) else []
            for value, text in pairwise(parts):
                if not isinstance(value, ast.FormattedValue) or not isinstance(text, ast.Constant):
                    continue
                noun = re.match(rf" ({NOUNS})\b", str(text.value))
                given = ast.unparse(value.format_spec) if value.format_spec else ""
                is_count = not re.search(r"[fg]'$", given) and "quantity" not in ast.unparse(value)
                if noun and is_count and ast.unparse(value.value) not in NOT_COUNTS:
                    wrong.append(f"{Path(path).relative_to(REPOSITORY)}:{node.lineno}: {ast.unparse(node)}")
    assert not wrong, "\n".join(wrong)
