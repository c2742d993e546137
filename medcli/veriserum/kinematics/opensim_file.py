"""Joint coordinates of a trial as a motion file of OpenSim (``.mot``)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from medcli.core.files import write_text
from medcli.veriserum.kinematics.joint_coordinates import COORDINATES
from medcli.veriserum.kinematics.motion import MISSING

_MM = 1e-3
"""OpenSim's lengths are metres."""


def write_mot(motion: pd.DataFrame, name: str, side: str, time_from: str, axes: str, target: Path) -> None:
    """Write the frames of a trial that have all six coordinates; the header says what each column means.

    Args:
        motion: rows of the trial, see :func:`medcli.veriserum.kinematics.motion.knee_motion`.
        name: of the motion.
        side: ``right`` or ``left``; its first letter ends the names of the columns, as in OpenSim's models.
        time_from: where the times are from.
        axes: which axes were used.
        target: the file.
    """
    usable = motion[motion["status"] != MISSING]
    values = usable[[one.name for one in COORDINATES]].to_numpy(np.float64)
    values *= [1.0 if one.unit == "deg" else _MM for one in COORDINATES]
    names = [f"{one.opensim}_{side[0]}" for one in COORDINATES]
    left_out = len(motion) - len(usable)
    header = [
        name,
        "version=1",
        f"nRows={len(usable)}",
        f"nColumns={len(names) + 1}",
        "inDegrees=yes",
        "",
        f"Motion of the tibial relative to the femoral component, {side} knee, by Grood and Suntay (1983).",
        "Angles in degrees, displacements in metres. Positive values:",
        *(f"  {column}: {one.positive}" for column, one in zip(names, COORDINATES, strict=True)),
        "Models differ in names and signs: in gait2392 knee_angle is minus flexion. Rename the columns to fit yours.",
        f"Axes: {axes}.",
        f"Time: {time_from}. Frames left out, because a coordinate is missing: {left_out}.",
        "endheader",
    ]
    lines = ["\t".join(["time", *names])]
    times = usable["time_s"].to_numpy(np.float64)
    lines += [
        "\t".join([f"{time:.6f}", *(f"{value:.8f}" for value in row)])
        for time, row in zip(times.tolist(), values.tolist(), strict=True)
    ]
    write_text(target, "\n".join([*header, *lines]) + "\n")
