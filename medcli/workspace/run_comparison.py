"""``medcli runs compare``: the settings that differ between runs, and all their figures side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medcli.core.errors import UsageError
from medcli.core.json_text import to_plain
from medcli.core.refusals import refusals
from medcli.core.run_records.options import read_options
from medcli.training.settings import DATA, RESUMED_FROM, read_settings
from medcli.workspace.run_figures import run_figures
from medcli.workspace.run_listing import ListedRun, get_run, list_run, read_note
from medcli.workspace.runs import CROSS_VALIDATION, DAMAGED, TRAIN_SEG, Run

_COMPARABLE = ({TRAIN_SEG, CROSS_VALIDATION},)
"""Kinds of runs with the same figures."""
_MADE_WITH = ("device", "medcli", "python")


@dataclass(frozen=True)
class ComparedValue:
    """One setting or figure.

    Attributes:
        name: of the setting or figure.
        values: of each run, in their order; None: it has none.
        differs: not all are equal.
    """

    name: str
    values: tuple[Any, ...]
    differs: bool


@dataclass(frozen=True)
class RunComparison:
    """Runs side by side.

    Attributes:
        kind: the command that made the first.
        runs: what is compared.
        settings: those that differ; data, device and versions among them.
        figures: all.
        report: the page that was written; None without one.
    """

    kind: str
    runs: tuple[ListedRun, ...]
    settings: tuple[ComparedValue, ...]
    figures: tuple[ComparedValue, ...]
    report: Path | None = None
    schema: str = "medcli.runs_compare.v1"


def compare_runs(names: Sequence[Path], root: Path) -> RunComparison:
    """Compare two or more runs of one kind.

    Args:
        names: see :func:`medcli.workspace.run_listing.get_run`.
        root: folder of the runs.

    Raises:
        UsageError: fewer than two runs, or of kinds without common figures.
        DataError, SeveralProblems: names that are not runs, all of them.
    """
    if len(names) < 2:
        raise UsageError(f"one run, {names[0]}, cannot be compared", "name two or more: medcli runs compare A B")
    with refusals() as check:
        found = [run for name in names if (run := check(get_run, name, root)) is not None]
    kinds = {run.kind for run in found}
    if len(kinds) > 1 and not any(kinds <= group for group in _COMPARABLE):
        texts = ", ".join(f"{run.path} is of {run.kind}" for run in found)
        raise UsageError(f"runs of different commands have no common figures: {texts}", "name runs of one command")
    damaged = [f"{run.path}: {run.detail}" for run in found if run.state == DAMAGED]
    if damaged:
        raise UsageError(f"damaged: {'; '.join(damaged)}", "leave it out, or run its command again")
    settings = _side_by_side([_settings(run, found) for run in found])
    figures = _side_by_side([run_figures(run) for run in found])
    return RunComparison(
        found[0].kind, tuple(map(list_run, found)), tuple(one for one in settings if one.differs), figures
    )


def _settings(run: Run, runs: Sequence[Run]) -> dict[str, Any]:
    """Options where each of the runs has stored them, else what its settings and provenance record say."""
    note = read_note(run)
    options = [read_options(one.path, one.kind) for one in runs]
    own = options[list(runs).index(run)]
    saved = read_settings(run.path) if run.path.is_dir() else {}
    if not all(options):
        own = ({"evaluated": run.source} if run.source else {}) | _flat({**(note.get("settings") or {}), **saved})
    more = {name: note.get(name) for name in _MADE_WITH if note.get(name)}
    data = {"data": saved[DATA]} if saved.get(DATA) else {}
    return {name: value for name, value in own.items() if name not in ("out", DATA, RESUMED_FROM)} | data | more


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    rows: dict[str, Any] = {}
    for name, value in values.items():
        key = f"{before}{name}".replace("_", "-")
        rows |= _flat(value, f"{key}: ") if isinstance(value, Mapping) else {key: to_plain(value)}
    return rows


def _side_by_side(columns: Sequence[Mapping[str, Any]]) -> tuple[ComparedValue, ...]:
    names = list(dict.fromkeys(name for column in columns for name in column))
    rows = ((name, tuple(column.get(name) for column in columns)) for name in names)
    return tuple(ComparedValue(name, values, any(value != values[0] for value in values)) for name, values in rows)
