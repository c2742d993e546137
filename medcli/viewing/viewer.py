"""The viewer rerun as a process of its own: in a window, or in a browser over a server on this machine alone."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from medcli.core.errors import DataError, MedcliError, UsageError, printable
from medcli.core.files import check_replaceable, open_regular
from medcli.core.shell import install_extra, spell

SUFFIX = ".rrd"
LOOPBACK = "127.0.0.1"
"""Servers are bound to this address: data of patients leave this machine only if the user takes them along."""
_PAGE_PORT, _DATA_PORT = 9090, 9876
"""The ports that rerun uses by default; others are taken where they are in use."""
_MAGIC = b"RRF"
_SHOWN = 2000  # characters of what a viewer that failed said


def check_rerun() -> None:
    """Make sure that rerun is installed.

    Raises:
        MedcliError: it is not.
    """
    if importlib.util.find_spec("rerun") is None or importlib.util.find_spec("rerun_cli") is None:
        raise MedcliError(
            "medcli view needs rerun (the package rerun-sdk), which is not installed", install_extra("view")
        )


def check_save_path(file: Path | None, overwrite: bool) -> None:
    """Make sure that ``file`` may be written.

    Raises:
        UsageError: it has another ending, or exists.
    """
    if file is None:
        return
    if file.suffix.lower() != SUFFIX:
        raise UsageError(f"--save {file}: expected a name that ends in {SUFFIX}")
    check_replaceable(file, overwrite)


def check_display() -> None:
    """Make sure that a window can be opened.

    Raises:
        UsageError: there is no screen.
    """
    is_x_or_wayland = os.name == "posix" and sys.platform != "darwin"
    if is_x_or_wayland and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise UsageError("there is no screen to open a window on", "use --web, or --save FILE.rrd and look at it later")


def show_file(file: Path, in_browser: bool, announce: Callable[[str], None]) -> None:
    """Show a ``.rrd`` file until the window is closed, or the server is stopped (Ctrl-C, which ends it well).

    Args:
        in_browser: serve it to a browser on this machine, on free ports of the loopback address.
        announce: gets the address, or what is open.

    Raises:
        MedcliError: the viewer could not be started, or failed.
    """
    check_rerun()
    check_recording(file)
    command = [_program(), "--bind", LOOPBACK]
    if in_browser:
        page, data = _free_port(_PAGE_PORT), _free_port(_DATA_PORT)
        command += ["--serve-web", "--port", str(data), "--web-viewer-port", str(page)]
        source = quote(f"rerun+http://{LOOPBACK}:{data}/proxy", safe="")
        announce(f"open http://{LOOPBACK}:{page}?url={source} in a browser; Ctrl-C ends the server")
    else:
        command += ["--new"]
        announce("the viewer is open; close its window, or press Ctrl-C")
    _run([*command, str(file.absolute())])


def check_recording(file: Path) -> None:
    """Make sure that rerun can read a ``.rrd`` file to its end.

    Raises:
        DataError: it is damaged, truncated, or something else.
    """
    try:
        with open_regular(file) as content:
            is_one = content.read(3) == _MAGIC
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror or error}") from error
    if not is_one:
        raise DataError(f"{file} is no recording of rerun", f"save one with medcli view … {spell('--save', file.name)}")
    words = [_program(), "rrd", "verify", str(file.absolute())]
    ran = subprocess.run(words, capture_output=True, encoding="utf-8", errors="replace", check=False)
    if ran.returncode:
        said = next(iter(ran.stderr.strip().splitlines()), f"status {ran.returncode}")
        raise DataError(f"{file} is damaged: {printable(said.split(': ', 1)[-1])}", "save it again with --save")


def _run(command: list[str]) -> None:
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, encoding="utf-8", errors="replace"
    )
    try:
        _, said = process.communicate()
    except KeyboardInterrupt:
        return
    finally:
        process.terminate()
        process.wait()
    if process.returncode:
        last = " ".join(said[-_SHOWN:].split("\n")[-3:]).strip()
        raise MedcliError(f"the viewer ended with status {process.returncode}: {last}", "try --web or --save FILE.rrd")


def _program() -> str:
    """The viewer's program, as the package ``rerun_cli`` brings it (or as the variable that it reads names it).

    Raises:
        MedcliError: it is not there.
    """
    from rerun_cli import __file__ as package

    named = os.environ.get("RERUN_CLI_PATH")
    folder = Path(str(package)).parent
    names = ("rerun.exe",) if os.name == "nt" else ("Rerun.app/Contents/MacOS/Rerun", "rerun")
    places = [Path(named)] if named else [folder / name for name in names]
    program = next((place for place in places if place.is_file()), None)
    if program is None:
        raise MedcliError(f"the viewer's program {places[-1]} is missing", 'pip install --force-reinstall "rerun-sdk"')
    return str(program)


def _free_port(wanted: int) -> int:
    """``wanted`` if it is free on the loopback address, else another port."""
    for port in (wanted, 0):
        with closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as tried:
            try:
                tried.bind((LOOPBACK, port))
            except OSError:
                continue
            return int(tried.getsockname()[1])
    raise MedcliError(f"no free port on {LOOPBACK}")
