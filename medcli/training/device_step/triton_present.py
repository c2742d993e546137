"""Whether kernels can be compiled for a GPU of this machine."""

from __future__ import annotations

import os
import shutil
from functools import lru_cache
from importlib.util import find_spec


@lru_cache(maxsize=1)
def can_compile() -> bool:
    """Whether there is Triton, which PyTorch brings along on Linux only, and the C compiler that it calls."""
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    return find_spec("triton") is not None and compiler is not None
