"""Which implants are seen in a pair: that of its own row, and the knee's other component where the table has it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from medcli.veriserum.dataset import folder_index
from medcli.veriserum.dataset.anatomies import KIND_OF, KINDS
from medcli.veriserum.dataset.folder_index import POSE_COLUMNS
from medcli.veriserum.dataset.pose_tables import matrices_of, pose_problem


@dataclass(frozen=True)
class PlacedImplant:
    """An implant in a pair.

    Attributes:
        kind: ``femur`` or ``tibia``.
        anatomy: its ``anatomy_id``.
        pose: (4, 4), implant to the frame of the table.
        problem: why the pose cannot be used, else empty.
    """

    kind: str
    anatomy: int
    pose: NDArray[np.float64]
    problem: str = ""


def implants_of_pairs(rows: pd.DataFrame, ids: Sequence[int]) -> dict[int, tuple[PlacedImplant, ...]]:
    """The implants of each pair, femur first; a pair without a known implant has none.

    Args:
        rows: every row of the pose table, by id, of poses that are not obsolete. Rows with one id are of one pair.
            Where a ``measurement_id`` has two rows, one femur and one tibia, they are of one moment, and each of
            their pairs shows both.
        ids: of the pairs.
    """
    cells = folder_index.whole_columns(rows, ("anatomy_id", "measurement_id"))
    kinds = cells["anatomy_id"].map(KIND_OF)
    numbers = rows.reindex(columns=list(POSE_COLUMNS)).apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
    places: dict[int, list[int]] = {}
    for position, number in enumerate(rows.index.tolist()):
        places.setdefault(number, []).append(position)
    partner = _partners(cells["measurement_id"], kinds)
    found = {}
    for number in ids:
        mine = places.get(number, [])
        chosen: dict[str, PlacedImplant] = {}
        for position in (*mine, *(partner[one] for one in mine if one in partner)):
            kind = kinds.iloc[position]
            if isinstance(kind, str) and kind not in chosen:
                problem = pose_problem(pd.DataFrame(numbers[position : position + 1], columns=list(POSE_COLUMNS)))
                pose = np.eye(4) if problem else matrices_of(numbers[position])
                chosen[kind] = PlacedImplant(kind, int(cells["anatomy_id"].iloc[position]), pose, problem)
        found[number] = tuple(chosen[kind] for kind in KINDS if kind in chosen)
    return found


def _partners(measurements: pd.Series, kinds: pd.Series) -> dict[int, int]:
    """Row -> the row of the other component, for measurements of exactly one femur and one tibia."""
    groups: dict[int, list[int]] = {}
    for position, number in enumerate(measurements.tolist()):
        if not pd.isna(number):
            groups.setdefault(number, []).append(position)
    pairs = [group for group in groups.values() if len(group) == 2 and set(kinds.iloc[group]) == set(KINDS)]
    return {one: other for a, b in pairs for one, other in ((a, b), (b, a))}
