"""Archives of stored members: the same as :mod:`zipfile` reads, and what is refused."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
import torch

from medcli.core.errors import printable
from medcli.training.checkpoint_files.stored_zip import StoredZip, is_archive
from tests.support.hostile_checkpoints import archives, write_file


def opened(path: Path) -> StoredZip:
    return StoredZip(path, path.stat().st_size)


def test_members_are_those_of_zipfile(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save({"a": torch.arange(1000), "b": torch.zeros(3)}, path)
    archive = opened(path)
    with zipfile.ZipFile(path) as reference:
        assert sorted(archive.members) == sorted(reference.namelist())
        for name, member in archive.members.items():
            assert archive.read(member) == reference.read(name)
            assert archive.read(member, 1, member.size - 1) == reference.read(name)[1:]
    archive.check_all()
    assert is_archive(path)


def test_sizes_in_64_bits(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as writer, writer.open("a/data.pkl", "w", force_zip64=True) as member:
        member.write(b"content")
    archive = opened(path)
    assert archive.read(archive.members["a/data.pkl"]) == b"content"
    content = bytearray(path.read_bytes())
    end = content.rindex(b"PK\x05\x06")
    length, start = content[end + 12 : end + 16], content[end + 16 : end + 20]
    record = b"PK\x06\x06" + (44).to_bytes(8, "little") + bytes(28) + length + bytes(4) + start + bytes(4)
    locator = b"PK\x06\x07" + bytes(4) + end.to_bytes(8, "little") + bytes(4)
    content[end + 12 : end + 20] = b"\xff" * 8
    path.write_bytes(content[:end] + record + locator + content[end:])
    archive = opened(path)
    assert archive.read(archive.members["a/data.pkl"]) == b"content"


def test_a_flipped_byte_of_a_member_is_noticed_also_beside_the_part_that_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as writer:
        writer.writestr("a", bytes(3_000_000))
    content = bytearray(path.read_bytes())
    content[2_000_000] = 1
    path.write_bytes(content)
    archive = opened(path)
    with pytest.raises(ValueError, match="checksum of a does not match"):
        archive.read(archive.members["a"], 0, 10)
    with pytest.raises(ValueError, match="checksum"):
        archive.check_all()


@pytest.mark.parametrize("name", sorted(archives()))
def test_archives_that_lie_end_in_one_kind_of_error(name: str, tmp_path: Path) -> None:
    path = write_file(tmp_path / "a.zip", archives()[name])
    said = ""
    try:
        opened(path).check_all()
    except ValueError as error:
        said = str(error)
    assert len(said) < 200


def test_packed_members_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as writer:
        writer.writestr("big", bytes(10_000_000))
    archive = opened(path)
    with pytest.raises(ValueError, match="big is packed or encrypted"):
        archive.read(archive.members["big"])


def test_what_is_no_archive(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    for content in (b"", b"PK", b"no archive at all, but longer than an end"):
        path.write_bytes(content)
        assert not is_archive(path)
    assert not is_archive(tmp_path / "absent")
    assert not is_archive(tmp_path)
    empty = io.BytesIO()
    zipfile.ZipFile(empty, "w").close()
    path.write_bytes(empty.getvalue())
    assert opened(path).members == {}


def test_names_in_messages_are_short_and_plain() -> None:
    assert printable("a\x1b[2J\nb") == "a?[2J?b"
    assert len(printable("a" * 1000)) == 100
