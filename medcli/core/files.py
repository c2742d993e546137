"""Files that are either complete or absent: atomic writes, leftover temporary files, and the user's cache folder."""

from __future__ import annotations

import csv
import errno
import io
import os
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medcli.core.errors import MedcliError
from medcli.core.json_text import to_json

_PART = re.compile(r"^\.(?P<target>.+)\.(?P<host>[^.]+)-(?P<pid>\d+)\.part$")
_HOST = re.sub(r"[^A-Za-z0-9_-]", "_", socket.gethostname()) or "host"
DISK_FULL = frozenset({errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)})
"""Error numbers that mean that no further file can be written: disk full, quota used up."""


def part_path(target: Path) -> Path:
    """The temporary name next to ``target``; it contains host and process, so that leftovers can be recognised."""
    return target.with_name(f".{target.name}.{_HOST}-{os.getpid()}.part")


@contextmanager
def replacing(target: Path, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path next to ``target`` and rename it to ``target`` if the block succeeds.

    Args:
        target: the final path; its folder must exist. An existing file is replaced in one step.
        durable: also ask the disk to keep the bytes before the rename (survives a power cut, costs some
            milliseconds a file). Without it the file is still complete or absent after ``kill -9``.

    The temporary file is removed when the block raises. A link is followed: the file it names is replaced.

    Raises:
        MedcliError: ``target`` exists and is a folder, a device or a pipe.
    """
    target = target.resolve() if target.is_symlink() else target
    if target.exists() and not target.is_file():
        raise MedcliError(f"cannot write {target}: it exists and is not a regular file")
    part = part_path(target)
    try:
        yield part
        if durable:
            _flush_to_disk(part)
        part.replace(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_bytes(target: Path, content: bytes | memoryview | Any, durable: bool = True) -> None:
    """Write ``content`` (any bytes-like object) to ``target`` so that it is complete or absent at any moment."""
    with replacing(target, durable) as part:
        part.write_bytes(content)


def write_text(target: Path, text: str) -> None:
    """Write ``text`` as UTF-8 with ``\\n`` line ends to ``target``, completely or not at all."""
    write_bytes(target, text.encode("utf-8"))


def write_json(target: Path, content: Any) -> None:
    """Write a dataclass or any other value (see :func:`medcli.core.json_text.to_plain`), whole or not at all."""
    write_text(target, to_json(content) + "\n")


def csv_text(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Rows as CSV text with a heading; cells that a row lacks are empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def remove_leftovers(folder: Path) -> int:
    """Remove the temporary files in ``folder`` whose process is gone; return how many.

    Parts of other machines (a shared folder on a cluster) are left alone, since whether their process still
    runs cannot be known here.
    """
    removed = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            match = _PART.match(entry.name) if entry.name.endswith(".part") else None
            if match and match["host"] == _HOST and not _is_other_running_process(int(match["pid"])):
                Path(entry.path).unlink(missing_ok=True)
                removed += 1
    return removed


def make_output_folder(folder: Path) -> Path:
    """Create ``folder`` and show that it can be written to.

    Raises:
        MedcliError: it is a file, or not writable; raised before any work is done.
    """
    probe = folder / f".write-test.{_HOST}-{os.getpid()}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        reason = "it is a file, not a folder" if folder.is_file() else error.strerror or error
        raise MedcliError(f"cannot write to {folder}: {reason}", "choose another folder with --out") from error
    return folder


def cache_folder(name: str) -> Path:
    """The user's cache folder for ``name``, created; ``MEDCLI_CACHE_DIR`` overrides the system's place."""
    base = os.environ.get("MEDCLI_CACHE_DIR")
    if not base:
        from platformdirs import user_cache_dir

        base = user_cache_dir("medcli", appauthor=False)
    folder = Path(base).expanduser() / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def usable_cores() -> int:
    """Number of processor cores this process may use (a SLURM or taskset limit counts)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_other_running_process(pid: int) -> bool:
    if pid == os.getpid():
        return False
    if os.name == "nt":
        # os.kill would end the process there; a part that is still open cannot be removed on Windows anyway.
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
