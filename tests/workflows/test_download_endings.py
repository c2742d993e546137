"""However a download ends - killed, interrupted, disk full, a second process - the next run ends in the same folder."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from medcli.core.run_provenance import DatasetCitation
from medcli.transfer.destination import hold
from tests.conftest import REPOSITORY, Ran
from tests.support.azurite import Azurite
from tests.support.download_fixtures import CURRENT, FIRST, files_in
from tests.support.servers import FakeDSpace, FakeHub, Request, Trouble
from tests.support.small_disk import small_disk

Medcli = Callable[..., Ran]
ABOUT = DatasetCitation("test", "", "")
WORDS = ["download", "ultrabones", "--specimens", "1", "2"]
TWO = CURRENT[1] | CURRENT[2]


def start(*words: str | Path) -> subprocess.Popen[str]:
    """The command in a process of its own, as a user starts it."""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "medcli", *map(str, words)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)


def left_overs(root: Path) -> list[str]:
    return [path.name for path in root.rglob(".*") if path.is_file()]


def test_killed_in_an_archive_it_resumes_where_it_stopped(hub: FakeHub, medcli: Medcli, tmp_path: Path) -> None:
    hub.always["*"] = Trouble(trickle_s=0.02)
    process = start(*WORDS, "--dest", tmp_path, "--workers", "1")
    size = len(hub.content["specimen01.zip"])
    wait_until(
        lambda: (
            hub.sent("/store/") > 2 * (1 << 18) + size // 2
            and any(part.stat().st_size > 0 for part in tmp_path.rglob("*.download"))
        ),
        process,
    )
    process.kill()
    process.communicate()
    parts = list(tmp_path.rglob("*.download"))
    assert len(parts) == 1
    here = parts[0].stat().st_size
    hub.always.clear()
    time.sleep(0.3)  # the server still fills the socket of the one that is gone
    before = hub.sent("/store/specimen01.zip")
    ran = medcli(*WORDS, "--dest", tmp_path)
    assert ran.code == 0, ran.err
    assert files_in(tmp_path) == TWO
    assert hub.sent("/store/specimen01.zip") - before == size - here + (1 << 18)  # the rest, and the directory
    assert left_overs(tmp_path) == []


def test_killed_while_unpacking_nothing_moves_again(hub: FakeHub, medcli: Medcli, tmp_path: Path) -> None:
    assert medcli(*WORDS, "--dest", tmp_path).code == 0
    manifest = (tmp_path / "medcli-manifest.json").read_bytes()
    for path in sorted(tmp_path.rglob("*.png"))[::2]:  # what a run that was killed then had not yet taken out
        path.unlink()
    staging = tmp_path / ".medcli-download" / "archives"
    staging.mkdir()
    for name in ("specimen01.zip", "specimen02.zip"):
        (staging / name).write_bytes(hub.content[name])
    before = hub.sent("/store/")
    assert medcli(*WORDS, "--dest", tmp_path).code == 0
    assert hub.sent("/store/") - before == 2 * (1 << 18)
    assert files_in(tmp_path) == TWO
    assert not staging.exists()
    assert len((tmp_path / "medcli-manifest.json").read_bytes()) == len(manifest)


def kill_at_random_moments(words: list[str], tmp_path: Path, seed: int, longest_s: float) -> None:
    """Kill the command a few times at random moments."""
    chance = random.Random(seed)
    for _ in range(3):
        process = start(*words, "--dest", tmp_path)
        time.sleep(0.4 + chance.random() * longest_s)
        process.kill()
        process.communicate()


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.deep) for seed in range(2, 14))])
def test_killed_at_random_moments_from_the_hub(hub: FakeHub, medcli: Medcli, tmp_path: Path, seed: int) -> None:
    hub.always["*"] = Trouble(trickle_s=0.005)
    words = [*WORDS, *([] if seed % 2 else ["--only", "images", "tracking"])]
    kill_at_random_moments(words, tmp_path, seed, 1.2)
    hub.always.clear()
    ran = medcli(*words, "--dest", tmp_path)
    assert ran.code == 0, ran.err
    expected = TWO if seed % 2 else {n: c for n, c in TWO.items() if "/UltrasoundImages/" in n or n.endswith(".csv")}
    assert files_in(tmp_path) == expected
    assert left_overs(tmp_path) == []
    assert medcli("download", "ultrabones", "--verify", "--dest", tmp_path).code == 0


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.deep) for seed in range(2, 8))])
def test_killed_at_random_moments_from_azure(
    azurite: Azurite, medcli: Medcli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setenv("MEDCLI_ULTRABONES_CONNECTION_STRING", azurite.connection_string())
    kill_at_random_moments(["download", "ultrabones"], tmp_path, seed, 1.0)
    ran = medcli("download", "ultrabones", "--dest", tmp_path)
    assert ran.code == 0, ran.err
    assert files_in(tmp_path) == FIRST
    assert left_overs(tmp_path) == []


@pytest.mark.deep
@pytest.mark.parametrize("seed", range(6))
def test_killed_at_random_moments_from_the_repository(
    veriserum_server: FakeDSpace, medcli: Medcli, tmp_path: Path, seed: int
) -> None:
    veriserum_server.always["*"] = Trouble(trickle_s=0.05)
    words = ["download", "veriserum", "--accept-license"]
    kill_at_random_moments(words, tmp_path, seed, 1.0)
    reference = tmp_path.with_name(tmp_path.name + "-whole")
    assert medcli(*words, "--dest", reference).code == 0
    assert medcli(*words, "--dest", tmp_path).code == 0
    assert files_in(tmp_path) == files_in(reference)
    assert left_overs(tmp_path) == []


@pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_leaves_at_once_and_says_how_to_resume(hub: FakeHub, tmp_path: Path, number: int) -> None:
    hub.always["*"] = Trouble(trickle_s=0.05)
    process = start(*WORDS, "--dest", tmp_path)
    wait_until(lambda: any(tmp_path.rglob("*.download")), process)
    sent = time.monotonic()
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert time.monotonic() - sent < 10
    assert "run the same command again to resume" in err
    assert len(err.strip().splitlines()) == 1


def test_a_second_download_into_the_folder_says_who_is_there(hub: FakeHub, medcli: Medcli, tmp_path: Path) -> None:
    holder = (
        "import sys, time; from pathlib import Path; from medcli.core.run_provenance import DatasetCitation\n"
        "from medcli.transfer.destination import hold\n"
        "with hold(Path(sys.argv[1]), DatasetCitation('test', '', '')):\n    print('held', flush=True); time.sleep(60)"
    )
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    other = subprocess.Popen(
        [sys.executable, "-c", holder, str(tmp_path)], env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout
        assert other.stdout.readline() == "held\n"
        ran = medcli(*WORDS, "--dest", tmp_path)
        assert ran.code == 1
        assert f"another download (process {other.pid}) is writing to {tmp_path}" in ran.err
    finally:
        other.kill()
        other.wait()
    assert medcli(*WORDS, "--dest", tmp_path).code == 0  # a dead holder holds nothing


def test_a_full_disk_is_reported_and_resumed_from(
    hub: FakeHub, medcli: Medcli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medcli.transfer import fetch_file

    real, written = fetch_file._write_all, []

    def until_full(write: Callable[[memoryview], int | None], content: bytes) -> None:
        written.append(len(content))
        if sum(written) > 300_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(write, content)

    with monkeypatch.context() as patched:
        patched.setattr(fetch_file, "_write_all", until_full)
        ran = medcli(*WORDS, "--dest", tmp_path)
    assert ran.code == 1
    assert f"the disk of {tmp_path} is full" in ran.err
    assert medcli(*WORDS, "--dest", tmp_path).code == 0
    assert files_in(tmp_path) == TWO


def test_a_disk_too_full_for_the_manifest_is_reported_in_a_line_and_resumed_from(
    hub: FakeHub, medcli: Medcli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medcli.transfer import destination, fetch_file

    real, written = fetch_file._write_all, []

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def until_full(write: Callable[[memoryview], int | None], content: bytes) -> None:
        written.append(len(content))
        (full if sum(written) > 300_000 else real)(write, content)

    with monkeypatch.context() as patched:
        patched.setattr(fetch_file, "_write_all", until_full)
        patched.setattr(destination, "write_manifest", full)
        first = medcli(*WORDS, "--dest", tmp_path)
        patched.setattr(fetch_file, "_write_all", real)
        second = medcli(*WORDS, "--dest", tmp_path)  # the files fit now, their list still does not
    for ran in (first, second):
        assert ran.code == 1
        assert f"the disk of {tmp_path} is full" in ran.err
        assert len(ran.err.strip().splitlines()) == 2
    before = hub.sent("/store/")
    assert medcli(*WORDS, "--dest", tmp_path).code == 0
    assert hub.sent("/store/") - before == 2 * (1 << 18)  # the directories: every file came before
    assert files_in(tmp_path) == TWO


@pytest.mark.parametrize("words", [(), ("--only", "images", "tracking")], ids=["whole archives", "members"])
def test_a_real_disk_that_fills_on_the_way_is_reported_and_resumed_from(
    hub: FakeHub, medcli: Medcli, tmp_path: Path, words: tuple[str, ...]
) -> None:
    with small_disk(tmp_path / "disk", 75) as disk:
        ballast, real, filled = disk / "ballast", hub.answer, threading.Event()

        def fill(request: Request) -> object:
            """Somebody else fills the disk when the two directories have come."""
            if hub.count("/store/") > 2 and not filled.is_set():
                filled.set()
                ballast.write_bytes(bytes(shutil.disk_usage(disk).free - 200_000))
            return real(request)

        hub.answer = fill  # type: ignore[method-assign,assignment]
        command = (*WORDS, *words, "--dest", disk / "data", "--workers", "1")
        ran = medcli(*command)
        assert ran.code == 1, ran.out + ran.err
        assert f"the disk of {disk / 'data'} is full" in ran.err
        assert len(ran.err.strip().splitlines()) == 2
        here = files_in(disk / "data")
        assert all(TWO.get(name) == content for name, content in here.items() if not name.endswith(".download"))
        ballast.unlink()
        assert medcli(*command).code == 0
        wanted = TWO if not words else {n: c for n, c in TWO.items() if "/UltrasoundImages/" in n or n.endswith(".csv")}
        assert files_in(disk / "data") == wanted
        assert left_overs(disk / "data") == []
        assert medcli("download", "ultrabones", "--verify", "--dest", disk / "data").code == 0


def test_a_real_disk_that_is_too_small_is_reported_before_anything_comes(
    hub: FakeHub, medcli: Medcli, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", 2) as disk:
        ran = medcli(*WORDS, "--dest", disk / "data")
        assert ran.code == 1
        assert "MB left free, the disk has 2.1 MB free" in ran.err
        assert files_in(disk) == {}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device that is always full")
def test_a_journal_that_cannot_be_written_is_reported_in_a_line(hub: FakeHub, medcli: Medcli, tmp_path: Path) -> None:
    (tmp_path / ".medcli-download").mkdir()
    (tmp_path / ".medcli-download" / "journal").symlink_to("/dev/full")
    ran = medcli(*WORDS, "--dest", tmp_path)
    assert ran.code == 1
    assert f"the disk of {tmp_path} is full" in ran.err
    (tmp_path / ".medcli-download" / "journal").unlink()
    assert medcli(*WORDS, "--dest", tmp_path).code == 0
    assert files_in(tmp_path) == TWO


def test_a_server_that_dies_in_the_middle_ends_the_run(hub: FakeHub, medcli: Medcli, tmp_path: Path) -> None:
    hub.trouble("/store/specimen01.zip", Trouble(), Trouble(cut_after=100_000))
    hub.always["/store/specimen01.zip"] = Trouble(status=503)
    ran = medcli("download", "ultrabones", "--specimens", "1", "--retries", "1", "--dest", tmp_path)
    assert ran.code in (3, 4)
    assert "503" in ran.err
    hub.always.clear()
    assert medcli("download", "ultrabones", "--specimens", "1", "--dest", tmp_path).code == 0
    assert files_in(tmp_path) == CURRENT[1]


def test_a_line_cut_short_in_the_journal_costs_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").write_bytes(b"2")
    with hold(tmp_path, ABOUT) as destination:
        destination.record("a", "sha256:00", "sha256", "", "here")
        line = (tmp_path / ".medcli-download" / "journal").read_text()
    (tmp_path / "medcli-manifest.json").unlink()
    (tmp_path / ".medcli-download" / "journal").write_text(line + line[: len(line) // 2])
    with hold(tmp_path, ABOUT) as destination:
        assert list(destination.manifest.records) == ["a"]
        destination.record("b", "sha256:00", "sha256", "", "here")
    with hold(tmp_path, ABOUT) as destination:
        assert list(destination.manifest.records) == ["a", "b"]


def test_a_damaged_manifest_is_reported_in_a_line(hub: FakeHub, medcli: Medcli, tmp_path: Path) -> None:
    (tmp_path / "medcli-manifest.json").write_text('{"files": [')
    ran = medcli(*WORDS, "--dest", tmp_path)
    assert ran.code == 3
    assert "is damaged" in ran.err
    assert "remove it and run the download again" in ran.err
