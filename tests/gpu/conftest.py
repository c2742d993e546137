"""Tests that need a GPU: skipped elsewhere, each with the reason."""

from __future__ import annotations

import pytest
import torch

REASON = "no GPU that PyTorch can use"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "gpu" in item.path.parts:
            item.add_marker(pytest.mark.gpu)
            if not torch.cuda.is_available():
                item.add_marker(pytest.mark.skip(reason=REASON))
