"""Copies of an image are accepted, different images of one name are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from medcli.core.errors import DataError
from medcli.veriserum.dataset.folder_index import scan
from medcli.veriserum.dataset.image_doubles import check_single


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "bs_000001.jpg").write_bytes(b"one")
        (tmp_path / folder / "calibrated_bs_000001.jpg").write_bytes(b"two")
    return tmp_path


def test_further_files_are_listed_by_the_file_that_is_used(root: Path) -> None:
    contents = scan(root)
    assert contents.doubles == {
        str(root / "a" / name): [str(root / "b" / name)] for name in ("bs_000001.jpg", "calibrated_bs_000001.jpg")
    }
    assert contents.images == {1: {"bs": str(root / "a/bs_000001.jpg")}}
    for path, doubles in contents.doubles.items():
        check_single(path, doubles)


def test_different_files_are_both_named(root: Path) -> None:
    (root / "b/bs_000001.jpg").write_bytes(b"eno")
    with pytest.raises(DataError, match="two different images of one name") as error:
        check_single(str(root / "a/bs_000001.jpg"), [str(root / "b/bs_000001.jpg")])
    assert str(root / "a/bs_000001.jpg") in error.value.message
    assert str(root / "b/bs_000001.jpg") in error.value.message


def test_a_file_that_is_gone_cannot_be_compared(root: Path) -> None:
    with pytest.raises(DataError, match="cannot compare"):
        check_single(str(root / "a/bs_000001.jpg"), [str(root / "c/bs_000001.jpg")])
