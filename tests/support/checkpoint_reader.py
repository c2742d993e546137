"""Reads the checkpoints of a folder, each in a process of its own with bounded time and memory; prints JSON lines.

The libraries are imported once, before the processes are forked: what is measured is the reading.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_READERS = ("medcli.ultrabones.segmentation.published_checkpoint", "medcli.veriserum.pose.checkpoint")
MEGABYTES = 1000
PATIENCE = float(os.environ.get("READER_PATIENCE", "60"))  # seconds on the clock, of a machine that may be busy


def _read(path: Path) -> str:
    """What every way to read ``path`` says."""
    from medcli.core.errors import DataError
    from medcli.training.trainer import epochs_done
    from medcli.training.weights import read_tensors
    from medcli.workspace.checkpoint_listing import describe_checkpoint, inspect_checkpoint

    ways: list[Callable[[Path], Any]] = [read_tensors, epochs_done, inspect_checkpoint, describe_checkpoint]
    said = "read"
    for way in ways if path.suffix != ".ckpt" else ways[1:2]:
        try:
            way(path)
        except DataError as error:
            said = f"refused: {error.message}"
        except BaseException as error:
            return f"{way.__name__}: {type(error).__name__}: {error}"[:300]
        else:
            said = "read"
    return said


def _memory_mb(process: int | str, what: str = "VmHWM") -> float:
    """The largest memory that a process has had, or another line of its status."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(what)), 0)


def _in_a_child(path: Path) -> dict[str, Any]:
    source, sink = os.pipe()
    child = os.fork()
    if not child:
        Path("/proc/self/clear_refs").write_text("5")  # the largest memory is counted from now on
        before = _memory_mb("self")
        limit = (int(_memory_mb("self", "VmData")) + 6 * MEGABYTES) << 20
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))  # not for the test: for the machine it runs on
        said = _read(path).encode("utf-8", "backslashreplace")[:60_000]
        os.write(sink, f"{_memory_mb('self') - before:.0f} ".encode() + said)
        os._exit(0)
    os.close(sink)
    deadline, done, peak = time.monotonic() + PATIENCE, 0, 0.0
    first = _memory_mb(child, "VmRSS")
    while not done and time.monotonic() < deadline:
        done, _status, used = os.wait4(child, os.WNOHANG)
        peak = max(peak, _memory_mb(child) - first)
        time.sleep(0.005)
    if not done:
        os.kill(child, signal.SIGKILL)
        _, _status, used = os.wait4(child, 0)
    grown, _, said = (os.read(source, 60_000).decode() if done else "").partition(" ")
    os.close(source)
    return {
        "file": path.name,
        "seconds": round(used.ru_utime + used.ru_stime, 2),
        "megabytes": round(float(grown or peak)),
        "said": said or ("died without a word" if done else "killed: it does not end"),
    }


def main(folder: Path) -> None:
    """Read every file in ``folder``."""
    for name in ("safetensors.torch", "medcli.training.trainer", "medcli.workspace.checkpoint_listing", *_READERS):
        importlib.import_module(name)
    for path in sorted(folder.iterdir()):
        print(json.dumps(_in_a_child(path)), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
