"""The published curves, and what counts as reproducing them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from medcli.ultrabones.evaluation import published_result
from medcli.ultrabones.evaluation.published_result import (
    Verdict,
    compare_with_published,
    is_of_published_test,
    published_curves,
)

KIND = {"protocol": "paper", "labels": "partial", "visible_grey": 107.0, "specimens": [2, 7, 8]}


def a_result(shift: float = 0.0, **kind: Any) -> Any:
    curves = {
        key: {region: (np.array(values) + shift).tolist() for region, values in of.items()}
        for key, of in published_curves().items()
    }
    return SimpleNamespace(curves=curves, **(KIND | kind))


def test_the_curves_are_those_of_the_authors(real_data: Path) -> None:
    table = pd.read_csv(real_data / "published_curves.csv")
    for region, rows in table.groupby("region"):
        for key, curves in published_curves().items():
            assert curves[str(region)] == rows[key].tolist()


def test_the_curves_have_the_published_values_at_the_listed_thresholds() -> None:
    listed = {"all": (0.885, 0.930, 0.956), "visible": (0.976, 0.985, 0.990), "invisible": (0.780, 0.867, 0.925)}
    for region, values in published_curves()["f1"].items():
        assert [values[k] for k in (5, 10, 20)] == pytest.approx(listed[region], abs=6e-4)
    for curves in published_curves().values():
        for values in curves.values():
            assert len(values) == 21
            assert values == sorted(values)


@pytest.mark.parametrize(
    "kind", [{"protocol": "strict"}, {"labels": "full"}, {"visible_grey": 90.0}, {"specimens": [2, 7]}]
)
def test_results_of_another_kind_are_not_compared(kind: dict[str, Any]) -> None:
    assert is_of_published_test(a_result())
    assert not is_of_published_test(a_result(**kind))


def test_reproduced_is_within_the_tolerance_at_each_of_27_values() -> None:
    result = a_result(0.0049)
    differences = compare_with_published(result)
    assert len({(one.region, one.within_mm, one.measure) for one in differences}) == 27
    assert {one.within_mm for one in differences} == {0.5, 1.0, 2.0}
    assert Verdict.of(differences).beyond == 0
    result.curves["recall"]["invisible"][10] -= 0.01  # now 0.0051 too low
    verdict = Verdict.of(compare_with_published(result))
    assert (verdict.beyond, verdict.largest.region, verdict.largest.within_mm) == (1, "invisible", 1.0)
    assert verdict.largest.difference == pytest.approx(-0.0051, abs=1e-6)
    result.curves["f1"]["all"][5] = float("nan")
    verdict = Verdict.of(compare_with_published(result))
    assert (verdict.beyond, verdict.largest.measure, verdict.largest.region) == (2, "f1", "all")


def test_other_places_of_the_curves_do_not_count() -> None:
    result = a_result()
    for curves in result.curves.values():
        for values in curves.values():
            values[7] = 0.0
    assert Verdict.of(compare_with_published(result)).beyond == 0
    assert published_result.TOLERANCE == 0.005
