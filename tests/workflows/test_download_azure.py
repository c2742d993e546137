"""``medcli download ultrabones`` from Azure Storage: the real SDK against the real emulator, faults by a proxy."""

from __future__ import annotations

import json
import logging
import re
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from medcli.sources.azure import AzureBlobs
from medcli.sources.azure_connection import parse_connection
from medcli.transfer.http import Http
from medcli.transfer.protocol import Fault, RemoteFile
from medcli.transfer.retry_policy import RetryPolicy
from tests.conftest import Ran
from tests.support.azurite import ACCOUNT, KEY, Azurite
from tests.support.download_fixtures import CONTAINER, FIRST, files_in
from tests.support.servers import Trouble

Medcli = Callable[..., Ran]
VARIABLE = "MEDCLI_ULTRABONES_CONNECTION_STRING"
QUICK = RetryPolicy(tries=3, first_wait_s=0.01, longest_wait_s=0.05, connect_s=2.0, stall_s=1.0)


@pytest.fixture
def connected(azurite: Azurite, monkeypatch: pytest.MonkeyPatch) -> Azurite:
    monkeypatch.setenv(VARIABLE, azurite.connection_string())
    return azurite


def report(ran: Ran) -> dict:
    assert ran.code == 0, ran.err
    return json.loads(ran.out)


def test_auto_takes_azure_when_a_connection_string_is_set(connected: Azurite, medcli: Medcli, tmp_path: Path) -> None:
    done = report(medcli("download", "ultrabones", "--dest", tmp_path, "--json"))
    assert files_in(tmp_path) == FIRST
    assert done["sources"] == [f"{connected.proxy.url}/{ACCOUNT}/{CONTAINER}"]
    assert done["size_only_files"] == 0
    again = report(medcli("download", "ultrabones", "--dest", tmp_path, "--json"))
    assert (again["reused_files"], again["moved_bytes"]) == (len(FIRST), 0)


def test_a_file_holds_the_connection_string_and_a_part_is_chosen(
    azurite: Azurite, medcli: Medcli, tmp_path: Path
) -> None:
    file = tmp_path / "connection.txt"
    file.write_text(f'\ufeff "{azurite.connection_string()}" \r\n', encoding="utf-8")
    words = ("--specimens", "2", "--only", "labels", "tracking", "--connection-string-file", file)
    report(medcli("download", "ultrabones", *words, "--dest", tmp_path / "data", "--json"))
    expected = {n: c for n, c in FIRST.items() if n.startswith("cadaver02") and "UltrasoundImages" not in n}
    assert files_in(tmp_path / "data") == expected


def test_only_reading_requests_are_sent(connected: Azurite, medcli: Medcli, tmp_path: Path) -> None:
    report(medcli("download", "ultrabones", "--dest", tmp_path, "--json"))
    assert {method for method, _ in connected.proxy.requests} <= {"GET", "HEAD"}


def test_other_requests_are_impossible_even_for_the_sdk(azurite: Azurite) -> None:
    connection = parse_connection(azurite.connection_string("rwdlac"))
    service = AzureBlobs(connection, CONTAINER, Http(QUICK))._service()
    for action in (
        lambda: service.create_container("mine"),
        lambda: service.get_blob_client(CONTAINER, "x").upload_blob(b"x"),
        lambda: service.delete_container(CONTAINER),
    ):
        with pytest.raises(PermissionError, match="a download sends no"):
            action()
    assert not [method for method, _ in azurite.proxy.requests if method not in ("GET", "HEAD")]


@pytest.mark.parametrize(
    "trouble",
    [
        Trouble(status=429, headers={"Retry-After": "0"}),
        Trouble(status=503),
        Trouble(cut_after=1000),
        Trouble(cut_after=1000, stall_s=1.5),
        Trouble(flip=1234),
    ],
    ids=["429", "503", "cut", "stalled", "wrong byte"],
)
def test_faults_of_the_network_do_not_reach_the_files(
    connected: Azurite, medcli: Medcli, tmp_path: Path, trouble: Trouble
) -> None:
    connected.proxy.troubles = {"cadaver01_F231091/record01/UltrasoundImages": [trouble] * 2}
    words = ("--specimens", "1", "--records", "1", "--timeout", "1", "--dest", tmp_path, "--json")
    report(medcli("download", "ultrabones", *words))
    assert files_in(tmp_path) == {n: c for n, c in FIRST.items() if n.startswith("cadaver01_F231091/record01")}
    assert connected.proxy.troubles["cadaver01_F231091/record01/UltrasoundImages"] == []


def test_a_listing_that_fails_half_way_is_continued(
    connected: Azurite, medcli: Medcli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medcli.sources.azure._PAGE", 4)
    connected.proxy.troubles = {"marker=": [Trouble(status=503)] * 2}
    plan = report(medcli("download", "ultrabones", "--dry-run", "--dest", tmp_path, "--json"))
    assert plan["files"] == len(FIRST)
    assert connected.proxy.troubles["marker="] == []


def test_a_blob_without_a_checksum_is_size_only_and_noticed_when_it_changes(connected: Azurite, tmp_path: Path) -> None:
    container = connected.service().get_container_client(CONTAINER)
    blob = container.get_blob_client("blocks.bin")
    blob.stage_block("AAAA", b"x" * 5000)
    blob.commit_block_list(["AAAA"])
    source = AzureBlobs(parse_connection(connected.connection_string()), CONTAINER, Http(QUICK), ["blocks.bin"])
    (entry,) = source.list()
    assert entry.checksum is None
    assert entry.tag
    blob.upload_blob(b"y" * 4000, overwrite=True)
    with pytest.raises(Fault, match="412"), source.open(entry, 100):
        pass
    assert source.refresh(entry).size == 4000
    container.delete_blob("blocks.bin")


def test_an_account_key_is_used_to_read_only(
    azurite: Azurite, medcli: Medcli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};"
    monkeypatch.setenv(VARIABLE, f"{text}BlobEndpoint={azurite.proxy.url}/{ACCOUNT};")
    ran = medcli("download", "ultrabones", "--dry-run", "--dest", tmp_path)
    assert ran.code == 0
    assert "warning: the connection string allows more than reading" in ran.err
    assert not any("sp=" in path and "sp=rl" not in path for _, path in azurite.proxy.requests)


def test_a_connection_string_with_more_rights_is_warned_of(
    azurite: Azurite, medcli: Medcli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, azurite.connection_string("rwdl"))
    ran = medcli("download", "ultrabones", "--dry-run", "--dest", tmp_path)
    assert ran.code == 0
    assert "write, delete" in ran.err


def test_a_server_that_refuses_is_not_asked_again(
    azurite: Azurite, medcli: Medcli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other_signature = "sig=" + "A" * 43 + "%3D"
    monkeypatch.setenv(VARIABLE, re.sub(r"\bsig=[^&;]+", other_signature, azurite.connection_string()))
    ran = medcli("download", "ultrabones", "--dest", tmp_path)
    assert ran.code == 3
    assert "403 (AuthorizationFailure)" in ran.err or "403" in ran.err
    assert len(azurite.proxy.requests) <= 2


def test_an_expired_connection_string_says_when(
    azurite: Azurite, medcli: Medcli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, azurite.connection_string(days=-1))
    ran = medcli("download", "ultrabones", "--dest", tmp_path)
    assert ran.code == 3
    assert "expired on 2" in ran.err


def test_a_signature_that_expires_in_the_middle_is_reported_and_a_new_one_resumes(
    azurite: Azurite, medcli: Medcli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Azurite itself refuses then, since its clock is the one that counts."""
    monkeypatch.setenv(VARIABLE, azurite.connection_string(days=5 / 86_400))
    azurite.proxy.pause_s = 0.6
    words = ("download", "ultrabones", "--dest", tmp_path)
    ran = medcli(*words, "--workers", "1")
    azurite.proxy.pause_s = 0.0
    assert ran.code == 3, ran.out + ran.err
    assert "error: access refused: 127.0.0.1:" in ran.err
    assert "; the connection string expired on 2" in ran.err
    assert "with a connection string or token that is valid, the same command resumes" in ran.err
    assert len(ran.err.strip().splitlines()) == 2
    here = files_in(tmp_path)
    assert 0 < len(here) < len(FIRST)
    assert here.items() <= FIRST.items()
    assert medcli("download", "ultrabones", "--verify", "--dest", tmp_path).code == 0
    monkeypatch.setenv(VARIABLE, azurite.connection_string())
    done = report(medcli(*words, "--json"))
    assert (done["reused_files"], done["fetched_files"]) == (len(here), len(FIRST) - len(here))
    assert files_in(tmp_path) == FIRST


def test_a_part_is_continued_after_the_signature_was_renewed(
    connected: Azurite, medcli: Medcli, tmp_path: Path
) -> None:
    """Refused between two ranges of one file: what had come of it is kept."""
    name = "cadaver01_F231091/record01/UltrasoundImages/1000.png"
    refused = Trouble(status=403, headers={"x-ms-error-code": "AuthenticationFailed"})
    connected.proxy.troubles = {name: [Trouble(cut_after=2000), refused]}
    words = ("download", "ultrabones", "--specimens", "1", "--records", "1", "--dest", tmp_path)
    ran = medcli(*words)
    assert ran.code == 3
    assert "answered 403" in ran.err
    assert "AuthenticationFailed" in ran.err
    (part,) = tmp_path.rglob("*.download")
    assert part.read_bytes() == FIRST[name][:2000]
    connected.proxy.sent = 0
    assert report(medcli(*words, "--json"))["failures"] == []
    assert files_in(tmp_path) == {n: c for n, c in FIRST.items() if n.startswith("cadaver01_F231091/record01")}


def test_azure_without_a_connection_string_says_how(medcli: Medcli, tmp_path: Path) -> None:
    ran = medcli("download", "ultrabones", "--source", "azure", "--dest", tmp_path)
    assert ran.code == 2
    assert "--connection-string-file" in ran.err


@pytest.mark.parametrize("form", ["{endpoint}/{container}?{signature}", "BlobEndpoint={endpoint}/{container};{rest}"])
def test_an_address_that_names_the_container_is_read(
    azurite: Azurite, medcli: Medcli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    endpoint, _, rest = azurite.connection_string().removeprefix("BlobEndpoint=").partition(";")
    signature = rest.partition("=")[2]
    text = form.format(endpoint=endpoint, container=CONTAINER, signature=signature, rest=rest)
    monkeypatch.setenv(VARIABLE, text)
    ran = medcli("download", "ultrabones", "--dest", tmp_path)
    assert ran.code == 0, ran.err
    assert ran.err == ""
    assert files_in(tmp_path) == FIRST
    assert not any("comp=list" in path and CONTAINER not in path for _, path in azurite.proxy.requests)


def test_a_container_that_is_not_there_is_reported(connected: Azurite, medcli: Medcli, tmp_path: Path) -> None:
    ran = medcli("download", "ultrabones", "--container", "absent", "--dest", tmp_path)
    assert ran.code == 3
    assert "the account has no container absent" in ran.err
    assert "--container" in ran.err.splitlines()[-1]
    assert "--revision" not in ran.err
    assert "--item" not in ran.err


def test_records_that_are_not_there_are_reported(connected: Azurite, medcli: Medcli, tmp_path: Path) -> None:
    ran = medcli("download", "ultrabones", "--records", "9", "--dest", tmp_path)
    assert ran.code == 2
    assert "nothing of record 9" in ran.err
    assert "there is record 1-2" in ran.err
    assert files_in(tmp_path) == {}


def test_anatomies_cannot_be_chosen_there(connected: Azurite, medcli: Medcli, tmp_path: Path) -> None:
    ran = medcli("download", "ultrabones", "--anatomies", "tibia", "--dest", tmp_path)
    assert ran.code == 2
    assert "--source hub" in ran.err


def test_the_signature_appears_nowhere_but_in_requests(
    connected: Azurite, medcli: Medcli, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = connected.connection_string("rwl")
    file = tmp_path / "connection.txt"
    file.write_text(text)
    secret = text.rpartition("sig=")[2]
    spellings = {secret, secret.replace("%2B", "+").replace("%2F", "/").replace("%3D", "="), secret[:12]}
    connected.proxy.troubles = {"record01/Ultra": [Trouble(status=503), Trouble(cut_after=10), Trouble(status=403)]}
    seen = ""
    caplog.set_level(logging.DEBUG)  # what any library would write if asked for everything
    words = ("download", "ultrabones", "--connection-string-file", file, "--dest", tmp_path / "data", "--verbose")
    for more in ((), (), ("--json",), ("--dry-run",), ("--verify",), ("--container", "absent")):
        ran = medcli(*words, *more)
        seen += ran.out + ran.err
    seen += caplog.text + "".join(str(record.__dict__) for record in caplog.records)
    for path in (tmp_path / "data").rglob("*"):
        seen += path.name + (path.read_text(errors="replace") if path.is_file() else "")
    assert "cadaver01" in seen
    assert "urllib3" in caplog.text
    for spelling in spellings:
        assert spelling not in seen


def test_no_exception_holds_the_signature(azurite: Azurite, monkeypatch: pytest.MonkeyPatch) -> None:
    text = azurite.connection_string()
    secret = text.rpartition("sig=")[2][:12]
    connection = parse_connection(text)
    assert secret not in repr(connection)
    source = AzureBlobs(connection, CONTAINER, Http(RetryPolicy(tries=1)))
    azurite.proxy.troubles = {"": [Trouble(status=403), Trouble(status=500), Trouble(status=404)]}
    shown = ""
    for action in (
        lambda: source.folders("x"),
        source.containers,
        lambda: source.open(RemoteFile("x", 1), 0).__enter__(),
    ):
        with pytest.raises(Fault) as caught:
            action()
        shown += "".join(traceback.format_exception(caught.value)) + repr(caught.value.__dict__)
    azurite.proxy.troubles = {}
    monkeypatch.setattr(source.http.session, "send", lambda *a, **k: (_ for _ in ()).throw(OSError(text)))
    with pytest.raises(Fault) as caught, source.open(RemoteFile("x", 1), 0):
        pass
    shown += "".join(traceback.format_exception(caught.value))
    assert secret not in shown


def test_the_folder_is_what_the_index_reads(connected: Azurite, medcli: Medcli, tmp_path: Path) -> None:
    from medcli.ultrabones.dataset.frame_index import index_frames

    medcli("download", "ultrabones", "--specimens", "2", "--dest", tmp_path)
    frames = index_frames(tmp_path)
    assert len(frames) == sum("cadaver02" in name and "UltrasoundImages" in name for name in FIRST)
    assert set(frames["donor"]) == {"F231218"}
