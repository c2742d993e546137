"""A data set of 250,000 single files fits into the memory of a small machine."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

SCRIPT = """
import sys
from pathlib import Path
from medcli.core.run_provenance import DatasetCitation
from medcli.transfer.destination import hold, read_manifest
from medcli.transfer.plan import Wanted, check_paths, disk_need, divide
from medcli.transfer.protocol import RemoteFile
from medcli.transfer.verification import find_missing

def listed(count):
    for index in range(count):
        uuid = f"11111111-2222-3333-4444-{index:012d}"
        href = f"https://www.research-collection.ethz.ch/server/api/core/bitstreams/{uuid}/content"
        md5 = f"{index:032x}"
        yield RemoteFile(f"bs_{index:06d}.jpg", 300_000, f"md5:{md5}", md5, href)

root, count = Path(sys.argv[1]), int(sys.argv[2])
wanted = [Wanted("images/" + entry.name, entry, None, "", "images") for entry in listed(count)]
check_paths(wanted, Path("data"))
with hold(root, DatasetCitation("Veriserum", "", "")) as folder:
    missing = find_missing(folder, wanted, "address", 4)
    work = divide(missing, folder.staging)
    need = disk_need(work, root, folder.staging, 4)
    for item in wanted:
        from medcli.transfer.destination import Record
        folder.manifest.records[item.path] = Record(
            item.path, item.size, item.checksum, "md5", item.announced, "address", 1)
assert len(read_manifest(root).records) == count == len(missing) and need == count * 300_000
# Not getrusage: its peak is inherited from the process that started this one.
print(int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) // 1024)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="measures memory as Linux shows it")
@pytest.mark.parametrize(("files", "most_mb"), [(25_000, 120), pytest.param(250_000, 500, marks=pytest.mark.deep)])
def test_many_files_are_planned_and_recorded_in_little_memory(tmp_path: object, files: int, most_mb: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path), str(files)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < most_mb
