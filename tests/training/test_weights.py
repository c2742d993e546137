"""Which checkpoint is taken when none is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from medcli.core.errors import DataError
from medcli.training.weights import find_newest


def test_folds_of_a_cross_validation_are_named(tmp_path: Path) -> None:
    folds = [tmp_path / "seg" / "fpn-loo" / name / "best.safetensors" for name in ("specimen01", "specimen03")]
    with pytest.raises(DataError, match="no checkpoint") as error:
        find_newest(tmp_path, "seg")
    assert "medcli train seg" in str(error.value.hint)
    for fold in folds:
        fold.parent.mkdir(parents=True)
        fold.touch()
    with pytest.raises(DataError, match="but those of 2 folds") as error:
        find_newest(tmp_path, "seg")
    assert error.value.hint == f"name one: --checkpoint {folds[0]} (to specimen03)"
    whole = tmp_path / "seg" / "fpn" / "best.safetensors"
    whole.parent.mkdir()
    whole.touch()
    assert find_newest(tmp_path, "seg") == whole
