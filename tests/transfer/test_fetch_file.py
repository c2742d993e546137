"""One file over a bad network: every misbehaviour of a server by real sockets."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest

from medcli.transfer import fetch_file as module
from medcli.transfer.byte_counter import Counted
from medcli.transfer.fetch_file import Effort, fetch_file, part_for
from medcli.transfer.http import Http, HttpBody
from medcli.transfer.protocol import Broken, Busy, Changed, Corrupt, Fault, Missing, Refused, RemoteFile
from medcli.transfer.retry_policy import RetryPolicy
from tests.support.servers import Server, Trouble

CONTENT = np.random.default_rng(4).bytes(700_001)
QUICK = RetryPolicy(tries=4, first_wait_s=0.01, longest_wait_s=0.05, longest_obeyed_s=2.0, connect_s=2.0, stall_s=0.4)


class PlainSource:
    """Files of a :class:`Server`, by path."""

    one_credential = False
    address = "test"

    def __init__(self, server: Server, retry_policy: RetryPolicy = QUICK) -> None:
        self.server, self.http = server, Http(retry_policy)

    def list(self) -> list[RemoteFile]:
        return [entry(path, file.content) for path, file in self.server.files.items()]

    def open(self, entry: RemoteFile, offset: int, length: int | None = None) -> AbstractContextManager[HttpBody]:
        return self.http.open(self.server.url + entry.name, offset, length)

    def refresh(self, entry: RemoteFile) -> RemoteFile:
        file = self.server.files[entry.name]
        return RemoteFile(
            entry.name, len(file.content), sha256(file.content), file.etag.strip('"') if file.etag else None
        )


def sha256(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def entry(path: str, content: bytes = CONTENT, tag: str | None = None) -> RemoteFile:
    return RemoteFile(path, len(content), sha256(content), tag)


class Counter:
    """What a progress bar would show, and how many bytes were read from the source."""

    def __init__(self) -> None:
        self.value = 0.0
        self.moved = 0

    def __call__(self, amount: float) -> None:
        self.value += amount


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    server.put("/file", CONTENT, '"one"')
    yield server
    server.stop()


def run(server: Server, tmp_path: Path, wanted: RemoteFile | None = None) -> tuple[Path, module.Arrived, Counter]:
    shown = Counter()
    target = tmp_path / "file.bin"
    source = Counted(PlainSource(server))
    arrived = fetch_file(source, wanted or entry("/file"), target, Effort(QUICK, advance=shown))
    shown.moved = source.moved
    return target, arrived, shown


def assert_whole(tmp_path: Path, shown: Counter | None = None) -> None:
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["file.bin"]
    if shown:
        assert shown.value == len(CONTENT)


def test_a_file_comes_whole_and_verified(server: Server, tmp_path: Path) -> None:
    _, arrived, shown = run(server, tmp_path)
    assert_whole(tmp_path, shown)
    assert arrived == module.Arrived(sha256(CONTENT), "sha256")
    assert shown.moved == len(CONTENT)


def test_without_a_checksum_it_is_size_only(server: Server, tmp_path: Path) -> None:
    _, arrived, shown = run(server, tmp_path, RemoteFile("/file", len(CONTENT)))
    assert arrived == module.Arrived(sha256(CONTENT), "size only")
    assert shown.moved == len(CONTENT)


def test_an_empty_file_needs_no_request(server: Server, tmp_path: Path) -> None:
    target, _, shown = run(server, tmp_path, entry("/empty", b""))
    assert target.read_bytes() == b""
    assert shown.moved == 0
    assert server.count() == 0


def test_a_body_cut_several_times_is_continued_and_no_byte_moves_twice(server: Server, tmp_path: Path) -> None:
    server.trouble("/file", *[Trouble(cut_after=150_000)] * 4)
    _, _, shown = run(server, tmp_path)
    assert_whole(tmp_path, shown)
    assert server.sent() == shown.moved == len(CONTENT)
    assert server.count() == 5


def test_patience_counts_tries_without_progress_only(server: Server, tmp_path: Path) -> None:
    server.trouble("/file", *[Trouble(cut_after=60_000)] * 10)  # more than the tries allowed
    run(server, tmp_path)
    assert_whole(tmp_path)


def test_a_server_that_ignores_ranges_is_started_over_and_never_appended(server: Server, tmp_path: Path) -> None:
    server.trouble("/file", Trouble(cut_after=200_000), Trouble(no_ranges=True))
    _, _, shown = run(server, tmp_path)
    assert_whole(tmp_path, shown)


def test_a_server_that_ignores_ranges_and_always_cuts_is_given_up(server: Server, tmp_path: Path) -> None:
    server.always["/file"] = Trouble(cut_after=200_000, no_ranges=True)
    with pytest.raises(Broken, match=r"ended after|broke"):
        run(server, tmp_path)
    assert server.count() == QUICK.tries


def test_a_part_from_another_offset_is_not_used(server: Server, tmp_path: Path) -> None:
    server.trouble("/file", Trouble(cut_after=200_000), Trouble(shift=1000))
    _, _, shown = run(server, tmp_path)
    assert_whole(tmp_path, shown)


def test_a_file_that_changed_between_tries_starts_anew(server: Server, tmp_path: Path) -> None:
    old = bytes(len(CONTENT))
    target = tmp_path / "file.bin"
    part = part_for(target, RemoteFile("/file", len(CONTENT), sha256(CONTENT), "one"))
    server.trouble("/file", Trouble(cut_after=200_000), Trouble(etag='"two"'))
    server.files["/file"].etag = '"one"'
    run(server, tmp_path, entry("/file", tag="one"))
    assert_whole(tmp_path)
    assert not part.exists()
    assert old != CONTENT


def test_a_change_is_noticed_where_the_listing_has_no_mark_of_the_version(server: Server, tmp_path: Path) -> None:
    server.put("/file", bytes(len(CONTENT)), '"old"')
    server.trouble("/file", Trouble(cut_after=200_000, etag='"old"'))
    server.put("/file", CONTENT, '"new"')
    run(server, tmp_path, RemoteFile("/file", len(CONTENT)))
    assert_whole(tmp_path)
    assert server.count() == 3


def test_a_part_of_another_version_is_not_continued(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "file.bin"
    other = part_for(target, RemoteFile("/file", len(CONTENT), sha256(b"other"), "zero"))
    other.write_bytes(b"x" * 1000)
    run(server, tmp_path)
    assert target.read_bytes() == CONTENT
    assert server.sent() == len(CONTENT)


def test_another_size_than_listed_is_a_change(server: Server, tmp_path: Path) -> None:
    wanted = RemoteFile("/file", len(CONTENT) - 1, None, None)
    _, arrived, _ = run(server, tmp_path, wanted)  # the source is asked again and says the new size
    assert arrived.verified == "sha256"
    assert_whole(tmp_path)


@pytest.mark.parametrize(
    "trouble",
    [Trouble(status=503), Trouble(status=429), Trouble(status=500), Trouble(status=503, headers={"Retry-After": "1"})],
)
def test_a_busy_server_is_asked_again(server: Server, tmp_path: Path, trouble: Trouble) -> None:
    server.trouble("/file", trouble, trouble)
    run(server, tmp_path)
    assert_whole(tmp_path)
    assert server.count() == 3


def test_retry_after_is_obeyed_up_to_a_limit() -> None:
    assert QUICK.pause_s(1, Busy("busy", 1.5)) == pytest.approx(1.55, abs=0.06)
    assert QUICK.pause_s(1, Busy("busy", 3600.0)) is None
    assert (QUICK.pause_s(1, Busy("busy")) or 1) <= 0.01
    assert QUICK.pause_s(QUICK.tries, Broken("cut")) is None


@pytest.mark.parametrize(("status", "fault"), [(403, Refused), (401, Refused), (404, Missing), (410, Missing)])
def test_a_refusal_stops_at_once(server: Server, tmp_path: Path, status: int, fault: type[Fault]) -> None:
    server.always["/file"] = Trouble(status=status)
    with pytest.raises(fault, match=str(status)):
        run(server, tmp_path)
    assert server.count() == 1


def test_a_wrong_byte_is_fetched_again(server: Server, tmp_path: Path) -> None:
    server.trouble("/file", Trouble(flip=300_000))
    _, _, shown = run(server, tmp_path)
    assert_whole(tmp_path, shown)
    assert shown.moved == 2 * len(CONTENT)


def test_a_byte_that_stays_wrong_fails_and_leaves_nothing(server: Server, tmp_path: Path) -> None:
    server.always["/file"] = Trouble(flip=300_000)
    with pytest.raises(Corrupt, match="announced"):
        run(server, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert server.count() == 2


def test_a_stall_is_noticed_and_what_came_before_it_is_kept(server: Server, tmp_path: Path) -> None:
    server.trouble("/file", Trouble(stall_s=5.0))
    _, _, shown = run(server, tmp_path)
    assert_whole(tmp_path, shown)
    assert shown.moved < 1.6 * len(CONTENT)


def test_a_final_failure_takes_its_bytes_off_the_progress_and_keeps_the_part(server: Server, tmp_path: Path) -> None:
    server.trouble("/file", Trouble(cut_after=200_000))
    server.always["/file"] = Trouble(status=503)
    shown = Counter()
    with pytest.raises(Busy):
        fetch_file(PlainSource(server), entry("/file"), tmp_path / "file.bin", Effort(QUICK, advance=shown))
    assert shown.value == 0
    assert part_for(tmp_path / "file.bin", entry("/file")).stat().st_size == 200_000
    server.always.clear()
    before = server.sent()
    run(server, tmp_path)
    assert server.sent() - before == len(CONTENT) - 200_000
    assert_whole(tmp_path)


def test_a_full_disk_is_not_a_network_fault(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(write: object, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "_write_all", full)
    with pytest.raises(OSError, match="No space"):
        run(server, tmp_path)
    assert server.count() == 1


def test_nobody_there_is_reported_in_our_own_words(tmp_path: Path) -> None:
    server = Server()
    server.stop()
    with pytest.raises(Broken, match=r"127\.0\.0\.1:\d+ refused the connection"):
        run(server, tmp_path)


def test_a_changed_file_that_keeps_changing_is_given_up(server: Server, tmp_path: Path) -> None:
    server.always["/file"] = Trouble(etag='"other"')
    with pytest.raises(Changed):
        run(server, tmp_path, entry("/file", tag="one"))
