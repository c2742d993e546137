"""Synthetic pairs for all tests of the registration."""

from __future__ import annotations

import pytest

from medcli.synthetic.fluoroscopy.dataset import SyntheticVeriserum, make_veriserum

PAIRS = 3


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> SyntheticVeriserum:
    return make_veriserum(tmp_path_factory.mktemp("study"), PAIRS, seed=1, frames_per_trial=1)
