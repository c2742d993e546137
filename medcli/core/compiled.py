"""Compiled kernels: Numba's ``njit``, with its machine code kept on disk where this user has a place for it.

Numba looks for that place as soon as a kernel is defined, beside the module and in the user's cache folder, and raises
where neither can be written to: a package that root installed, used by a user without a home. Here such a user gets a
folder below the temporary one, or no cache.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

from medcli.core.files import temporary_cache
from medcli.core.progress import activity

_CONFIG: Any = numba.config


def njit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """``numba.njit(nogil=True, cache=True)`` with further options, which works without a place for the cache."""
    return lambda function: _announced(_with_careful_cache(_define(function, {"nogil": True, **options})))


def _define(function: Callable[..., Any], options: dict[str, Any]) -> Any:
    if not Path("~").expanduser().is_absolute() and not _CONFIG.CACHE_DIR:  # or Numba makes a folder called ~
        _use_temporary_cache()
    try:
        return numba.njit(cache=True, **options)(function)
    except (RuntimeError, OSError):  # "cannot cache function …: no locator available"
        return numba.njit(cache=_use_temporary_cache(), **options)(function)


def _use_temporary_cache() -> bool:
    """Whether there is a temporary place for the cache; Numba then uses it."""
    try:
        folder = str(temporary_cache())
    except OSError:
        return False
    os.environ["NUMBA_CACHE_DIR"] = folder  # also for processes that this one starts, and when Numba reads it again
    _CONFIG.CACHE_DIR = folder
    return True


def _announced(kernel: Any) -> Any:
    """A kernel that says so while it is compiled, which takes seconds the first time on a machine."""
    compile_it = getattr(kernel, "compile", None)
    if compile_it is not None:

        def compile_announced(*signature: Any) -> Any:
            with activity("compiling, once on this machine"):
                return compile_it(*signature)

        kernel.compile = compile_announced
    return kernel


def _with_careful_cache(kernel: Any) -> Any:
    """A kernel whose machine code cannot be kept (a full disk) is compiled again next time; that is no failure."""
    cache: Any = getattr(kernel, "_cache", None)
    if hasattr(cache, "save_overload"):
        keep = cache.save_overload

        def keep_if_possible(*words: Any) -> None:
            with contextlib.suppress(OSError):
                keep(*words)

        cache.save_overload = keep_if_possible
    return kernel
