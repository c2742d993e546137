"""Files that are either complete or absent: atomic writes, leftover temporary files, and the user's cache folder."""

from __future__ import annotations

import contextlib
import errno
import functools
import logging
import os
import re
import socket
import stat
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from medcli.core.errors import DISK_FULL, DataError, MedcliError, UnwrittenFileError, UsageError, quantity
from medcli.core.json_text import to_json
from medcli.core.secrets import redact
from medcli.core.system.long_paths import long_path_fault
from medcli.core.system.open_files import put_in_place, remove_file
from medcli.core.system.path_names import LONGEST_NAME, path_fault
from medcli.core.system.processes import is_other_running_process

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"})  # of images that are read
FIGURE_SUFFIXES = (".png", ".jpg", ".jpeg")  # of contact sheets
_LOG = logging.getLogger(__name__)
_PROBE_BYTES = 1 << 16
_PART = re.compile(r"^\.(?P<target>.+)\.(?P<host>[^.]+)-(?P<pid>\d+)\.part$")
_HOST = re.sub(r"[^A-Za-z0-9_-]", "_", socket.gethostname()) or "host"
_LONGEST_SHOWN = 200  # characters of a path in a message
MOST_BYTES = 1 << 30
"""Bytes of a file that is read whole; the largest images, tables and meshes in use have a tenth of it."""


def part_path(target: Path) -> Path:
    """The temporary name next to ``target``; it contains host and process, so that leftovers can be recognised.

    The name of the target is cut where a file system would not take all of it, and ends with a checksum of the whole.
    """
    ending = f".{_HOST}-{os.getpid()}.part"
    name, room = os.fsencode(target.name), LONGEST_NAME - 1 - len(ending)
    if len(name) > room:
        name = name[: room - 9] + b"-%08x" % zlib.crc32(name)
    return target.with_name(f".{os.fsdecode(name)}{ending}")


@contextmanager
def replacing(target: Path, durable: bool = True, needed: int | None = None) -> Iterator[Path]:
    """Yield a temporary path next to ``target`` and rename it to ``target`` if the block succeeds.

    Args:
        target: the final path; its folder must exist. An existing file is replaced in one step.
        durable: also ask the disk to keep the bytes before the rename (survives a power cut, costs some
            milliseconds a file). Without it the file is still complete or absent after ``kill -9``.
        needed: bytes that will be written, for the error.

    The temporary file is removed when the block raises. A link is followed: the file it names is replaced.

    Raises:
        MedcliError: ``target`` exists and is a folder, a device or a pipe.
        UnwrittenFileError: the system refused to write it; also where a library hid that behind an error of its own.
    """
    target = Path(os.path.realpath(target)) if target.is_symlink() else target
    if target.exists() and not target.is_file():
        raise MedcliError(f"cannot write {target}: it exists and is not a regular file")
    part = part_path(target)
    try:
        yield part
        if durable:
            _flush_to_disk(part)
        put_in_place(part, target)
    except BaseException as error:
        refused = _refusal(error, part)
        with contextlib.suppress(OSError):  # of a disk that has just become read-only
            remove_file(part)
        if refused is None:
            raise
        raise UnwrittenFileError.of(refused, target, needed) from error


def _refusal(error: BaseException, part: Path) -> OSError | None:
    """The system's error behind a failure to write ``part``; None where it is another one."""
    if isinstance(error, OSError):
        names = (None, str(part), os.fsencode(part))
        return error if error.filename in names and not isinstance(error, UnwrittenFileError) else None
    if not isinstance(error, Exception) or isinstance(error, MedcliError) or not part.exists():
        return None
    try:  # torch and safetensors report a full disk as errors of their own
        with part.open("ab") as file:
            file.write(bytes(_PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as found:
        return found if found.errno in DISK_FULL else None
    return None


def write_bytes(target: Path, content: bytes | memoryview | Any, durable: bool = True) -> None:
    """Write ``content`` (any bytes-like object) to ``target`` so that it is complete or absent at any moment."""
    with replacing(target, durable, memoryview(content).nbytes) as part:
        part.write_bytes(content)


def write_text(target: Path, text: str, is_redacted: bool = False) -> None:
    """Write ``text`` as UTF-8 with ``\\n`` line ends to ``target``, completely or not at all.

    Credentials in it are hidden (:func:`medcli.core.secrets.redact`), unless its parts were redacted already. Bytes of
    a file's name that are not UTF-8 become escapes such as ``\\udcff``, which JSON reads back as they were.
    """
    write_bytes(target, (text if is_redacted else redact(text)).encode("utf-8", "backslashreplace"))


def write_json(target: Path, content: Any) -> None:
    """Write a dataclass or any other value (see :func:`medcli.core.json_text.to_plain`), whole or not at all."""
    write_text(target, to_json(content) + "\n", is_redacted=True)


def remove_leftovers(folder: Path) -> int:
    """Remove the temporary files in ``folder`` whose process is gone; return how many.

    Parts of other machines (a shared folder on a cluster) are left alone, since whether their process still
    runs cannot be known here.
    """
    removed = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            match = _PART.match(entry.name) if entry.name.endswith(".part") else None
            if match and match["host"] == _HOST and not is_other_running_process(int(match["pid"])):
                with contextlib.suppress(OSError):  # another program has it open: the next run removes it
                    Path(entry.path).unlink(missing_ok=True)
                    removed += 1
    return removed


def make_output_folder(folder: Path) -> Path:
    """Create ``folder``, show that it can be written to, and remove what killed runs left in it.

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
        raise MedcliError(f"cannot write to {folder}: {reason}", "choose another --out") from error
    remove_leftovers(folder)
    return folder


def check_output_folder(folder: Path, option: str = "--out", may_write: bool = True) -> None:
    """What :func:`make_output_folder` finds wrong and can be known without creating anything.

    Args:
        option: names the folder, for the hint.
        may_write: whether it must be writable as well.

    Raises:
        MedcliError: its name is too long, it is a file or lies below one, or it is not writable.
    """
    there = folder
    problem = path_fault(folder)[1] or long_path_fault(folder)
    try:
        while not problem and not there.exists() and there != there.parent:
            there = there.parent
        problem = problem or _problem_of(there, folder, may_write)
    except OSError as error:
        problem = error.strerror or type(error).__name__
    if problem:
        shown = redact(str(folder))  # before it is cut: a part of a credential would not be recognised
        shown = shown if len(shown) <= _LONGEST_SHOWN else f"{shown[:_LONGEST_SHOWN]}…"
        raise MedcliError(f"cannot {'write to' if may_write else 'use'} {shown}: {problem}", f"choose another {option}")


def _problem_of(there: Path, folder: Path, may_write: bool) -> str:
    """Why ``folder`` cannot be made or used, of whose path ``there`` exists; empty if it can."""
    if not there.exists():
        return f"there is no {there}"  # a drive of Windows, or a share
    if not there.is_dir():
        return "it is a file, not a folder" if there == folder else f"{there} is a file, not a folder"
    if not may_write:
        return ""
    if os.access(there, os.W_OK | os.X_OK):
        is_telling = hasattr(os, "statvfs") and os.statvfs(there).f_blocks  # Windows' answer is about files only
        return "" if is_telling else _problem_by_trying(there)
    is_read_only = hasattr(os, "statvfs") and os.statvfs(there).f_flag & os.ST_RDONLY
    return f"{os.strerror(errno.EROFS if is_read_only else errno.EACCES)}: {there}"


def _problem_by_trying(there: Path) -> str:
    """Why no folder can be made in ``there``, whose rights do not say: no disk is behind it (/proc), or Windows."""
    try:
        (probe := there / f".write-test.{_HOST}-{os.getpid()}.part").mkdir()
    except OSError as error:
        return f"no folder can be made in {there}" if error.errno == errno.ENOENT else f"{error.strerror}: {there}"
    with contextlib.suppress(OSError):  # another program looks at it
        probe.rmdir()
    return ""


def check_figure_path(path: Path | None, endings: Sequence[str] = FIGURE_SUFFIXES) -> None:
    """Make sure that a figure, if one is asked for, can be written in the format that its ending names.

    Raises:
        UsageError: its name has another ending.
        MedcliError: its folder cannot be written to.
    """
    if path is None:
        return
    if path.suffix.lower() not in endings:
        ending = f"ends in {path.suffix}" if path.suffix else "has no ending"
        raise UsageError(
            f"cannot write the figure {path}: its name {ending}, which is not written here",
            f"end its name in {' or '.join(endings)}",
        )
    check_output_folder(path.parent)


def check_replaceable(target: Path, overwrite: bool) -> None:
    """Make sure that writing the file ``target`` replaces nothing, unless ``overwrite``.

    Raises:
        UsageError: it exists, or is a folder.
    """
    if target.is_dir():
        raise UsageError(f"{target} is a folder, expected the name of a file", "name a file in it")
    if target.exists() and not overwrite:
        raise UsageError(f"{target} exists", "use --overwrite to replace it")


def open_regular(path: Path | str) -> BinaryIO:
    """A file opened to be read. Pipes and devices, which may have no end, are not opened.

    Raises:
        OSError: it cannot be opened, or is no regular file.
    """
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - 222,000 Path objects cost a second
    except FileNotFoundError as error:  # what Windows says of names and paths that are too long as well
        if fault := path_fault(Path(path))[1] or long_path_fault(path):
            raise OSError(errno.ENAMETOOLONG, fault, str(path)) from error
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path)) from error  # in words of one system
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe, a socket or a device"
        raise OSError(errno.EINVAL, f"it is {kind}, not a regular file", str(path))
    return open(path, "rb")  # noqa: PTH123 - the caller closes it


def read_whole(path: Path | str, most: int = MOST_BYTES) -> bytes:
    """The bytes of a regular file.

    Raises:
        OSError: as :func:`open_regular`, or it has more than ``most`` bytes.
    """
    with open_regular(path) as file:
        if (size := os.fstat(file.fileno()).st_size) > most:
            raise OSError(errno.EINVAL, f"it has {quantity(size, 'byte')}, more than the limit of {most:,}", str(path))
        return file.read()


def check_readable(path: Path) -> None:
    """Make sure that a regular file can be opened.

    Raises:
        DataError: it cannot, with the reason.
    """
    try:
        open_regular(path).close()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error


def check_name(path: Path) -> Path:
    """``path``, whose name is derived from one that was given, if file systems take it.

    Raises:
        UsageError: it is too long, or one that Windows does not take there.
    """
    name, fault = path_fault(Path(path.name))
    if fault:
        raise UsageError(f"cannot use {redact(name)[:40]}…: {fault}", "give a shorter --out")
    return path


def cache_folder(name: str) -> Path:
    """The user's cache folder for ``name``, created; ``MEDCLI_CACHE_DIR`` overrides the system's place.

    A user without a place for caches (a container) gets one below the temporary folder.

    Raises:
        OSError: there is no place at all, or ``MEDCLI_CACHE_DIR`` is none.
    """
    if base := os.environ.get("MEDCLI_CACHE_DIR"):
        (folder := Path(base).expanduser() / name).mkdir(parents=True, exist_ok=True)
        return folder
    from platformdirs import user_cache_dir

    home = Path(user_cache_dir("medcli", appauthor=False))
    try:
        if not home.is_absolute():  # nobody's: no HOME, and a user without a name
            raise FileNotFoundError(str(home))
        (home / name).mkdir(parents=True, exist_ok=True)
        if os.access(home / name, os.W_OK):
            return home / name
        raise PermissionError(str(home))
    except OSError:
        (folder := temporary_cache() / name).mkdir(exist_ok=True)
        return folder


@functools.cache
def temporary_cache() -> Path:
    """A folder for caches below the temporary folder, for a user without a place for them; says so, once.

    Others may write to the temporary folder, and a cache may hold machine code: one that is not this user's alone is
    not used.

    Raises:
        OSError: there is no such place either.
    """
    import getpass
    import tempfile

    user = os.getuid() if hasattr(os, "getuid") else getpass.getuser()
    folder = Path(tempfile.gettempdir()) / f"medcli-cache-{user}"
    folder.mkdir(mode=0o700, exist_ok=True)
    state = folder.lstat()
    is_mine = not hasattr(os, "getuid") or (state.st_uid == os.getuid() and not state.st_mode & 0o077)
    if not is_mine or not stat.S_ISDIR(state.st_mode):
        raise PermissionError(errno.EACCES, "it is not this user's alone", str(folder))
    _LOG.warning("no folder for caches can be written to: %s is used (MEDCLI_CACHE_DIR names another)", folder)
    return folder


def usable_cores() -> int:
    """Number of processor cores this process may use (a SLURM or taskset limit counts)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
