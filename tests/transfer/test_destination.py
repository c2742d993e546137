"""The manifest of a destination: what it keeps, and that its journal replaces it after a kill.

Destinations that cannot be used are refused before any work, and manifests that are none are said to be damaged.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medcli.core.errors import DataError, MedcliError
from medcli.core.files import check_output_folder
from medcli.core.run_provenance import DatasetCitation
from medcli.transfer.destination import (
    HIDDEN,
    MANIFEST,
    damage_of,
    hold,
    is_unchanged,
    read_manifest,
)
from medcli.transfer.results import Downloaded
from medcli.transfer.verification import verify_folder
from tests.conftest import Ran
from tests.support.servers import FakeDSpace, FakeHub
from tests.support.small_disk import small_disk

ABOUT = DatasetCitation("test", "CC BY 4.0", "Wu et al.")
RECORD: dict[str, Any] = {"path": "a", "size": 1, "checksum": "sha256:00", "verified": "size only"}
RECORD |= {"announced": "", "source": "here", "mtime_ns": 1}
NOBODY = {"dataset": "", "licence": "", "citation": ""}


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


def test_no_record_holds_a_credential_not_even_one_of_an_earlier_version(tmp_path: Path) -> None:
    place = "http://user:Zq7Xv9Kp2Lm4@host/api item 1"
    records = [{**RECORD, "source": place}, {**RECORD, "path": "b", "source": place}]
    (tmp_path / MANIFEST).write_text(json.dumps({"schema": "x", "about": NOBODY, "files": records}))
    with hold(tmp_path, ABOUT) as folder:
        (tmp_path / "c").write_bytes(b"c")
        folder.record("c", "crc32:c", "crc32", "", place)
        assert "Zq7Xv9Kp2Lm4" not in (tmp_path / HIDDEN / "journal").read_text()
    assert "Zq7Xv9Kp2Lm4" not in (tmp_path / MANIFEST).read_text()
    assert {record.source for record in read_manifest(tmp_path).records.values()} == {"http://(hidden)@host/api item 1"}


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
    assert damage_of(tmp_path, "a", 2, None) == "1 byte instead of 2"
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


def unusable(tmp_path: Path) -> dict[str, Path]:
    file = tmp_path / "file"
    file.write_bytes(b"")
    return {
        "file": file,
        "below a file": file / "x" / "y",
        "long": tmp_path / ("n" * 300),
        "deep": tmp_path.joinpath(*["n" * 100] * 60),
        "below a long name": tmp_path / ("n" * 300) / "x",
    }


NAMES = ["file", "below a file", "long", "deep", "below a long name"]
COMMANDS = {
    "ultrabones": ("ultrabones",),
    "weights": ("weights",),
    "veriserum": ("veriserum", "--accept-license"),
    "unasked": ("veriserum",),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("more", ["", "--dry-run", "--verify"])
@pytest.mark.parametrize("name", NAMES)
def test_a_destination_that_cannot_be_one_is_refused_before_any_request(
    hub: FakeHub,
    veriserum_server: FakeDSpace,
    medcli: Callable[..., Ran],
    tmp_path: Path,
    command: str,
    more: str,
    name: str,
) -> None:
    root = unusable(tmp_path)[name]
    ran = medcli("download", *COMMANDS[command], "--dest", root, *more.split())
    assert ran.code == 1
    assert ran.err.startswith(("error: cannot write to ", "error: cannot use "))
    assert len(ran.err.strip().splitlines()) == 2
    assert len(ran.err) < 600
    assert hub.count() == veriserum_server.count() == 0
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_file_system_that_only_reads_is_refused_before_any_request(
    hub: FakeHub, medcli: Callable[..., Ran], tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", 1, ",ro") as disk:
        for root in (disk, disk / "x" / "y"):
            ran = medcli("download", "ultrabones", "--dest", root)
            assert ran.code == 1
            assert f"cannot write to {root}: Read-only file system: {disk}" in ran.err
        assert hub.count() == 0
        assert medcli("download", "ultrabones", "--dest", disk, "--dry-run").code == 0


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_folder_without_permission_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(MedcliError, match="Permission denied"):
        check_output_folder(tmp_path / "x", "--dest")
    tmp_path.chmod(0o700)


def test_a_usable_destination_is_not_touched(tmp_path: Path) -> None:
    check_output_folder(tmp_path / "a" / "b", "--dest")
    check_output_folder(tmp_path, "--dest")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="names are Unicode there")
def test_a_name_that_is_not_utf8_is_written_to(veriserum_server: FakeDSpace, tmp_path: Path) -> None:
    from medcli.veriserum.dataset.download_selection import VeriserumOrigin, VeriserumSelection
    from medcli.veriserum.dataset.publication import Part
    from medcli.veriserum.download import download_veriserum

    root = tmp_path / os.fsdecode(b"\xff")
    origin = VeriserumOrigin(veriserum_server.url)
    done = download_veriserum(root, VeriserumSelection([Part.IMAGES]), origin, licence_accepted=True)
    assert isinstance(done, Downloaded)
    assert (done.fetched_files, done.failures) == (16, [])
    assert verify_folder(root, 2).failures == []


def content(**changes: Any) -> str:
    return json.dumps({"about": NOBODY, "files": [RECORD | changes]})


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "null", "5", '"text"', "[" * 100_000, '{"files": []}', '{"files": 5, "about": {}}', "\udcff"),
        *(json.dumps({"about": about, "files": []}) for about in ([], None, {"x": 1}, "text")),
        *(
            json.dumps({"about": {"dataset": "", "licence": "", "citation": ""}, "files": f})
            for f in (None, 5, [5], [[]])
        ),
        *(content(**{name: value}) for name in ("path", "checksum", "source") for value in (None, 5, [], {})),
        *(content(**{name: value}) for name in ("size", "mtime_ns") for value in (None, "5", 1.5, [], True)),
    ],
)
def test_a_manifest_that_is_none_is_damaged_and_nothing_else(tmp_path: Path, text: str) -> None:
    (tmp_path / MANIFEST).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=r"the manifest .* is damaged"):
        read_manifest(tmp_path)
    with pytest.raises(DataError, match=r"is damaged"), hold(tmp_path, ABOUT):
        pass


@pytest.mark.parametrize("line", ["[" * 100_000, "5", "[]", json.dumps(RECORD | {"size": "x"}), "{", '{"mtime_ns": 1}'])
def test_a_line_of_the_journal_that_is_none_is_left_out(tmp_path: Path, line: str) -> None:
    hidden = tmp_path / ".medcli-download"
    hidden.mkdir()
    (hidden / "journal").write_text(f"{line}\n{json.dumps(RECORD)}\n")
    assert list(read_manifest(tmp_path).records) == ["a"]
