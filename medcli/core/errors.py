"""The errors that a user can act on.

Each says what was expected, what came, which file, and (as ``hint``) what to do next. The command line catches
:class:`MedcliError` in one place, prints it in one or two lines and exits with ``exit_code``; any other
exception is a bug and keeps its traceback.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Iterable, Sequence

from medcli.core.system.long_paths import long_path_fault
from medcli.core.system.open_files import ACCESS_DENIED, OPEN_ELSEWHERE

DISK_FULL = frozenset({errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)})
"""Error numbers that mean that no further file can be written: disk full, quota used up."""
_OF_THE_MACHINE = {
    errno.ENOSPC: "the disk is full",
    getattr(errno, "EDQUOT", errno.ENOSPC): "the quota is used up",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission is missing",
    errno.EPERM: "permission is missing",
    errno.ENAMETOOLONG: "a name is too long",
    errno.EFBIG: "the file would be too large",
    errno.EIO: "the disk or network share failed",
    getattr(errno, "ESTALE", errno.EIO): "the disk or network share failed",
    errno.EMFILE: "too many files are open",
    errno.ENFILE: "too many files are open",
    errno.EISDIR: "there is a folder in place of a file",
    errno.ENOTDIR: "there is a file in place of a folder",
    errno.ELOOP: "links lead in a circle",
    errno.EBUSY: "the file is in use",
}
"""Errors of the system that are faults of disks, paths and rights, not of this program."""


class MedcliError(Exception):
    """Something failed that is neither the words typed nor the data (disk full, no permission, …). Exit code 1.

    Args:
        message: what was expected, what came, and which file.
        hint: what to do next, shown on a line of its own; None: the command's help is named; empty: nothing.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    @property
    def problems(self) -> tuple[MedcliError, ...]:
        """The problems to print one by one: this one, or each of :class:`SeveralProblems`."""
        return (self,)


class UsageError(MedcliError):
    """Options that contradict each other or ask for what this machine does not have. Exit code 2."""

    exit_code = 2


class DataError(MedcliError):
    """Data that are missing, unreachable or corrupt. Exit code 3."""

    exit_code = 3


class UnwrittenFileError(OSError):
    """What the system said when a file was written, with the file's final name and the bytes that it was to have.

    Attributes:
        needed: bytes; None if unknown.
        winerror: Windows' own number, on Windows.
    """

    winerror: int | None

    def __init__(self, number: int, reason: str, path: str, needed: int | None = None) -> None:
        super().__init__(number, reason, path)
        self.needed = needed

    @classmethod
    def of(cls, refused: OSError, target: os.PathLike[str], needed: int | None = None) -> UnwrittenFileError:
        """What the system refused of ``target``, whose temporary file ``refused`` names."""
        fault = long_path_fault(os.fsdecode(refused.filename or target)) if refused.errno == errno.ENOENT else ""
        number = errno.ENAMETOOLONG if fault else refused.errno or 0
        unwritten = cls(number, fault or refused.strerror or str(refused), str(target), needed)
        unwritten.winerror = getattr(refused, "winerror", None)
        return unwritten


def system_failure(error: OSError, file: os.PathLike[str] | str = "") -> MedcliError | None:
    """An error of the system in one line: which file, what was needed and is free; None: it is another kind.

    Args:
        file: what was written, where the error does not say.
    """
    path = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes, os.PathLike)) else str(file)
    reason = _reason(error, path)
    if reason is None:
        return None
    is_write = isinstance(error, UnwrittenFileError) or error.errno in (*DISK_FULL, errno.EROFS, errno.EFBIG)
    what = f"cannot {'write' if is_write else 'use'} {path}" if path else "cannot write" if is_write else ""
    message = ": ".join(filter(None, (reason, what, error.strerror or "")))
    if error.errno in DISK_FULL:
        space = _space(path, getattr(error, "needed", None))
        hint = "free some space, then run the same command again: what is finished is kept, and it resumes"
        return MedcliError(f"{message}{space}", hint)
    return MedcliError(message, "mend that, then run the same command again: what is finished is kept, and it resumes")


def _reason(error: OSError, path: str) -> str | None:
    """What is wrong with disks, paths and rights; None: it is another kind of error."""
    if (refused := getattr(error, "winerror", None)) in OPEN_ELSEWHERE:
        return "another program has the file open"
    if refused == ACCESS_DENIED:  # Windows says no more
        return "permission is missing, or another program has the file open"
    if error.errno == errno.ENOENT and os.name == "nt" and (fault := long_path_fault(path)):
        return fault
    if error.errno == errno.ENOENT and isinstance(error, UnwrittenFileError):
        return "there is no such folder"
    return _OF_THE_MACHINE.get(error.errno or 0)


def answers(question: Callable[[], bool]) -> bool:
    """What ``is_dir`` or ``is_file`` of a folder's entry says; False where links lead in a circle."""
    try:
        return question()
    except OSError:
        return False


def _space(path: str, needed: int | None) -> str:
    parts = [f"{quantity(needed, 'byte')} needed"] if needed is not None else []
    folder = os.path.dirname(path) if path else ""  # noqa: PTH120 - a name that may be longer than any file's
    with contextlib.suppress(OSError):
        parts.append(f"{shutil.disk_usage(folder or '.').free:,} free")
    return f" ({', '.join(parts)})" if parts else ""


def quantity(number: int, one: str, several: str = "") -> str:
    """A count with what is counted, in the singular where there is one.

    Args:
        number: how many.
        one: what, in the singular: ``image``; words that depend on the number may follow: ``id has no image``.
        several: its plural, where that is not the singular with an ``s``.
    """
    return f"{number:,} {one if number == 1 else several or f'{one}s'}"


def numbered(one: str, numbers: Iterable[int]) -> str:
    """Things with their numbers: ``specimen 2``, ``specimens 2 7 8``."""
    listed = list(numbers)
    return f"{one if len(listed) == 1 else f'{one}s'} {spaced(listed)}"


def spaced(numbers: Iterable[int]) -> str:
    """Numbers with blanks between: ``2 7 8``."""
    return " ".join(map(str, numbers))


def printable(text: str) -> str:
    """``text`` out of a file as it may stand in a message: short, and without control characters."""
    return "".join(character if character.isprintable() else "?" for character in text[:100])


class SeveralProblems(MedcliError):
    """Everything that stands in the way of a command, found before it began. Exit code of the first problem."""

    def __init__(self, problems: Sequence[MedcliError]) -> None:
        super().__init__("; ".join(problem.message for problem in problems), problems[0].hint)
        self._problems = tuple(problems)
        self.exit_code = problems[0].exit_code

    @property
    def problems(self) -> tuple[MedcliError, ...]:
        return self._problems
