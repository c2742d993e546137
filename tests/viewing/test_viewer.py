"""The viewer's process: how it is started, that it serves this machine alone, and that it ends."""

from __future__ import annotations

import os
import re
import subprocess
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from medcli.core.errors import DataError, MedcliError, UsageError
from medcli.viewing import viewer

rerun = pytest.importorskip("rerun", reason="rerun is not installed")
psutil = pytest.importorskip("psutil", reason="rerun brings it")


def test_the_server_listens_on_the_loopback_address_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = rerun.RecordingStream("medcli")
    stream.save(tmp_path / "ein Bild ü.rrd")
    stream.log("point", rerun.Points3D([[0.0, 0.0, 0.0]]))
    stream.disconnect()
    started: list[subprocess.Popen[str]] = []
    popen = subprocess.Popen

    def start(*words: Any, **options: Any) -> subprocess.Popen[str]:
        process = popen(*words, **options)
        if "--serve-web" in words[0]:  # not the one that looks whether the file is whole
            started.append(process)
        return process

    monkeypatch.setattr(subprocess, "Popen", start)
    said: list[str] = []
    failed: list[BaseException] = []

    def show() -> None:
        try:
            viewer.show_file(tmp_path / "ein Bild ü.rrd", True, said.append)
        except MedcliError as error:
            failed.append(error)

    thread = threading.Thread(target=show)
    thread.start()
    try:
        deadline = time.monotonic() + 60
        page = b""
        while not page and time.monotonic() < deadline:
            time.sleep(0.2)
            try:
                page = urllib.request.urlopen(re.search(r"http://[^?]+", said[0])[0], timeout=5).read()  # type: ignore[index]
            except (OSError, IndexError):
                continue
        assert b"<html" in page.lower()
        heard = {one.laddr.ip for one in psutil.Process(started[0].pid).net_connections() if one.status == "LISTEN"}
        assert heard == {viewer.LOOPBACK}
    finally:
        for process in started:
            process.terminate()
        thread.join(30)
    assert not thread.is_alive()
    assert started[0].poll() is not None


def test_damaged_recordings_are_not_served(tmp_path: Path) -> None:
    whole, cut, other = (tmp_path / f"{name}.rrd" for name in ("whole", "cut", "other"))
    stream = rerun.RecordingStream("medcli")
    stream.save(whole)
    stream.log("points", rerun.Points3D([[float(place), 0.0, 0.0] for place in range(1000)]))
    stream.disconnect()
    viewer.check_recording(whole)
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    other.write_text("text")
    for file, said in ((cut, "is damaged"), (other, "is no recording of rerun")):
        with pytest.raises(DataError, match=said):
            viewer.show_file(file, True, lambda text: pytest.fail(text))


def test_a_viewer_that_fails_is_reported_and_ctrl_c_ends_it_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.name == "nt":
        pytest.skip("needs a shell script as the viewer")
    script = tmp_path / "viewer"
    (tmp_path / "view.rrd").write_bytes(b"RRF2")
    verified = '#!/bin/sh\nif [ "$2" = verify ]; then exit 0; fi\n'
    script.write_text(f'{verified}echo "$@" > "{tmp_path}/words"\necho "no graphics card" >&2\nexit 7\n')
    script.chmod(0o755)
    monkeypatch.setenv("RERUN_CLI_PATH", str(script))
    with pytest.raises(MedcliError, match="status 7: no graphics card"):
        viewer.show_file(tmp_path / "view.rrd", False, lambda text: None)
    words = (tmp_path / "words").read_text().split()
    assert words == ["--bind", "127.0.0.1", "--new", str(tmp_path / "view.rrd")]

    def interrupted(process: subprocess.Popen[str]) -> tuple[str, str]:
        raise KeyboardInterrupt

    script.write_text(f"{verified}exec sleep 60\n")
    monkeypatch.setattr(viewer, "check_recording", lambda file: None)
    monkeypatch.setattr(subprocess.Popen, "communicate", interrupted)
    began = time.monotonic()
    viewer.show_file(tmp_path / "view.rrd", False, lambda text: None)
    assert time.monotonic() - began < 30


def test_without_a_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    if os.name == "nt":
        pytest.skip("there is always a screen")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    with pytest.raises(UsageError, match="no screen"):
        viewer.check_display()
    monkeypatch.setenv("DISPLAY", ":0")
    viewer.check_display()
