"""Credentials thrown at every option of every command are found nowhere: not in what it prints, nor in what it leaves.

Options are taken from the command line itself, so a new one is covered as it is added.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer

from medcli.cli import app as app_module
from tests.conftest import REPOSITORY, Ran
from tests.support.servers import FakeDSpace

Medcli = Callable[..., Ran]
CORE = "Zq7Xv9Kp2Lm4Wt8R"
"""What every credential here holds; a quarter of it would already be too much to show."""
SIGNED = f"https://bones.blob.core.windows.net/ultrasound?sv=2022-11-02&sp=rl&sig={CORE}%2Bx%3D"
CREDENTIALS = (
    f"BlobEndpoint=https://bones.blob.core.windows.net;SharedAccessSignature=sv=2022-11-02&sp=rl&sig={CORE}%3D",
    SIGNED,
    f"DefaultEndpointsProtocol=https;AccountName=bones;AccountKey={CORE}+/==;EndpointSuffix=core.windows.net",
    f"AccountName={SIGNED};AccountKey={CORE}",
    f"foo?access_token={CORE}",
    f"http://user:{CORE}@127.0.0.1:9/api",
    f"user:{CORE}@example.org",
    f"hf_{CORE}{CORE}",
    f"password={CORE},1-3",
    f"Authorization: Bearer {CORE}",
    CORE,  # known by a variable
    f"{(CORE * 6)[:86]}==",  # the key of an account, alone
)


@dataclass(frozen=True)
class Place:
    """Where a user may paste something: ``words`` with ``{}`` for it, or a variable."""

    words: tuple[str, ...]
    variable: str = ""


def places(both: bool = False) -> list[Place]:
    """Every option of every command that takes a value, its variable, and a stray word.

    Values stand behind a blank or behind ``=``, in turn or, with ``both``, in both ways.
    """
    found: list[Place] = []
    for path, command in _commands(typer.main.get_command(app_module.app), ()):
        found += [Place((*path, "{}")), Place((*path, "--no-option={}")), Place((*path, "{}", "--no-option"))]
        for param in command.params:
            if param.param_type_name == "argument":
                found.append(Place((*path, "{}", "{}")))
            elif not param.is_flag:
                ways = [Place((*path, param.opts[0], "{}")), Place((*path, f"{param.opts[0]}={{}}"))]
                found += ways if both else [ways[len(found) % 2]]
                if isinstance(param.envvar, str):
                    found.append(Place(path, param.envvar))
    return found


def _commands(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    children = getattr(command, "commands", {})
    yield from () if children else [(path, command)]
    if children:
        yield path, command
    for name, child in children.items():
        yield from _commands(child, (*path, name))


def leaks(*texts: str) -> list[str]:
    """The places in ``texts`` that show a part of the credential."""
    folded = [text.lower() for text in texts]
    parts = [CORE[start : start + 6].lower() for start in range(0, len(CORE) - 5, 5)]
    return [text[max(text.find(part) - 200, 0) :][:400] for text in folded for part in parts if part in text]


def left_in(*folders: Path) -> Iterator[str]:
    """Names and contents of all that is below the folders."""
    for folder in folders:
        for path in folder.rglob("*"):
            yield path.name
            if path.is_file():
                yield path.read_bytes().decode("latin-1")


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder and home; nothing beyond this machine can be reached."""
    for name in ("home", "work"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MEDCLI_CACHE_DIR", str(tmp_path / "home" / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home" / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    return tmp_path


def paste(place: Place, credential: str, medcli: Medcli, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the command prints when ``credential`` is pasted there."""
    with monkeypatch.context() as patch:
        if place.variable:
            patch.setenv(place.variable, credential)
        if credential == CORE:
            patch.setenv("HF_TOKEN", CORE)
        words = [word.replace("{}", credential) for word in place.words]
        if "--base-url" in " ".join(place.words) or place.variable == "MEDCLI_VERISERUM_URL":
            words += ["--accept-license", "--retries", "0", "--timeout", "1"]
        ran = medcli(*words)
    return f"{ran.out}\n{ran.err}"


def check(chosen: list[tuple[Place, str]], medcli: Medcli, workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place, credential in chosen:
        assert not leaks(paste(place, credential, medcli, monkeypatch)), (place, credential)
    assert not leaks(*left_in(workplace))


def test_a_credential_at_every_option_is_not_shown_and_not_left(
    medcli: Medcli, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = [(place, CREDENTIALS[index % len(CREDENTIALS)]) for index, place in enumerate(places())]
    assert len(chosen) > 250
    check(chosen, medcli, workplace, monkeypatch)


@pytest.mark.deep
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("credential", CREDENTIALS)
def test_every_credential_at_every_option_is_not_shown_and_not_left(
    medcli: Medcli, workplace: Path, monkeypatch: pytest.MonkeyPatch, credential: str
) -> None:
    check([(place, credential) for place in places(both=True)], medcli, workplace, monkeypatch)


@pytest.mark.parametrize(
    "words",
    [
        ("download", "ultrabones", "--connection-string-file", CREDENTIALS[0]),
        ("download", "veriserum", CREDENTIALS[-1]),
        ("download", "ultrabones", "--connection-string-file", f"{CORE}=="),
        ("evaluate", "--root", SIGNED, "--specimens", "2", CREDENTIALS[4]),
        (SIGNED,),
    ],
)
def test_as_a_process_of_its_own_it_says_one_usage_error(workplace: Path, words: tuple[str, ...]) -> None:
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-m", "medcli", *words]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert ran.returncode == 2
    assert ran.stderr.count("error: ") == 1
    assert "Traceback" not in ran.stderr
    assert not leaks(ran.stdout, ran.stderr, *left_in(workplace))


def test_a_path_with_a_credential_is_refused_and_no_folder_made(medcli: Medcli, workplace: Path) -> None:
    for option in ("--dest", "--container", "--connection-string-file", "--revision"):
        ran = medcli("download", "ultrabones", option, SIGNED)
        assert ran.code == 2
        assert ran.err.startswith(f"error: {option}: ")
        assert "password, key, token or signature (not shown)" in ran.err
    assert not list((workplace / "work").iterdir())
    assert medcli("info", "--monkey=Zq7Xv9Kp2Lm4").err.count("--monkey") == 1


def test_an_address_with_a_password_works_and_is_recorded_without(
    veriserum_server: FakeDSpace, medcli: Medcli, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = veriserum_server.url.replace("://", f"://user:{CORE}@")
    seen = []
    for more in ((), ("--json",), ("--verbose",), ("--dry-run",), ("--only", "csv", "--verify")):
        ran = medcli("download", "veriserum", "--accept-license", "--base-url", address, "--dest", "data", *more)
        assert ran.code == 0, ran.err
        seen += [ran.out, ran.err]
    assert seen[1].count("the user name and password in --base-url are not used") == 1
    assert veriserum_server.url in (workplace / "work" / "data" / "medcli-manifest.json").read_text()
    assert not leaks(*seen, *left_in(workplace))
    assert all("Authorization" not in request.headers for request in veriserum_server.requests)


@pytest.mark.parametrize("token", [f"hf_{CORE}ä", f"hf_{CORE}€日本", f"{CORE} {CORE}", f"hf_{CORE}\nX: y"])
def test_a_hub_token_that_is_none_is_an_error_line(
    hub: Any, medcli: Medcli, workplace: Path, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HF_TOKEN", token)
    ran = medcli("download", "ultrabones", "--dry-run")
    assert ran.code == 2
    assert ran.err.startswith("error: the Hugging Face token has signs that no token has")
    assert ran.err.count("\n") == 2
    assert not leaks(ran.out, ran.err, *left_in(workplace))


@pytest.mark.parametrize("text", [f"AccountName={SIGNED};AccountKey={CORE}", f"AccountName={CORE};AccountKey=a", CORE])
def test_a_file_that_holds_no_connection_string_is_not_repeated(
    medcli: Medcli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    (tmp_path / "connection.txt").write_text(text)
    ran = medcli("download", "ultrabones", "--connection-string-file", tmp_path / "connection.txt")
    assert ran.code == 3
    assert "BlobEndpoint" in ran.err
    assert not leaks(ran.out, ran.err)
