"""``medcli runs repeat``: how a run was made, where it would be made again, and what is different by now."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from medcli import __version__
from medcli.core.errors import DataError, UsageError, quantity
from medcli.core.run_provenance import package_versions
from medcli.core.run_records.options import NAME as NOTE
from medcli.core.run_records.options import OPTIONS_FILE, read_options
from medcli.core.shell import spelled_words
from medcli.training.settings import DATA, read_settings
from medcli.workspace.run_comparison import ComparedValue
from medcli.workspace.run_figures import run_figures
from medcli.workspace.run_listing import read_note
from medcli.workspace.runs import INTERRUPTED, Run, find_run

_MOST_FILES = 200_000
_FURTHER_OUTPUTS = ("overlays", "figure")
"""Options besides ``--out`` that name what a command writes."""
_INPUTS = ("checkpoint", "calibrated", "predictions", "reference", "start", "poses", "distortion", "meshes")
"""Options that name files which another run may have replaced."""


@dataclass(frozen=True)
class RepeatPlan:
    """A run that is to be made again.

    Attributes:
        run: its folder or table.
        table: its command, ``("train", "seg")``.
        options: what it was called with (:mod:`medcli.core.run_records.options`); None: only its command line is known.
        typed: the words of that command line, without the program's name.
        out: where it is made again.
        changes: what is not as it was then, one text each.
    """

    run: Path
    table: tuple[str, ...]
    options: Mapping[str, Any] | None
    typed: tuple[str, ...]
    out: Path
    changes: tuple[str, ...]


@dataclass(frozen=True)
class RepeatResult:
    """A run that was made again.

    Attributes:
        run: the first one.
        out: the new one.
        command: what made it.
        changes: what is not as it was then: versions, device, data.
        differences: figures, and the digest of the data, that are not those of the first; empty if all are.
        figures: how many were compared.
        dry_run: nothing was run.
    """

    run: Path
    out: Path
    command: str
    changes: tuple[str, ...]
    differences: tuple[ComparedValue, ...] = ()
    figures: int = 0
    dry_run: bool = False
    schema: str = "medcli.runs_repeat.v1"


def plan_repeat(run: Run, out: Path | None = None) -> RepeatPlan:
    """How to make a run again, from the options or the command line that it has stored.

    Args:
        run: the run.
        out: where to; default: a name beside it that is free, or of a repetition with these settings that was
            interrupted, and is resumed.

    Raises:
        DataError: it does not say how it was made.
        UsageError: ``out`` is the run itself or holds other files.
    """
    note, options = read_note(run), read_options(run.path, run.kind)
    is_windows = str(note.get("system") or platform.system()).startswith("Windows")
    typed = tuple(spelled_words(str(note.get("command") or ""), is_windows)[1:])
    table = tuple(run.kind.partition(" --")[0].split())
    if not options and not typed:
        raise DataError(
            f"{run.path} does not say how it was made: it has neither its options (settings.toml) nor a record of its "
            "command line (medcli-run.json)",
            "run its command yourself; `medcli runs` names it",
        )
    changes = (*_versions_changed(note), *_data_changed(run, note, options))
    out = out or _free_name(run, options)
    _check_free(out, run)
    moved = {name: str(_beside(out, Path(str(options[name])))) for name in _FURTHER_OUTPUTS if options.get(name)}
    return RepeatPlan(run.path, table, {**options, **moved} or None, typed, out, changes)


def _check_free(out: Path, run: Run) -> None:
    """Refuse a place that holds anything but an earlier repetition, which is resumed."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    there = find_run(out)
    if there is None or there.kind != run.kind or out.resolve() == run.path.resolve():
        what = "the run itself" if out.resolve() == run.path.resolve() else "other files"
        raise UsageError(f"{out} holds {what}, and a repetition replaces nothing", "name a new place: --out NEW")


def _beside(out: Path, was: Path) -> Path:
    """Where a further output of a repetition goes: into its folder, or beside its table."""
    return out.with_name(f"{out.stem}-{was.name}") if out.suffix else out / was.name


def compare_repeated(run: Run, out: Path) -> tuple[tuple[ComparedValue, ...], int]:
    """The figures of a run and of its repetition that are not equal, but for times, and how many were compared."""
    again = find_run(out)
    if again is None:
        return (), 0
    before, after = run_figures(run), run_figures(again)
    if run.path.is_dir() and again.path.is_dir():
        digests: list[Any] = [read_settings(path).get(DATA) for path in (run.path, again.path)]
        before, after = {"data": digests[0], **before}, {"data": digests[1], **after}
    names = [name for name in dict.fromkeys((*before, *after)) if not name.startswith(("time", "seconds"))]
    pairs = [(name, (before.get(name), after.get(name))) for name in names]
    return tuple(ComparedValue(name, pair, True) for name, pair in pairs if pair[0] != pair[1]), len(names)


def _free_name(run: Run, options: Mapping[str, Any]) -> Path:
    """``NAME-repeat``, ``NAME-repeat-2`` …: the first that is free, or was interrupted."""
    path = run.path
    for number in range(1, 10_000):
        name = path.with_name(
            f"{path.stem if path.is_file() else path.name}-repeat{f'-{number}' if number > 1 else ''}"
        )
        free = name.with_name(name.name + path.suffix) if path.is_file() else name
        if not free.exists() or _is_interrupted(free, run, options):
            return free
    raise DataError(f"{path} was repeated 10,000 times", "name a new folder: --out NEW")


def _is_interrupted(path: Path, run: Run, options: Mapping[str, Any]) -> bool:
    """Whether a repetition of the run with these settings was interrupted."""
    there = find_run(path)
    if there is None or there.kind != run.kind or there.state != INTERRUPTED:
        return False
    before, now = (
        {name: value for name, value in one.items() if name not in ("out", "resume", *_FURTHER_OUTPUTS)}
        for one in (read_options(path, run.kind), options)
    )
    return before == now


def _versions_changed(note: Mapping[str, Any]) -> Iterator[str]:
    now = {"medcli": __version__, "python": platform.python_version(), **package_versions()}
    then = {name: note.get(name) for name in ("medcli", "python", "system")} | dict(note.get("packages") or {})
    now["system"] = f"{platform.system()} {platform.machine()}"
    for name, version in then.items():
        if version and version != now.get(name):
            yield f"{name} was {version}, is {now.get(name, 'not installed')}"


def _data_changed(run: Run, note: Mapping[str, Any], options: Mapping[str, Any]) -> Iterator[str]:
    """Inputs that are missing, or were written after the run."""
    try:
        then = datetime.fromisoformat(str(note.get("noted") or note.get("when"))).timestamp() + 1
    except ValueError:
        return
    root = (note.get("data") or {}).get("root")
    given = [root, *(options.get(name) for name in _INPUTS)]
    for place in dict.fromkeys(Path(str(one)) for one in given if one):
        if not place.exists():
            if place.suffix or str(place) == str(root):
                yield _where_it_went(place, run.path)
            continue
        newer, first = _newer(place, then, run.path)
        if newer:
            more = "" if place.is_file() else f": {quantity(newer, 'file')}, such as {first}"
            yield f"{place} was changed after the run{more}"


def _where_it_went(place: Path, run: Path) -> str:
    """Why an input is not there: it was named from a folder above the run, or it is gone."""
    if place.is_absolute():
        return f"{place} does not exist any more"
    for folder in run.absolute().parents:
        if (folder / place).exists():
            return f"{place} is not here but in {folder}, where the run was made: repeat it there"
    return f"{place} is not here: the run was made in another folder, or it does not exist any more"


def _is_result(path: Path) -> bool:
    """Whether a file is one that ``predict`` writes beside the data, which no other run reads unless it names it."""
    is_note = path.name.endswith((NOTE, OPTIONS_FILE))
    return is_note or path.name.startswith("predictions") or "Labels_pred" in path.parts


def _newer(place: Path, then: float, own: Path) -> tuple[int, Path]:
    """How many files were written after ``then``, but for those of the run itself; and one of them."""
    count, first, seen = 0, place, 0
    files = (
        [place] if place.is_file() else (Path(folder) / name for folder, _, names in os.walk(place) for name in names)
    )
    for seen, path in enumerate(files):
        if seen >= _MOST_FILES:
            break
        if own in path.parents or _is_result(path):
            continue
        try:
            is_newer = path.stat().st_mtime > then
        except OSError:
            continue
        if is_newer:
            first = first if count else path
            count += 1
    return count, first
