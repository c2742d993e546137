"""Checks of Veriserum that open no image: tables, ids, poses, calibrations and implants."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from medcli.core.checking.check_lines import Checklist, some_of
from medcli.core.errors import DataError, quantity
from medcli.core.plausibility import pose_bounds
from medcli.veriserum.calibration.distortion_table import DistortionTable
from medcli.veriserum.checks.check_knee import check_components
from medcli.veriserum.dataset import folder_index
from medcli.veriserum.dataset.anatomies import KINDS
from medcli.veriserum.dataset.detector import PLANES
from medcli.veriserum.dataset.folder_index import DISTORTIONS, POSE_COLUMNS, POSES, SOURCES, TableKind
from medcli.veriserum.dataset.pose_tables import unit_problem
from medcli.veriserum.dataset.repeated_rows import RepeatedRows
from medcli.veriserum.dataset.stated_sides import (
    RATE_COLUMNS,
    SIDE_COLUMNS,
    TIME_COLUMNS,
    first_of,
    side_conflicts,
    stated_sides,
)
from medcli.veriserum.dataset.study import VeriserumStudy
from medcli.veriserum.dataset.trial_splits import RUNS, find_trials
from medcli.veriserum.geometry.biplane import SourceIntensifier

_CALIBRATIONS = 10
"""Published rows of each calibration table."""
_GET_TABLES = "get the tables again: medcli download veriserum --only csv"


def check_tables(checks: Checklist, study: VeriserumStudy) -> pd.DataFrame | None:
    """The three tables: there, ids once, the same in CSV files and database; returns the poses, None without.

    Beside images each table is needed; without them, a part of the tables is a part of the data.
    """
    tables = {}
    is_partial = not (study.contents.images or study.calibrated_images)
    for kind in (POSES, DISTORTIONS, SOURCES):
        if is_partial and not (study.files.get(kind) or folder_index.locate(study.contents, kind)):
            checks.unknown(kind.title, "not here", "get it: medcli download veriserum --only csv")
            continue
        try:
            rows, repeated = folder_index.read_rows_once(study.table_file(kind), kind)
            tables[kind] = study.table(kind)
        except DataError as error:
            checks.add(kind.title, error.message, [error.message], advice=error.hint or _GET_TABLES)
            continue
        _add_table(checks, kind, study.table_file(kind).name, rows, repeated)
    _check_copies(checks, study)
    return tables.get(POSES)


def _add_table(checks: Checklist, kind: TableKind, name: str, rows: pd.DataFrame, repeated: RepeatedRows) -> None:
    """A line on one table; both components of a knee may have a pose under one id."""
    components = rows.index.duplicated().sum() - len(repeated.contradicting) if kind is POSES else 0
    parts = [f"{quantity(len(rows) + len(repeated.same), 'row')} in {name}"]
    if components:
        parts.append(f"{quantity(int(components), 'id')} with both components")
    if repeated.same:
        parts.append(f"{quantity(len(repeated.same), 'row')} there twice")
    if repeated.contradicting:
        parts.append(quantity(len(repeated.contradicting), "row contradicts another", "rows contradict others"))
    figure = ", ".join(parts if len(parts) > 1 else [*parts, "each id once"])
    if kind is not POSES and len(rows) != _CALIBRATIONS:
        figure += f"; published: {quantity(_CALIBRATIONS, 'row')}"
    wrong = [f"{name}: {text} contradict each other" for text in repeated.contradicting]
    warn = [f"{name}: {text} say the same" for text in repeated.same]
    advice = "the first row of an id counts, by medcli and nobody else" if wrong else "they count once: remove one"
    checks.add(kind.title, figure, [] if kind is POSES else wrong, warn + (wrong if kind is POSES else []), advice)


def _check_copies(checks: Checklist, study: VeriserumStudy) -> None:
    """Whether each CSV file agrees with the database, where a folder has both."""
    compared, differing = 0, []
    for kind in (POSES, DISTORTIONS, SOURCES):
        for path in study.contents.databases:
            try:
                one, other = study.table(kind), folder_index.read_table(path, kind)
            except DataError:
                continue
            if study.table_file(kind) == path:
                continue
            compared += 1
            differing += [f"{path.name}, {kind.title}: {text}" for text in _differences(one, other, kind)]
    if compared:
        checks.add(
            "tables and database",
            f"{quantity(compared, 'table')} compared, {quantity(len(differing), 'difference')}",
            warn=differing,
            advice="the CSV file is used; delete the outdated one",
        )


def _differences(one: pd.DataFrame, other: pd.DataFrame, kind: TableKind) -> list[str]:
    found = []
    if apart := len(one.index.symmetric_difference(other.index)):
        found.append(f"{quantity(apart, 'id')} in one of them only")
    both = one.index.intersection(other.index)
    for name in one.columns.intersection(other.columns):
        if kind is POSES and name not in (*POSE_COLUMNS, "anatomy_id", "obsolete"):
            continue
        a, b = one.loc[both, name], other.loc[both, name]
        first, second = (pd.to_numeric(side, errors="coerce").to_numpy(np.float64) for side in (a, b))
        same = (np.abs(first - second) <= 1e-6) | (a.astype(str) == b.astype(str)).to_numpy()
        same |= (a.isna() & b.isna()).to_numpy()
        if not same.all():
            found.append(f"{quantity(int((~same).sum()), 'id differs', 'ids differ')} in {name}")
    return found


def check_poses(checks: Checklist, study: VeriserumStudy, poses: pd.DataFrame) -> None:
    """Poses in range, ids known to the other tables, trials, components, side and frame rate."""
    every = folder_index.read_every_row(study.table_file(POSES), POSES)
    numbers = every.reindex(columns=list(POSE_COLUMNS)).apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
    bad: dict[int, str] = {}
    for column, (name, bound) in enumerate(pose_bounds(POSE_COLUMNS).items()):
        for place in np.flatnonzero(~bound.holds(numbers[:, column])).tolist():
            bad.setdefault(place, f"id {every.index[place]}: {bound.problem(float(numbers[place, column]), name)}")
    obsolete = int(folder_index.is_obsolete(every).sum())
    figure = some_of(len(every) - len(bad), len(every)) + (f"; {obsolete:,} marked obsolete" if obsolete else "")
    checks.add("poses in range", figure, bad.values(), advice=_GET_TABLES)
    units = unit_problem(numbers)
    checks.add("units of the poses", units or "mm and degrees", [units] if units else [], advice="convert the table")
    _check_ids(checks, study, every)
    trials = find_trials(poses, study.contents)
    first = f"ids {trials.of.index.min()} and following are one trial"
    runs = [first] if trials.rule == RUNS else []
    advice = "no column names the trials: splits follow runs of ids"
    checks.add("trials", f"{quantity(trials.of.nunique(), 'trial')}, by {trials.rule}", warn=runs, advice=advice)
    check_components(checks, study, poses)
    _check_side(checks, every)
    _check_rate(checks, poses)


def _check_ids(checks: Checklist, study: VeriserumStudy, poses: pd.DataFrame) -> None:
    known, nouns = {"anatomy_id": set(study.surfaces.files)}, {"anatomy_id": ("anatomy", "anatomies")}
    for name, kind in (("distortion_calibration_id", DISTORTIONS), ("source_int_calibration_id", SOURCES)):
        nouns[name] = (kind.title.removesuffix(" table"), "")
        try:
            known[name] = set(study.table(kind).index)
        except DataError:
            known[name] = set()
    found = folder_index.whole_columns(poses, tuple(known))
    wrong, parts = [], []
    for name, there in known.items():
        lost = sorted(set(found[name].dropna().tolist()) - there) if there else []  # the table's own line says so
        empty = int(found[name].isna().sum())
        parts.append(quantity(found[name].nunique(), *nouns[name]))
        wrong += [f"{name} {number} of the pose table is not there" for number in lost]
        wrong += [f"{name} is no whole number in {quantity(empty, 'row')}"] if empty else []
    checks.add("ids of the pose table", ", ".join(parts), wrong, advice=_GET_TABLES)


def _check_side(checks: Checklist, poses: pd.DataFrame) -> None:
    side = first_of(SIDE_COLUMNS, poses.columns)
    if side is None:
        checks.unknown("side", "no column names left or right", "state the side where signs depend on it")
        return
    stated = stated_sides(poses)
    odd = np.flatnonzero((stated == "").to_numpy()).tolist()
    strange = [f"id {poses.index[place]}: {side} is {poses[side].iloc[place]!r}" for place in odd]
    counts = f"left {int((stated == 'left').sum()):,}, right {int((stated == 'right').sum()):,}, from column {side}"
    mixed = side_conflicts(poses)
    advice = "expected left or right" if strange else "one knee has one side: correct the column, or measurement_id"
    checks.add("side", counts, strange, mixed, advice)


def _check_rate(checks: Checklist, poses: pd.DataFrame) -> None:
    rates = _frame_rates(poses)
    if rates is None:
        checks.unknown("frame rate", "no column gives times or a rate", "state it where speeds depend on it")
        return
    column, values = rates
    bad = [f"{value:g} by {column}" for value in values if not 1 <= value <= 1000]
    several = [f"{value:g} per s" for value in values] if len(values) > 1 else []
    figure = f"{', '.join(f'{value:.4g}' for value in values[:4])} per s, from column {column}"
    checks.add("frame rate", figure, bad, several, "trials differ in it: do not pool speeds")


def _frame_rates(poses: pd.DataFrame) -> tuple[str, list[float]] | None:
    for name in RATE_COLUMNS:
        if name in poses.columns:
            return name, sorted(set(pd.to_numeric(poses[name], errors="coerce").fillna(0).tolist()))
    for name, per_second in TIME_COLUMNS.items():
        if {name, "measurement_id"} <= set(poses.columns):
            times = pd.to_numeric(poses[name], errors="coerce").sort_index()
            steps = times.groupby(poses["measurement_id"]).diff().dropna()
            if len(steps):
                middle = float(steps.median())
                return name, [per_second / middle if middle > 0 else 0.0]
    return None


def check_calibrations(checks: Checklist, study: VeriserumStudy) -> None:
    """Every row of the calibration tables passes the checks of the commands that use it."""
    wrong: dict[TableKind, list[str]] = {DISTORTIONS: [], SOURCES: []}
    counts, odd = {}, []
    for kind in wrong:
        try:
            table = study.table(kind)
        except DataError:
            continue  # the line on the table says so
        counts[kind] = len(table)
        distortions = DistortionTable(study)
        for number, row in table.iterrows():
            try:
                if kind is DISTORTIONS:
                    for plane in PLANES:
                        odd.append(distortions.pixel_size_problem(int(str(number)), plane))
                        distortions.get(int(str(number)), plane)
                else:
                    SourceIntensifier.from_row({str(name): value for name, value in row.items()})
            except DataError as error:
                wrong[kind].append(f"{number}: {error.message}")
    for kind, count in counts.items():
        name, warn = ("distortions sane", filter(None, odd)) if kind is DISTORTIONS else ("cameras sane", ())
        checks.add(name, f"{count - len(wrong[kind])} of {count}", wrong[kind], warn, _GET_TABLES)


def check_implants(checks: Checklist, study: VeriserumStudy) -> None:
    """Every surface can be read, is in millimetres and closed."""
    wrong, open_ones = [], []
    for number, path in study.surfaces.files.items():
        try:
            if not study.surfaces.implant(number).mesh.is_watertight():
                open_ones.append(f"{path} is not closed")
        except DataError as error:
            wrong.append(error.message)
    published = {number for numbers in KINDS.values() for number in numbers}
    lacking = sorted(published - set(study.surfaces.files))
    absent = f"; absent: {' '.join(map(str, lacking))}" if lacking else ""
    checks.add(
        "implants",
        f"{len(study.surfaces.files)} of {len(published)} published{absent}",
        [*wrong, *open_ones],
        [f"no ana_{number:06d}.stl" for number in lacking],
        "get them: medcli download veriserum; rendering needs closed surfaces",
    )


def check_image_ids(checks: Checklist, study: VeriserumStudy, poses: pd.DataFrame | None) -> None:
    """Both planes of each id, rows without images, images without rows, several files of one image."""
    images = study.contents.images or study.calibrated_images
    alone = [f"id {number} has {' and '.join(planes)} only" for number, planes in images.items() if len(planes) < 2]
    total = sum(map(len, images.values()))
    checks.add(
        "pairs",
        f"{quantity(len(images), 'id')}, {quantity(total, 'image')}, "
        + (f"{quantity(len(alone), 'id lacks', 'ids lack')} a plane" if alone else "both planes of each"),
        warn=alone,
        advice="pairs need both planes: medcli download veriserum",
    )
    if poses is not None:
        lost = sorted(set(images) - set(poses.index))
        rows = len(set(poses.index) - set(images))
        partial = [f"{quantity(rows, 'row has', 'rows have')} no image"] if rows else []
        checks.add(
            "images in the table",
            f"{some_of(len(lost), quantity(len(images), 'id'))} without a row; "
            f"{some_of(rows, quantity(len(poses), 'row'))} without images",
            [f"id {number} is not in the pose table" for number in lost],
            partial,
            "a part of the images is here, or the table is of another release",
        )
    copies, different = _doubles(study)
    checks.add(
        "one file an image",
        f"{some_of(len(copies) + len(different), quantity(total, 'image'))} in several files",
        different,
        copies,
        "keep one of them in the data folder",
    )


def _doubles(study: VeriserumStudy) -> tuple[list[str], list[str]]:
    from medcli.veriserum.dataset.image_doubles import check_single

    copies, different = [], []
    for path, others in study.contents.doubles.items():
        try:
            check_single(path, others)
            copies.append(f"{path}: also {_listed(others)}")
        except DataError as error:
            different.append(error.message)
    return copies, different


def _listed(paths: Sequence[str]) -> str:
    return ", ".join(str(Path(path)) for path in paths)
