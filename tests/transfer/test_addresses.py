"""Addresses: those that are none are refused, and nothing said of one holds a signature."""

from __future__ import annotations

import pytest

from medcli.core.errors import UsageError
from medcli.transfer.addresses import checked_address, host_of, in_short


@pytest.mark.parametrize("name", ["sig", "SIG", "X-Amz-Signature", "token"])
def test_signatures_are_hidden(name: str) -> None:
    said = in_short(f"GET https://h/f?{name}=se%2Fcret&se=2 failed")
    assert "cret" not in said
    assert f"{name}=(hidden)&se=2 failed" in said
    assert host_of("https://user:secret@host:8080/a?sig=secret") == "host:8080"


def test_addresses() -> None:
    assert checked_address(" https://example.org/api/ ", "--base-url") == "https://example.org/api"
    for address in ("example.org", "ftp://example.org", "https://", "https://host:port", "http://host:0"):
        with pytest.raises(UsageError, match="--base-url is not an http"):
            checked_address(address, "--base-url")
    with pytest.raises(UsageError) as error:
        checked_address("ftp://user:secret@host?sig=secret", "NAME")
    assert "secret" not in str(error.value)


def test_a_user_and_a_password_are_left_out_and_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    assert checked_address("https://user:pa@ss@example.org:81/api", "--base-url") == "https://example.org:81/api"
    assert "the user name and password in --base-url are not used" in caplog.text
