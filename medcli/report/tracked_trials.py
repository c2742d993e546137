"""Report of ``medcli register trial``: poses of both components through trials."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from medcli.core.errors import quantity
from medcli.report.blocks import Block, Chart, ImageBlock, Key, Note, Section, Table, number
from medcli.report.charts import Axes, Curve, draw
from medcli.report.embedded_images import WIDE, embed_image
from medcli.report.pose import median_of, mirrored_note
from medcli.report.run_files import Json, ProvenanceRecord, RunReport, column, find, read_rows, to_float

_MOST_TRIALS = 6
STATUSES = ("good", "doubtful", "ambiguous", "failed")


def read_tracked(folder: Path, provenance: ProvenanceRecord) -> RunReport:
    """The report of a table of tracked poses with a provenance record."""
    result, rows = provenance.result, read_rows(provenance.table)
    trials = result.get("trials") or []
    counts = Counter(row.get("status", "") for row in rows)
    return RunReport(
        title="Registration of trials",
        lead=f"Poses of both components of a knee through {quantity(len(trials), 'trial')}, found without start poses "
        f"and tracked from frame to frame ({provenance.table.name}).",
        figures={
            "poses": number(len(rows)),
            **{f"{name} poses": number(counts[name]) for name in STATUSES if counts[name]},
            "standard error, median": number(median_of(column(rows, "se_mm")), 2, "mm"),
            "standard error of rotation, median": number(median_of(column(rows, "se_deg")), 2, "°"),
        },
        notes=[*mirrored_note(sum(bool(one.get("matches_mirrored")) for one in trials), "trial"), *_failures(trials)],
        sections=[
            Section("Trials", [_table(trials)]),
            Section("Quality over time", list(_similarities(rows, trials))),
            Section("Outlines", list(_strips(find(folder, result.get("overlays")), trials))),
        ],
    )


def _failures(trials: Sequence[Json]) -> Iterator[Note]:
    lines = [f"id {key}: {text}" for one in trials for key, text in dict(one.get("failures") or {}).items()]
    if lines:
        yield Note(f"{quantity(len(lines), 'frame')} lack the pose of a component.", "failure", lines[:20])


def _table(trials: Sequence[Json]) -> Table:
    rows = []
    for one in trials:
        counts: Mapping[str, int] = one["statuses"]
        anatomies = " ".join(map(str, one["anatomies"]))
        deepest = number(to_float(one["deepest_mm"]), 1)
        rows.append([str(one["ids"]), anatomies, *(number(counts.get(name, 0)) for name in STATUSES), deepest])
    return Table(["ids", "anatomies", *STATUSES, "intersection mm"], rows, "Poses of each trial by status")


def _similarities(rows: Sequence[Mapping[str, str]], trials: Sequence[Json]) -> Iterator[Block]:
    """Similarity of the worse plane over the frames of the first trials."""
    for one in trials[:_MOST_TRIALS]:
        curves, keys = [], []
        for style, anatomy in enumerate(one["anatomies"], 2):
            first, last = _first_and_last(str(one["ids"]))
            mine = [
                row
                for row in rows
                if row.get("anatomy_id") == str(anatomy) and first <= to_float(row.get("id")) <= last
            ]
            worse = [min(values) if (values := _both(row)) else math.nan for row in mine]
            curves.append(Curve(f"anatomy {anatomy}", [to_float(row.get("id")) for row in mine], worse, style=style))
            keys.append(Key(style, f"anatomy {anatomy}"))
        if curves:
            axes = Axes("Gradient correlation of the worse plane", "id", y_range=(0.0, 1.0), whole_x=True)
            words = f"Gradient correlation of the worse plane over the frames of trial {one['ids']}."
            yield Chart([draw(axes, curves, words)], keys, f"Trial {one['ids']}; 1 is a perfect match.")


def _both(row: Mapping[str, str]) -> list[float]:
    values = (to_float(row.get(f"similarity_{plane}")) for plane in ("bs", "fs"))
    return [value for value in values if math.isfinite(value)]


def _first_and_last(ids: str) -> tuple[int, int]:
    """The least and the largest id of ``1-60,62``."""
    numbers = [int(number) for number in ids.replace(",", "-").split("-")]
    return min(numbers), max(numbers)


def _strips(place: Path | None, trials: Sequence[Json]) -> Iterator[ImageBlock | Note]:
    files = [strip for one in trials if (strip := strip_of(place, int(str(one["first_id"])))) is not None]
    if not files:
        yield Note("No outlines were drawn: use medcli register trial --overlays FOLDER.")
    for path in files[:_MOST_TRIALS]:
        yield embed_image(path, "Frames of a trial with the outlines of both components.", path.stem, WIDE, wide=True)


def strip_of(place: Path | None, first_id: int) -> Path | None:
    """The strip of frames of the trial that begins at an id, in a folder of overlays; None: there is none."""
    path = place / f"trial_{first_id:06d}.png" if place is not None else None
    return path if path is not None and path.is_file() else None
