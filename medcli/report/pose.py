"""Reports of ``medcli evaluate pose``, ``medcli predict pose`` and ``medcli register pose``."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from medcli.core.errors import quantity
from medcli.report.blocks import Block, Chart, Key, KeyValues, Note, Section, Table, Text, number
from medcli.report.charts import Axes, Curve, draw
from medcli.report.embedded_images import NARROW, embed_image, gallery
from medcli.report.run_files import (
    Json,
    ProvenanceRecord,
    RunReport,
    column,
    duration,
    failures_note,
    find,
    read_json,
    read_rows,
    remarks,
    to_float,
)
from medcli.workspace.runs import EVALUATION

if TYPE_CHECKING:
    from medcli.veriserum.pose.metrics import PoseMeasure

EVALUATED = "medcli.evaluate.pose.v1"
_MOST_ROWS = 40
_MOST_IMAGES = 6


def read_pose_evaluation(folder: Path, provenance: ProvenanceRecord) -> RunReport | None:
    """The report of an evaluation of poses; None if the folder contains none."""
    result = read_json(folder / EVALUATION)
    if result.get("schema") != EVALUATED:
        return None
    sheet = embed_image(
        folder / "overlays.jpg",
        "The best, median and worst pair, both planes each, with the implant's outline at the reference pose in blue "
        "and at the estimated pose in orange.",
        "Outline of the implant: reference in blue, estimate in orange. Ranked by translation in mm plus rotation in "
        "degrees.",
    )
    return RunReport(
        title="Evaluation of implant poses",
        lead=f"Errors of the poses of {result['source']} to the reference ({result['reference']}): "
        f"{quantity(result['pairs'], 'pair')}, {result['split']}.",
        figures={
            **{
                f"{one.title}, median": number(to_float(result["errors"][one.name]["median"]), 2, _sign(one))
                for one in _measures(result, is_main=True)
            },
            "pairs": number(result["pairs"]),
        },
        notes=remarks(result, "pairs"),
        sections=[
            Section("Errors", [_table(result), *_signed(result), _about(result)]),
            Section("Distribution of errors", list(_distributions(folder, result))),
            Section("Best, median and worst pair", [sheet]),
        ],
    )


def _measures(result: Json, is_main: bool = False) -> list[PoseMeasure]:
    """The measures of an evaluation, all or the main ones."""
    from medcli.veriserum.pose.metrics import POSE_MEASURES

    return [one for one in POSE_MEASURES if one.name in result["errors"] and (one.is_main or not is_main)]


def _sign(measure: PoseMeasure) -> str:
    return "°" if measure.unit == "deg" else measure.unit


def _table(result: Json) -> Table:
    guess, published = result.get("mean_pose") or {}, result.get("single_plane") or {}
    rows = []
    for measure in _measures(result):
        name = measure.name
        cells = [number(to_float(result["errors"][name][key]), 2) for key in ("mean", "median", "p90", "p95")]
        always = number(to_float(guess[name]["mean"]), 2) if name in guess else "–"
        single = " and ".join(f"{value:g}" for value in (published.get(name) or {}).values()) or "–"
        rows.append([measure.title, _sign(measure), *cells, always, single])
    header = ["error", "unit", "mean", "median", "90 %", "95 %", "mean pose", "one plane"]
    caption = (
        "Mean pose: mean error when always predicting the mean of the training pairs. One plane: median and 90 % "
        "published for a single plane (Vogl et al. 2022)."
    )
    return Table(header, rows, caption)


def _signed(result: Json) -> list[Table]:
    """Bias and spread of each axis; none in an evaluation that has none."""
    from medcli.veriserum.pose.metrics import SIGNED

    rows = [
        [
            SIGNED[name],
            *(number(to_float(one[key]), 2, "°" if name.endswith("deg") else "mm") for key in ("mean", "sd")),
        ]
        for name, one in (result.get("bias") or {}).items()
        if name in SIGNED
    ]
    caption = "Estimate minus reference: mean and standard deviation over the pairs."
    return [Table(["signed difference", "bias", "SD"], rows, caption)] if rows else []


def _about(result: Json) -> KeyValues:
    anatomies = ", ".join(f"{count:,} of anatomy {number_}" for number_, count in result["anatomies"].items())
    return KeyValues(
        {"pairs": anatomies, "geometry": result["geometry"], "neighbours of training pairs": number(result["leaks"])}
    )


def _distributions(folder: Path, result: Json) -> Iterator[Block]:
    rows = read_rows(folder / "pairs.csv")
    if not rows:
        yield Note("The table pairs.csv with the errors of each pair is missing.", "warning")
        return
    panels, keys, style = [], [], 1
    for title in dict.fromkeys(one.panel for one in _measures(result, is_main=True)):
        drawn, words = [], []
        for measure in _measures(result, is_main=True):
            values = sorted(value for value in column(rows, measure.name) if math.isfinite(value))
            if measure.panel != title or not values:
                continue
            drawn.append(
                Curve(
                    measure.title, [0.0, *values], [100 * i / len(values) for i in range(len(values) + 1)], style=style
                )
            )
            keys.append(Key(style, measure.title))
            half = number(values[len(values) // 2], 2)
            words.append(f"{measure.title}: half below {half} {_sign(measure)}")
            style += 1
        if drawn:
            what, _, unit = str(title).rpartition(", ")
            axes = Axes(f"{what[:1].upper()}{what[1:]}, % of pairs below", unit, y_range=(0, 100))
            panels.append(draw(axes, drawn, f"{'; '.join(words)}."))
    yield Chart(panels, keys, "Share of the pairs with an error below a value.", _percentiles(result))


def error_panels() -> list[tuple[str, str, str]]:
    """Title, unit and column of ``pairs.csv`` of each main measure."""
    from medcli.veriserum.pose.metrics import POSE_MEASURES

    return [(f"{m.title[:1].upper()}{m.title[1:]}", _sign(m), m.name) for m in POSE_MEASURES if m.is_main]


def _percentiles(result: Json) -> Table:
    rows = [
        [one.title, *(number(to_float(result["errors"][one.name][key]), 2) for key in ("median", "p90", "p95"))]
        for one in _measures(result, is_main=True)
    ]
    return Table(["error", "50 % below", "90 % below", "95 % below"], rows, "Numbers of these curves", folded=True)


def read_estimated(folder: Path, provenance: ProvenanceRecord) -> RunReport:
    """The report of a table of estimated poses with a provenance record."""
    result, rows = provenance.result, read_rows(provenance.table)
    sheet = find(folder, result.get("contact_sheet"))
    alt = "X-ray pairs, both planes each, with the outline of the implant at its estimated pose in orange."
    shown: list[Block] = [embed_image(sheet, alt, "Outline of the implant at its estimated pose.")] if sheet else []
    return RunReport(
        title="Estimated implant poses",
        lead=f"Poses of {quantity(len(rows), 'pair')} in {provenance.table.name}, by "
        f"{result.get('checkpoint', 'a network')}.",
        figures={
            "pairs": number(len(rows)),
            "time": duration(result.get("seconds")),
            "failed": number(len(result.get("failures") or [])),
        },
        notes=failures_note(result, "pairs"),
        sections=[
            Section("Poses", [_poses(rows)]),
            Section("Outlines", shown or [Note("No outlines were drawn: use medcli predict pose --overlay.")]),
        ],
    )


def _poses(rows: Sequence[Mapping[str, str]]) -> Block:
    if not rows:
        return Note("The table of poses is missing or empty.", "warning")
    names = ("tx", "ty", "tz", "rz", "rx", "ry")
    shown = [
        [row.get("id", ""), row.get("anatomy_id", ""), *(number(to_float(row.get(n)), 2) for n in names)]
        for row in rows[:_MOST_ROWS]
    ]
    more = f"; the first {_MOST_ROWS} of {len(rows):,}" if len(rows) > _MOST_ROWS else ""
    return Table(
        ["id", "anatomy", *names], shown, f"Translations in mm, rotations in degrees (intrinsic z-x'-y''){more}"
    )


def read_registered(folder: Path, provenance: ProvenanceRecord) -> RunReport:
    """The report of a table of registered poses with a provenance record."""
    result, rows = provenance.result, read_rows(provenance.table)
    before, after = column(rows, "similarity_before"), column(rows, "similarity_after")
    displacement, rotation = column(rows, "displacement_mm"), column(rows, "rotation_deg")
    return RunReport(
        title="Registration of implant poses",
        lead=f"Poses of {quantity(len(rows), 'pair')} found by matching the rendered implant to the images "
        f"({provenance.table.name}).",
        figures={
            "pairs": number(len(rows)),
            **{status: number(count) for status, count in Counter(r.get("status") for r in rows).items() if status},
            "similarity at the start, median": number(median_of(before)),
            "similarity after, median": number(median_of(after)),
            "displacement, median": number(median_of(displacement), 2, "mm"),
            "rotation, median": number(median_of(rotation), 2, "°"),
        },
        notes=[*mirrored_note(int(result.get("mirrored") or 0), "pose"), *failures_note(result, "pairs")],
        sections=[
            Section("Matches", list(_matches(rows))),
            Section("Outlines before and after", _outlines(folder, result)),
        ],
    )


def mirrored_note(count: int, what: str) -> list[Note]:
    """A remark on poses or trials that match better when both images are mirrored; none if there are none."""
    if not count:
        return []
    match = quantity(count, f"{what} matches", f"{what}s match")
    return [
        Note(
            f"{match} better when both images are mirrored: are the files mirrored, or the planes exchanged?", "warning"
        )
    ]


def _matches(rows: Sequence[Mapping[str, str]]) -> Iterator[Block]:
    if not rows:
        yield Note("No pair was registered.", "warning")
        return
    ranked = sorted(rows, key=lambda row: to_float(row.get("similarity_after")))
    order = [float(i) for i in range(1, len(ranked) + 1)]
    before, after = column(ranked, "similarity_before"), column(ranked, "similarity_after")
    curves = [
        Curve("at the start", order, before, style=2, dashed=True),
        Curve("after registration", order, after, style=3),
    ]
    words = f"Median {number(median_of(before))} at the start and {number(median_of(after))} after registration."
    axes = Axes(
        "Gradient correlation", "pair, from the worst match to the best", y_range=(min(0.0, *before), 1.0), whole_x=True
    )
    keys = [Key(2, "at the start", True), Key(3, "after registration")]
    yield Chart([draw(axes, curves, words)], keys, "Mean over the planes; 1 is a perfect match.")
    names = {"similarity_before": 3, "similarity_after": 3, "displacement_mm": 2, "rotation_deg": 2}
    shown = [
        [
            *(r.get(name, "") for name in ("id", "anatomy_id", "status")),
            *(number(to_float(r.get(n)), d) for n, d in names.items()),
        ]
        for r in ranked[:_MOST_ROWS]
    ]
    more = f", the {_MOST_ROWS} worst of {len(rows):,}" if len(rows) > _MOST_ROWS else ""
    yield Table(
        ["id", "anatomy", "status", "start", "after", "displacement mm", "rotation °"],
        shown,
        f"Pairs from the worst match to the best{more}",
    )


def _outlines(folder: Path, result: Json) -> list[Block]:
    place = find(folder, result.get("overlays"))
    files = sorted(place.glob("register_*.png")) if place else []
    if not files:
        return [Note("No outlines were drawn: use medcli register pose --overlays FOLDER.")]
    step = max(1, math.ceil(len(files) / _MOST_IMAGES))
    shown = [
        embed_image(
            path,
            f"Both planes of pair {_id_of(path)} with the implant's outline at the start and after registration.",
            f"Pair {_id_of(path)}",
            NARROW,
        )
        for path in files[::step]
    ]
    return [Text("Outline of the implant: orange at the start, green after registration."), *gallery(shown)]


def _id_of(path: Path) -> str:
    """``12`` of ``register_000012.png``."""
    return path.stem.split("_")[-1].lstrip("0")


def median_of(values: Sequence[float]) -> float:
    """The median of the finite values; NaN where there are none."""
    known = [value for value in values if math.isfinite(value)]
    return median(known) if known else math.nan
