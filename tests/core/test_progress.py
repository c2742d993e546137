"""Parts of one task, and what is in progress."""

from __future__ import annotations

import pytest

from medcli.core.progress import activity, current_activity, record_part


def test_parts_share_the_units_of_one_task() -> None:
    """Records of 10 and 4 frames: two tasks of other units, one that is refused half way, one that reports nothing."""
    moved: list[float] = []
    with record_part(moved.append, 10, "record 1", tasks=2) as part:
        assert current_activity() == "record 1"
        with part.task("refine record 1", 2) as advance:
            assert current_activity() == "refine record 1"
            advance(1)
            assert sum(moved) == 2.5
            advance(1)
        with part.task("label record 1", 10) as advance:
            advance(10)
    assert sum(moved) == 10
    assert len(moved) == 3
    with (
        pytest.raises(ZeroDivisionError),
        record_part(moved.append, 4, "record 2") as part,
        part.task("label record 2", 8) as advance,
    ):
        advance(1 / len(moved[:0]))
    assert sum(moved) == 14
    with record_part(moved.append, 3, "record 3") as part, part.task("nothing to do", 0):
        pass
    assert sum(moved) == 17
    assert current_activity() == ""


def test_the_activity_that_began_last_is_shown() -> None:
    with activity("label specimen90"):
        with activity("compiling"):
            assert current_activity() == "compiling"
        assert current_activity() == "label specimen90"
