"""Random starts: their limits, RTE and RRE, recall."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from medcli.core.rigid_transforms import invert_rigid, transform_points
from medcli.ultrabones.registration import random_starts
from medcli.ultrabones.registration.random_starts import (
    StartOutcome,
    outcome_of,
    random_motion,
    recovery_of,
    run_starts,
)


def test_errors_are_those_at_the_cloud_s_centre() -> None:
    middle = np.array([100.0, 200.0, 1300.0])
    motion = random_motion(np.random.default_rng(4), middle)
    assert np.all(np.abs(transform_points(motion, middle[None])[0] - middle) <= 500)
    error = np.eye(4)
    error[:3, :3] = Rotation.from_rotvec([0, 0, 3], degrees=True).as_matrix()
    error[:3, 3] = middle - error[:3, :3] @ middle + np.array([0.0, 4, 0])
    found: Any = SimpleNamespace(matrix=error @ invert_rigid(motion), status="good")
    outcome = outcome_of(found, motion, middle, 7)
    assert (outcome.rte_mm, outcome.rre_deg, outcome.start) == (4.0, 3.0, 7)


def test_recall_counts_both_limits_and_wrong_starts_called_good() -> None:
    rows = [(1.0, 1.0, "good"), (6.0, 1.0, "good"), (1.0, 6.0, "doubtful"), (3.0, 2.0, "doubtful")]
    one = recovery_of([StartOutcome(k, *row) for k, row in enumerate(rows)], 5.0, 5.0)
    assert (one.starts, one.recall, one.good, one.wrong_good) == (4, 0.5, 2, 1)
    assert one.rte_mm[0] == 2.75
    assert one.recovered_rte_mm == (2.0, 1.0)
    assert recovery_of([StartOutcome(0, 90.0, 9.0, "failed")], 5.0, 5.0).recovered_rte_mm is None


def test_the_mirror_image_is_looked_at_once_and_counts_for_all_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def register(points: np.ndarray, target: object, **options: Any) -> Any:
        asked.append(options)
        return SimpleNamespace(matrix=np.eye(4), status="failed", mirror_lead=-4.0)

    monkeypatch.setattr(random_starts, "register_cloud", register)
    target: Any = None
    outcomes, first = run_starts(np.zeros((9, 3)), target, 3, (0,), 1)
    assert ([one.start for one in outcomes], first.mirror_lead) == ([0, 1, 2], -4.0)
    assert asked[0] == {"other_side": True, "mirror_lead": None}
    assert asked[1:] == [{"other_side": False, "mirror_lead": -4.0}] * 2
