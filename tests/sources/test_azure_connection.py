"""Connection strings as web pages, mails and spreadsheets deliver them."""

from __future__ import annotations

import datetime

import pytest

from medcli.core.errors import DataError
from medcli.sources.azure_connection import parse_connection

SIGNATURE = "sv=2022-11-02&ss=b&srt=co&sp=rl&st=2024-01-01T00:00:00Z&se=2030-01-01T00:00:00Z&sig=SECRET%2Bpart%3D"
ENDPOINT = "https://bones.blob.core.windows.net"
NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)


@pytest.mark.parametrize(
    "text",
    [
        f"BlobEndpoint={ENDPOINT};SharedAccessSignature={SIGNATURE}",
        f"BlobEndpoint={ENDPOINT}/;QueueEndpoint=https://bones.queue.core.windows.net/;SharedAccessSignature={SIGNATURE};",
        f'  "blobendpoint = {ENDPOINT} ;\r\nsharedaccesssignature = ?{SIGNATURE}"\n',
        f"BlobEndpoint=[{ENDPOINT}/]({ENDPOINT}/);SharedAccessSignature={SIGNATURE}",
        f"`AccountName=bones;EndpointSuffix=core.windows.net;SharedAccessSignature={SIGNATURE}`",
        f"BlobEndpoint={ENDPOINT}?{SIGNATURE}",
    ],
)
def test_every_usual_form_is_read(text: str) -> None:
    connection = parse_connection(text)
    assert (connection.endpoint, connection.account, connection.signature) == (ENDPOINT, "bones", SIGNATURE)
    connection.check_usable(NOW)
    assert connection.surplus_rights() == []
    assert "SECRET" not in repr(connection)


@pytest.mark.parametrize(
    ("text", "container"),
    [
        (f"{ENDPOINT}/ultrasound?{SIGNATURE}", "ultrasound"),
        (f' "{ENDPOINT}/ultrasound/?{SIGNATURE}" \r\n', "ultrasound"),
        (f"<{ENDPOINT}/?{SIGNATURE}>", ""),
        (f"[link]({ENDPOINT}/ultrasound/some/folder?{SIGNATURE})", "ultrasound"),
        (f"BlobEndpoint={ENDPOINT}/ultrasound;SharedAccessSignature={SIGNATURE}", "ultrasound"),
        (f"BlobEndpoint={ENDPOINT}/$root/?{SIGNATURE}", "$root"),
    ],
)
def test_an_address_may_name_its_container_and_carry_the_signature(text: str, container: str) -> None:
    connection = parse_connection(text)
    assert (connection.endpoint, connection.account, connection.signature) == (ENDPOINT, "bones", SIGNATURE)
    assert connection.container == container


def test_an_emulators_account_is_part_of_the_path() -> None:
    connection = parse_connection(
        f"BlobEndpoint=http://127.0.0.1:10000/devstoreaccount1;SharedAccessSignature={SIGNATURE}"
    )
    assert (connection.account, connection.container) == ("devstoreaccount1", "")
    connection = parse_connection(f"http://127.0.0.1:10000/devstoreaccount1/ultrasound?{SIGNATURE}")
    assert connection.endpoint == "http://127.0.0.1:10000/devstoreaccount1"
    assert (connection.account, connection.container) == ("devstoreaccount1", "ultrasound")


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        (f"SharedAccessSignature={SIGNATURE}", "BlobEndpoint"),
        (f"BlobEndpoint={ENDPOINT}", "SharedAccessSignature"),
        (f"BlobEndpoint={ENDPOINT};SharedAccessSignature=sv=2022-11-02&sp=rl", "no sig"),
        ("SECRET", "BlobEndpoint"),
        (f"BlobEndpoint=https://[::1;SharedAccessSignature={SIGNATURE}", "BlobEndpoint"),
        (f"BlobEndpoint=https://a b;SharedAccessSignature={SIGNATURE}", "BlobEndpoint"),
        (f"BlobEndpoint=https://bones:port;SharedAccessSignature={SIGNATURE}", "BlobEndpoint"),
        (f"BlobEndpoint=ftp://bones;SharedAccessSignature={SIGNATURE}", "BlobEndpoint"),
        ("AccountName=a b;AccountKey=SECRET", "BlobEndpoint"),
        (f"{ENDPOINT}/ultrasound?sv=2022-11-02&sp=rl&SECRET", "no sig"),
    ],
)
def test_what_is_missing_is_named_and_nothing_repeated(text: str, missing: str) -> None:
    with pytest.raises(DataError, match=missing) as caught:
        parse_connection(text)
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("se=2030", "se=2025", r"expired on 2025-01-01 00:00 UTC"),
        ("st=2024", "st=2027", r"valid from 2027-01-01"),
        ("sp=rl", "sp=r", r"no right to list"),
        ("sp=rl", "sp=l", r"no right to read"),
    ],
)
def test_what_cannot_work_is_reported_before_trying(old: str, new: str, said: str) -> None:
    connection = parse_connection(f"BlobEndpoint={ENDPOINT};SharedAccessSignature={SIGNATURE.replace(old, new)}")
    with pytest.raises(DataError, match=said):
        connection.check_usable(NOW)


def test_more_rights_than_reading_are_seen() -> None:
    text = f"BlobEndpoint={ENDPOINT};SharedAccessSignature={SIGNATURE.replace('sp=rl', 'sp=rwdl')}"
    assert parse_connection(text).surplus_rights() == ["write", "delete"]
    assert parse_connection("AccountName=bones;AccountKey=c2VjcmV0").surplus_rights()
