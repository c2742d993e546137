"""The components of one knee: those asked for, and the femoral one beside a tibial one that is searched for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from medcli.core.errors import DataError, UsageError, spaced
from medcli.core.run_records.earlier_run import REMEDY_OF_FILE
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


def one_of_each(anatomies: list[int], what: str) -> list[int]:
    """The femoral component, then the tibial one; at most one of each.

    Raises:
        UsageError, DataError: they are others.
    """
    found = [[one for one in anatomies if one in KINDS[kind]] for kind in ("femur", "tibia")]
    if not 1 <= len(anatomies) <= 2 or any(len(kind) > 1 for kind in found) or sum(map(len, found)) < len(anatomies):
        kind = UsageError if what.startswith("--") else DataError
        raise kind(
            f"{what}: anatomies {spaced(anatomies) or 'none'}, expected a femoral (1, 2), a tibial (3 to 7), or both",
            "name them: --anatomies 1 3",
        )
    return [*found[0], *found[1]]


def refuse_other_components(
    wanted: list[int] | None, ids: Collection[int], rows: Collection[tuple[int, int]], out: Path
) -> None:
    """Raise :class:`UsageError` where frames that are kept lack a component that was asked for.

    Args:
        wanted: None: whatever there is.
        ids: of the frames that are kept.
        rows: id and anatomy of each row of ``out``.
    """
    there: dict[int, set[int]] = {}
    for number, anatomy in rows:
        there.setdefault(number, set()).add(anatomy)
    for number in ids if wanted else ():
        if not {*(wanted or ())} <= there.get(number, set()):
            raise UsageError(
                f"{out} has anatomies {spaced(sorted(there[number]))} of id {number}, not {spaced(wanted or ())}",
                REMEDY_OF_FILE,
            )
