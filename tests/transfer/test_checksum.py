"""Checksums of every kind against those that other programs give."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import zlib
from pathlib import Path

import pytest

from medcli.transfer.checksum import behind, checksum_kind, of_file, start

CONTENT = bytes(range(256)) * 5000


@pytest.mark.parametrize("content", [b"", b"bone", CONTENT])
def test_kinds(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    assert of_file(path, "sha256") == f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert of_file(path, "md5") == f"md5:{hashlib.md5(content).hexdigest()}"
    assert of_file(path, "crc32") == f"crc32:{zlib.crc32(content):08x}"
    if program := shutil.which("git"):
        words = [program, "hash-object", "--no-filters", str(path)]
        git = subprocess.run(words, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert git.returncode != 0 or of_file(path, "git") == f"git:{git.stdout.strip()}"


def test_kind_of_a_checksum() -> None:
    assert [checksum_kind(text) for text in ("md5:00", "crc32:01", None)] == ["md5", "crc32", "sha256"]
    with pytest.raises(ValueError, match="unknown kind"):
        start("rot13", 4)


def test_hashing_behind_the_reader_misses_no_byte() -> None:
    hasher = start("sha256", len(CONTENT))
    with behind(hasher) as update:
        for place in range(0, len(CONTENT), 1000):
            update(CONTENT[place : place + 1000])
    assert hasher.hexdigest() == hashlib.sha256(CONTENT).hexdigest()
