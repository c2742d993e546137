"""Count the GPUs of this machine without importing torch, which takes seconds: the CUDA driver is asked.

Torch itself counts through the same library, so both agree, also on ``CUDA_VISIBLE_DEVICES``; where they could differ
the answer is None, and torch has to be asked.
"""

from __future__ import annotations

import ctypes
import platform
import runpy
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
_LONGEST_NAME = 256


def count_gpus() -> int | None:
    """GPUs that PyTorch can use; None where only torch can tell. Torch is asked if it is loaded already."""
    if torch := sys.modules.get("torch"):
        return int(torch.cuda.device_count())
    names = _ask_driver()
    return None if names is None else len(names)


def gpu_names() -> list[str]:
    """Names of the GPUs that PyTorch can use, in its order; torch is imported only where the driver cannot tell."""
    names = _ask_driver()
    if names is None:
        import torch

        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return names


def has_mps() -> bool:
    """Whether PyTorch can use the GPU of this Mac; where torch is not loaded, every Mac with an ARM processor can."""
    if torch := sys.modules.get("torch"):
        return bool(torch.backends.mps.is_available())
    return sys.platform == "darwin" and platform.machine() == "arm64"


def torch_build() -> tuple[str | None, str | None]:
    """The versions of CUDA and of ROCm that the installed torch is built for, without importing it; None: for neither.

    Raises:
        LookupError: torch is not installed, or does not say.
    """
    if torch := sys.modules.get("torch"):
        return torch.version.cuda, torch.version.hip
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        raise LookupError("torch is not installed")
    try:
        values = runpy.run_path(str(Path(spec.origin).with_name("version.py")))
    except Exception as error:  # it is code of another package
        raise LookupError(f"the version of torch cannot be read: {error}") from error
    return values["cuda"], values.get("hip")


def _ask_driver() -> list[str] | None:
    try:
        cuda, hip = torch_build()
    except LookupError:
        return None
    if hip is not None:
        return None
    if cuda is None:
        return []
    try:
        driver = _load_driver()
    except OSError:
        return []  # without a driver CUDA cannot start
    version = ctypes.c_int()
    if driver.cuDriverGetVersion(ctypes.byref(version)) or version.value // 1000 < int(cuda.partition(".")[0]):
        return None  # too old for this torch, which may still work through NVIDIA's compatibility package
    count = ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return []
    return [_name(driver, number) for number in range(count.value)]


def _load_driver() -> Any:
    return ctypes.CDLL(_DRIVER)


def _name(driver: Any, number: int) -> str:
    text = ctypes.create_string_buffer(_LONGEST_NAME)
    return "GPU" if driver.cuDeviceGetName(text, _LONGEST_NAME, number) else text.value.decode(errors="replace")
