"""Credentials are hidden in every form, ordinary text stays as it is, and JSON stays JSON."""

from __future__ import annotations

import csv
import html
import io
import json
import time
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medcli.core.files import write_json, write_text
from medcli.core.json_text import to_json
from medcli.core.secrets import (
    HIDDEN,
    hide_option_values,
    hide_values,
    hide_values_in,
    hide_variables,
    holds_credential,
    redact,
)
from medcli.core.tables import csv_text

SECRET = "Zq7Xv9Kp2Lm4"
KEY, SIGNATURE = f"{(SECRET * 8)[:86]}==", f"{(SECRET * 4)[:43]}="
FORMS = [
    f"cannot read {KEY}: no such file",
    f"unexpected argument ({KEY})",
    f"/home/anna/{KEY}",
    f"--container={SIGNATURE}",
    f"SIG={SECRET}%3D&sv=2022-11-02&sp=rl",
    f"a?sp=rl&spr=https&SIG={SECRET}&sr=c",
    f"hf_oauth_{SECRET}.{SECRET}-{SECRET}",
    f"api_org_{SECRET * 2}",
    f"https://bones.blob.core.windows.net/c?sv=2022-11-02&sp=rl&sig={SECRET}%2B%3D&se=2026",
    f"BlobEndpoint=https://bones.blob.core.windows.net;SharedAccessSignature=sv=1&sig={SECRET}",
    f"DefaultEndpointsProtocol=https;AccountName=bones;AccountKey={SECRET}+/==;EndpointSuffix=x",
    f"sharedaccesskey = {SECRET}",
    f"foo?access_token={SECRET}",
    f"foo?key={SECRET}",
    f"?token={SECRET}&x=1",
    f"--api-key={SECRET}",
    f"clientSecret={SECRET}",
    f"PASSWORD={SECRET}",
    f'password="{SECRET} {SECRET}"',
    f"password: {SECRET}",
    f"X-Amz-Signature={SECRET}&X-Amz-Credential={SECRET}%2Fs3",
    f"Authorization: Bearer {SECRET}",
    f"Authorization: Basic {SECRET}==",
    f"{{'authorization': 'Bearer {SECRET}'}}",
    f'{{"token": "{SECRET} {SECRET}"}}',
    f"curl -H 'Authorization: token {SECRET}'",
    f"bearer {SECRET}",
    f"http://user:{SECRET}@host/a",
    f"http:/user:{SECRET}@host/a",
    f"https:/user:a/{SECRET}@host/a",
    f"https:\\user:{SECRET}@host\\a",
    f"https:\\\\user:a\\{SECRET}@host\\a",
    f"D:\\data\\https:\\{SECRET}@host\\a",
    f"http://{SECRET}@host/a",
    f"http://user:{SECRET}@@host:81/a",
    f"http://user:a/{SECRET}#?@host/a",
    f"HTTPS_PROXY=user:{SECRET}@proxy.example.org:3128",
    f"hf_{SECRET * 3}",
    f"wandb_v1_{SECRET * 3}",
    f"WANDB_API_KEY={SECRET}",
    f"MLFLOW_TRACKING_TOKEN={SECRET}",
    f"MLFLOW_TRACKING_PASSWORD={SECRET}",
    f"MLFLOW_TRACKING_URI=https://user:{SECRET}@mlflow.example.org",
    f"sig%3D{SECRET}%26se",
    f"a%26sig%3d{SECRET}",
    f"a%2526sig%253D{SECRET}",
    f"https%3A%2F%2Fuser%3A{SECRET}%40host",
    f"a\\u0026sig={SECRET}",
    f"a&amp;sig={SECRET}&amp;se=2",
]
ORDINARY = [
    f"sha512-{KEY} sha256-{SIGNATURE}",
    f"<img src='data:image/png;base64,{KEY}'> {SECRET * 30}{KEY}",
    f"{'a' * 86}== {'a/B' * 10}=",
    "--monkey=Zq7Xv9Kp2Lm4",
    "key=5",
    "sort_key=specimen",
    "key: encoder.conv1, token: none",
    "data/key=abcdef1/images/bs_000001.png",
    "turkey=Zq7Xv9Kp2Lm4 donkey: Zq7Xv9Kp2Lm4",
    "design=Zq7Xv9Kp2Lm4 sigma=0.123456",
    "https://huggingface.co/datasets/luohwu/UltraBones100k@c0ffeec0ffee",
    "http://127.0.0.1:3412/datasets/a/b@c0ffee",
    "me@example.org, mailto:me@example.org",
    "C:/Users/me/a@b, D:/x@1.0/a",
    "C:\\Users\\me\\a@b, D:\\x@1.0\\a",
    '{"licence": "contact:\\nme@example.org"}',
    "12:30@site, hf_scan_2024",
    "the SharedAccessSignature of the connection string (sv=…&sp=rl&sig=…)",
    "error: token: bad; the signature: none",
    "the bearer of the licence, bearer arrangements",
    "1.5e-3,2026-11-25T10:00:00,100 %",
    '{"key": "left", "sig": 5, "password": 5, "authorization": null}',
]


@pytest.mark.parametrize("text", FORMS)
def test_every_form_is_hidden_and_once_is_enough(text: str) -> None:
    assert SECRET not in redact(text)
    assert HIDDEN in redact(text)
    assert redact(redact(text)) == redact(text)
    assert holds_credential(text)
    assert not holds_credential(redact(text))


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_stays(text: str) -> None:
    assert redact(text) == text


def test_what_is_beside_a_credential_stays() -> None:
    text = f"cannot read http://u:{SECRET}@host:81/a?x=1&sig={SECRET}&se=2026, table,5"
    assert redact(text) == "cannot read http://(hidden)@host:81/a?x=1&sig=(hidden)&se=2026, table,5"


@pytest.mark.parametrize("value", ["Zq7Xv9 Kp+/=", "hunter2", 'p"ss<w>\\rd', "Geheim-ü§-ß9", "a%2Fb%2Bc9"])
def test_a_value_that_was_given_as_a_credential_is_hidden_however_it_is_written(value: str) -> None:
    hide_values(value)
    written = [value, quote(value), quote(value, ""), html.escape(value), json.dumps(value)[1:-1], repr(value)[1:-1]]
    for text in written:
        assert redact(f"it is <{text}>.") == "it is <(hidden)>."


@pytest.mark.parametrize("value", ["12345678", "specimen", "Tibia", "bs_images", "abc1", "2026-11-25", "1.5e-3", " "])
def test_a_value_that_is_ordinary_text_is_hidden_in_its_form_only(value: str) -> None:
    hide_values(value)
    assert redact(f"column {value} of record {value}") == f"column {value} of record {value}"
    assert redact(f"http://user:{value.strip() or 'x'}@host/") == "http://(hidden)@host/"


def test_a_short_value_is_not_found_within_a_checksum() -> None:
    hide_values("abc123")
    assert redact("md5:00abc12300 abc123 (abc123)") == "md5:00abc12300 (hidden) ((hidden))"


def test_words_and_variables_are_searched_for_credentials() -> None:
    hide_values_in([f"http://user:{SECRET},1@host", "--x=1"])
    hide_variables(
        {
            "MY_TOKEN": "Tok3nTok3n",
            "A_TOKEN": "/run/Tok3n/file",
            "B_TOKEN": "/Zq7+Xv9/==",
            "PROXY": "http://u:Pr0xyPr0xy@h",
        }
    )
    text = f"{SECRET},1 Tok3nTok3n /run/Tok3n/file Pr0xyPr0xy /Zq7+Xv9/=="
    assert redact(text) == "(hidden) (hidden) /run/Tok3n/file (hidden) (hidden)"


@pytest.mark.parametrize("word", [f"{SECRET}==", f"ab/{SECRET * 2}", f"/{SECRET * 3}=", "Zq7X-v9Kp"])
def test_what_stands_in_place_of_a_file_with_a_credential_is_hidden(word: str) -> None:
    hide_option_values(["--connection-string-file", word])
    assert redact(f"cannot read {word}: no such file") == "cannot read (hidden): no such file"


@pytest.mark.parametrize(
    "word", ["azure.txt", "/home/anna2/azure_key", "./a b.csv", "~/x/connection", "C:/Users/a1b.txt", ""]
)
def test_the_path_of_a_file_with_a_credential_is_shown(word: str) -> None:
    hide_option_values([f"--connection-string-file={word}", "--connection-string-file"])
    hide_option_values([])
    assert redact(f"cannot read {word}: no such file") == f"cannot read {word}: no such file"


@settings(max_examples=300)
@given(
    st.recursive(
        st.text(max_size=12) | st.sampled_from(FORMS) | st.integers() | st.floats(allow_nan=False) | st.none(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=8,
    )
)
def test_json_stays_json_whether_values_or_the_text_are_redacted(content: object) -> None:
    by_value = to_json(content)
    by_text = redact(json.dumps(content, indent=1))
    assert SECRET not in by_value + by_text
    assert json.loads(by_value) is not NotImplemented
    assert json.loads(by_text) is not NotImplemented
    assert redact(by_value) == by_value


def test_a_table_keeps_its_cells() -> None:
    rows = [{"a": text, "b": index, "c": "x, y"} for index, text in enumerate([*FORMS, *ORDINARY])]
    found = list(csv.DictReader(io.StringIO(redact(csv_text(rows, ["a", "b", "c"])))))
    assert [row["b"] for row in found] == [str(row["b"]) for row in rows]
    assert {row["c"] for row in found} == {"x, y"}
    assert [row["a"] for row in found][len(FORMS) :] == ORDINARY


def test_files_hold_no_credential(tmp_path: Path) -> None:
    write_text(tmp_path / "a.csv", "\n".join(FORMS))
    write_json(tmp_path / "b.json", {"command": FORMS, "path": Path(f"x?sig={SECRET}"), FORMS[0]: 1})
    assert SECRET not in (tmp_path / "a.csv").read_text() + (tmp_path / "b.json").read_text()
    assert len(json.loads((tmp_path / "b.json").read_text())["command"]) == len(FORMS)


@pytest.mark.parametrize("cell", ["images/bs_000001.png", "12:30", "a=5", "x@y"])
def test_a_large_table_costs_little(cell: str) -> None:
    table = f"1,0.123456789,{cell},specimen01/ultrasound_records/tibia/record01\n" * 100_000
    started = time.process_time()
    assert redact(table) == table
    assert time.process_time() - started < 3
