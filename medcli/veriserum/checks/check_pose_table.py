"""Checks of Veriserum that open no image: tables, ids, poses, calibrations and implants."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from medcli.core.checking.check_lines import Checklist
from medcli.core.errors import DataError, quantity
from medcli.core.plausibility import pose_bounds
from medcli.veriserum.calibration.distortion_table import DistortionTable
from medcli.veriserum.checks.check_knee import check_components
from medcli.veriserum.dataset import folder_index
from medcli.veriserum.dataset.anatomies import KINDS
from medcli.veriserum.dataset.detector import PLANES
from medcli.veriserum.dataset.folder_index import DISTORTIONS, POSE_COLUMNS, POSES, SOURCES, TableKind
from medcli.veriserum.dataset.frame_times import RATE_COLUMNS, SIDE_COLUMNS, TIME_COLUMNS, first_of
from medcli.veriserum.dataset.study import VeriserumStudy
from medcli.veriserum.dataset.trial_splits import RUNS, find_trials
from medcli.veriserum.geometry.biplane import SourceIntensifier

_CALIBRATIONS = 10
"""Published rows of each calibration table."""
_GET_TABLES = "get the tables again: medcli download veriserum --only csv"


def check_tables(checks: Checklist, study: VeriserumStudy) -> pd.DataFrame | None:
    """The three tables: there, ids once, the same in CSV files and database; returns the poses, None without."""
    tables = {}
    for kind in (POSES, DISTORTIONS, SOURCES):
        try:
            rows = folder_index.read_every_row(study.table_file(kind), kind)
            tables[kind] = study.table(kind)
        except DataError as error:
            checks.add(kind.title, error.message, [error.message], advice=error.hint or _GET_TABLES)
            continue
        repeated = rows.index[rows.index.duplicated()]
        file = study.table_file(kind)
        figure = f"{quantity(len(rows), 'row')} in {file.name}, {len(repeated):,} repeat an id"
        expected = (
            "" if kind is POSES or len(rows) == _CALIBRATIONS else f"; published: {quantity(_CALIBRATIONS, 'row')}"
        )
        twice = [f"{file.name}: id {number} twice" for number in dict.fromkeys(repeated.tolist())]
        wrong, warn = ([], twice) if kind is POSES else (twice, [])  # both components may stand under one id
        figure += expected
        checks.add(kind.title, figure, wrong, warn, "the first row of an id counts, by medcli and nobody else")
    _check_copies(checks, study)
    return tables.get(POSES)


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
    numbers = poses.reindex(columns=list(POSE_COLUMNS)).apply(pd.to_numeric, errors="coerce")
    bad: dict[int, str] = {}
    for name, bound in pose_bounds(POSE_COLUMNS).items():
        for number in numbers.index[~bound.holds(numbers[name])].tolist():
            bad.setdefault(number, f"id {number}: {bound.problem(float(numbers.at[number, name]), name)}")
    obsolete = int(folder_index.is_obsolete(poses).sum())
    figure = f"{len(bad):,} of {len(poses):,} are not; {obsolete:,} are marked obsolete"
    checks.add("poses in range", figure, bad.values(), advice=_GET_TABLES)
    _check_ids(checks, study, poses)
    trials = find_trials(poses, study.contents)
    runs = [trials.rule] if trials.rule == RUNS else []
    advice = "no column names the trials: splits follow runs of ids"
    checks.add("trials", f"{trials.of.nunique():,} by {trials.rule}", warn=runs, advice=advice)
    check_components(checks, study, poses)
    _check_side_and_rate(checks, poses)


def _check_ids(checks: Checklist, study: VeriserumStudy, poses: pd.DataFrame) -> None:
    known = {"anatomy_id": set(study.surfaces.files)}
    for name, kind in (("distortion_calibration_id", DISTORTIONS), ("source_int_calibration_id", SOURCES)):
        try:
            known[name] = set(study.table(kind).index)
        except DataError:
            known[name] = set()
    found = folder_index.whole_columns(poses, tuple(known))
    wrong, parts = [], []
    for name, there in known.items():
        lost = sorted(set(found[name].dropna().tolist()) - there) if there else []  # the table's own line says so
        empty = int(found[name].isna().sum())
        parts.append(f"{name.removesuffix('_id')} {found[name].nunique()}")
        wrong += [f"{name} {number} of the pose table is not there" for number in lost]
        wrong += [f"{name} is no whole number in {quantity(empty, 'row')}"] if empty else []
    checks.add("ids of the pose table", "used: " + ", ".join(parts), wrong, advice=_GET_TABLES)


def _check_side_and_rate(checks: Checklist, poses: pd.DataFrame) -> None:
    side = first_of(SIDE_COLUMNS, poses.columns)
    if side is None:
        checks.unknown("side", "no column names left or right", "state the side where signs depend on it")
    else:
        words = poses[side].astype(str).str.strip().str.lower().str[:1]
        odd = words.index[~words.isin(["l", "r"])].tolist()
        strange = [f"id {number}: {side} is {poses.at[number, side]!r}" for number in odd]
        counts = f"left {int((words == 'l').sum()):,}, right {int((words == 'r').sum()):,}, by {side}"
        checks.add("side", counts, strange, advice="expected left or right")
    rates = _frame_rates(poses)
    if rates is None:
        checks.unknown("frame rate", "no column gives times or a rate", "state it where speeds depend on it")
        return
    column, values = rates
    bad = [f"{value:g} by {column}" for value in values if not 1 <= value <= 1000]
    several = [f"{value:g} per s" for value in values] if len(values) > 1 else []
    figure = f"{', '.join(f'{value:.4g}' for value in values[:4])} per s, by {column}"
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
        f"{quantity(len(images), 'id')}, {quantity(total, 'image')}, {len(alone):,} without a plane",
        warn=alone,
        advice="pairs need both planes: medcli download veriserum",
    )
    if poses is not None:
        lost = sorted(set(images) - set(poses.index))
        rows = len(set(poses.index) - set(images))
        partial = [f"{quantity(rows, 'row has', 'rows have')} no image"] if rows else []
        checks.add(
            "images in the table",
            f"{quantity(len(lost), 'id')} without a row; {quantity(rows, 'row')} without images",
            [f"id {number} is not in the pose table" for number in lost],
            partial,
            "a part of the images is here, or the table is of another release",
        )
    copies, different = _doubles(study)
    checks.add(
        "one file an image",
        f"{quantity(len(copies) + len(different), 'image has', 'images have')} several files",
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
