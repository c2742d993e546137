"""The tables of a reconstruction's cleaned points and surfaces."""

from __future__ import annotations

from collections.abc import Sequence

from medcli.report.blocks import Table, number
from medcli.report.run_files import Json, to_float


def made_of_points(records: Sequence[Json]) -> list[Table]:
    """What cleaning left, and surfaces; none where neither was asked for."""
    rows, lines = [], []
    for record in records:
        if left := record.get("cleaned_mm"):
            of_all = f"{number(record['points_written'])} of {number(record['points'])}"
            rows.append(
                [record["name"], of_all, *(number(to_float(left[key])) for key in ("mean", "percentile_95", "maximum"))]
            )
        if shell := record.get("surface"):
            to_ct, from_ct = shell["to_ct"], shell.get("from_ct") or {}
            values = (to_ct["mean"], to_ct["percentile_95"], from_ct.get("mean"), shell["from_ct_all_mm"])
            cells = [number(to_float(value)) for value in values]
            lines.append([record["name"], shell["kind"], number(shell["faces"]), *cells])
    cleaned = Table(
        ["record", "points left", "mean", "95 %", "max"], rows, "Distances of the points that cleaning left, in mm."
    )
    surfaces = Table(
        ["record", "surface", "triangles", "to CT, mean", "to CT, 95 %", "from CT where seen", "from CT, all"],
        lines,
        "Surfaces through the points, distances in mm. From CT where seen: from places with a point within 1 mm; the "
        "rest of the bone was not seen, and what a watertight surface has there is a guess.",
    )
    return [table for table in (cleaned, surfaces) if table.rows]
