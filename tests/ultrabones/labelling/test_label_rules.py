"""The rules by which labels follow from a section, and the folders that they name."""

from __future__ import annotations

import numpy as np
import pytest

from medcli.core.errors import UsageError
from medcli.ultrabones.dataset.folder_layout import FULL_LABEL_FOLDERS, PARTIAL_LABEL_FOLDERS
from medcli.ultrabones.labelling.label_rules import BOTH, LABEL_RULES, partial_label, rules_of, whole_section


def test_the_partial_label_is_the_first_run_of_each_column() -> None:
    full = np.random.default_rng(0).choice([0, 255], (30, 200)).astype(np.uint8)
    full[:, 3] = 0
    full[:, 4] = 255
    expected = np.zeros_like(full)
    for u in range(full.shape[1]):
        rows = np.flatnonzero(full[:, u])
        if len(rows):
            end = rows[0]
            while end < len(full) and full[end, u]:
                expected[end, u] = 255
                end += 1
    assert np.array_equal(partial_label(full), expected)


def test_the_full_label_is_the_section() -> None:
    section = np.random.default_rng(1).choice([0, 255], (5, 6)).astype(np.uint8)
    assert np.array_equal(whole_section(section), section)


def test_published_kinds_go_to_the_folders_that_the_index_knows() -> None:
    assert (LABEL_RULES["full"].folder, LABEL_RULES["partial"].folder) == (
        FULL_LABEL_FOLDERS[0],
        PARTIAL_LABEL_FOLDERS[0],
    )
    assert rules_of(BOTH) == (LABEL_RULES["full"], LABEL_RULES["partial"])
    assert rules_of("full") == (LABEL_RULES["full"],)
    assert len({rule.folder for rule in LABEL_RULES.values()}) == len(LABEL_RULES)


def test_an_unknown_rule_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="--kind 'upper' is not one of full, partial, both"):
        rules_of("upper")
