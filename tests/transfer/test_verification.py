"""Files that are here: kept when they are as recorded, read when in doubt, fetched when not whole."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from medcli.core.run_provenance import DatasetCitation
from medcli.transfer.destination import hold
from medcli.transfer.plan import Wanted
from medcli.transfer.protocol import RemoteFile
from medcli.transfer.verification import estimate_missing, find_missing, size_of, verify_folder

ABOUT = DatasetCitation("test", "", "")


def wanted(name: str, content: bytes) -> Wanted:
    return Wanted(name, RemoteFile(name, len(content), f"md5:{hashlib.md5(content).hexdigest()}"))


def test_each_file_is_judged_by_what_is_known_of_it(tmp_path: Path) -> None:
    items = [wanted(name, name.encode()) for name in ("recorded", "touched", "changed", "unknown", "absent")]
    for item in items[:4]:
        (tmp_path / item.path).write_bytes(item.path.encode())
    with hold(tmp_path, ABOUT) as folder:
        for item in items[:3]:
            folder.record(item.path, item.announced, "md5", item.announced, "here")
        os.utime(tmp_path / "touched", (1, 1))
        (tmp_path / "changed").write_bytes(b"CHANGED")
        os.utime(tmp_path / "changed", (1, 1))
        assert [item.path for item in estimate_missing(tmp_path, items)] == ["absent"]
        assert [item.path for item in find_missing(folder, items, "address", 2)] == ["changed", "absent"]
        records = folder.manifest.records
        assert set(records) == {"recorded", "touched", "unknown"}
        assert (records["unknown"].verified, records["unknown"].source) == ("md5", "address")


def test_a_folder_is_verified_against_its_manifest(tmp_path: Path) -> None:
    with hold(tmp_path, ABOUT) as folder:
        for name in ("a", "b", "c"):
            (tmp_path / name).write_bytes(name.encode())
            found = f"md5:{hashlib.md5(name.encode()).hexdigest()}"
            folder.record(name, found, "size only" if name == "a" else "md5", "", "here")
    (tmp_path / "b").write_bytes(b"x")
    (tmp_path / "c").unlink()
    found = verify_folder(tmp_path, 2)
    assert (found.dataset, found.files, found.bytes, found.size_only_files) == ("test", 3, 3, 1)
    assert list(map(str, found.failures)) == ["b: the content does not have md5 as recorded", "c: missing"]
    assert size_of(tmp_path / "c") is None
