"""Checks of UltraBones100k that open no image: specimens, donors, names, tracking tables, poses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from medcli.core.checking.check_lines import Checklist, some_of
from medcli.core.errors import DataError, quantity
from medcli.core.plausibility import PIXEL_SPACING_MM, pose_bounds
from medcli.ultrabones.dataset.constants import PUBLISHED_RECORDS, PUBLISHED_SPECIMENS, SPECIMENS, donor_of
from medcli.ultrabones.dataset.mesh_files import absent_bones, find_meshes
from medcli.ultrabones.dataset.published_records import missing_records
from medcli.ultrabones.dataset.record_frames import Problem, RecordFrames
from medcli.ultrabones.dataset.tracking_table import (
    OPTIMIZED_POSE_COLUMNS,
    POSE_COLUMNS,
    SPACING,
    read_tracking,
    tracking_file,
)

LARGEST_CORRECTION = 1.0
"""Published bound of the refinement in each component, millimetres and degrees."""
_ROUNDING = 0.01
_GET_AGAIN = "get them again: medcli download ultrabones"


@dataclass
class _Findings:
    """What the tracking tables of all records show, as places with reasons."""

    rows: int = 0
    rows_without_image: int = 0
    unreadable: list[str] = field(default_factory=list)
    stamps: list[str] = field(default_factory=list)
    disorder: list[str] = field(default_factory=list)
    untidy_records: int = 0
    poses: list[str] = field(default_factory=list)
    bad_poses: int = 0
    corrections: list[str] = field(default_factory=list)
    largest: float = 0.0
    spacings: set[float] = field(default_factory=set)
    uneven: list[str] = field(default_factory=list)


def check_specimens(checks: Checklist, records: Sequence[RecordFrames]) -> None:
    """Which specimens are there, against the published ones, and whose legs they are."""
    hip = sorted({part.record.specimen for part in records if part.record.is_hip})
    if hip:
        checks.add("specimens", f"{len(hip)} of UltraBonesHip: {' '.join(map(str, hip))}")
        records = [part for part in records if not part.record.is_hip]
        if not records:
            return
    numbers = sorted({part.record.specimen for part in records})
    known = [number for number in numbers if number in PUBLISHED_SPECIMENS]
    others = [f"specimen {number} is none of the published 1 to 14" for number in numbers if number not in known]
    absent = [number for number in PUBLISHED_SPECIMENS if number not in numbers]
    lacking = f"; absent: {' '.join(map(str, absent))}" if absent else ""
    further = f", {quantity(len(others), 'other')}" if others else ""
    checks.add(
        "specimens",
        f"{len(known)} of {len(PUBLISHED_SPECIMENS)} published{further}{lacking}",
        warn=others,
        advice="published splits and donors do not cover them",
    )
    donors: dict[str, set[int]] = {}
    contradicting = []
    for part in records:
        record = part.record
        if record.donor:
            donors.setdefault(record.donor, set()).add(record.specimen)
        if record.specimen in SPECIMENS and record.donor != donor_of(record.specimen):
            contradicting.append(f"{record.path}: {record.donor}, published {donor_of(record.specimen)}")
    legs = [f"{'/'.join(map(str, sorted(own)))}" for own in donors.values() if len(own) > 1]
    two = f"; two legs of one donor: {', '.join(legs)}" if legs else ""
    checks.add("donors", f"{len(donors)} known{two}", contradicting, advice="is the folder's name right?")


def check_published_records(checks: Checklist, records: Sequence[RecordFrames]) -> None:
    """The records of the published specimens that are there, against the published ones."""
    records = [part for part in records if not part.record.is_hip]
    there = sorted({part.record.specimen for part in records} & set(PUBLISHED_RECORDS))
    published = sum(len(numbers) for number in there for numbers in PUBLISHED_RECORDS[number].values())
    lacking = list(missing_records([part.record for part in records], there))
    checks.add(
        "records",
        f"{len(records)}; {published} are published of these specimens",
        warn=lacking,
        advice="a part of the data, or: medcli download ultrabones",
    )


def check_meshes(
    checks: Checklist, records: Sequence[RecordFrames], meshes: Path | None, damaged: Sequence[str]
) -> None:
    """The bone meshes of each specimen: there, each bone that was scanned, and readable.

    Args:
        meshes: folder of meshes; None: each specimen's own.
        damaged: those that cannot be read, with the reason.
    """
    found: dict[int, list[str]] = {}
    lacking = []
    for part in records:
        record = part.record
        try:
            names = [path.stem.lower() for path in find_meshes(record.path, record.specimen, meshes)]
        except DataError as error:
            if record.specimen not in found:
                lacking.append(error.message)
            names = []
        found.setdefault(record.specimen, names)
        if absent := absent_bones(names):
            lacking.append(f"specimen {record.specimen} has no {' and no '.join(f'{bone}.stl' for bone in absent)}")
    can_come = any(part.record.is_hip or part.record.specimen in PUBLISHED_SPECIMENS for part in records)
    complete = sum(bool(names) and not absent_bones(names) for names in found.values())
    checks.add(
        "bone meshes",
        f"{complete} of {quantity(len(found), 'specimen')}{' complete' if complete < len(found) else ''}",
        damaged,
        list(dict.fromkeys(lacking)),
        "labels of bones without a mesh cannot be compared or made"
        + (": medcli download ultrabones --only meshes" if can_come else ""),
    )


def check_label_kinds(checks: Checklist, records: Sequence[RecordFrames]) -> None:
    """Labels of the visible surface, which training uses unless told otherwise, beside those of the whole section."""
    partial = sum(bool(label) for part in records for label in part.labels)
    full = sum(bool(label) for part in records for label in part.labels_full)
    without = []
    for part in records:
        alone = sum(bool(b) and not a for a, b in zip(part.labels, part.labels_full, strict=True))
        without += [f"{part.record.path}: {quantity(alone, 'frame')} with a full label only"] if alone else []
    checks.add(
        "kinds of label",
        f"{partial:,} partial, {full:,} full",
        warn=without,
        advice="training and evaluation use partial ones by default: --labels full, or medcli label ultrabones",
    )


def check_names(checks: Checklist, problems: Iterable[Problem]) -> None:
    """What the names of files and folders show."""
    counted = {problem.what: problem for problem in problems}

    def places(*kinds: str) -> list[str]:
        return [f"{place}: {kind}" for kind in kinds if kind in counted for place in counted[kind].examples]

    def total(*kinds: str) -> str:
        return ", ".join(f"{counted[kind].count:,} {kind}" for kind in kinds if kind in counted) or "none out of place"

    broken = (
        "records without UltrasoundImages",
        "records with a number used twice",
        "specimens in two layouts at once",
    )
    strange = ("records outside a specimen folder (left out)", "PNG files not named by a timestamp of their own")
    checks.add(
        "folders and names",
        total(*broken, *strange),
        places(*broken),
        places(*strange),
        "keep one layout, with the published names",
    )
    checks.add(
        "labels of images",
        total("labels without image", "images without label").replace("none out of place", "every image has its label"),
        places("labels without image"),
        places("images without label"),
        f"frames without both take no part; {_GET_AGAIN}, or medcli label ultrabones",
    )
    checks.add(
        "images in the tables",
        total("images not in the tracking table").replace("none out of place", "every image has its row"),
        warn=places("images not in the tracking table"),
        advice="frames without a pose take no part in training or labelling",
    )


def check_tracking(checks: Checklist, records: Sequence[RecordFrames]) -> None:
    """The tracking tables: readable, timestamps, poses and spacing in range, corrections within the published bound."""
    found = _Findings()
    for part in records:
        _look_at_table(part, found)
    images = sum(len(part.images) for part in records)
    checks.add(
        "tracking tables",
        f"{quantity(found.rows, 'row')} in {quantity(len(records), 'record')}",
        found.unreadable,
        advice=_GET_AGAIN,
    )
    checks.add(
        "rows without image",
        f"{some_of(found.rows_without_image, quantity(found.rows, 'row'))}; {quantity(images, 'image')}",
        warn=[quantity(found.rows_without_image, "row")] if found.rows_without_image else [],
        advice=f"a part of the record, or images are missing: {_GET_AGAIN}",
    )
    checks.add(
        "timestamps",
        f"{quantity(found.untidy_records, 'record')} with repeated, missing or descending ones"
        if found.untidy_records
        else "ascending, each once",
        found.stamps,
        found.disorder,
        "of equal timestamps the first row counts; mend the table",
    )
    checks.add("poses in range", some_of(found.rows - found.bad_poses, found.rows), found.poses, advice=_GET_AGAIN)
    checks.add(
        "refined poses",
        f"at most {found.largest:.2f} mm or degrees from the tracked ones" if found.largest else "no optimised poses",
        warn=found.corrections,
        advice=f"the published bound is {LARGEST_CORRECTION:g}; refined with other settings?",
    )
    spacing = ", ".join(f"{value:.5g}" for value in sorted(found.spacings)) or "unknown"
    outside = [f"{value:g} mm" for value in found.spacings if not PIXEL_SPACING_MM.holds(value)]
    checks.add("pixel spacing", f"{spacing} mm", outside, found.uneven, "distances in mm depend on it")


def _look_at_table(part: RecordFrames, found: _Findings) -> None:
    path = tracking_file(part.record.path, part.record.files)
    try:
        table = read_tracking(part.record.path, path)
    except DataError as error:
        found.unreadable.append(error.message)
        return
    found.rows += len(table)
    stamps = table["timestamp"].to_numpy()
    whole = stamps[stamps >= 0]
    found.rows_without_image += len(set(whole.tolist()) - set(part.timestamps))
    repeated, missing = len(whole) - len(np.unique(whole)), int((stamps < 0).sum())
    if repeated or missing:
        found.stamps.append(f"{path}: {repeated} repeated, {missing} missing")
    if (descending := int((np.diff(whole) < 0).sum())) > 0:
        found.disorder.append(f"{path}: {descending} descending")
    found.untidy_records += bool(repeated or missing or descending > 0)
    _look_at_poses(table, str(path), found)


def _look_at_poses(table: pd.DataFrame, path: str, found: _Findings) -> None:
    good = np.ones(len(table), bool)
    optimized = OPTIMIZED_POSE_COLUMNS[0] in table.columns
    for columns in (POSE_COLUMNS, OPTIMIZED_POSE_COLUMNS) if optimized else (POSE_COLUMNS,):
        for name, bound in pose_bounds(columns).items():
            outside = ~bound.holds(table[name])
            if outside.any():
                row = int(np.flatnonzero(outside)[0])
                found.poses.append(f"{path}, row {row + 1}: {bound.problem(float(table[name].iloc[row]), name)}")
            good &= ~outside
    found.bad_poses += int((~good).sum())
    if optimized and good.any():
        both = table.loc[good]
        step = both[list(OPTIMIZED_POSE_COLUMNS)].to_numpy() - both[list(POSE_COLUMNS)].to_numpy()
        step[:, 3:] = (step[:, 3:] + 180) % 360 - 180
        largest = float(np.abs(step).max())
        found.largest = max(found.largest, largest)
        if largest > LARGEST_CORRECTION + _ROUNDING:
            found.corrections.append(f"{path}: up to {largest:.2f}")
    spacings = set(table[SPACING].dropna().round(6).tolist()) if not table[SPACING].isna().all() else {float("nan")}
    if len(spacings) > 1:
        found.uneven.append(f"{Path(path)}: {quantity(len(spacings), 'different value')}")
    found.spacings |= spacings
