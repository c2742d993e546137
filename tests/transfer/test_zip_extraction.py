"""Members of a ZIP by range requests over a bad network."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from medcli.transfer.fetch_file import Arrived, Effort
from medcli.transfer.protocol import Corrupt, RemoteFile
from medcli.transfer.zip_extraction import NoRanges, fetch_run, read_range
from medcli.transfer.zip_ranges import ByteRun, Member, plan_runs, read_directory
from tests.support.servers import Server, Trouble
from tests.transfer.test_fetch_file import QUICK, Counter, PlainSource
from tests.transfer.test_zip_ranges import archive_of

_random = np.random.default_rng(5)
FILES = {f"specimen01/{index:02d}.png": _random.bytes(20_000 + index) + bytes(30_000) for index in range(12)}


@pytest.fixture(params=[zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    server = Server()
    server.put("/a.zip", archive_of(FILES, request.param))
    yield server
    server.stop()


class Setting:
    """A run over all members of the server's archive."""

    def __init__(self, server: Server, root: Path) -> None:
        content = server.files["/a.zip"].content
        self.source, self.entry, self.root = PlainSource(server), RemoteFile("/a.zip", len(content)), root
        self.members = read_directory(lambda start, end: content[start:end], len(content), "a.zip")
        self.shown = Counter()
        self.arrived: dict[str, Arrived] = {}

    def place(self, member: Member) -> Path:
        return self.root / member.name

    def run(self, run: ByteRun | None = None) -> list[str]:
        effort = Effort(QUICK, advance=self.shown)
        (run,) = [run] if run else plan_runs(self.members)
        failed = fetch_run(self.source, self.entry, run, self.place, effort, self._placed)
        return [member.name for member, _ in failed]

    def _placed(self, member: Member, arrived: Arrived) -> None:
        self.arrived[member.name] = arrived

    def assert_whole(self) -> None:
        assert {path.relative_to(self.root).as_posix(): path.read_bytes() for path in self.root.rglob("*.*")} == FILES
        assert self.shown.value == sum(member.end - member.start for member in self.members)


def test_all_members_come_with_one_request(server: Server, tmp_path: Path) -> None:
    setting = Setting(server, tmp_path)
    assert setting.run() == []
    setting.assert_whole()
    assert server.count() == 1
    assert {arrived.verified for arrived in setting.arrived.values()} == {"crc32"}


def test_a_cut_resumes_at_the_member_that_was_cut(server: Server, tmp_path: Path) -> None:
    setting = Setting(server, tmp_path)
    server.trouble("/a.zip", Trouble(cut_after=70_000), Trouble(cut_after=70_000))
    assert setting.run() == []
    setting.assert_whole()
    longest = max(member.end - member.start for member in setting.members)
    assert server.sent() <= len(server.files["/a.zip"].content) + 2 * longest


def test_a_wrong_byte_is_found_by_the_crc_and_fetched_again(server: Server, tmp_path: Path) -> None:
    setting = Setting(server, tmp_path)
    middle = setting.members[5]
    server.trouble("/a.zip", Trouble(flip=(middle.start + middle.end) // 2))
    assert setting.run() == []
    setting.assert_whole()


def test_a_member_that_stays_wrong_fails_alone(server: Server, tmp_path: Path) -> None:
    setting = Setting(server, tmp_path)
    middle = setting.members[5]
    server.always["/a.zip"] = Trouble(flip=(middle.start + middle.end) // 2)
    assert setting.run() == [middle.name]
    assert sorted(setting.arrived) == sorted(set(FILES) - {middle.name})
    assert not (tmp_path / middle.name).exists()


def test_a_server_without_ranges_is_recognised(server: Server, tmp_path: Path) -> None:
    setting = Setting(server, tmp_path)
    server.always["/a.zip"] = Trouble(no_ranges=True)
    with pytest.raises(NoRanges):
        read_range(setting.source, setting.entry, 100, 200, Effort(QUICK))


def test_a_member_that_inflates_to_more_than_announced_is_stopped(tmp_path: Path) -> None:
    server = Server()
    server.put("/a.zip", archive_of({"specimen01/bomb.png": bytes(50_000_000)}))
    setting = Setting(server, tmp_path)
    (member,) = setting.members
    small = Member(member.name, member.start, member.end, 1000, member.packed_size, member.crc32, member.method)
    effort = Effort(QUICK)
    ((_, fault),) = fetch_run(
        setting.source, setting.entry, ByteRun(small.start, small.end, (small,)), setting.place, effort, lambda *_: None
    )
    assert isinstance(fault, Corrupt)
    assert "longer than the 1,000 bytes" in str(fault)
    assert not (tmp_path / member.name).exists()
    server.stop()
