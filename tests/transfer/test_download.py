"""A whole download from a source in memory: what comes, what stays, what fails, and what a dry run says of it."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from medcli.core.errors import DataError, UsageError
from medcli.core.run_provenance import DatasetCitation
from medcli.transfer.download import carry_out
from medcli.transfer.plan import Wanted
from medcli.transfer.protocol import Missing, Refused, RemoteFile
from medcli.transfer.request import DownloadRequest, TransferOptions
from medcli.transfer.results import Downloaded, FileFailure, Planned
from medcli.transfer.retry_policy import RetryPolicy

ABOUT = DatasetCitation("test", "CC BY 4.0", "Wu et al.")
FILES = {f"{number}.bin": bytes([number]) * 1000 for number in range(1, 6)}


class Body(io.BytesIO):
    tag = None

    def __init__(self, content: bytes, start: int) -> None:
        super().__init__(content[start:])
        self.start, self.total = start, len(content)


class Memory:
    """Files in memory; those in ``faults`` raise when opened."""

    address = "memory"

    def __init__(self, one_credential: bool = False, **faults: Exception) -> None:
        self.one_credential, self.faults = one_credential, faults

    def list(self) -> list[RemoteFile]:
        return [RemoteFile(name, len(c), f"md5:{hashlib.md5(c).hexdigest()}") for name, c in FILES.items()]

    @contextmanager
    def open(self, entry: RemoteFile, offset: int, length: int | None = None) -> Iterator[Any]:
        if entry.name in self.faults:
            raise self.faults[entry.name]
        yield Body(FILES[entry.name], offset)

    def refresh(self, entry: RemoteFile) -> RemoteFile:
        return entry


def carried(source: Memory, root: Path, dry_run: bool = False) -> Downloaded | Planned:
    wanted = [Wanted(entry.name, entry, None, "all", "bytes") for entry in source.list()]
    options = TransferOptions(2, RetryPolicy(tries=1))
    return carry_out([(source, wanted)], DownloadRequest(root, ABOUT, options, dry_run))


def test_what_is_missing_comes_and_the_rest_stays(tmp_path: Path) -> None:
    (tmp_path / "1.bin").write_bytes(FILES["1.bin"])
    plan = carried(Memory(), tmp_path, dry_run=True)
    assert isinstance(plan, Planned)
    assert (plan.files, plan.missing_files, plan.network_bytes, plan.sources) == (5, 4, 4000, ["memory"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.bin"]
    done = carried(Memory(), tmp_path)
    assert isinstance(done, Downloaded)
    assert (done.reused_files, done.fetched_files, done.moved_bytes, done.size_only_files) == (1, 4, 4000, 0)
    assert (done.dataset, done.licence, done.dest, done.failures) == ("test", "CC BY 4.0", tmp_path, [])
    assert {name: (tmp_path / name).read_bytes() for name in FILES} == FILES


@pytest.mark.parametrize("dry_run", [True, False])
def test_your_own_files_under_these_names_are_kept(tmp_path: Path, dry_run: bool) -> None:
    (tmp_path / "2.bin").write_bytes(b"own")
    (tmp_path / "3.bin").write_bytes(FILES["3.bin"])  # a copy
    (tmp_path / "4.bin").write_bytes(b"")  # of a power cut
    with pytest.raises(UsageError, match=r"^1 file in .* that no download brought there, first 2.bin$"):
        carried(Memory(), tmp_path, dry_run)
    assert (tmp_path / "2.bin").read_bytes() == b"own"
    assert not (tmp_path / "1.bin").exists()
    (tmp_path / "2.bin").unlink()
    carried(Memory(), tmp_path)
    (tmp_path / "2.bin").write_bytes(b"damaged")  # the download brought it, and repairs it
    carried(Memory(), tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in FILES} == FILES


def test_a_file_that_is_gone_is_listed_and_the_rest_comes(tmp_path: Path) -> None:
    done = carried(Memory(**{"2.bin": Missing("404")}), tmp_path)
    assert isinstance(done, Downloaded)
    assert done.failures == [FileFailure("2.bin", "404")]
    assert sorted(path.name for path in tmp_path.glob("*.bin")) == ["1.bin", "3.bin", "4.bin", "5.bin"]


def test_a_refused_credential_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="access refused: 403"):
        carried(Memory(one_credential=True, **{"1.bin": Refused("403")}), tmp_path)
    done = carried(Memory(**{"1.bin": Refused("403")}), tmp_path)
    assert [failure.path for failure in done.failures] == ["1.bin"]  # type: ignore[union-attr]
