"""A folder that is complete or absent: made beside its place, and renamed."""

from __future__ import annotations

import glob
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from medcli.core.errors import MedcliError, UsageError
from medcli.core.files import check_output_folder
from medcli.core.system.open_files import put_in_place
from medcli.core.system.processes import is_other_running_process

_LOG = logging.getLogger(__name__)
_PART = "importing"
_OLD = f"replaced.{_PART}"


def check_folder_target(out: Path, overwrite: bool, maker: str, note: str, loses: str = "") -> None:
    """Make sure that a folder can be made, or replaced, by :func:`replacing_folder`.

    What a killed run was replacing is there again afterwards, and counts.

    Args:
        maker: the command, in words.
        note: name of the file by which its folders are recognised; no other folder is replaced.
        loses: what else is replaced with it, for the hint: ``, with all labels in it``.

    Raises:
        UsageError: it holds something that may not be replaced, or is the working folder or one above.
        MedcliError: it cannot be written to.
    """
    check_output_folder(out)
    if _is_or_holds_working_folder(out):
        raise UsageError(f"{out} is the folder that you are in, which cannot be replaced", "name another with --out")
    restore_folder(out)
    if not out.is_dir() or not any(out.iterdir()):
        return
    if not overwrite:
        raise UsageError(f"{out} exists", f"use --overwrite to replace it{loses}")
    if not (out / note).is_file():
        raise UsageError(f"{out} was not made by {maker}, so it is not replaced", "choose another folder with --out")


def _is_or_holds_working_folder(out: Path) -> bool:
    here = Path.cwd()
    if here.resolve().is_relative_to(out.resolve()):  # both: Windows has short names of folders
        return True
    with suppress(OSError):  # one folder may have two names: a drive of Windows and the share behind it
        state = out.stat()
        return state.st_ino != 0 and any(os.path.samestat(state, one.stat()) for one in (here, *here.parents))
    return False


@contextmanager
def replacing_folder(out: Path) -> Iterator[Path]:
    """A new folder beside ``out`` that takes its place when the block succeeds; of a killed run, nothing is found.

    Of one that fails, no folder above ``out`` is left that it made. What was there before stays until the new folder is
    in its place; of a run that is killed in between, the next one puts it back first, see :func:`restore_folder`.

    Raises:
        MedcliError: it cannot be made.
    """
    made = [folder for folder in out.parents if not folder.exists()]
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        restore_folder(out)
        part, old = (out.with_name(f".{out.name}.{what}-{os.getpid()}") for what in (_PART, _OLD))
        part.mkdir()
    except OSError as error:
        raise MedcliError(
            f"cannot write to {out}: {error.strerror or error}", "choose another folder with --out"
        ) from error
    replaced = False
    try:
        yield part
        if out.exists():
            put_in_place(out, old)
        put_in_place(part, out)
        replaced = True
    finally:
        if replaced:
            shutil.rmtree(old, ignore_errors=True)
        else:
            with suppress(MedcliError):  # the next run tries again
                restore_folder(out)
        if not old.exists():
            shutil.rmtree(part, ignore_errors=True)
        if not out.exists():
            with suppress(OSError):  # one that another process filled stays
                for folder in made:
                    folder.rmdir()


def restore_folder(out: Path) -> None:
    """Put back what a run that was killed had set aside to replace ``out``, and remove what killed runs left.

    Between two renames ``out`` is absent, and its content lies beside it under a hidden name, beside the new folder.
    Where another program has filled ``out`` since, both stay and are named.

    Raises:
        MedcliError: the old content cannot be put back.
    """
    for old in _beside(out, _OLD):
        if not out.exists():
            try:
                put_in_place(old, out)
            except OSError as error:
                raise MedcliError(
                    f"cannot put back what a run that was ended had set aside: {error.strerror or error}",
                    f"rename {old} to {out.name}",
                ) from error
            _LOG.warning("a run was ended while it replaced %s: the content from before is back", out)
        elif _part_of(old).exists():
            _LOG.warning("%s is what %s held before a run was ended while it replaced it", old, out)
        else:  # it was replaced
            shutil.rmtree(old, ignore_errors=True)
    kept = {_part_of(old) for old in _beside(out, _OLD)}
    for part in _beside(out, _PART):
        number = part.name.rpartition("-")[2]
        if part not in kept and not (number.isdecimal() and is_other_running_process(int(number))):
            shutil.rmtree(part, ignore_errors=True)


def _beside(out: Path, what: str) -> list[Path]:
    return sorted(out.parent.glob(f".{glob.escape(out.name)}.{what}-*"))


def _part_of(old: Path) -> Path:
    """The new folder of the run that set ``old`` aside."""
    name, _, number = old.name.rpartition(f".{_OLD}-")
    return old.with_name(f"{name}.{_PART}-{number}")
