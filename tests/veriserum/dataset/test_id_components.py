"""Of an id with poses of several components, the one that is wanted is taken, whatever the order of the rows."""

from __future__ import annotations

import pandas as pd
import pytest

from medcli.veriserum.dataset.id_components import is_of_another, one_row_an_id

ROWS = pd.DataFrame({"id": [2, 2, 1, 1, 3], "anatomy_id": [7, 1, 1, 7, 3], "tx": range(5)}).set_index("id")


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [1, 3, 0, 4, 2]])
def test_the_order_of_rows_decides_nothing(order: list[int], caplog: pytest.LogCaptureFixture) -> None:
    rows = ROWS.iloc[order]
    for wanted, expected in (
        (None, {1: 1, 2: 1, 3: 3}),
        ({7}, {1: 7, 2: 7, 3: 3}),
        (pd.Series({1: 7, 2: 1}), {1: 7, 2: 1, 3: 3}),
    ):
        caplog.clear()
        assert one_row_an_id(rows, wanted, "poses.csv")["anatomy_id"].to_dict() == expected
        said = "poses.csv: 2 poses of further components of ids not used"
        assert (said in caplog.text) == (wanted is None)


def test_a_table_of_one_component_needs_no_choice(caplog: pytest.LogCaptureFixture) -> None:
    for rows in (ROWS.drop(columns="anatomy_id"), ROWS.iloc[[0, 2, 4]]):
        assert one_row_an_id(rows, None, "poses.csv").index.tolist() == [2, 1, 3]
    assert one_row_an_id(ROWS.assign(anatomy_id=1), None, "x")["tx"].tolist() == [
        0,
        2,
        4,
    ]  # contradicting rows: the first
    assert not caplog.records


def test_rows_of_another_component() -> None:
    rows = ROWS.assign(anatomy_id=[7, 1, None, 7, 3])
    assert is_of_another(rows, pd.Series({1: 1, 2: 1})).tolist() == [True, False, False, True, False]
