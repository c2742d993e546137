"""A folder that is complete or absent: made beside its place, and renamed."""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from medcli.core.errors import MedcliError, UsageError
from medcli.core.files import check_output_folder


def check_folder_target(out: Path, overwrite: bool, maker: str, note: str, loses: str = "") -> None:
    """Make sure that a folder can be made, or replaced, by :func:`replacing_folder`.

    Args:
        maker: the command, in words.
        note: name of the file by which its folders are recognised; no other folder is replaced.
        loses: what else is replaced with it, for the hint: ``, with all labels in it``.

    Raises:
        UsageError: it holds something that may not be replaced.
        MedcliError: it cannot be written to.
    """
    check_output_folder(out)
    if not out.is_dir() or not any(out.iterdir()):
        return
    if not overwrite:
        raise UsageError(f"{out} exists", f"use --overwrite to replace it{loses}")
    if not (out / note).is_file():
        raise UsageError(f"{out} was not made by {maker}, so it is not replaced", "choose another folder with --out")


@contextmanager
def replacing_folder(out: Path) -> Iterator[Path]:
    """A new folder beside ``out`` that takes its place when the block succeeds; of a killed run, nothing is found.

    Of one that fails, no folder above ``out`` is left that it made.

    What killed runs left is removed by the next one.

    Raises:
        MedcliError: it cannot be made.
    """
    made = [folder for folder in out.parents if not folder.exists()]
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        for left in out.parent.glob(f".{glob.escape(out.name)}.*importing-*"):
            shutil.rmtree(left, ignore_errors=True)
        part = out.with_name(f".{out.name}.importing-{os.getpid()}")
        part.mkdir()
    except OSError as error:
        raise MedcliError(
            f"cannot write to {out}: {error.strerror or error}", "choose another folder with --out"
        ) from error
    old = out.with_name(f".{out.name}.replaced.importing-{os.getpid()}")
    try:
        yield part
        if out.exists():
            out.rename(old)
        try:
            part.rename(out)
        except OSError:
            with suppress(OSError):
                old.rename(out)
            raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
        if not out.exists():
            with suppress(OSError):  # one that another process filled stays
                for folder in made:
                    folder.rmdir()
