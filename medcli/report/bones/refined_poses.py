"""Report sections on refined poses: what it gained, the correction over time, and echoes against the CT mesh."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from medcli.core.errors import quantity
from medcli.report.blocks import Block, Chart, Key, Note, Section, Table, Text, number
from medcli.report.charts import Axes, Curve, draw
from medcli.report.run_files import Json, find, read_json, to_float

_MOST_RECORDS = 8
"""Records whose curves are drawn; each adds about 40 kB to the page."""
_COMPONENTS = ("x", "y", "z", "euler_x", "euler_y", "euler_z")
_POINTS = 400  # of a drawn curve, at most
_WAYS = {"frames": "frame by frame", "sweep": "as one sweep"}


def refined_in(folder: Path, records: Sequence[Json]) -> list[Json]:
    """The refined records of a labelling run, and those below its folder that earlier runs refined; by name.

    Each run replaces the note of the one before it, while ``refinement.json`` stays in every record.
    """
    from medcli.ultrabones.dataset.folder_layout import find_records
    from medcli.ultrabones.pose_refinement.refinement_summary import SUMMARY

    found = {record["name"]: record for record in records if (record.get("refinement") or {}).get("way")}
    for place in find_records(folder):
        if SUMMARY in place.files and place.name not in found:
            summary = read_json(Path(place.path) / SUMMARY)
            if summary.get("way"):
                found[place.name] = {"name": place.name, "folder": place.path, "refinement": summary}
    return [found[name] for name in sorted(found)]


def refinement_sections(folder: Path, refined: Sequence[Json]) -> list[Section]:
    """Sections on the records whose poses were refined, see :func:`refined_in`; none if there are none."""
    if not refined:
        return []
    from medcli.ultrabones.pose_refinement.refinement_summary import SUMMARY

    checks = [(record["name"], check) for record in refined for check in record["refinement"].get("checks") or []]
    blocks: list[Block] = [_quality(refined), *([_echoes(checks)] if checks else []), *_doubts(refined)]
    sections = [Section("Quality of the refinement", blocks)]
    swept = [record for record in refined if record["refinement"]["way"] == "sweep"]
    for record in swept[:_MOST_RECORDS]:
        place = find(folder, record["folder"])
        curve = read_json(place / SUMMARY).get("curve") if place else None
        if isinstance(curve, dict) and curve.get("delta"):
            sections.append(Section(f"Correction of {record['name']}", list(_curves(curve, record["refinement"]))))
    if further := swept[_MOST_RECORDS:]:
        text = (
            f"Curves of {quantity(len(further), 'further record')} are not drawn; they are in the record's {SUMMARY}: "
        )
        sections.append(Section("Further corrections", [Text(text + ", ".join(one["name"] for one in further) + ".")]))
    return sections


def echo_blocks(records: Sequence[Json]) -> list[Block]:
    """The table of echoes for reconstructed records."""
    checks = [(record["name"], record["echoes"]) for record in records if record.get("echoes")]
    return [_echoes(checks)] if checks else []


def _quality(records: Sequence[Json]) -> Table:
    rows = []
    for record in records:
        one = record["refinement"]
        jitter = f"{number(to_float(one.get('jitter_mm')), 3)} mm, {number(to_float(one.get('jitter_deg')), 3)}°"
        better = to_float(one.get("held_out_better"))
        rows.append(
            [
                record["name"],
                _WAYS.get(one["way"], one["way"]),
                number(to_float(one.get("gain")), 3),
                number(to_float(one.get("held_out_gain")), 3),
                number(100 * better, 0),
                jitter,
                *(number(one.get(name)) for name in ("at_bound", "little_gain", "darker", "from_neighbours")),
            ]
        )
    header = ["record", "refined", "gain", "held-out gain", "better %", "jitter", "at a bound", "little gain", "darker",
              "from neighbours"]  # fmt: skip
    return Table(
        header,
        rows,
        "Gain: weight of the bright pixels on the bone over that at the tracked poses; held-out: in blocks of five "
        "frames that the curve was fitted without. Jitter: median change of the correction from frame to frame. "
        "Flags of each frame are in refinement.csv",
    )


def _echoes(checks: Sequence[tuple[str, Mapping[str, Any]]]) -> Table:
    rows = []
    for name, check in checks:
        medians = " → ".join(number(to_float(value), 2) for value in check["median_mm"])
        within = " → ".join(number(100 * to_float(value), 0) for value in check["within_1_mm"])
        share = number(100 * to_float(check["points"]) / max(to_float(check["found"]), 1), 0)
        rows.append([name, check["source"], number(check["points"]), share, medians, within])
    header = ["record", "points", "number", "within 5 mm %", "median mm", "within 1 mm %"]
    return Table(
        header,
        rows,
        "Distance of bone echoes, found in the images without the mesh, or of predicted pixels to the CT mesh: at the "
        "tracked poses → at those used. Unlike labels, which are cut from the mesh, they can disagree with it",
    )


def _doubts(records: Sequence[Json]) -> Iterator[Block]:
    from medcli.ultrabones.pose_refinement.refinement_summary import doubt, read_checks

    for record in records:
        for check in read_checks(record["refinement"]):
            if check.doubtful:
                yield Note(f"{record['name']}: {doubt(check)}", "warning")


def _curves(curve: Mapping[str, Any], refinement: Mapping[str, Any]) -> Iterator[Block]:
    from medcli.ultrabones.pose_refinement.correction_curve import GAP_S
    from medcli.ultrabones.pose_refinement.fit_curve import objection_to

    times, delta = curve["times_s"], curve["delta"]
    start_ms = curve["timestamps"][0]
    dots = curve.get("dots") or []
    panels = []
    pieces = curve["pieces"]
    pauses = [(times[before[1] - 1], times[after[0]]) for before, after in pairwise(pieces)]
    for component, name in enumerate(_COMPONENTS):
        unit = "mm" if component < 3 else "degrees"
        x, y = _broken(times, [row[component] for row in delta], pieces)
        own = Curve(
            "own optimum of a frame",
            [(dot[0] - start_ms) / 1000.0 for dot in dots],
            [dot[1 + component] for dot in dots],
            style=3,
            marked=True,
        )
        smooth = Curve("correction", x, y, style=1)
        gaps = [_shaded(pause) for pause in pauses]
        words = f"Correction of {name} over time."
        panels.append(draw(Axes(f"{name}, {unit}", "time, s"), [*gaps, *([own] if dots else []), smooth], words))
    keys = [Key(1, "correction of the sweep"), *([Key(3, "optimum of single frames")] if dots else [])]
    keys += [Key(5, "pause of the timestamps")] if pauses else []
    yield Chart(panels, keys, "Correction of the tracked poses over time; behind it the optima of single frames.")
    if pauses:
        yield Text(
            f"The curve is in {len(pieces)} pieces, each by itself, since the timestamps pause for {GAP_S:g} s or more "
            "between them (shaded)."
        )
    constant = refinement.get("constant") or []
    objection = objection_to(*(to_float(refinement.get(name)) for name in ("held_out_gain", "held_out_better")))
    if objection:
        yield Note(f"This correction was not used ({objection}): the poses stay as tracked.", "warning")
    elif len(constant) == 6:
        parts = [f"{name} {value:+.2f}" for name, value in zip(_COMPONENTS, constant, strict=True)]
        yield Text(
            f"Part that is constant over the record (mm, degrees): {', '.join(parts)}. "
            "It can be an error of calibration or of the CT's registration rather than of tracking. "
            f"Stiffness of the curve: {curve['stiffness_s']:g} s."
        )


def _shaded(pause: tuple[float, float]) -> Curve:
    """A pause as a band over the whole height of a panel, which clips it."""
    nowhere, far = [math.nan] * 2, 1e6
    return Curve("pause", pause, nowhere, [-far] * 2, [far] * 2, style=5)


def _broken(
    times: Sequence[float], values: Sequence[float], pieces: Sequence[Sequence[int]]
) -> tuple[list[float], list[float]]:
    """A curve thinned for drawing, interrupted at gaps."""
    x: list[float] = []
    y: list[float] = []
    step = max(1, len(times) // _POINTS)
    for start, end in pieces:
        chosen = sorted({*range(start, end, step), end - 1})
        x += [*(times[k] for k in chosen), math.nan]
        y += [*(values[k] for k in chosen), math.nan]
    return x[:-1], y[:-1]
