"""What an answer means, and that nothing said of it holds a signature."""

from __future__ import annotations

import email.utils
import time

import pytest

from medcli.core.errors import UsageError
from medcli.transfer.http import checked_address, fault_for, host_of, retry_after_s, without_secrets, words_for
from medcli.transfer.protocol import Busy, Changed, Fault, Missing, Refused


@pytest.mark.parametrize("name", ["sig", "SIG", "X-Amz-Signature", "token"])
def test_signatures_are_hidden(name: str) -> None:
    said = without_secrets(f"GET https://host/file?sv=1&{name}=se%2Fcret&se=2 failed")
    assert "cret" not in said
    assert f"{name}=(hidden)&se=2 failed" in said
    assert host_of("https://user:secret@host:8080/a?sig=secret") == "host:8080"


@pytest.mark.parametrize(
    ("code", "fault"),
    [(429, Busy), (503, Busy), (412, Changed), (416, Changed), (404, Missing), (410, Missing), (401, Refused)],
)
def test_status_codes(code: int, fault: type[Fault]) -> None:
    found = fault_for(code, "said", {"Retry-After": "7"})
    assert type(found) is fault
    assert str(found) == "said"
    assert getattr(found, "retry_after_s", 7.0) == 7.0


def test_a_server_says_when_to_come_back_in_seconds_or_by_a_date() -> None:
    in_a_minute = email.utils.formatdate(time.time() + 60, usegmt=True)
    assert retry_after_s(in_a_minute) == pytest.approx(60, abs=5)
    assert [retry_after_s(text) for text in ("12", "", None, "soon")] == [12.0, None, None, None]
    assert retry_after_s(email.utils.formatdate(0, usegmt=True)) == 0.0


def test_addresses() -> None:
    assert checked_address(" https://example.org/api/ ", "--base-url") == "https://example.org/api"
    for address in ("example.org", "ftp://example.org", "https://", "https://host:port", "http://host:0"):
        with pytest.raises(UsageError, match="--base-url is not an http"):
            checked_address(address, "--base-url")
    with pytest.raises(UsageError) as error:
        checked_address("ftp://user:secret@host?sig=secret", "NAME")
    assert "secret" not in str(error.value)


def test_failures_are_worded_by_their_cause() -> None:
    outer = OSError("outer")
    outer.__cause__ = TimeoutError("https://host/?sig=secret")
    assert words_for(outer) == "sent nothing for too long"
    assert words_for(OSError("https://host/?sig=secret")) == "broke the connection"
