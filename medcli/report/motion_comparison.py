"""Reports of ``medcli evaluate kinematics``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from medcli.core.errors import quantity
from medcli.report.blocks import KeyValues, Section, Table, number
from medcli.report.embedded_images import embed_image
from medcli.report.run_files import Json, ProvenanceRecord, RunReport, read_json, remarks, to_float
from medcli.workspace.runs import EVALUATION

EVALUATED = "medcli.evaluate.kinematics.v1"


def read_motion_comparison(folder: Path, provenance: ProvenanceRecord) -> RunReport | None:
    """The report of two pose tables compared as motion; None if the folder contains none."""
    result = read_json(folder / EVALUATION)
    if result.get("schema") != EVALUATED:
        return None
    overall: Mapping[str, Json] = result["overall"]
    image = embed_image(
        folder / "bland_altman.png",
        "Difference over mean of each coordinate and low point, with bias and limits of agreement.",
        "Bland-Altman figure; line: bias, dashed: limits of agreement; one colour a trial.",
        wide=True,
    )
    return RunReport(
        title="Comparison of knee motion",
        lead=f"Motion by {result['poses']} minus that by {result['reference']}: "
        f"{quantity(result['frames'], 'frame')} of {quantity(len(result['per_trial']), 'trial')}.",
        figures={
            "flexion, RMS": number(to_float(overall["flexion_deg"]["rms"]), 2, "°"),
            "internal rotation, RMS": number(to_float(overall["internal_rotation_deg"]["rms"]), 2, "°"),
            "anterior shift, RMS": number(to_float(overall["anterior_mm"]["rms"]), 2, "mm"),
            "frames": number(result["frames"]),
        },
        notes=remarks(result, "trials"),
        sections=[
            Section("Differences", [_agreement(result), KeyValues({"axes": result["axes"]})]),
            Section("Agreement", [image]),
            Section("Trials", [_per_trial(result, "rms", "RMS"), _per_trial(result, "bias", "Bias")]),
        ],
    )


def _agreement(result: Json) -> Table:
    from medcli.veriserum.kinematics.compare_motion import COMPARED

    rows = []
    for name, (title, unit) in COMPARED.items():
        one, trials = result["overall"][name], result["over_trials"][name]
        values = [one["rms"], one["maximum"], one["bias"], one["sd"], *one["limits"], trials["largest_rms"]]
        band = number(100 * to_float(one["within_band"]), 0)
        rows.append([title, "°" if unit == "deg" else unit, *(number(to_float(v), 2) for v in values), band])
    header = ["difference", "unit", "RMS", "largest", "bias", "SD", "limits from", "to", "worst trial", "in band %"]
    caption = (
        "Limits of agreement: bias and 1.96 standard deviations, from the variances between trials and within them "
        "(Bland and Altman 2007). Worst trial: largest RMS of a trial. In band: share "
        "of frames within 1.96 standard errors of both tables."
    )
    return Table(header, rows, caption)


def _per_trial(result: Json, key: str, what: str) -> Table:
    from medcli.veriserum.kinematics.compare_motion import COMPARED

    rows = [
        [str(trial), number(found["flexion_deg"]["frames"]), *(number(to_float(found[n][key]), 2) for n in COMPARED)]
        for trial, found in result["per_trial"].items()
    ]
    titles = [f"{title}, {'°' if unit == 'deg' else unit}" for title, unit in COMPARED.values()]
    return Table(["trial", "frames", *titles], rows, f"{what} of the differences of each trial")
