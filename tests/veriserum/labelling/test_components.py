"""Which implants a pair shows."""

from __future__ import annotations

import pandas as pd

from medcli.veriserum.labelling.components import implants_of_pairs


def rows(*cells: tuple[int, int, int, float]) -> pd.DataFrame:
    table = pd.DataFrame(cells, columns=["id", "measurement_id", "anatomy_id", "tx"]).set_index("id")
    return table.assign(ty=0.0, tz=500.0, rz=0.0, rx=0.0, ry=0.0)


def shown(table: pd.DataFrame) -> dict[int, list[tuple[str, float]]]:
    found = implants_of_pairs(table, sorted(set(table.index)))
    return {number: [(one.kind, float(one.pose[0, 3])) for one in placed] for number, placed in found.items()}


def test_a_measurement_of_one_femur_and_one_tibia_is_one_moment() -> None:
    assert shown(rows((1, 5, 3, 1.0), (2, 5, 1, 2.0))) == {
        1: [("femur", 2.0), ("tibia", 1.0)],
        2: [("femur", 2.0), ("tibia", 1.0)],
    }


def test_rows_of_a_trial_are_not_paired() -> None:
    trial = rows((1, 5, 1, 1.0), (2, 5, 1, 2.0), (3, 5, 3, 3.0), (4, 5, 3, 4.0))
    assert shown(trial) == {1: [("femur", 1.0)], 2: [("femur", 2.0)], 3: [("tibia", 3.0)], 4: [("tibia", 4.0)]}
    assert shown(rows((1, 5, 1, 1.0), (2, 5, 2, 2.0))) == {1: [("femur", 1.0)], 2: [("femur", 2.0)]}


def test_rows_of_one_id_are_of_one_pair_and_unknown_implants_of_none() -> None:
    assert shown(rows((1, 5, 1, 1.0), (1, 6, 4, 2.0), (2, 7, 99, 3.0))) == {1: [("femur", 1.0), ("tibia", 2.0)], 2: []}


def test_a_pose_that_cannot_be_right_says_so() -> None:
    (placed,) = implants_of_pairs(rows((1, 5, 1, 1e6)), [1])[1]
    assert "tx is 1e+06 mm" in placed.problem
