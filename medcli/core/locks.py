"""One process at a time: locks that the system releases when their process ends, however it ends."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import IO

from medcli.core import files
from medcli.core.errors import MedcliError
from medcli.core.progress import activity

logger = logging.getLogger(__name__)


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
        yield


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
            return not _lock(file, wait=False)
    except OSError:
        return False


def _lock_of(folder: Path) -> Path | None:
    """The lock of a folder; None: an unwritable cache folder must not stop the work."""
    name = hashlib.sha256(os.path.realpath(folder).encode("utf-8", "surrogateescape")).hexdigest()[:24]
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


def _lock_on_windows(file: IO[str], wait: bool) -> None:
    import msvcrt

    # A byte far behind the text: a locked byte cannot be read by the other process.
    file.seek(1 << 20)
    while True:
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
            return
        except OSError as error:
            # Waiting gives up after ten seconds; the other process may need longer.
            if not wait or error.errno != errno.EDEADLK:
                raise
