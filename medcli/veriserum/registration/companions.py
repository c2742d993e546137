"""The femoral component beside a tibial one that is searched for: which it may be, and where it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from medcli.core.errors import DataError
from medcli.veriserum.dataset.anatomies import KINDS
from medcli.veriserum.geometry.biplane import DualPlane
from medcli.veriserum.registration.gradient_matching import Beside, ImplantView
from medcli.veriserum.registration.pose_search import FoundPose, search_pose
from medcli.veriserum.registration.start_poses import StartPoses

_LEAST_SIMILARITY = 0.6
"""Mean similarity of a femoral component that is used: right ones read 0.68 and more, those of another size 0.62."""


def other_component(
    starts: StartPoses, number: int, images: Mapping[str, NDArray[Any]], cameras: DualPlane
) -> Beside | None:
    """The femoral component in the images of a tibial one, found without a start.

    A femoral component is dark and large, and is nearly always found; where its pose is known, so is the smaller tibial
    one. It is one that the pose table has for the same ``measurement_id``, else any whose surface is there: the one
    that matches best.

    Returns:
        None: the implant is not a tibial one, or no femoral component matches well.
    """
    if starts.geometry.number(number, "anatomy_id") not in KINDS["tibia"]:
        return None
    best: tuple[FoundPose, int] | None = None
    for anatomy in _candidates(starts, number):
        try:
            found = search_pose(ImplantView(images, cameras, starts.study.surfaces.implant(anatomy).mesh))
        except DataError:
            continue
        if best is None or found.refined.after > best[0].refined.after:
            best = found, anatomy
    if best is None or best[0].refined.after < _LEAST_SIMILARITY:
        return None
    refined = best[0].refined
    return Beside(starts.study.surfaces.implant(best[1]).mesh, refined.pose, refined.per_mm)


def _candidates(starts: StartPoses, number: int) -> tuple[int, ...]:
    table, femora = starts.table, KINDS["femur"]
    if "measurement_id" in table.columns:
        of_trial = table[table["measurement_id"] == table.at[number, "measurement_id"]]["anatomy_id"]
        named = tuple(sorted({int(one) for one in of_trial.dropna() if int(one) in femora}))
        if named:
            return named
    return femora
