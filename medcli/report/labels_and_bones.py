"""Reports of ``medcli reconstruct`` and ``medcli label``."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcli.core.errors import MedcliError, quantity
from medcli.report.blocks import Block, Chart, Key, Note, Section, Table, Text, number
from medcli.report.bones.refined_poses import echo_blocks, refined_in, refinement_sections
from medcli.report.charts import Axes, Curve, draw
from medcli.report.embedded_images import NARROW, embed_image, gallery
from medcli.report.point_cloud_view import point_cloud, read_ply
from medcli.report.run_files import (
    Json,
    ProvenanceRecord,
    RunReport,
    failures_note,
    find,
    read_json,
    sentence,
    to_float,
)
from medcli.workspace.runs import LABELS

_LOG = logging.getLogger(__name__)
OVERLAYS = "Overlays"
_MOST_RECORDS = 6
"""Records with a 3D view; each adds about 300 kB to the page."""
_MOST_OVERLAYS = 6
_CURVE_POINTS = 120


def read_reconstruction(folder: Path, provenance: ProvenanceRecord) -> RunReport:
    """The report of reconstructions."""
    found = {path.stem: record for path in sorted(folder.glob("*.json")) if (record := _reconstruction(path))}
    result = provenance.result
    for record in result.get("records") or []:  # those without their own JSON file: empty, or with failures
        stem = Path(record["files"][0]).stem if record["files"] else record["name"]
        found.setdefault(stem, record)
    records = list(found.values())
    titled = [record | {"name": title} for record, title in zip(records, _titles(records), strict=True)]
    distances = [(record["points"], record["distance_mm"]) for record in records if record["distance_mm"]]
    count, points = len({record["name"] for record in records}), sum(pixels for pixels, _ in distances)
    mean = sum(pixels * to_float(one["mean"]) for pixels, one in distances) / points if points else float("nan")
    high = max((to_float(one["percentile_95"]) for _, one in distances), default=float("nan"))
    largest = max((to_float(one["maximum"]) for _, one in distances), default=float("nan"))
    shown = list(zip(found, records, titled, strict=True))[:_MOST_RECORDS]
    more = (
        [Note(f"{len(found) - len(shown)} further records are only in the table.")] if len(found) > len(shown) else []
    )
    return RunReport(
        title="Reconstruction of bone in 3D",
        lead=f"Mask pixels of {quantity(count, 'record')} in CT space, compared with the CT meshes.",
        figures={
            "mean distance to the CT": number(mean, 3, "mm"),
            "largest 95 % distance": number(high, 3, "mm"),
            "largest distance": number(largest, 3, "mm"),
            "points": number(points),
            "records": number(count),
        },
        notes=[*_cautions(records), *failures_note(result, "frames or records")],
        sections=[
            Section(
                "Distances to the CT bone",
                [_distances(titled), *echo_blocks(titled), *made_of_points(titled), _rebuilt(titled)],
            ),
            *(Section(one["name"], list(_record(folder, stem, record, provenance))) for stem, record, one in shown),
            *([Section("Further records", more)] if more else []),
        ],
    )


def _cautions(records: Sequence[Json]) -> list[Note]:
    """What the distances do not say; also of records of earlier versions, which do not say so themselves."""
    from medcli.ultrabones.reconstruction.mask_points import caution_of

    found = dict.fromkeys(caution_of(str(one.get("mask")), str(one.get("poses"))) for one in records if one["points"])
    return [Note(sentence(text), "warning") for text in found if text]


def _titles(records: Sequence[Json]) -> list[str]:
    """The name of each record, with masks and poses where it was reconstructed from several."""
    names = [record["name"] for record in records]
    return [
        f"{name}, {record['mask']}, {record['poses']} poses" if names.count(name) > 1 else name
        for name, record in zip(names, records, strict=True)
    ]


def _reconstruction(path: Path) -> Json | None:
    found = read_json(path)
    return found["reconstruction"] if "made_from" in found and isinstance(found.get("reconstruction"), dict) else None


def _distances(records: Sequence[Json]) -> Table:
    rows = []
    for record in records:
        one = record["distance_mm"] or {}
        keys = ("mean", "median", "percentile_95", "maximum")
        cells = [number(to_float(one.get(key))) for key in keys]
        rows.append([record["name"], number(record["points"]), *cells, number(to_float(record["published_mm"]))])
    header = ["record", "points", "mean", "median", "95 %", "max", "published"]
    caption = (
        "Exact distances of the points to the nearest triangle in mm. Published: the published metric, mean distance "
        "to the nearest of a million random points on the mesh."
    )
    return Table(header, rows, caption)


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


def _rebuilt(records: Sequence[Json]) -> Table:
    rows = [
        [
            record["name"],
            record["mask"],
            record["poses"],
            number(record["frames"]),
            number(record["empty"]),
            ", ".join(f"{bone} {100 * share:.1f}\u00a0%" for bone, share in record["seen"].items()),
        ]
        for record in records
    ]
    header = ["record", "masks", "poses", "frames", "empty", "area covered"]
    return Table(header, rows, "Reconstructed records. Area covered: share of each bone with a point within 1 mm")


def _record(folder: Path, stem: str, record: Json, provenance: ProvenanceRecord) -> Iterator[Block]:
    if not record["files"]:
        yield Note("All masks of this record are empty, so there is nothing to show.", "warning")
        return
    alt = f"Points of {record['name']} over the bones in grey, along the CT's y, x and z axes, coloured by distance."
    cloud_file = folder / f"{stem}.ply"
    try:
        points, distances = read_ply(cloud_file)
    except MedcliError as error:
        yield Note(error.message, "warning")
        points, distances = np.empty((0, 3)), np.empty(0)
    if len(points):
        from medcli.ultrabones.reconstruction.figure import colour_scale_mm

        scale = colour_scale_mm(distances)
        triangles = _meshes(folder, record, provenance)
        on = " over the CT bone in grey" if triangles is not None else ""
        yield point_cloud(
            points,
            distances,
            scale,
            triangles,
            ("0 mm", f"{scale:g} mm or more"),
            f"Bone of {record['name']} in three dimensions, {quantity(len(points), 'point')} coloured by "
            f"distance to the CT{on}.",
            f"Points{on}, coloured by their exact distance to the CT mesh. Drag or use the arrow keys to rotate.",
        )
    yield embed_image(folder / f"{stem}.png", alt, "The same from three directions.", wide=True)
    if len(points):
        yield _cumulative(distances)


def _cumulative(distances: NDArray[np.float64]) -> Chart:
    shares = np.linspace(0, 100, _CURVE_POINTS)
    values = np.percentile(distances, shares)
    end = float(np.percentile(distances, 99.5)) or 1.0
    inside = values <= end
    half, high = np.percentile(distances, [50, 95])
    curve = Curve("points", values[inside].tolist(), shares[inside].tolist(), style=1)
    axes = Axes("Points within a distance, %", "mm to the CT bone", (0.0, end), (0, 100))
    words = f"Half of the points lie within {half:.3f} mm, 95 % within {high:.3f} mm."
    return Chart([draw(axes, [curve], words)], [Key(1, "share of the points within a distance")], words)


def _meshes(folder: Path, record: Json, provenance: ProvenanceRecord) -> NDArray[np.float64] | None:
    """Triangles (F, 3, 3) of the bones a record was measured against; None if they are no longer found."""
    root = find(folder, provenance.root)
    if root is None:
        return None
    from medcli.ultrabones.dataset.mesh_files import find_meshes
    from medcli.ultrabones.dataset.records import find_sweeps
    from medcli.ultrabones.geometry.bone_meshes import load_surfaces

    try:
        sweep = next((sweep for sweep in find_sweeps(root) if sweep.name == record["name"]), None)
        if sweep is None:
            return None
        given = find(folder, provenance.settings.get("meshes"))
        paths = find_meshes(sweep.folder, sweep.specimen, given, bool(provenance.settings.get("merged")))
        return np.concatenate([surface.triangles for surface in load_surfaces(paths)])
    except MedcliError as error:
        _LOG.info("no mesh in the report: %s", error.message)
        return None


def read_labels(folder: Path, provenance: ProvenanceRecord) -> RunReport | None:
    """The report of labels below a data folder, a specimen or a record; None if there are none."""
    result = provenance.result
    stamps = {} if result else {path.parent: read_json(path) for path in sorted(folder.glob(LABELS))}
    if not result and not stamps:
        return None
    records = result.get("records") or []
    refined = refined_in(folder, records)
    return RunReport(
        title="Labels made from CT",
        lead=f"Labels of tracked ultrasound frames, made from the CT bone meshes"
        f"{' after refinement of the poses' if refined else ''}.",
        figures={
            "frames": number(result.get("frames")),
            "files written": number(result.get("written")),
            "frames without bone": number(result.get("empty")),
            "records": number(len(records) or len(stamps)),
        },
        notes=failures_note(result, "frames or records"),
        sections=[
            Section("Records", [_labelled(records) if records else _stamps(stamps)]),
            *([Section("Refined poses", [_refined(refined)])] if refined else []),
            *refinement_sections(folder, refined),
            Section("Labels over frames", _overlays(folder, records)),
        ],
    )


def _labelled(records: Sequence[Json]) -> Table:
    rows = [
        [
            record["name"],
            ", ".join(record["bones"]),
            record["poses"],
            number(record["frames"]),
            number(record["written"]),
            number(record["present"]),
            number(record["empty"]),
            number(record["untracked"]),
            number(100 * to_float(record["visible_share"]), 0),
        ]
        for record in records
    ]
    header = ["record", "bones", "poses", "frames", "written", "existing", "empty", "untracked", "visible %"]
    return Table(header, rows, "Visible: share of the label pixels that are visible to the probe")


def _stamps(stamps: Mapping[Path, Json]) -> Table:
    rows = [
        [path.name, kind, str(stamp.get("poses", "–")), _mesh_names(stamp.get("meshes"))]
        for path, kinds in stamps.items()
        for kind, stamp in kinds.items()
        if isinstance(stamp, dict)
    ]
    return Table(["record", "labels", "poses", "meshes"], rows, "Poses and meshes of the labels")


def _mesh_names(meshes: Any) -> str:
    return ", ".join(map(str, meshes)) if isinstance(meshes, (list, dict)) else str(meshes or "–")


def _refined(records: Sequence[Json]) -> Table:
    rows = []
    for record in records:
        one = record["refinement"]
        counts = [number(one.get(name)) for name in ("refined", "kept")]
        objective = [number(to_float(one.get(f"objective_{when}")), 0) for when in ("before", "after")]
        rows.append([record["name"], *counts, number(to_float(one.get("displacement_mm")), 2), *objective])
    header = ["record", "refined", "unchanged", "displacement mm", "J before", "J after"]
    return Table(
        header,
        rows,
        "Refinement of the tracked poses: median displacement; J is the objective, lower is better",
    )


def _overlays(folder: Path, records: Sequence[Json]) -> list[Block]:
    places = [place for record in records if (place := find(folder, record["folder"]))] or [folder]
    files = [path for place in places for path in sorted((place / OVERLAYS).glob("*.*"))]
    if not files:
        return [Note("No overlays were drawn: use medcli label --overlay.")]
    chosen = [files[i] for i in np.unique(np.linspace(0, len(files) - 1, _MOST_OVERLAYS).astype(int))]
    alt = "Ultrasound frame {} with its labels: bone visible to the probe in orange, the rest of the section in blue."
    shown = [embed_image(path, alt.format(path.stem), path.stem, NARROW) for path in chosen]
    legend = "Orange: bone visible to the probe (Labels); orange and blue: the complete section (Labels_full)."
    return [Text(legend), *gallery(shown)]
