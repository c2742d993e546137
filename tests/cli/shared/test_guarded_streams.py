"""Nothing that is printed holds a credential, whoever prints it."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from medcli.cli.shared.guarded_streams import GuardedStream, guarded_streams
from tests.cli.test_app import in_a_new_process
from tests.conftest import REPOSITORY

SECRET = "Zq7Xv9Kp2Lm4"
ADDRESS = f"https://user:{SECRET}@host/a?sig={SECRET}"


def test_prints_logs_and_warnings_are_guarded_and_the_streams_come_back(capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stdout, sys.stderr
    with guarded_streams():
        print("out", ADDRESS)
        print("err", ADDRESS, file=sys.stderr)
        print(warnings.formatwarning(ADDRESS, UserWarning, "a.py", 1), file=sys.stderr)  # pytest keeps warnings
        logging.StreamHandler().handle(logging.makeLogRecord({"msg": f"log {ADDRESS}"}))
    assert (sys.stdout, sys.stderr) == before
    shown = "".join(capsys.readouterr())
    assert SECRET not in shown
    assert shown.count("https://(hidden)@host/a?sig=(hidden)") == 4


@pytest.mark.skipif(os.name == "nt", reason="pipes of POSIX")
def test_what_nobody_reads_is_dropped_and_the_status_stays() -> None:
    code = "from medcli.cli.app import main; main(['runs', 'list', '--runs', 'missing' if {} else 'runs'])"
    for is_missing, status in ((False, 0), (True, 3)):
        ran = subprocess.Popen(
            [sys.executable, "-c", f"import time; time.sleep(0.5); {code.format(is_missing)}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert ran.stdout is not None
        ran.stdout.close()
        assert ran.stderr is not None
        errors = ran.stderr.read()
        assert (ran.wait(60), "Broken" in errors, "Traceback" in errors) == (status, False, False)


@pytest.mark.skipif(os.name == "nt", reason="a shell of POSIX")
@pytest.mark.parametrize(
    ("closed", "words", "status"),
    [(">&-", "info", 0), (">&- 2>&-", "info", 0), ("2>&-", "infx", 2), ("2>&-", "runs list --runs missing", 3)],
)
def test_a_closed_stream_takes_what_is_written_and_the_status_stays(
    closed: str, words: str, status: int, tmp_path: Path
) -> None:
    command = f'"{sys.executable}" -m medcli {words} {closed}'
    ran = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ran.returncode, "Traceback" in ran.stderr + ran.stdout) == (status, False), ran.stderr


def test_a_guarded_stream_is_like_the_one_beneath() -> None:
    beneath = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    stream = GuardedStream(beneath)
    assert stream.write(ADDRESS) == len(ADDRESS)
    assert (stream.encoding, stream.isatty(), stream.writable()) == ("utf-8", False, True)
    assert not hasattr(stream, "buffer")
    del stream
    assert not beneath.closed
    assert SECRET.encode() not in beneath.buffer.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize("place", ["the command", "a thread", "a log", "after the command"])
def test_a_bug_keeps_its_traceback_without_the_credential(place: str) -> None:
    code = f"""
import logging, sys, threading
from medcli.cli.app import app, main
address = "https://user:" + "{SECRET}" + "@host"
def fail(*words, **named):
    raise RuntimeError("cannot reach " + address)
def broken(*words, **named):
    if {place!r} == "a thread":
        thread = threading.Thread(target=fail); thread.start(); thread.join()
    elif {place!r} == "a log":
        try:
            fail()
        except RuntimeError:
            logging.getLogger("other").exception("failed")
    elif {place!r} == "the command":
        fail()
app.command("fails")(lambda: broken())
try:
    main(["fails"])
except SystemExit:
    pass
if {place!r} == "after the command":
    fail()
"""
    ran = in_a_new_process(code=code)
    assert "Traceback" in ran.stderr
    assert "RuntimeError: cannot reach https://(hidden)@host" in ran.stderr
    assert SECRET not in ran.stdout + ran.stderr


def test_output_in_a_console_without_unicode_is_guarded_as_well() -> None:
    code = f"""
import sys
sys.stdout.reconfigure(encoding="ascii")
from medcli.cli.app import app, main
import typer
app.command("says")(lambda: typer.echo("https://user:" + "{SECRET}" + "@host"))
main(["says"])
"""
    ran = in_a_new_process(code=code)
    assert ran.stdout == "https://(hidden)@host\n"


@pytest.mark.parametrize(
    ("page", "text"), [("cp437", "... - -> x 3 \u00bd"), ("cp1252", "… – -> × ³ \u00bd"), ("utf-8", "… – → × ³ \u00bd")]
)
def test_a_code_page_without_a_character_is_no_failure(page: str, text: str) -> None:
    """A pipe of Windows has one; what it lacks is written as what comes nearest, and names of files as escapes."""
    said = "… – → × ³ \u00bd"
    code = f"""
import sys
sys.stdout.reconfigure(encoding={page!r})
sys.stderr.reconfigure(encoding={page!r})
from medcli.cli.app import app, main
from medcli.cli.shared.output import Output, say
def says():
    Output().line({said!r})
    Output().line("\\u65e5\\udcff")
    say("", {said!r})
app.command("says")(says)
main(["says"])
"""
    ran = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, check=True)
    shown, errors = ran.stdout.decode(page).splitlines(), ran.stderr.decode(page).splitlines()
    assert shown == [text, "日\\udcff" if page == "utf-8" else "\\u65e5\\udcff"]
    assert errors == [text]


@pytest.mark.parametrize("page", ["cp437", "cp1252", "utf-8"])
def test_json_is_json_in_any_code_page(page: str) -> None:
    """Who reads it from a pipe of Windows takes it for UTF-8, as JSON is."""
    code = f"""
import sys
sys.stdout.reconfigure(encoding={page!r})
from dataclasses import make_dataclass
from medcli.cli.app import app, main
from medcli.cli.shared.output import Output
app.command("says")(lambda: Output(True).finish(make_dataclass("Answer", ["name"])("é…日")))
main(["says"])
"""
    ran = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, check=True)
    assert json.loads(ran.stdout.decode("utf-8")) == {"name": "é…日"}
