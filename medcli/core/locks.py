"""One process at a time: locks that the system releases when their process ends, however it ends."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import IO

from medcli.core import files
from medcli.core.errors import MedcliError
from medcli.core.progress import activity

logger = logging.getLogger(__name__)
_LOCKED_BYTE, _PAUSE_S = 1 << 20, 0.1
_HELD = (errno.EACCES, errno.EDEADLK, 0)  # Wine gives no reason


@contextmanager
def locked(path: Path, busy: Callable[[str], MedcliError] | None = None) -> Iterator[None]:
    """Hold the lock represented by the file ``path``, which is created if needed and kept afterwards.

    Args:
        busy: makes an error of the number of the process that holds it. None: wait for it, so that processes take
            turns; on file systems without locks (some network shares) the block then runs unlocked.

    Raises:
        MedcliError: what ``busy`` makes.
    """
    with path.open("a+", encoding="ascii") as file:
        if not _lock(file, wait=False):
            file.seek(0)
            owner = file.read().strip() or "unknown"
            if busy is not None:
                raise busy(owner)
            reason = f"waiting for process {owner}, which holds {path.parent}"
            logger.info("%s", reason)
            with activity(reason):
                _lock(file, wait=True)
        with suppress(OSError):  # a full disk holds the lock all the same; others do not see whose it is
            os.ftruncate(file.fileno(), 0)
            os.write(file.fileno(), str(os.getpid()).encode("ascii"))
        try:
            yield
        finally:
            _unlock(file)


@contextmanager
def folder_in_use(folder: Path, what: str) -> Iterator[None]:
    """Hold ``folder`` for this process. Its lock is in the user's cache folder: nothing is added to ``folder``.

    Args:
        folder: a run's folder.
        what: writes to it, in the words of the error: ``training``.

    Raises:
        MedcliError: another process holds it.
    """

    def busy(owner: str) -> MedcliError:
        return MedcliError(
            f"another {what} (process {owner}) is writing to {folder}", "wait for it, or choose another --out"
        )

    path = _lock_of(folder)
    with locked(path, busy) if path else nullcontext():
        yield


@contextmanager
def taking_turns(folder: Path) -> Iterator[None]:
    """Wait until no other process is in such a block for ``folder``; processes without a common cache do not wait."""
    path = _lock_of(folder)
    with locked(path.with_name(f"{path.name}-turn")) if path else nullcontext():
        yield


def is_in_use(folder: Path) -> bool:
    """Whether a process holds ``folder`` by :func:`folder_in_use`."""
    try:
        path = _lock_of(folder)
        if path is None or not path.is_file():
            return False
        with path.open("a+", encoding="ascii") as file:
            was_free = _lock(file, wait=False)
            _unlock(file)
            return not was_free
    except OSError:
        return False


def _lock_of(folder: Path) -> Path | None:
    """The lock of a folder; None: an unwritable cache folder must not stop the work."""
    name = hashlib.sha256(os.path.normcase(os.path.realpath(folder)).encode("utf-8", "surrogateescape")).hexdigest()[
        :24
    ]
    try:
        return files.cache_folder("locks") / name
    except OSError:
        return None


def _lock(file: IO[str], wait: bool) -> bool:
    """Lock a file until it is closed; whether that was possible."""
    try:
        if os.name == "nt":
            _lock_on_windows(file, wait)
        else:
            import fcntl

            fcntl.flock(file.fileno(), fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return False
    return True


def _unlock(file: IO[str]) -> None:
    """Closing the file does so at once, but on Windows, where the lock of a closed file may last for a while."""
    if os.name != "nt":
        return
    import msvcrt

    with suppress(OSError):  # it is not locked
        file.seek(_LOCKED_BYTE)
        msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)  # type: ignore[attr-defined]


def _lock_on_windows(file: IO[str], wait: bool) -> None:
    import msvcrt

    # A byte far behind the text: a locked byte cannot be read by the other process.
    file.seek(_LOCKED_BYTE)
    while True:
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
            return
        except OSError as error:
            if not wait or error.errno not in _HELD:
                raise
        time.sleep(_PAUSE_S)  # its own way of waiting asks once a second, ten times, and hears no Ctrl-C
