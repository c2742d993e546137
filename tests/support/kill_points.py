"""Kills a command at each place where it puts a finished file under its name, and lets the same command run again.

Run as a program of its own, ``python -m tests.support.kill_points``, since it forks: JSON in (the words of each
command, the folder that they work in, how many places to try), JSON out (for each command what happened at each
place). One process imports everything once; each run of a command is a fork of it.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

IMPORTED = ("torch", "cv2", "scipy.optimize", "numba", "pandas", "matplotlib.pyplot", "safetensors.torch")


@dataclass(frozen=True)
class Killed:
    """One place: the n-th rename of a temporary file, before it or after it.

    Attributes:
        renames: renames that a complete run makes.
        place: ``before 3`` or ``after 3``.
        killed: whether the process died there.
        code: exit status of the same command, run again to its end.
        errors: the last lines that it wrote to standard error.
        missing: files of a complete run that are not there then.
        different: files that differ from a complete run's, those left out in which two complete runs differ.
        left_over: files that a complete run does not leave.
    """

    renames: int
    place: str
    killed: bool
    code: int
    errors: str
    missing: list[str]
    different: list[str]
    left_over: list[str]


def kill_everywhere(words: list[str], data: Path, work: Path, most: int) -> list[Killed]:
    """Kill ``medcli words`` in copies of ``data`` at up to ``most`` renames, evenly spread, before and after each.

    Not after the last one, where nothing is left to do.
    """
    first, count = _complete(words, data, work / "first")
    second, _ = _complete(words, data, work / "second")
    volatile = {name for name in first if first[name] != second.get(name)}
    numbers = sorted({round(1 + step * (count - 1) / max(most - 1, 1)) for step in range(min(most, count))})
    return [
        _kill_at(words, data, work / "killed", number, moment, (count, first, volatile))
        for number in numbers
        for moment in ("before", "after")
        if (number, moment) != (count, "after")
    ]


def _complete(words: list[str], data: Path, folder: Path) -> tuple[dict[str, bytes], int]:
    _copy(data, folder)
    counted = folder.with_suffix(".count")
    code = _fork(lambda: _run(words, folder, _counting(counted)))
    if code:
        raise SystemExit(f"the complete run ended with {code}: {folder.with_suffix('.err').read_text()}")
    count = len(counted.read_text()) if counted.exists() else 0
    files = _files(folder)
    shutil.rmtree(folder)
    counted.unlink(missing_ok=True)
    return files, count


def _kill_at(
    words: list[str], data: Path, folder: Path, number: int, moment: str, whole: tuple[int, dict[str, bytes], set[str]]
) -> Killed:
    count, expected, volatile = whole
    _copy(data, folder)
    killed = _fork(lambda: _run(words, folder, _killing(number, moment)))
    code = _fork(lambda: _run(words, folder, lambda rename: rename))
    files = _files(folder)
    different = [name for name in expected if name not in volatile and files.get(name, b"") != expected[name]]
    found = Killed(
        renames=count,
        place=f"{moment} {number}",
        killed=killed == -signal.SIGKILL,
        code=code,
        errors=folder.with_suffix(".err").read_text()[-500:],
        missing=sorted(set(expected) - set(files)),
        different=sorted(set(different) & set(files)),
        left_over=sorted(set(files) - set(expected)),
    )
    shutil.rmtree(folder)
    return found


Rename = Callable[[Path, Any], Path]


def _counting(counted: Path) -> Callable[[Rename], Rename]:
    def patched(rename: Rename) -> Rename:
        def replace(source: Path, target: Any) -> Path:
            with counted.open("a") as file:
                file.write(".")
            return rename(source, target)

        return replace

    return patched


def _killing(number: int, moment: str) -> Callable[[Rename], Rename]:
    def patched(rename: Rename) -> Rename:
        renames = itertools.count(1)  # several threads rename at once, and each has to see its own number

        def replace(source: Path, target: Any) -> Path:
            mine = next(renames)
            if mine == number and moment == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            result = rename(source, target)
            if mine == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return replace

    return patched


def _run(words: list[str], folder: Path, patch: Callable[[Rename], Rename]) -> int:
    """In a fork: the command, in ``folder``, with another :meth:`pathlib.Path.replace`."""
    Path.replace = patch(Path.replace)  # type: ignore[method-assign, assignment, arg-type]
    os.chdir(folder)
    errors = os.open(folder.with_suffix(".err"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(errors, 2)
    os.dup2(errors, 1)
    from medcli.cli.app import main

    try:
        main(words)
    except SystemExit as leaving:
        return int(leaving.code or 0)
    return 0


def _fork(action: Callable[[], int]) -> int:
    """Exit status of ``action`` in a process of its own; negative: the signal that ended it."""
    process = os.fork()
    if process == 0:
        code = 70
        try:
            code = action()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def _copy(data: Path, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(data, folder)


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


if __name__ == "__main__":
    for module in IMPORTED:
        __import__(module)
    given = json.load(sys.stdin)
    outcomes = {
        name: [
            asdict(place) for place in kill_everywhere(words, Path(given["data"]), Path(given["work"]), given["most"])
        ]
        for name, words in given["commands"].items()
    }
    json.dump(outcomes, sys.stdout)
