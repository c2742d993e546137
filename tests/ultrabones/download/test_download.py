"""``medcli download ultrabones`` against a Hub and an Azure Storage on loopback."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from medcli.core.progress import Advance
from medcli.transfer.request import TransferOptions
from medcli.ultrabones.dataset.publication import FileKind
from medcli.ultrabones.download.connection import UltrabonesOrigin
from medcli.ultrabones.download.download import UltrabonesSelection, download_ultrabones
from tests.conftest import Ran
from tests.support.download_fixtures import CURRENT, files_in, zipped
from tests.support.servers import FakeHub, Trouble

Medcli = Callable[..., Ran]
ALL = {name: content for files in CURRENT.values() for name, content in files.items()}
QUICK = ("--retries", "2", "--timeout", "1")


def chosen(*parts: str) -> dict[str, bytes]:
    return {name: content for name, content in ALL.items() if all(part in name for part in parts)}


def report(ran: Ran) -> dict:
    assert ran.code == 0, ran.err
    return json.loads(ran.out)


def test_everything_comes_and_a_second_run_moves_nothing(hub: FakeHub, medcli: Medcli, tmp_path: Path) -> None:
    first = report(medcli("download", "ultrabones", "--dest", tmp_path, "--json"))
    assert files_in(tmp_path) == ALL
    assert first["files"] == first["fetched_files"] == len(ALL)
    assert first["sources"] == [f"{hub.url}/datasets/luohwu/UltraBones100k@{hub.COMMIT}"]
    before = hub.sent("/store/")
    assert first["moved_bytes"] == before
    second = report(medcli("download", "ultrabones", "--dest", tmp_path, "--json"))
    directories = sum(min(1 << 18, len(content)) for name, content in hub.content.items() if name.endswith(".zip"))
    assert (second["reused_files"], second["fetched_files"]) == (len(ALL), 0)
    assert second["moved_bytes"] == hub.sent("/store/") - before == directories


@pytest.mark.parametrize("words", [(), ("--only", "labels")])
def test_a_dry_run_says_what_the_run_then_moves(
    hub: FakeHub, medcli: Medcli, tmp_path: Path, words: tuple[str, ...]
) -> None:
    plan = report(medcli("download", "ultrabones", *words, "--dry-run", "--dest", tmp_path / "data", "--json"))
    done = report(medcli("download", "ultrabones", *words, "--dest", tmp_path / "data", "--json"))
    assert plan["network_bytes"] == done["moved_bytes"]


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("--specimens", "2"), ("specimen02/",)),
        (("--specimens", "1-2", "--only", "labels"), ("/Labels/",)),
        (("--only", "predictions"), ("/Labels_pred/",)),
        (("--anatomies", "tibia", "--records", "2", "--only", "images"), ("/tibia/record02/UltrasoundImages/",)),
        (("--only", "models"), (".pth",)),
    ],
)
def test_a_part_is_what_comes(
    hub: FakeHub, medcli: Medcli, tmp_path: Path, words: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    report(medcli("download", "ultrabones", *words, "--dest", tmp_path, "--json"))
    expected = dict(chosen(*parts).items())
    if "1-2" in words:
        expected = {name: content for name, content in expected.items() if "specimen07" not in name}
    assert files_in(tmp_path) == expected


def test_meshes_of_one_bone_come_with_the_merged_one(hub: FakeHub, medcli: Medcli, tmp_path: Path) -> None:
    medcli("download", "ultrabones", "--anatomies", "tibia", "--only", "meshes", "--specimens", "7", "--dest", tmp_path)
    names = {name.rpartition("/")[2] for name in files_in(tmp_path)}
    assert names == {"tibia.stl", "CT_bone_model_merged.stl"}


def test_damaged_and_missing_files_alone_are_fetched_again(hub: FakeHub, medcli: Medcli, tmp_path: Path) -> None:
    medcli("download", "ultrabones", "--specimens", "1", "--dest", tmp_path)
    damaged, *others = sorted(tmp_path.rglob("*.png"))
    damaged.write_bytes(bytes(damaged.stat().st_size))
    others[-1].unlink()
    again = report(medcli("download", "ultrabones", "--specimens", "1", "--dest", tmp_path, "--json"))
    assert again["fetched_files"] == 2
    assert files_in(tmp_path) == CURRENT[1]


def test_verify_names_what_is_damaged_and_uses_no_network(hub: FakeHub, medcli: Medcli, tmp_path: Path) -> None:
    medcli("download", "ultrabones", "--specimens", "1", "--dest", tmp_path)
    requests = hub.count()
    assert medcli("download", "ultrabones", "--verify", "--dest", tmp_path).code == 0
    one, two, *_ = sorted(tmp_path.rglob("*.png"))
    content = bytearray(one.read_bytes())
    content[7] ^= 1
    one.write_bytes(content)
    two.unlink()
    ran = medcli("download", "ultrabones", "--verify", "--dest", tmp_path)
    assert ran.code == 4
    assert f"{one.relative_to(tmp_path)}: the content does not have sha256 as recorded" in ran.err
    assert f"{two.relative_to(tmp_path)}: missing" in ran.err
    assert hub.count() == requests


def test_verify_without_a_manifest_says_so(medcli: Medcli, tmp_path: Path) -> None:
    ran = medcli("download", "ultrabones", "--verify", "--dest", tmp_path)
    assert ran.code == 3
    assert "no manifest" in ran.err


def test_a_dry_run_counts_and_writes_nothing(hub: FakeHub, medcli: Medcli, tmp_path: Path) -> None:
    dest = tmp_path / "not-there"
    plan = report(medcli("download", "ultrabones", "--dry-run", "--dest", dest, "--json"))
    assert not dest.exists()
    rows = {(row["group"], row["kind"]): (row["files"], row["bytes"]) for row in plan["rows"]}
    images = chosen("specimen02/", "/UltrasoundImages/")
    assert rows["specimen 02", "images"] == (len(images), sum(map(len, images.values())))
    assert plan["files"] == len(ALL)
    assert plan["free_bytes"] > 0
    table = medcli("download", "ultrabones", "--dry-run", "--dest", dest)
    assert "specimen 02" in table.out
    assert "needed and 67.1 MB left free, " in table.out


def test_too_small_a_disk_stops_before_the_first_byte(
    hub: FakeHub, medcli: Medcli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medcli.transfer.plan.free_bytes", lambda root: 1000)
    before = hub.sent("/store/")
    ran = medcli("download", "ultrabones", "--dest", tmp_path)
    assert ran.code == 1
    assert "the disk has 1.0 kB free" in ran.err
    assert hub.sent("/store/") - before < sum(map(len, hub.content.values())) * 2
    assert files_in(tmp_path) == {}


def test_a_store_that_sends_no_parts_gives_the_same_files_once(hub: FakeHub, medcli: Medcli, tmp_path: Path) -> None:
    hub.always["*"] = Trouble(no_ranges=True)
    words = ("download", "ultrabones", "--specimens", "1", "--only", "labels", "--dest", tmp_path, "--json")
    assert report(medcli(*words))["moved_bytes"] == len(hub.content["specimen01.zip"])
    assert files_in(tmp_path) == {name: content for name, content in CURRENT[1].items() if "/Labels/" in name}
    before = hub.sent("/store/")
    assert report(medcli(*words))["moved_bytes"] == 0
    assert hub.sent("/store/") == before


def test_too_small_a_disk_stops_before_the_first_whole_archive(
    hub: FakeHub, medcli: Medcli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.always["*"] = Trouble(no_ranges=True)
    size = len(hub.content["specimen01.zip"]) + len(hub.content["specimen02.zip"])
    monkeypatch.setattr("medcli.transfer.plan.free_bytes", lambda root: (64 << 20) + size - 1)
    ran = medcli("download", "ultrabones", "--specimens", "1", "2", "--dest", tmp_path / "data")
    assert ran.code == 1
    assert "MB left free, the disk has" in ran.err
    assert not (tmp_path / "data").exists()


def test_a_disk_that_fills_while_a_whole_archive_comes_is_reported(
    hub: FakeHub, medcli: Medcli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    hub.always["*"] = Trouble(no_ranges=True)
    monkeypatch.setattr("medcli.transfer.fetch_file._write_all", full)
    ran = medcli("download", "ultrabones", "--specimens", "1", "--dest", tmp_path)
    assert ran.code == 1
    assert f"the disk of {tmp_path} is full" in ran.err


def test_an_expired_signature_is_replaced_by_another(hub: FakeHub, medcli: Medcli, tmp_path: Path) -> None:
    hub.trouble("/store/specimen01.zip", Trouble(), Trouble(status=403), Trouble())
    report(medcli("download", "ultrabones", "--specimens", "1", "--only", "images", "--dest", tmp_path, "--json"))
    assert hub.count("/resolve/") == 2


def test_a_busy_hub_is_asked_again(hub: FakeHub, medcli: Medcli, tmp_path: Path) -> None:
    for path in ("/api/datasets/luohwu/UltraBones100k/revision/main", "/store/specimen01.zip"):
        hub.trouble(path, Trouble(status=429, headers={"Retry-After": "0"}), Trouble(status=503))
    words = ("--specimens", "1", "--dest", tmp_path, "--json")
    assert report(medcli("download", "ultrabones", *words))["files"] == len(CURRENT[1])


def test_one_damaged_archive_fails_and_the_rest_comes(hub: FakeHub, medcli: Medcli, tmp_path: Path) -> None:
    label = hub.content["specimen02.zip"].index(b"_label.png") + 60
    hub.always["/store/specimen02.zip"] = Trouble(flip=label)
    ran = medcli("download", "ultrabones", "--only", "labels", "--dest", tmp_path, *QUICK)
    assert ran.code == 4
    assert ran.err.count("failed: specimen02/") == 1
    assert len(files_in(tmp_path)) == len(chosen("/Labels/")) - 1


def test_an_archive_that_is_damaged_as_a_whole_is_one_line(hub: FakeHub, medcli: Medcli, tmp_path: Path) -> None:
    hub.always["/store/specimen02.zip"] = Trouble(flip=5000)
    ran = medcli("download", "ultrabones", "--dest", tmp_path, *QUICK)
    lost = len(chosen("specimen02/"))
    assert ran.code == 4
    assert ran.err.count("failed: ") == 1
    assert "failed: specimen02.zip: the content of specimen02.zip has sha256:" in ran.err
    assert f"({lost} files of it did not come)" in ran.err
    assert f"files     {len(ALL) - lost} of {len(ALL)}" in ran.out
    assert files_in(tmp_path) == {name: content for name, content in ALL.items() if "specimen02/" not in name}


def test_members_that_are_damaged_one_by_one_are_one_line(hub: FakeHub, medcli: Medcli, tmp_path: Path) -> None:
    content = bytearray(hub.content["specimen02.zip"])
    at = 0
    for _ in range(2):
        at = content.index(b"_label.png", at) + 60
        content[at] ^= 0xFF
    hub.put("/store/specimen02.zip", bytes(content))
    ran = medcli("download", "ultrabones", "--only", "labels", "--dest", tmp_path, *QUICK)
    assert ran.code == 4
    assert ran.err.count("failed: ") == 1
    assert "failed: specimen02.zip: the content of specimen02/" in ran.err
    assert "(2 files of it did not come)" in ran.err
    assert len(files_in(tmp_path)) == len(chosen("/Labels/")) - 2


def test_an_unknown_specimen_is_named(hub: FakeHub, medcli: Medcli, tmp_path: Path) -> None:
    ran = medcli("download", "ultrabones", "--specimens", "2", "9", "--dest", tmp_path)
    assert ran.code == 2
    assert "specimen 9" in ran.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--records", "9"), ("nothing of record 9", "fibula, record 1-2; tibia, record 1-2")),
        (("--anatomies", "foot"), ("nothing of foot", "fibula, record 1-2; tibia, record 1-2")),
        (("--records", "9", "--anatomies", "tibia", "--only", "models"), ("nothing of record 9 in tibia",)),
    ],
)
def test_a_choice_that_nothing_matches_brings_nothing_and_says_what_there_is(
    hub: FakeHub, medcli: Medcli, tmp_path: Path, words: tuple[str, ...], said: tuple[str, ...]
) -> None:
    ran = medcli("download", "ultrabones", *words, "--dest", tmp_path)
    assert ran.code == 2
    for part in said:
        assert part in ran.err
    assert files_in(tmp_path) == {}


def test_meshes_and_models_come_only_with_specimens_that_match(hub: FakeHub, medcli: Medcli, tmp_path: Path) -> None:
    more = {
        "specimen09/ultrasound_records/tibia/record05/tracking.csv": b"1",
        "specimen09/pretrained_model/a.pth": b"2",
    }
    hub.add("specimen09.zip", zipped(more))
    report(medcli("download", "ultrabones", "--records", "5", "--dest", tmp_path, "--json"))
    assert files_in(tmp_path) == more
    ran = medcli("download", "ultrabones", "--records", "5", "--specimens", "1", "9", "--dest", tmp_path)
    assert ran.code == 2
    assert "nothing of specimen 1 that matches" in ran.err


@pytest.mark.parametrize("address", ["garbage", "ftp://example.org", "https://", "http://host:port"])
@pytest.mark.parametrize("what", ["ultrabones", "weights"])
def test_an_endpoint_that_is_no_address_is_reported(
    hub: FakeHub, medcli: Medcli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, what: str
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", address)
    ran = medcli("download", what, "--dest", tmp_path)
    assert ran.code == 2
    assert f"HF_ENDPOINT is not an http(s) address: '{address}'" in ran.err


def test_an_absent_hub_is_reported_in_a_line(hub: FakeHub, medcli: Medcli, tmp_path: Path) -> None:
    hub.stop()
    ran = medcli("download", "ultrabones", "--dest", tmp_path, *QUICK)
    assert ran.code == 3
    assert "cannot be reached" in ran.err
    assert len(ran.err.strip().splitlines()) <= 2


def test_an_unknown_revision_is_refused(hub: FakeHub, medcli: Medcli, tmp_path: Path) -> None:
    ran = medcli("download", "ultrabones", "--revision", "v9", "--dest", tmp_path, *QUICK)
    assert ran.code == 3
    assert "404" in ran.err


def test_the_folder_is_what_the_index_reads(hub: FakeHub, medcli: Medcli, tmp_path: Path) -> None:
    from medcli.ultrabones.dataset.frame_index import index_frames

    medcli("download", "ultrabones", "--specimens", "2", "--anatomies", "tibia", "--dest", tmp_path)
    frames = index_frames(tmp_path)
    assert len(frames) == len(chosen("specimen02/", "/tibia/", "UltrasoundImages"))
    assert set(frames["specimen"]) == {2}
    assert set(frames["anatomy"]) == {"tibia"}


def test_offline_by_the_hubs_own_setting_is_reported(
    hub: FakeHub, medcli: Medcli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    ran = medcli("download", "ultrabones", "--dest", tmp_path)
    assert ran.code == 3
    assert "unset HF_HUB_OFFLINE" in ran.err
    assert hub.count() == 0


def test_the_token_goes_to_the_hub_and_not_to_the_store(
    hub: FakeHub, medcli: Medcli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    ran = medcli("download", "ultrabones", "--specimens", "1", "--dest", tmp_path, "--verbose")
    assert ran.code == 0
    for request in hub.requests:
        sent = request.headers.get("Authorization") or request.headers.get("authorization")
        assert sent == (None if request.path.startswith("/store/") else "Bearer hf_secret")
    assert "hf_secret" not in ran.out + ran.err + (tmp_path / "medcli-manifest.json").read_text()


def test_only_reading_requests_reach_the_hub(hub: FakeHub, medcli: Medcli, tmp_path: Path) -> None:
    medcli("download", "ultrabones", "--dest", tmp_path)
    assert {request.method for request in hub.requests} <= {"GET", "HEAD"}


class Shown:
    """What progress bars would show: label -> done and total."""

    def __init__(self) -> None:
        self.tasks: dict[str, list[float]] = {}

    @contextmanager
    def task(self, label: str, total: float | None, unit: str = "") -> Iterator[Advance]:
        shown = self.tasks.setdefault(label, [0.0, total or 0.0])

        def advance(amount: float) -> None:
            shown[0] += amount

        yield advance


def test_unpacking_whole_archives_has_a_progress_of_its_own(hub: FakeHub, tmp_path: Path) -> None:
    shown = Shown()
    download_ultrabones(
        tmp_path, UltrabonesSelection(specimens=[1, 2]), UltrabonesOrigin(), TransferOptions(workers=1), progress=shown
    )
    assert files_in(tmp_path) == CURRENT[1] | CURRENT[2]
    archives = sum(len(hub.content[f"specimen{number:02d}.zip"]) for number in (1, 2))
    assert shown.tasks["downloading"] == [archives, archives]
    done, total = shown.tasks["unpacking"]
    assert done == total
    assert 0.9 * archives < total < archives  # all but the archives' directories


def test_members_that_come_alone_are_not_unpacked(hub: FakeHub, tmp_path: Path) -> None:
    shown = Shown()
    download_ultrabones(
        tmp_path, UltrabonesSelection(specimens=[1], only=[FileKind.TRACKING]), UltrabonesOrigin(), progress=shown
    )
    assert shown.tasks["downloading"][0] == shown.tasks["downloading"][1] > 0
    assert "unpacking" not in shown.tasks
