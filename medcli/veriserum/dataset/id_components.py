"""Tables with poses of several components of an id: which of its rows is meant."""

from __future__ import annotations

import logging
from collections.abc import Collection

import pandas as pd

from medcli.core.errors import quantity

_LOG = logging.getLogger(__name__)


def one_row_an_id(table: pd.DataFrame, anatomies: Collection[int] | pd.Series | None, what: str) -> pd.DataFrame:
    """One row an id, in the order of the ids: of an id with poses of several components, that of ``anatomies``.

    With None it is the one with the smallest ``anatomy_id``, a femoral component before a tibial one, whatever the
    order of the rows; how many others that leaves out is a warning. An id that has none of ``anatomies`` keeps its
    first row, and of rows of one component the first counts.

    Args:
        table: every row, by id; without a column ``anatomy_id`` it is of one component.
        anatomies: the components wanted; a Series: the one of each id, by id.
        what: the table's name in the warning.
    """
    first = table[~table.index.duplicated()]
    if len(first) == len(table) or "anatomy_id" not in table.columns:
        return first
    stated = pd.to_numeric(table["anatomy_id"], errors="coerce")
    if anatomies is None:
        rank = stated
        if others := int((~pd.MultiIndex.from_arrays([table.index, stated]).duplicated()).sum()) - len(first):
            _LOG.warning(
                "%s: %s not used; of each id, the component with the smallest anatomy_id is (--anatomy chooses)",
                *(what, quantity(others, "pose of a further component of an id", "poses of further components of ids")),
            )
    elif isinstance(anatomies, pd.Series):
        rank = (stated != pd.to_numeric(anatomies).astype("float64").reindex(table.index)).astype(int)
    else:
        rank = (~stated.isin(list(anatomies))).astype(int)
    ranked = table.iloc[rank.to_numpy("float64").argsort(kind="stable")]
    return pd.DataFrame(ranked[~ranked.index.duplicated()].loc[first.index])


def is_of_another(table: pd.DataFrame, anatomies: pd.Series) -> pd.Series:
    """Which rows name another component than the one of their id in ``anatomies``; a row without one is of any."""
    stated = pd.to_numeric(table["anatomy_id"], errors="coerce")
    wanted = pd.to_numeric(anatomies).astype("float64").reindex(table.index)
    return pd.Series(stated.notna() & wanted.notna() & (stated != wanted))
