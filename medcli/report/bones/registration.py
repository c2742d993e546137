"""Reports of ``medcli register bone`` and ``medcli evaluate registration``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from medcli.core.errors import MedcliError, quantity
from medcli.report.blocks import Block, Chart, Key, Note, Section, Table, number
from medcli.report.charts import Axes, Curve, draw
from medcli.report.embedded_images import embed_image
from medcli.report.point_cloud_view import point_cloud, read_ply
from medcli.report.run_files import (
    Json,
    ProvenanceRecord,
    RunReport,
    failures_note,
    find,
    read_json,
    read_rows,
    sentence,
    to_float,
)
from medcli.workspace.bone_figures import registrations
from medcli.workspace.runs import EVALUATION

_SCALE_MM = 2.0
_TONES = {"good": "info", "doubtful": "warning", "failed": "failure"}
_MOST_SHOWN = 4


def read_bone_registration(folder: Path, provenance: ProvenanceRecord) -> RunReport | None:
    """The report of clouds registered to CT; None if the folder has none, or for a further note on the same folder."""
    found = list(registrations(folder))
    if provenance.path.name:
        found = [(path, one) for path, one in found if path.with_suffix("").name == provenance.table.stem] or found[:1]
    if not found:
        return None
    first = found[0][1]["registration"]
    errors = {
        kind: max(one["standard_error"] for one in first["determination"]["directions"] if one["kind"] == kind)
        for kind in ("shift", "turn")
    }
    distance = first["distance_mm"] or {}
    cautions = dict.fromkeys(content["caution"] for _, content in found[:_MOST_SHOWN] if content.get("caution"))
    return RunReport(
        title="Registration of bone to CT",
        lead=f"{found[0][1]['cloud']} registered to {', '.join(found[0][1]['meshes'])} without a start pose: "
        f"{first['status']}.",
        figures={
            "median distance": number(to_float(distance.get("median")), 2, "mm"),
            "points within 2 mm": number(100 * to_float(first["explained"]), 0, "%"),
            "of these within 1 mm": number(100 * to_float(first.get("close")), 0, "%"),
            "largest standard error, shift": number(errors["shift"], 2, "mm"),
            "largest standard error, turn": number(errors["turn"], 2, "°"),
        },
        notes=[
            *(Note(sentence(text), _TONES[first["status"]]) for text in first["reasons"]),
            *(Note(sentence(text), "warning") for text in cautions),
        ],
        sections=[
            section
            for path, content in found[:_MOST_SHOWN]
            for section in _sections(folder, path, content, provenance, len(found) > 1)
        ],
    )


def _sections(
    folder: Path, path: Path, content: Json, provenance: ProvenanceRecord, several: bool
) -> Iterator[Section]:
    one, of = content["registration"], f" of {path.stem}" if several else ""
    yield Section(f"Residuals{of}", [_residuals(one), *_view(folder, path, content, provenance)])
    yield Section(f"What the points determine{of}", [_directions(one), _alternatives(one)])
    rows = [[f"{value:.6f}" for value in row] for row in one["transform"]]
    header = ["x", "y", "z", "shift, mm"]
    yield Section(f"Transform{of}", [Table(header, rows, "Cloud to CT: p_ct = M p_cloud, millimetres")])


def _residuals(one: Json) -> Table:
    named = {**({"all": one["distance_mm"]} if one["distance_mm"] else {}), **one["by_bone"]}
    keys = ("mean", "median", "percentile_95", "maximum")
    rows = [[name, *(number(to_float(values[key])) for key in keys)] for name, values in named.items()]
    caption = "Exact distances in mm of the points within 2 mm of a bone to the nearest triangle, by bone."
    return Table(["bone", "mean", "median", "95 %", "max"], rows, caption)


def _view(folder: Path, path: Path, content: Json, provenance: ProvenanceRecord) -> Iterator[Block]:
    try:
        points, distances = read_ply(path.with_suffix(".ply"))
    except MedcliError as error:
        yield Note(error.message, "warning")
    else:
        yield point_cloud(
            points,
            np.minimum(distances, _SCALE_MM),
            _SCALE_MM,
            _triangles(folder, provenance),
            ("0 mm", f"{_SCALE_MM:g} mm or more"),
            f"The registered cloud in 3D, {quantity(len(points), 'point')} coloured by distance to the CT.",
            "Registered points, coloured by their exact distance to the CT mesh. Drag or use the arrow keys to rotate.",
        )
    alt = "The registered points over the bones in grey, along the CT's y, x and z axes, coloured by distance."
    yield embed_image(
        path.with_suffix(".png"), alt, f"The same from three directions; yellow: {_SCALE_MM:g} mm or more.", wide=True
    )


def _triangles(folder: Path, provenance: ProvenanceRecord) -> np.ndarray | None:
    """Triangles (F, 3, 3) of the bones; None if they are no longer found."""
    meshes = find(folder, provenance.settings.get("meshes"))
    if meshes is None:
        return None
    from medcli.core.mesh import read_stl
    from medcli.ultrabones.registration.mesh_folder import meshes_in

    try:
        return np.concatenate([read_stl(path).triangles for path in meshes_in(meshes)])
    except MedcliError:
        return None


def _directions(one: Json) -> Table:
    rows = [
        [each["name"], number(each["standard_error"], 2), each["unit"], "yes" if each["determined"] else "no"]
        for each in one["determination"]["directions"]
    ]
    caption = (
        "Standard errors along and about the principal axes of the points (in brackets, in CT). Errors within "
        "10 mm of each other count as one, and all points may share an error of 0.3 mm. Determined: at most 1 mm, "
        "1 degree."
    )
    return Table(["direction", "standard error", "unit", "determined"], rows, caption)


def _alternatives(one: Json) -> Table | Note:
    rows = []
    if other := one["runner_up"]:
        moved = f"moves the points by {other['displacement_mm']:.1f} mm, {other['rotation_deg']:.1f} degrees"
        rows.append(["next pose", moved, number(other["lead"], 1)])
    if one["mirror_lead"] is not None:
        rows.append(["mirror image of the meshes", "meshes of the other leg", number(one["mirror_lead"], 1)])
    if not rows:
        return Note("No other pose was looked for: a start was given, or all starts led to the same pose.")
    caption = "How far the pose leads others, in standard errors. Less than 3: not told apart; negative: it fits worse."
    return Table(["other", "what", "lead"], rows, caption)


def read_registration_evaluation(folder: Path, provenance: ProvenanceRecord) -> RunReport | None:
    """The report of random starts; None if the folder contains none."""
    result = read_json(folder / EVALUATION)
    if result.get("schema") != "medcli.evaluate.registration.v1":
        return None
    one, settings = result["overall"], result["settings"]
    limits = f"{settings['success_mm']:g} mm and {settings['success_deg']:g} degrees"
    named = [
        (f"specimen{case['specimen']:02d} {case['anatomy']}".strip(), case["recovery"]) for case in result["cases"]
    ]
    named += [(f"all {name}", each) for name, each in result["per_anatomy"].items() if name]
    undetermined = [
        [name, "; ".join(case["undetermined"])]
        for (name, _), case in zip(named, result["cases"], strict=False)
        if case["undetermined"]
    ]
    return RunReport(
        title="Evaluation of registration to CT",
        lead=f"{quantity(one['starts'], 'random start')} of clouds from {settings['mask']}, registered to their bones.",
        figures={
            "recall": number(100 * one["recall"], 1, "%"),
            "RTE": number(one["rte_mm"][0], 2, "mm"),
            "RRE": number(one["rre_deg"][0], 2, "°"),
            "wrong and called good": number(one["wrong_good"]),
        },
        notes=failures_note(result, "frames or bones"),
        sections=[
            Section(
                "Recall and errors",
                [_recovery([*named, ("all", one)], limits), *_errors(read_rows(folder / "starts.csv"))],
            ),
            *(
                [Section("Not determined", [Table(["bone", "directions"], undetermined, "By the points")])]
                if undetermined
                else []
            ),
        ],
    )


def _recovery(named: Sequence[tuple[str, Json]], limits: str) -> Table:
    rows = [
        [
            name,
            number(one["starts"]),
            number(100 * one["recall"], 1),
            *(f"{one[key][0]:.2f} ± {one[key][1]:.2f}" for key in ("rte_mm", "rre_deg")),
            *(number(one[f"median_{key}"], 2) for key in ("rte_mm", "rre_deg")),
            number(one["good"]),
            number(one["wrong_good"]),
        ]
        for name, one in named
    ]
    header = ["bone", "starts", "recall %", "RTE mm", "RRE °", "median RTE", "median RRE", "good", "wrong"]
    caption = f"Recall: within {limits} (our limits). Mean ± SD over all starts. Wrong: called good, but outside."
    return Table(header, rows, caption)


def _errors(rows: Sequence[Mapping[str, str]]) -> Iterator[Chart]:
    """Share of the starts below an RTE."""
    values = np.sort([to_float(row.get("rte_mm")) for row in rows])
    values = values[np.isfinite(values)]
    if not len(values):
        return
    end = 10.0
    shares = 100 * np.arange(1, len(values) + 1) / len(values)
    inside = values <= end
    curve = Curve("starts", [0.0, *values[inside].tolist()], [0.0, *shares[inside].tolist()], style=1)
    near, far = (100 * np.mean(values <= limit) for limit in (2, 5))
    words = f"{near:.0f} % of the starts have an RTE within 2 mm, {far:.0f} % within 5 mm."
    axes = Axes("Starts within an RTE, %", "RTE, mm", (0.0, end), (0, 100))
    yield Chart([draw(axes, [curve], words)], [Key(1, "share of the starts within an RTE")], words)
