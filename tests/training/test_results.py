"""Results of trainings as dataclasses, and back from their JSON."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medcli.core.json_text import to_plain
from medcli.training.results import RunResult, finite, from_json


@dataclass(frozen=True)
class Result(RunResult):
    specimens: tuple[int, ...]
    failures: tuple[str, ...] = ()
    schema: str = "test.v1"


def test_a_result_is_the_same_after_its_json() -> None:
    out = Path("runs") / "one"
    metrics = finite({"epoch": 3.0, "val_loss": 0.5, "val_mm": float("nan")})
    assert metrics == {"val_loss": 0.5, "val_mm": None}
    result = Result(out, out / "best", out / "last", 3, 2, metrics, metrics, (1, 2), ("frame 7",))
    assert from_json(Result, to_plain(result)) == result


def test_fields_of_another_version_are_left_out() -> None:
    out = Path("a")
    result = Result(out, out, out, 1, 1, {}, {}, ())
    assert from_json(Result, {**to_plain(result), "unheard_of": 1}) == result
