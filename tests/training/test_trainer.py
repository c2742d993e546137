"""What a fit says when the machine, not the settings, is at its end."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from medcli.core.errors import MedcliError
from medcli.training.trainer import run_fit


def test_full_gpu_memory_is_an_error_with_a_way_out() -> None:
    def fit(*args: Any, **settings: Any) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    with pytest.raises(MedcliError, match="CUDA out of memory") as raised:
        run_fit(SimpleNamespace(fit=fit), torch.nn.Identity(), None, None)  # type: ignore[arg-type]
    assert "--batch-size" in (raised.value.hint or "")
