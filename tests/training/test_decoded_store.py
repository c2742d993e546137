"""Frames decoded once: what is new or changed is decoded, the rest is opened as it is."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from medcli.core.errors import DataError, MedcliError
from medcli.training import decoded_store
from medcli.training.decoded_store import Decoded, DecodedStore, RowsOnDemand, file_stamp

KEYS = ["a", "b", "c", "d"]


def stamps_of(*values: int) -> NDArray[np.int64]:
    return np.array(values, np.int64)[:, None]


@pytest.fixture
def open_store(tmp_path: Path) -> Callable[..., tuple[Decoded, list[str]]]:
    """Opens frames of a store; also gives the keys that were decoded for it. Frame ``c`` cannot be read."""

    def opened(keys: Sequence[str], stamps: NDArray[np.int64], version: str = "1") -> tuple[Decoded, list[str]]:
        decoded: list[str] = []

        def decode(i: int) -> tuple[NDArray[np.uint8]]:
            decoded.append(keys[i])
            if keys[i] == "c":
                raise DataError("broken")
            return (np.full((2, 3), ord(keys[i]) + stamps[i, 0], np.uint8),)

        found = DecodedStore(tmp_path, version, {"images": (2, 3)}, 1).open(keys, stamps, decode, workers=2)
        return found, sorted(decoded)

    return opened


def test_each_frame_is_decoded_once_and_again_when_it_changed(
    open_store: Callable[..., tuple[Decoded, list[str]]],
) -> None:
    found, decoded = open_store(KEYS, stamps_of(0, 0, 0, 0))
    assert decoded == KEYS
    assert (found.good.tolist(), found.bad.tolist()) == ([0, 1, 3], [2])
    assert [int(image[0, 0]) for image in found.parts[0]] == [ord(key) for key in "abd"]
    found, decoded = open_store(["d", "a"], stamps_of(0, 1))
    assert decoded == ["a"]
    assert found.parts[0][:, 0, 0].tolist() == [ord("d"), ord("a") + 1]
    assert open_store(KEYS, stamps_of(1, 0, 0, 0))[1] == []  # nor is the unreadable one tried again
    del found  # Windows removes no file that is mapped
    assert open_store(KEYS, stamps_of(1, 0, 0, 0), version="2")[1] == KEYS


def test_a_full_disk_is_named_with_the_variable_that_names_another(
    open_store: Callable[..., tuple[Decoded, list[str]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path, text: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(decoded_store, "write_text", fail)
    with pytest.raises(MedcliError, match=r"no space for the frame cache in .*: No space left on device") as raised:
        open_store(KEYS, stamps_of(0, 0, 0, 0))
    assert str(tmp_path) in raised.value.message
    assert "MEDCLI_CACHE_DIR" in str(raised.value.hint)


def test_rows_on_demand_are_read_like_an_array() -> None:
    whole = np.random.default_rng(0).integers(0, 256, (5, 4, 3), dtype=np.uint8)
    rows = RowsOnDemand.one_by_one(range(5), (4, 3), lambda i: whole[i])
    assert (len(rows), rows.shape, rows.ndim, rows.dtype) == (5, (5, 4, 3), 3, np.uint8)
    for key in (0, -1, slice(1, 3), np.array([3, 0, 3]), (2, 1), (slice(None), 0, slice(1)), np.array([], np.int64)):
        np.testing.assert_array_equal(rows[key], whole[key])
    np.testing.assert_array_equal(np.asarray(rows), whole)


def test_a_file_is_stamped_by_time_and_size(tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert (file_stamp(""), file_stamp(str(path))) == ((0, 0), (-1, -1))
    path.write_bytes(b"1234")
    assert file_stamp(str(path)) == (path.stat().st_mtime_ns, 4)


_READER = """
import sys
from pathlib import Path
import numpy as np
from medcli.training.decoded_store import DecodedStore

store = DecodedStore(Path(sys.argv[1]), "1", {"images": (64, 64)}, 1)
keys, stamps = [str(i) for i in range(50)], np.zeros((50, 1), np.int64)
found = store.open(keys, stamps, lambda i: (np.full((64, 64), i, np.uint8),))
print("open", flush=True)
sys.stdin.readline()
print([int(image.max()) for image in found.parts[0]] == list(range(50)))
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows removes no file that is mapped: see the next test")
def test_a_process_keeps_its_frames_while_another_version_rebuilds_the_folder(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _READER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as reader:
        assert reader.stdin is not None
        assert reader.stdout is not None
        assert reader.stdout.readline() == "open\n"
        other = DecodedStore(tmp_path, "2", {"images": (2, 3)}, 1)  # smaller: pages of the old files would be gone
        found = other.open(["x"], stamps_of(0), lambda i: (np.full((2, 3), 200, np.uint8),))
        assert found.parts[0][0].tolist() == [[200] * 3] * 2
        assert reader.communicate("\n")[0] == "True\n"
    assert reader.returncode == 0


def test_a_cache_of_another_version_that_cannot_be_removed_is_named_and_kept(
    open_store: Callable[..., tuple[Decoded, list[str]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, _ = open_store(["a", "b"], stamps_of(0, 0))

    def refuse(path: Path) -> None:
        if path.suffix == ".u8":
            raise PermissionError(errno.EACCES, "a program has it open")
        path.unlink(missing_ok=True)

    with monkeypatch.context() as patch:
        patch.setattr(decoded_store, "remove_file", refuse)
        with pytest.raises(
            MedcliError, match=r"another version and cannot be removed: a program has it open"
        ) as raised:
            open_store(["a"], stamps_of(0), version="2")
    assert str(tmp_path) in raised.value.message
    assert before.parts[0][:, 0, 0].tolist() == [ord("a"), ord("b")]
    del before
    assert open_store(["a"], stamps_of(0), version="2")[1] == ["a"]
