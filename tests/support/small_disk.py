"""A real file system of a few megabytes, where this machine lets a test mount one."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, megabytes: int, options: str = "") -> Iterator[Path]:
    """``folder``, created, as a file system of so many megabytes; skips the test where none can be mounted."""
    mount = shutil.which("mount")
    if not mount:
        pytest.skip("needs mount, to make a small file system")
    folder.mkdir()
    words = [mount, "-t", "tmpfs", "-o", f"size={megabytes}m{options}", "tmpfs", str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"needs the right to mount a small file system: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)
