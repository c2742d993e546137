"""Whether a folder of UltraBones100k or UltraBonesHip is sound (``medcli check ultrabones``)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from medcli.core.checking.check_lines import SAMPLE, CheckLine, Checklist, DataCheck, draw_sample, some_of
from medcli.core.checking.duplicate_files import duplicate_files
from medcli.core.contact_sheet import Tile, write_tile_sheet
from medcli.core.files import usable_cores
from medcli.core.image_io import use_single_threaded_codecs
from medcli.core.progress import SILENT, Progress
from medcli.core.run_provenance import is_synthetic
from medcli.core.threads import map_in_threads
from medcli.ultrabones.checks.check_images import FrameFindings, FrameInspector, check_frames
from medcli.ultrabones.checks.check_tables import (
    check_label_kinds,
    check_meshes,
    check_names,
    check_published_records,
    check_specimens,
    check_tracking,
)
from medcli.ultrabones.dataset.constants import PUBLISHED_RECORDS
from medcli.ultrabones.dataset.folder_layout import specimen_folder
from medcli.ultrabones.dataset.frame_index import index_frames
from medcli.ultrabones.dataset.presence import refuse_absent
from medcli.ultrabones.dataset.publication import ABOUT, ABOUT_HIP
from medcli.ultrabones.dataset.record_frames import Findings, scan_records, sorted_records

ON_SHEET = 12
"""Frames on the contact sheet."""


def check_ultrabones(
    root: Path | str,
    specimens: Sequence[int] | None = None,
    sample: int | None = SAMPLE,
    seed: int = 0,
    meshes: Path | None = None,
    figure: Path | None = None,
    workers: int | None = None,
    progress: Progress = SILENT,
) -> DataCheck:
    """Check the names and tables of all records, and the images and labels of a sample.

    Args:
        root: the data folder, a specimen or a record.
        specimens: only these; None: all.
        sample: frames to look into, drawn with ``seed``; None: every one.
        meshes: folder of meshes; None: each specimen's own.
        figure: PNG or JPEG file of a contact sheet of the sample: labels orange, what the meshes give blue.
        workers: threads; None: one a core.

    Raises:
        DataError: no such folder, no frame in it, or a specimen is not there.
    """
    use_single_threaded_codecs()
    workers = workers or usable_cores()
    names, checks = Findings(), Checklist(Path(root))
    frames = index_frames(root)
    records = sorted_records(Path(root), names)
    if specimens:
        refuse_absent("specimen", specimens, frames["specimen"].tolist(), root)
        frames = frames[frames["specimen"].isin(list(specimens))]
        records, names = [record for record in records if record.specimen in specimens], Findings()
    parts = list(scan_records(records, names))
    check_specimens(checks, parts)
    published = (part.record for part in parts if not part.record.is_hip)
    if not is_synthetic(Path(root)) and any(record.specimen in PUBLISHED_RECORDS for record in published):
        check_published_records(checks, parts)
    check_names(checks, names.problems())
    check_label_kinds(checks, parts)
    check_tracking(checks, parts)
    _check_duplicates(checks, frames["image"].tolist(), workers, progress)
    chosen = frames.iloc[draw_sample(len(frames), sample, seed)]
    inspector = FrameInspector(meshes)
    inspector.prepare(chosen)
    check_meshes(checks, parts, meshes, inspector.damaged)
    found = _look_into(chosen, inspector, figure is not None, workers, progress)
    check_frames(checks, found, inspector.missing, inspector.incomplete)
    if figure:
        write_tile_sheet(figure, list(_tiles(found)))
    is_hip = all(part.record.is_hip for part in parts)
    name, lines = (ABOUT_HIP if is_hip else ABOUT).dataset, map(_advise_hip, checks.lines) if is_hip else checks.lines
    return DataCheck(name, Path(root), len(frames), len(found), seed, tuple(lines), figure, checks.failures())


def _advise_hip(line: CheckLine) -> CheckLine:
    """A line whose advice names the download of UltraBonesHip."""
    return replace(line, advice=line.advice.replace("medcli download ultrabones", "medcli download ultrabones-hip"))


def _look_into(
    chosen: pd.DataFrame, inspector: FrameInspector, draw: bool, workers: int, progress: Progress
) -> list[FrameFindings]:
    drawn = set(draw_sample(len(chosen), ON_SHEET, 0)) if draw else set()
    found: list[FrameFindings] = []

    def look(numbered: tuple[int, pd.Series]) -> FrameFindings:
        number, row = numbered
        return inspector.inspect(row, number in drawn)

    rows = ((number, row) for number, (_, row) in enumerate(chosen.iterrows()))
    with progress.task("look into frames", len(chosen), "frames") as advance:
        for one in map_in_threads(look, rows, workers):
            found.append(one)
            advance(1)
    return found


def _check_duplicates(checks: Checklist, images: list[str], workers: int, progress: Progress) -> None:
    groups = duplicate_files(images, workers, progress)
    across = [" = ".join(group) for group in groups if len(_specimens_of(group)) > 1]
    within = [" = ".join(group) for group in groups if len(_specimens_of(group)) == 1]
    checks.add(
        "equal images",
        some_of(sum(len(group) - 1 for group in groups), len(images))
        + (f"; {len(across):,} shared by specimens" if across else ""),
        across,
        within,
        "a copy in two specimens stands on both sides of a split: remove one",
    )


def _specimens_of(paths: Sequence[str]) -> set[str]:
    return {os.fspath(specimen_folder(path) or "") for path in paths}


def _record_of(image: str) -> str:
    """``specimen02 fibula record01`` of an image's path."""
    record, own = Path(image).parent.parent, specimen_folder(image)
    parts = record.relative_to(own.parent).parts if own else (record.name,)
    return " ".join(part for part in parts if part != "ultrasound_records")


def _tiles(found: Sequence[FrameFindings]) -> Iterator[Tile]:
    for frame in found:
        if frame.sheet is not None:
            fit = ", ".join(f"{one.off_mm:.2f} mm" for one in frame.fit.values())
            yield Tile.of(frame.sheet, f"{_record_of(frame.name)} {Path(frame.name).stem} {fit}")
