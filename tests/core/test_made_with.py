"""Fingerprints, what differs, and the refusal that names it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from medcli.core.errors import DataError, UsageError
from medcli.core.made_with import differences, fingerprint, reject_other_options


def test_fingerprint_is_of_all_parts_in_their_order() -> None:
    assert fingerprint("a", b"b") == hashlib.sha256(b"ab").hexdigest()[:16]
    assert len({fingerprint("a", "b"), fingerprint("b", "a"), fingerprint("a"), fingerprint()}) == 4


def test_only_what_is_asked_for_now_is_compared() -> None:
    before = {"lr": 1e-5, "seed": 42, "epochs": 3}
    assert differences(before, {"lr": 0.5, "seed": 42}) == ["lr was 1e-05, is 0.5"]
    assert differences(before, {"size": 256}) == ["size was not given, is 256"]
    assert differences({"no_cache": True}, {"no_cache": False}) == ["--no-cache was on, is off"]
    assert differences(before, before) == []


def test_paths_are_the_same_in_the_notation_of_windows() -> None:
    before = {"calibrated": "data\\veriserum\\calibrated", "inputs": ["a\\b", "c"], "lr": 1e-5}
    now = {"calibrated": "data/veriserum/calibrated", "inputs": ["a/b", "c"], "lr": 1e-5}
    assert differences(before, now) == differences(now, before) == []
    assert differences(before, {"calibrated": "data/veriserum"}) == [
        "calibrated was data\\veriserum\\calibrated, is data/veriserum"
    ]


@pytest.mark.parametrize("kind", [UsageError, DataError])
def test_refusal_names_what_differs_and_the_way_out(kind: type[UsageError] | type[DataError]) -> None:
    reject_other_options(Path("run"), [], "use --overwrite", kind)
    with pytest.raises(kind, match=r"^run was made with other options: size was 1, is 2$") as error:
        reject_other_options(Path("run"), ["size was 1, is 2"], "use --overwrite", kind)
    assert error.value.hint == "use --overwrite"


def test_many_differences_are_counted() -> None:
    with pytest.raises(UsageError, match=r"options: a, b, c and 2 more$"):
        reject_other_options("run", ["a", "b", "c", "d", "e"], "")
