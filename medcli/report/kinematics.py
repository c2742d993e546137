"""Reports of ``medcli kinematics veriserum``."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from medcli.core.errors import DataError, MedcliError, quantity
from medcli.core.mesh import Mesh
from medcli.report.blocks import Block, Chart, ImageBlock, Key, KeyValues, Note, Section, Table, Text, number
from medcli.report.charts import Axes, Curve, draw
from medcli.report.embedded_images import WIDE, embed_image
from medcli.report.moving_bodies_view import moving_bodies
from medcli.report.run_files import Json, ProvenanceRecord, RunReport, find, read_json, remarks, to_float
from medcli.report.tracked_trials import strip_of
from medcli.veriserum.kinematics.error_bars import BAND_HOLDS
from medcli.veriserum.kinematics.implant_axes import ImplantAxes, read_axes
from medcli.veriserum.kinematics.joint_coordinates import BAND, COORDINATES
from medcli.veriserum.kinematics.low_points import CONDYLES, LOW_POINT_AXES
from medcli.workspace.runs import MOTION

if TYPE_CHECKING:
    import pandas as pd

_LOG = logging.getLogger(__name__)
Array = NDArray[np.float64]
_MOST_TRIALS = 4
_STYLE = {"medial": 2, "lateral": 3}
_ASPECT = 156 / 244
"""Height over width of a chart's panel: with it a millimetre is as long up as across."""


def read_kinematics(folder: Path, provenance: ProvenanceRecord) -> RunReport:
    """The report of the motion of some trials."""
    from medcli.veriserum.kinematics.kinematics import TABLE

    result = read_json(folder / MOTION)
    table = _table(folder / TABLE)
    trials = result["trials"]
    meshes = _Implants(folder, provenance)
    sections = [
        Section(
            f"Trial {one['trial']}, {one['side']} knee",
            list(_trial(folder, table[table["trial"] == one["trial"]], one, meshes, result, provenance)),
        )
        for one in trials[:_MOST_TRIALS]
    ]
    if len(trials) > _MOST_TRIALS:
        more = f"{len(trials) - _MOST_TRIALS} further trials are in the table of ranges and in {folder.name}."
        sections.append(Section("Further trials", [Note(more)]))
    flexion = [one["ranges"]["flexion_deg"] for one in trials if one["ranges"]["flexion_deg"][0] is not None]
    least, largest = min((low for low, _ in flexion), default=0.0), max((high for _, high in flexion), default=0.0)
    reach = f"{largest - least:.0f} °; from {least:.0f} to {largest:.0f} °" if flexion else "–"
    return RunReport(
        title="Knee motion",
        lead=f"How the tibial component moves relative to the femoral one in "
        f"{quantity(len(trials), 'trial')}, by the poses of {result['poses']}.",
        figures={
            "trials": number(len(trials)),
            "frames": f"{number(result['frames'])}; {result['missing']:,} missing, {result['doubtful']:,} doubtful",
            "range of flexion": reach.replace("-", "\u2212"),
        },
        notes=remarks(result, "trials"),
        sections=[*sections, Section("Ranges", [_ranges(trials)]), Section("Conventions", _conventions(result))],
    )


def _table(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        table = pd.read_csv(path, dtype={"trial": str, "reason": object})
        return table.assign(reason=table["reason"].fillna(""))
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"cannot read {path}: {error}", "run medcli kinematics again") from error


class _Implants:
    """Meshes and axes of the run, as far as they are still there."""

    def __init__(self, folder: Path, provenance: ProvenanceRecord) -> None:
        self.axes: dict[int, ImplantAxes] = {}
        self.meshes: dict[int, Mesh] = {}
        from medcli.veriserum.kinematics.kinematics import AXES

        root = find(folder, provenance.root)
        try:
            self.axes = read_axes(folder / AXES)
            if root is not None:
                from medcli.veriserum.dataset.study import VeriserumStudy

                surfaces = VeriserumStudy(root, implants=find(folder, provenance.settings.get("implants"))).surfaces
                self.meshes = {n: surfaces.implant(n).mesh for n in self.axes if n in surfaces.files}
        except MedcliError as error:
            _LOG.info("no implants in the report: %s", error.message)

    def of(self, motion: pd.DataFrame) -> tuple[int, int] | None:
        """The anatomies of a trial's femur and tibia, if both have a mesh and axes."""
        ids = [motion[f"{kind}_anatomy"].dropna() for kind in ("femur", "tibia")]
        if any(one.empty for one in ids):
            return None
        found = (int(ids[0].iloc[0]), int(ids[1].iloc[0]))
        return found if all(one in self.meshes and one in self.axes for one in found) else None


def _trial(
    folder: Path, motion: pd.DataFrame, one: Json, implants: _Implants, result: Json, provenance: ProvenanceRecord
) -> Iterator[Block]:
    from medcli.veriserum.kinematics.kinematics import file_stem

    if one["missing"] == one["frames"]:
        yield Note("No frame of this trial could be used.", "failure", list(one["reasons"]))
        return
    if one["reasons"]:
        shown = [f"{quantity(count, 'frame')}: {reason}" for reason, count in one["reasons"].items()][:8]
        yield Note(
            f"{quantity(one['missing'], 'frame is', 'frames are')} missing and {one['doubtful']:,} doubtful.",
            "warning",
            shown,
        )
    usable = motion.where(motion["status"] != "missing")
    yield _coordinates(usable, result["has_errors"])
    both = implants.of(motion)
    yield _low_points(usable, implants, both, one["side"])
    if both is None:
        yield Note("No 3D view: the surfaces of the implants are not where the run found them.")
    else:
        yield _view(motion[motion["status"] != "missing"], implants, both, one["side"])
    strips = list(_strips(folder, motion, provenance))
    if strips:
        yield Text("Outlines of both implants over the images of some frames.")
        yield from strips
    yield embed_image(
        folder / f"trial_{file_stem(one['trial'])}.png",
        "The six coordinates and the low points over time and over flexion.",
        "Also over flexion: coordinates and low points of the trial.",
        wide=True,
    )


def _curve(motion: pd.DataFrame, x: str, name: str, style: int, label: str) -> Curve:
    across, values = (motion[column].to_numpy(np.float64) for column in (x, name))
    half = BAND * motion[f"se_{name}"].to_numpy(np.float64)
    known = np.isfinite(half).any()
    low, high = (values - half).tolist(), (values + half).tolist()
    return Curve(label, across.tolist(), values.tolist(), low if known else None, high if known else None, style=style)


def _with_band(curves: Sequence[Curve]) -> tuple[float, float] | None:
    """The range of curves with their bands; None where there is nothing to widen."""
    every = [value for curve in curves for values in (curve.y, curve.low or (), curve.high or ()) for value in values]
    known = [value for value in every if math.isfinite(value)]
    low, high = min(known, default=0.0), max(known, default=0.0)
    margin = 0.04 * (high - low)
    return (low - margin, high + margin) if high > low else None


def _coordinates(motion: pd.DataFrame, has_errors: bool) -> Chart:
    panels = []
    for one in COORDINATES:
        low, high = (float(value) for value in (motion[one.name].min(), motion[one.name].max()))
        words = f"From {low:.1f} to {high:.1f} {one.sign}."
        curve = _curve(motion, "time_s", one.name, 1, one.title)
        title = f"{one.title[:1].upper()}{one.title[1:]}, {one.sign}"
        panels.append(draw(Axes(title, "time, s", y_range=_with_band([curve])), [curve], words))
    band = (
        f" Band: {BAND:g} standard errors to either side; {BAND_HOLDS}."
        if has_errors
        else " The poses have no standard errors."
    )
    signs = "; ".join(f"{one.title}: {one.positive}" for one in COORDINATES)
    return Chart(panels, [Key(1, "tibia relative to femur")], f"Positive {signs}.{band}")


def _low_points(motion: pd.DataFrame, implants: _Implants, both: tuple[int, int] | None, side: str) -> Chart:
    from medcli.veriserum.kinematics.tray_outline import tray_outline_of

    outline = tray_outline_of(implants.axes[both[1]], implants.meshes[both[1]], side) if both else None
    paths = []
    for condyle in CONDYLES:
        across, along = (motion[f"{condyle}_low_{axis}"].tolist() for axis in ("ml_mm", "ap_mm"))
        paths.append(Curve(condyle, across, along, style=_STYLE[condyle]))
    if outline is not None:
        closed = np.concatenate([outline, outline[:1]])
        paths.append(Curve("tray", closed[:, 0].tolist(), closed[:, 1].tolist(), style=5, dashed=True))
    x = [value for curve in paths for value in curve.x if math.isfinite(value)]
    y = [value for curve in paths for value in curve.y if math.isfinite(value)]
    wide = 1.08 * max([*(abs(v) for v in x), *(abs(v) / _ASPECT for v in y), 1.0])
    axes = Axes("On the tray from above: anterior, mm", "lateral, mm", (-wide, wide), (-wide * _ASPECT, wide * _ASPECT))
    panels = [draw(axes, paths, f"Paths of the low points of the {side} knee over the outline of the tray.")]
    for axis, title in {
        "ap_mm": "Low points, anterior, mm",
        "height_mm": "Low points, height over the tray, mm",
    }.items():
        curves = [_curve(motion, "time_s", f"{condyle}_low_{axis}", _STYLE[condyle], condyle) for condyle in CONDYLES]
        panels.append(
            draw(Axes(title, "time, s", y_range=_with_band(curves)), curves, f"{LOW_POINT_AXES[axis]} is positive.")
        )
    keys = [Key(_STYLE[condyle], f"{condyle} condyle") for condyle in CONDYLES]
    caption = "Lowest point of each femoral condyle over the plane of the tray, in the coordinates of the tray."
    return Chart(panels, [*keys, Key(5, "tray", True)], caption)


def _view(motion: pd.DataFrame, implants: _Implants, both: tuple[int, int], side: str) -> Block:
    from medcli.core.rigid_transforms import invert_rigid
    from medcli.veriserum.dataset.folder_index import POSE_COLUMNS
    from medcli.veriserum.dataset.pose_tables import matrices_of

    meshes, poses = [], []
    for kind, anatomy in zip(("femur", "tibia"), both, strict=True):
        axes = implants.axes[anatomy].matrix()
        meshes.append(implants.meshes[anatomy].transformed(invert_rigid(axes)))
        poses.append(matrices_of(motion[[f"{kind}_{name}" for name in POSE_COLUMNS]].to_numpy(np.float64)) @ axes)
    lateral = 1.0 if side == "right" else -1.0
    marks = np.stack(
        [
            np.stack(
                [lateral * motion[f"{c}_low_ml_mm"], motion[f"{c}_low_ap_mm"], motion[f"{c}_low_height_mm"]], axis=-1
            )
            for c in CONDYLES
        ],
        axis=1,
    )
    labels = [
        f"{frame}, {time:.2f} s, flexion {flexion:.1f}°"
        for frame, time, flexion in zip(motion["frame"], motion["time_s"], motion["flexion_deg"], strict=True)
    ]
    caption = (
        "Both components over time; orange and green: low points of the medial and lateral condyle. R, A, P: right, "
        "anterior, proximal of the tray. Drag or use the arrow keys to rotate; comma and full stop step, space plays."
    )
    return moving_bodies(meshes, ("femur", "tibia"), np.stack(poses, axis=1), marks, labels, caption)


def _strips(folder: Path, motion: pd.DataFrame, provenance: ProvenanceRecord) -> Iterator[ImageBlock | Note]:
    """The strip of overlays of the trial that ``medcli register trial`` drew beside the table of poses."""
    table = find(folder, provenance.settings.get("poses"))
    if table is None:
        return
    note = table.with_name(f"{table.stem}.medcli-run.json")
    overlays = find(table.parent, (read_json(note).get("result") or {}).get("overlays")) if note.is_file() else None
    ids = motion[["femur_id", "tibia_id"]].min(axis=1).dropna()
    strip = strip_of(overlays, int(ids.min())) if len(ids) else None
    if strip is not None:
        yield embed_image(
            strip, "Frames of the trial with the outlines of both components.", strip.stem, WIDE, wide=True
        )


def _ranges(trials: Sequence[Json]) -> Table:
    names = [*((one.name, f"{one.title}, {one.sign}") for one in COORDINATES)]
    names += [(f"{condyle}_low_ap_mm", f"{condyle} low point AP, mm") for condyle in CONDYLES]
    rows = [
        [
            str(one["trial"]),
            one["side"],
            *(number(one[name]) for name in ("frames", "missing", "doubtful")),
            *(_range(one["ranges"][name]) for name, _ in names),
        ]
        for one in trials
    ]
    header = ["trial", "side", "frames", "missing", "doubtful", *(title for _, title in names)]
    return Table(header, rows, "Least and largest value of each trial")


def _range(values: Sequence[float | None]) -> str:
    low, high = (to_float(value) for value in values)
    return f"{number(low, 1)} to {number(high, 1)}" if math.isfinite(low) else "–"


def _conventions(result: Json) -> list[Block]:
    found = {f"axes of anatomy {name}": text for name, text in result["found_by"].items()}
    rows = {
        "coordinates": "Grood and Suntay (1983): flexion about the femur's lateral axis, internal rotation about the "
        "tibia's proximal axis, adduction about the axis perpendicular to both",
        "axes": result["axes"],
        **found,
        "frames": f"femur and tibia paired by {result['pairing']}; trials by {result['trials_by']}",
        "time": result["time_from"],
    }
    return [KeyValues(rows)]
