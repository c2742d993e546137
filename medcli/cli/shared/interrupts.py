"""Ctrl-C, a cluster's time limit (SIGTERM), a closed terminal (SIGHUP; SIGBREAK on Windows, also Ctrl-Break).

The first one cleans up, the second one leaves.

A command that is interrupted ends with :data:`INTERRUPTED` after its threads have finished what they were writing. Who
does not wait for that ends the process at once, with the same status: each file is complete or absent at any moment,
so the next run resumes all the same. Python itself would end such a process while threads of C++ still run, which
aborts it.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
from typing import Any, NoReturn

from medcli.core.threads import has_left_items, interrupted

INTERRUPTED = 130
_SHOW_CURSOR = "\x1b[?25h\n"


class Interrupts:
    """Receives the signals of one command."""

    def __init__(self) -> None:
        self.came = self.said = False
        self.hint = "run the same command again to resume"

    def receive(self) -> None:
        """From here on, signals come here; those that are ignored (``nohup``) stay ignored."""
        interrupted.clear()
        for number in _signals():
            with contextlib.suppress(ValueError):  # not in the main thread
                if signal.getsignal(number) is not signal.SIG_IGN:
                    signal.signal(number, self._take)
        atexit.unregister(_ignore)
        atexit.register(_ignore)

    def say(self) -> int:
        """Tell the user how to go on, once; the status to exit with."""
        self.came = True
        if not self.said:
            self.said = True
            print(f"interrupted; {self.hint}", file=sys.stderr)
        return INTERRUPTED

    def _take(self, number: int, frame: Any) -> None:
        if not self.came:
            self.came = True
            interrupted.set()
            raise KeyboardInterrupt
        self._leave()

    def end(self) -> NoReturn:
        """Leave an interrupted command; without waiting for threads that do not end."""
        status = self.say()
        if has_left_items():
            self._leave()
        sys.exit(status)

    def _leave(self) -> NoReturn:
        with contextlib.suppress(Exception):  # the streams may be in use right now
            if sys.stderr.isatty() and not self.said:
                print(_SHOW_CURSOR, end="", file=sys.stderr)  # bars hide it
            self.say()
            sys.stderr.flush()
            sys.stdout.flush()
        os._exit(INTERRUPTED)


def _signals() -> list[signal.Signals]:
    names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")  # the last is Windows', which has no SIGHUP
    return [getattr(signal, name) for name in names if hasattr(signal, name)]


def _ignore() -> None:
    """The process ends anyway: while Python takes itself apart, a signal would replace its status."""
    for number in _signals():
        with contextlib.suppress(ValueError):
            signal.signal(number, signal.SIG_IGN)
