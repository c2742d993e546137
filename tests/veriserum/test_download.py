"""``medcli download veriserum`` against a DSpace and a GitHub on loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, Ran
from tests.support.download_fixtures import TABLES, VERISERUM, ZIPPED_IMAGES, files_in, zipped
from tests.support.servers import FakeDSpace, Trouble

Medcli = Callable[..., Ran]
IMAGES = {f"images/{n}": c for n, c in {**VERISERUM, **ZIPPED_IMAGES}.items() if n.endswith(".jpg")}
ALL = {
    **IMAGES,
    **TABLES,
    "veriserum.db": VERISERUM["veriserum.db"],
    "veriserum_anatomies/ana_000001.stl": VERISERUM["ana_000001.stl"],
}
WORDS = ("download", "veriserum", "--accept-license", "--json", "--dest")


def report(ran: Ran) -> dict:
    assert ran.code == 0, ran.err
    return json.loads(ran.out)


def test_all_parts_come_from_both_places(veriserum_server: FakeDSpace, medcli: Medcli, tmp_path: Path) -> None:
    done = report(medcli(*WORDS, tmp_path))
    assert files_in(tmp_path) == ALL
    assert len(done["sources"]) == 2
    assert "2b35e34" in done["sources"][0]
    again = report(medcli(*WORDS, tmp_path))
    directory = len(veriserum_server.files[veriserum_server.path_of("images_2.zip")].content)  # it is that small
    assert (again["reused_files"], again["fetched_files"], again["moved_bytes"]) == (len(ALL), 0, directory)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--only", "csv"), TABLES),
        (("--only", "database"), {"veriserum.db": ALL["veriserum.db"]}),
        (("--only", "anatomies"), {"veriserum_anatomies/ana_000001.stl": ALL["veriserum_anatomies/ana_000001.stl"]}),
        (
            ("--only", "images", "--ids", "2-3,7"),
            {n: c for n, c in IMAGES.items() if int(n[-10:-4]) in (2, 3, 7)},
        ),
    ],
)
def test_a_part_is_what_comes(
    veriserum_server: FakeDSpace, medcli: Medcli, tmp_path: Path, words: tuple[str, ...], expected: dict[str, bytes]
) -> None:
    report(medcli(*WORDS, tmp_path, *words))
    assert files_in(tmp_path) == expected


def test_the_licence_is_accepted_once_and_recorded(
    veriserum_server: FakeDSpace, medcli: Medcli, tmp_path: Path
) -> None:
    refused = medcli("download", "veriserum", "--only", "csv", "--dest", tmp_path)
    assert refused.code == 2
    assert "Non-Commercial" in refused.err
    assert "--accept-license" in refused.err
    assert files_in(tmp_path) == {}
    assert medcli("download", "veriserum", "--only", "csv", "--accept-license", "--dest", tmp_path).code == 0
    assert json.loads((tmp_path / "medcli-manifest.json").read_text())["about"]["licence_accepted"] is True
    assert medcli("download", "veriserum", "--only", "database", "--dest", tmp_path).code == 0


def test_the_tables_need_no_repository(veriserum_server: FakeDSpace, medcli: Medcli, tmp_path: Path) -> None:
    report(medcli(*WORDS, tmp_path, "--only", "csv"))
    assert veriserum_server.count() == 0


def test_an_item_can_be_named_by_its_uuid(veriserum_server: FakeDSpace, medcli: Medcli, tmp_path: Path) -> None:
    words = ("--only", "database", "--item", FakeDSpace.ITEM, "--base-url", f"{veriserum_server.url}/server/api")
    report(medcli(*WORDS, tmp_path, *words))
    assert veriserum_server.count("pid/find") == 0


def test_an_unknown_item_is_reported(veriserum_server: FakeDSpace, medcli: Medcli, tmp_path: Path) -> None:
    ran = medcli(*WORDS, tmp_path, "--item", "10.3929/other", "--only", "images")
    assert ran.code == 3
    assert "knows no item 10.3929/other" in ran.err


def test_a_cut_file_is_continued_by_range(veriserum_server: FakeDSpace, medcli: Medcli, tmp_path: Path) -> None:
    path = veriserum_server.path_of("veriserum.db")
    veriserum_server.trouble(path, Trouble(cut_after=3000))
    report(medcli(*WORDS, tmp_path, "--only", "database"))
    assert veriserum_server.sent(path) == len(VERISERUM["veriserum.db"])


def test_one_closed_file_fails_and_the_rest_comes(veriserum_server: FakeDSpace, medcli: Medcli, tmp_path: Path) -> None:
    veriserum_server.always[veriserum_server.path_of("bs_000002.jpg")] = Trouble(status=403)
    ran = medcli("download", "veriserum", "--accept-license", "--only", "images", "--dest", tmp_path)
    assert ran.code == 4
    assert "failed: images/bs_000002.jpg: 127.0.0.1" in ran.err
    assert "15 of 16" in ran.out
    assert files_in(tmp_path) == {n: c for n, c in IMAGES.items() if n != "images/bs_000002.jpg"}


def test_a_site_that_is_no_dspace_is_reported(veriserum_server: FakeDSpace, medcli: Medcli, tmp_path: Path) -> None:
    ran = medcli(*WORDS, tmp_path, "--only", "images", "--base-url", f"{veriserum_server.url}/elsewhere")
    assert ran.code == 3
    assert len(ran.err.strip().splitlines()) <= 2


def test_a_base_url_that_is_no_address_is_reported_before_anything_comes(
    veriserum_server: FakeDSpace, medcli: Medcli, tmp_path: Path
) -> None:
    ran = medcli(*WORDS, tmp_path / "data", "--base-url", "nonsense")
    assert ran.code == 2
    assert "--base-url is not an http(s) address: 'nonsense'" in ran.err
    assert not (tmp_path / "data").exists()


def test_ids_may_be_given_in_any_order(veriserum_server: FakeDSpace, medcli: Medcli, tmp_path: Path) -> None:
    done = report(medcli(*WORDS, tmp_path, "--only", "images", "--ids", "5", "1-2"))
    assert done["files"] == 6


@pytest.mark.parametrize("words", [(), ("--only", "images"), ("--dry-run",)])
def test_ids_that_no_image_has_are_an_error_that_says_which_there_are(
    veriserum_server: FakeDSpace, medcli: Medcli, tmp_path: Path, words: tuple[str, ...]
) -> None:
    ran = medcli(*WORDS, tmp_path, "--ids", "9-20", "999999999", *words)
    assert ran.code == 3
    assert "no image of Veriserum has an id of 9-20, 999999999; there are 8 ids, from 1 to 8" in ran.err
    assert files_in(tmp_path) == {}


def test_ids_without_images_contradict_each_other(veriserum_server: FakeDSpace, medcli: Medcli, tmp_path: Path) -> None:
    ran = medcli(*WORDS, tmp_path, "--ids", "1-3", "--only", "csv", "anatomies")
    assert ran.code == 2
    assert "--ids chooses among images, which --only leaves out" in ran.err
    assert veriserum_server.count() == 0


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX terminal")
@pytest.mark.parametrize(("typed", "code"), [("y\n", 0), ("n\n", 2)])
def test_at_a_terminal_the_licence_is_asked_for(
    veriserum_server: FakeDSpace, tmp_path: Path, typed: str, code: int
) -> None:
    import pty

    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "medcli", "download", "veriserum", "--only", "csv", "--dest", str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    process = subprocess.Popen(command, env=environment, stdin=theirs, stderr=theirs, stdout=subprocess.PIPE)
    os.write(ours, typed.encode())
    process.communicate(timeout=100)
    os.close(theirs)
    shown = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert "Non-Commercial Use Permitted" in shown
    assert process.returncode == code
    assert bool(files_in(tmp_path)) == (code == 0)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDSpace]:
    """A DSpace without any file yet."""
    server = FakeDSpace()
    monkeypatch.setenv("MEDCLI_VERISERUM_URL", server.url)
    yield server
    server.stop()


ONE, OTHER = b"one image" * 40, b"a reflex!" * 40  # of the same size
IMAGES_ONLY = ("download", "veriserum", "--only", "images", "--accept-license", "--dest")


@pytest.mark.parametrize("second", ["bs_000001.jpg", "a/bs_000001.jpg", "BS_000001.JPG"])
@pytest.mark.parametrize("words", [(), ("--dry-run",)])
def test_two_files_for_one_path_with_different_contents_are_both_named(
    server: FakeDSpace, medcli: Medcli, tmp_path: Path, second: str, words: tuple[str, ...]
) -> None:
    server.add("bs_000001.jpg", ONE)
    server.add(second, OTHER)
    ran = medcli(*IMAGES_ONLY, tmp_path / "data", *words)
    assert ran.code == 3
    assert "error: two files of the source for images/bs_000001.jpg are not the same: 'bs_000001.jpg' (360 " in ran.err
    assert f" and '{second}' (360 bytes, md5:" in ran.err
    assert not (tmp_path / "data").exists()


def test_two_files_for_one_path_with_the_same_content_are_one(
    server: FakeDSpace, medcli: Medcli, tmp_path: Path
) -> None:
    for name in ("bs_000001.jpg", "a/bs_000001.jpg", "b/BS_000001.jpg"):
        server.add(name, ONE)
    server.add("1.zip", zipped({"bs_000001.jpg": ONE, "x/bs_000002.jpg": ONE}))
    server.add("2.zip", zipped({"bs_000001.jpg": ONE, "y/bs_000002.jpg": ONE}))
    assert medcli(*IMAGES_ONLY, tmp_path).code == 0
    assert files_in(tmp_path) == {"images/bs_000001.jpg": ONE, "images/bs_000002.jpg": ONE}
    before = server.sent(server.path_of("bs_000001.jpg"))
    assert before == len(ONE)
    assert medcli(*IMAGES_ONLY, tmp_path).code == 0
    assert server.sent(server.path_of("bs_000001.jpg")) == before


@pytest.mark.parametrize(
    "archives",
    [
        {"1.zip": {"a/bs_000001.jpg": ONE, "b/bs_000001.jpg": OTHER}},
        {"1.zip": {"bs_000001.jpg": ONE}, "2.zip": {"bs_000001.jpg": OTHER}},
        {"1.zip": {"bs_000001.jpg": ONE}, "2.zip": {"BS_000001.jpg": ONE + b"1"}},
    ],
    ids=["in one archive", "in two", "of two sizes"],
)
def test_two_members_for_one_path_with_different_contents_are_both_named(
    server: FakeDSpace, medcli: Medcli, tmp_path: Path, archives: dict[str, dict[str, bytes]]
) -> None:
    for name, members in archives.items():
        server.add(name, zipped(members))
    ran = medcli(*IMAGES_ONLY, tmp_path)
    assert ran.code == 3
    assert "are not the same: '1.zip: " in ran.err
    assert f" and '{max(archives)}: " in ran.err
    assert files_in(tmp_path) == {}


def test_a_file_alone_and_a_member_are_compared_when_they_have_come(
    server: FakeDSpace, medcli: Medcli, tmp_path: Path
) -> None:
    server.add("bs_000001.jpg", ONE)
    server.add("bs_000003.jpg", ONE)
    server.add("1.zip", zipped({"bs_000001.jpg": OTHER, "bs_000002.jpg": ONE, "bs_000003.jpg": ONE}))
    for _ in range(2):  # a second run does not take it silently either
        ran = medcli(*IMAGES_ONLY, tmp_path)
        assert ran.code == 4
        assert ran.err.count("failed: ") == 1
        assert "failed: images/bs_000001.jpg: two files of the source for images/bs_000001.jpg are not " in ran.err
        assert "'bs_000001.jpg' (360 bytes, md5:" in ran.err
        assert "'1.zip: bs_000001.jpg' (360 bytes, crc32:" in ran.err
        assert files_in(tmp_path) == {"images/bs_000002.jpg": ONE, "images/bs_000003.jpg": ONE}


def test_a_member_that_comes_later_with_another_content_is_noticed(
    server: FakeDSpace, medcli: Medcli, tmp_path: Path
) -> None:
    server.add("bs_000001.jpg", ONE)
    assert medcli(*IMAGES_ONLY, tmp_path).code == 0
    server.add("1.zip", zipped({"bs_000001.jpg": OTHER}))
    assert medcli(*IMAGES_ONLY, tmp_path).code == 4
    assert medcli("download", "veriserum", "--verify", "--dest", tmp_path).code == 0


def test_two_files_for_one_path_without_any_checksum_are_not_guessed_about(
    server: FakeDSpace, medcli: Medcli, tmp_path: Path
) -> None:
    server.add("bs_000001.jpg", ONE)
    server.add("a/bs_000001.jpg", ONE)
    server.checksums = ["", ""]
    real = server._bitstream
    server._bitstream = lambda index: real(index) | {"checkSum": None}  # type: ignore[method-assign]
    ran = medcli(*IMAGES_ONLY, tmp_path)
    assert ran.code == 3
    assert "(360 bytes, no checksum)" in ran.err


@pytest.mark.parametrize(
    "address",
    [
        "file:///etc/passwd",
        "ftp://example.org",
        "javascript:alert(1)",
        "http://",
        "http:///path",
        "http://exa mple.org",
        "http://example.org/a b",
        "http://[::1",
        "http://[zz]",
        "http://example.org:99999",
        "http://example.org:x",
        "http://a..b",
        "http://" + "a" * 70 + ".org",
        "//example.org",
        "http://exa\tmple.org",
        "http://\u202eexample.org",
        "http:\\\\example.org",
        "http://user:SECRET@",
        "foo?access_token=SECRET",
        "http://example.org?token=SECRET",
        "http://example.org/#x",
        "http://user:SE?CRET@[::1",
        " ",
        "\udcff",
    ],
)
def test_a_base_url_that_is_no_address_is_a_mistake_of_usage_before_any_work(
    server: FakeDSpace, medcli: Medcli, tmp_path: Path, address: str
) -> None:
    ran = medcli(*IMAGES_ONLY, tmp_path / "data", "--base-url", address)
    assert ran.code == 2
    assert ran.err.startswith("error: --base-url ")
    assert len(ran.err.strip().splitlines()) == 2
    assert "SECRET" not in ran.err
    assert "SE?CRET" not in ran.err
    assert ran.err.replace("\n", "").isprintable()
    assert server.count() == 0
    assert not (tmp_path / "data").exists()
