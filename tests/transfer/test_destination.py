"""The manifest of a destination: what it keeps, and that its journal replaces it after a kill."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from medcli.core.errors import DataError, MedcliError
from medcli.core.run_provenance import DatasetCitation
from medcli.transfer.destination import HIDDEN, MANIFEST, damage_of, hold, is_unchanged, read_manifest

ABOUT = DatasetCitation("test", "CC BY 4.0", "Wu et al.")


def fill(root: Path, *names: str) -> None:
    with hold(root, ABOUT) as folder:
        for name in names:
            (root / name).write_bytes(name.encode())
            folder.record(name, f"crc32:{name}", "crc32", "md5:00", "here")


def test_manifest_is_as_documented(tmp_path: Path) -> None:
    fill(tmp_path, "b", "a")
    content = json.loads((tmp_path / MANIFEST).read_text("utf-8"))
    assert content["schema"] == "medcli.download-manifest.v1"
    assert content["about"] == {
        "dataset": "test", "licence": "CC BY 4.0", "citation": "Wu et al.", "licence_accepted": False,
    }  # fmt: skip
    assert [record["path"] for record in content["files"]] == ["a", "b"]
    assert read_manifest(tmp_path).records["a"] == read_manifest(tmp_path, ABOUT).records["a"]
    assert (tmp_path / HIDDEN / "journal").read_bytes() == b""


def test_files_are_kept_forgotten_and_taken_from_the_journal(tmp_path: Path) -> None:
    fill(tmp_path, "a", "b")
    with hold(tmp_path, ABOUT) as folder:
        folder.forget("a")
        folder.record("b", "sha256:00", "size only", "", "elsewhere")
        assert read_manifest(tmp_path).records["b"].source == "elsewhere"  # from the journal: nothing is saved yet
    assert {path: record.verified for path, record in read_manifest(tmp_path).records.items()} == {"b": "size only"}


def test_an_accepted_licence_stays_accepted(tmp_path: Path) -> None:
    with hold(tmp_path, dataclasses.replace(ABOUT, licence_accepted=True)):
        pass
    fill(tmp_path, "a")
    assert read_manifest(tmp_path).about.licence_accepted


def test_damage_is_found_by_size_and_content(tmp_path: Path) -> None:
    fill(tmp_path, "a")
    record = read_manifest(tmp_path).records["a"]
    assert is_unchanged(tmp_path, record)
    assert damage_of(tmp_path, "a", 1, None) is None
    assert damage_of(tmp_path, "a", 1, "crc32:e8b7be43") is None
    assert damage_of(tmp_path, "a", 1, "crc32:00000000") == "the content does not have crc32 as recorded"
    assert damage_of(tmp_path, "a", 2, None) == "1 bytes instead of 2"
    assert damage_of(tmp_path, "b", 1, None) == "missing"
    (tmp_path / "a").write_bytes(b"ab")
    assert not is_unchanged(tmp_path, record)


def test_what_is_no_destination_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no manifest in"):
        read_manifest(tmp_path)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(MedcliError, match="cannot write to") as error, hold(tmp_path / "file", ABOUT):
        pass
    assert "--dest" in str(error.value.hint)
