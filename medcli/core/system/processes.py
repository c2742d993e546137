"""Whether a process runs, by its number."""

from __future__ import annotations

import os
from typing import Any

_MOST = 0x7FFF_FFFF
_QUERY, _SYNCHRONIZE = 0x1000, 0x0010_0000  # PROCESS_QUERY_LIMITED_INFORMATION, SYNCHRONIZE
_ACCESS_DENIED, _WAIT_TIMEOUT = 5, 0x102


def is_other_running_process(pid: int) -> bool:
    """Whether a process of this number runs that is not this one; one of another user counts."""
    if pid == os.getpid() or not 0 < pid <= _MOST:
        return False
    if os.name == "nt":  # there, os.kill would end it
        return _runs_on_windows(pid)
    try:
        os.kill(pid, 0)
    except OSError as error:
        return isinstance(error, PermissionError)
    return True


def _runs_on_windows(pid: int) -> bool:
    """Ask for the process; its number stays in use after its end while another process has a handle of it.

    https://learn.microsoft.com/windows/win32/api/processthreadsapi/nf-processthreadsapi-openprocess
    """
    import ctypes

    kernel: Any = ctypes.WinDLL("kernel32", use_last_error=True)  # type: ignore[attr-defined]
    kernel.OpenProcess.restype = ctypes.c_void_p
    kernel.WaitForSingleObject.argtypes = (ctypes.c_void_p, ctypes.c_ulong)
    kernel.CloseHandle.argtypes = (ctypes.c_void_p,)
    handle = kernel.OpenProcess(_QUERY | _SYNCHRONIZE, False, pid)
    if not handle:
        return bool(ctypes.get_last_error() == _ACCESS_DENIED)  # type: ignore[attr-defined]
    try:
        return bool(kernel.WaitForSingleObject(handle, 0) == _WAIT_TIMEOUT)
    finally:
        kernel.CloseHandle(handle)
