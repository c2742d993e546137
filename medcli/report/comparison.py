"""The page of ``medcli runs compare --report``: settings that differ, figures, and the curves of all runs overlaid."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from medcli.core.errors import UsageError, quantity
from medcli.core.files import make_output_folder, write_text
from medcli.core.json_text import read_object
from medcli.report.blocks import Block, Chart, Key, Note, Section, Table, number
from medcli.report.charts import Axes, Curve, draw
from medcli.report.html_page import Page, is_report, render_page
from medcli.report.pose import EVALUATED as EVALUATED_POSE
from medcli.report.pose import error_panels
from medcli.report.run_files import column, read_rows, to_float
from medcli.report.segmentation import results_of
from medcli.report.training import panels_of
from medcli.training.run_folder import METRICS
from medcli.workspace.run_comparison import ComparedValue, RunComparison
from medcli.workspace.runs import EVALUATE_KINEMATICS, EVALUATION, KINEMATICS

_MOST_TRIALS = 4
_STYLES = 5
"""Colours of the page that are not that of its text; a sixth run has the first colour again, dashed."""


def write_comparison(found: RunComparison, out: Path, overwrite: bool = False) -> Path:
    """Write one self-contained HTML page that compares runs.

    Raises:
        UsageError: ``out`` is another file.
        MedcliError: ``out`` cannot be written.
    """
    if out.is_file() and not overwrite and not is_report(out):
        raise UsageError(
            f"{out} exists and is not a medcli report", "choose another --report, or replace it with --overwrite"
        )
    text = render_page(comparison_page(found))
    make_output_folder(out.parent)
    write_text(out, text, is_redacted=True)
    return out


def comparison_page(found: RunComparison) -> Page:
    """The page before rendering."""
    names = short_names([one.run.path for one in found.runs])
    folders = [one.run.path for one in found.runs]
    runs = [
        [name, one.started[:16], one.run.state, one.data, str(one.run.path)]
        for name, one in zip(names, found.runs, strict=True)
    ]
    started = sorted(one.started[:16] for one in found.runs)
    settings: Block = Note("All settings are equal.")
    if found.settings:
        settings = _table("setting", names, found.settings, "Settings, data and versions that are not the same")
    curves = list(_curves(found.kind, names, folders))
    return Page(
        f"{quantity(len(names), 'run')} of medcli {found.kind} compared",
        f"{', '.join(names[:-1])} and {names[-1]}.",
        [f"{started[0]} to {started[-1]}", *(["synthetic data"] if any(one.synthetic for one in found.runs) else [])],
        None,
        [],
        [
            Section("Runs", [Table(["run", "began", "state", "data", "folder"], runs, "What is compared")]),
            Section("Settings that differ", [settings]),
            *([Section("Curves", curves)] if curves else []),
            Section("Figures", [_table("figure", names, found.figures, "All figures; ≠ marks those that differ")]),
        ],
    )


def short_names(paths: Sequence[Path]) -> list[str]:
    """As few of the last parts of each path as tell them apart."""
    for count in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-count:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [f"{path} ({i})" for i, path in enumerate(paths, 1)]


def _table(what: str, names: Sequence[str], rows: Sequence[ComparedValue], caption: str) -> Table:
    is_marked = what == "figure"
    lines = [
        [f"{row.name}{' ≠' if is_marked and len(set(map(_cell, row.values))) > 1 else ''}", *map(_cell, row.values)]
        for row in rows
    ]
    return Table([what, *names], lines, caption)


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):  # a learning rate of 1e-5 is none of 0.0000
        return f"{value:g}" if 0 < abs(value) < 1e-3 else number(value, 4 if abs(value) < 100 else 1)
    return "–" if value is None else str(value)


def _curves(kind: str, names: Sequence[str], folders: Sequence[Path]) -> Iterator[Block]:
    if kind == KINEMATICS:
        yield from _motions(names, folders)
    elif kind.startswith("train"):
        yield from _training(kind, names, [read_rows(folder / METRICS) for folder in folders])
    elif kind.startswith("evaluate"):
        found = [read_object(folder / EVALUATION) for folder in folders]
        if all(one.get("schema") == EVALUATED_POSE for one in found):
            yield from _pose_errors(names, folders)
        elif kind == EVALUATE_KINEMATICS:
            yield from _motion_differences(names, folders)
        else:
            yield from _evaluations(names, [results_of(one) for one in found])


def _keys(names: Sequence[str]) -> list[Key]:
    return [Key(*_style(i)[:1], name, _style(i)[1]) for i, name in enumerate(names)]


def _style(i: int) -> tuple[int, bool]:
    return i % _STYLES + 1, i >= _STYLES


def _overlaid(axes: Axes, names: Sequence[str], lines: Sequence[tuple[Sequence[float], Sequence[float]]]) -> Any:
    curves = [
        Curve(name, x, y, style=_style(i)[0], dashed=_style(i)[1])
        for i, (name, (x, y)) in enumerate(zip(names, lines, strict=True))
    ]
    last = (next((v for v in reversed(list(y)) if math.isfinite(v)), math.nan) for _, y in lines)
    return draw(
        axes, curves, "; ".join(f"{name} ends at {number(v)}" for name, v in zip(names, last, strict=True)) + "."
    )


def _training(kind: str, names: Sequence[str], histories: Sequence[Sequence[Mapping[str, str]]]) -> Iterator[Block]:
    panels = []
    for title, name in panels_of(kind.startswith("train pose")):
        lines = [(column(rows, "epoch"), column(rows, name)) for rows in histories]
        if any(math.isfinite(value) for _, y in lines for value in y):
            panels.append(_overlaid(Axes(title, "epoch", whole_x=True), names, lines))
    if panels:
        yield Chart(panels, _keys(names), "Every epoch of each run.")


def _evaluations(names: Sequence[str], results: Sequence[Mapping[str, Mapping[str, Any]]]) -> Iterator[Block]:
    from medcli.ultrabones.evaluation.metrics import curve_measures

    for protocol in [name for name in ("paper", "strict") if all(name in one for one in results)]:
        panels = []
        for measure in curve_measures():
            lines = [
                (one[protocol]["thresholds_mm"], [to_float(value) for value in one[protocol][measure.key]["all"]])
                for one in results
                if measure.key in one[protocol]
            ]
            if len(lines) == len(names):
                panels.append(_overlaid(Axes(measure.heading, "distance (mm)", (0, 2), (0, 1)), names, lines))
        yield Chart(panels, _keys(names), f"Share of the pixels of all bone within a distance, {protocol} protocol.")


def _pose_errors(names: Sequence[str], folders: Sequence[Path]) -> Iterator[Block]:
    tables = [read_rows(folder / "pairs.csv") for folder in folders]
    panels = _shares_below(names, tables, error_panels(), "pairs")
    if panels:
        yield Chart(panels, _keys(names), "Share of the pairs with an error below a value.")


def _motion_differences(names: Sequence[str], folders: Sequence[Path]) -> Iterator[Block]:
    from medcli.veriserum.kinematics.joint_coordinates import COORDINATES

    tables = [read_rows(folder / "differences.csv") for folder in folders]
    titles = [(one.title, "°" if one.unit == "deg" else one.unit, one.name) for one in COORDINATES]
    panels = _shares_below(names, tables, titles, "frames")
    if panels:
        yield Chart(panels, _keys(names), "Share of the frames with a difference, of either sign, below a value.")


def _shares_below(
    names: Sequence[str],
    tables: Sequence[Sequence[Mapping[str, str]]],
    quantities: Iterable[tuple[str, str, str]],
    items: str,
) -> list[Any]:
    """A panel for each quantity, (title, unit, column): how many items of each run have less of it."""
    panels = []
    for title, unit, name in quantities:
        values = [sorted(abs(v) for v in column(rows, name) if math.isfinite(v)) for rows in tables]
        if all(values):
            lines = [([0.0, *v], [100 * k / len(v) for k in range(len(v) + 1)]) for v in values]
            panels.append(_overlaid(Axes(f"{title}, % of {items} below", unit, y_range=(0, 100)), names, lines))
    return panels


def _motions(names: Sequence[str], folders: Sequence[Path]) -> Iterator[Block]:
    """Joint coordinates of the first trials that all runs have."""
    from medcli.veriserum.kinematics.joint_coordinates import COORDINATES

    tables = [read_rows(folder / "kinematics.csv") for folder in folders]
    trials = dict.fromkeys(row.get("trial", "") for row in tables[0])
    shared = [name for name in trials if all(any(row.get("trial") == name for row in rows) for rows in tables)]
    for trial in shared[:_MOST_TRIALS]:
        mine = [[row for row in rows if row.get("trial") == trial] for rows in tables]
        panels = [
            _overlaid(
                Axes(f"{one.title}, {'°' if one.unit == 'deg' else one.unit}", "s"),
                names,
                [(column(rows, "time_s"), column(rows, one.name)) for rows in mine],
            )
            for one in COORDINATES
        ]
        yield Chart(panels, _keys(names), f"Trial {trial}: joint coordinates of each run over time.")
