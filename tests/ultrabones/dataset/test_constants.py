"""What is known of the specimens beforehand."""

from __future__ import annotations

from medcli.ultrabones.dataset.constants import SPECIMENS, donor_in


def test_registry() -> None:
    assert sorted(SPECIMENS) == list(range(15))
    assert SPECIMENS[0].first_release_folder == "cadaver00-F230837"
    assert SPECIMENS[5].first_release_folder == "cadaver05_S232132L"
    assert SPECIMENS[5].donor == SPECIMENS[7].donor == "S232132"
    assert donor_in("X1_new") == "X1_new"
