"""Equal files among many: found whatever agrees by chance."""

from __future__ import annotations

from pathlib import Path

from medcli.core.checking.duplicate_files import duplicate_files


def test_only_equal_contents_are_duplicates(tmp_path: Path) -> None:
    contents = {
        "a": b"1" * 1000,
        "same": b"1" * 1000,
        "same-end": b"2" + b"1" * 999,
        "same-size": b"1" * 999 + b"3",
        "longer": b"1" * 1001,
        "again": b"1" * 1000,
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    paths = [str(tmp_path / name) for name in (*contents, "absent")]
    assert duplicate_files(paths, workers=2) == [tuple(str(tmp_path / name) for name in ("a", "same", "again"))]
