"""Where words go: results to stdout, progress and warnings to stderr.

A command gets one :class:`Output`, made from its ``--json --quiet --verbose``, and ends with :meth:`Output.finish`.
"""

from __future__ import annotations

import contextlib
import logging
import re
import shutil
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import typer

from medcli.core.errors import DISK_FULL, MedcliError
from medcli.core.json_text import to_json
from medcli.core.progress import SILENT, Advance, Progress, current_activity
from medcli.core.secrets import redact
from medcli.training.epoch_table import time_left

ITEMS_FAILED = 4
"""Exit code of a command that finished although some items failed."""
_MOST_FAILURES_SHOWN = 20
_WIDTH = 80  # columns of a terminal as it opens
_NUMBERS_WIDTH, _LEAST_LABEL = 44, 12
"""Columns beside the label of a bar: a short bar, counts, rate and time left. A label that has no room is folded."""


class Output:
    """What one command prints, and where."""

    def __init__(self, as_json: bool = False, quiet: bool = False, verbose: bool = False) -> None:
        self.as_json, self.quiet, self.verbose = as_json, quiet, verbose
        _set_up_logging(logging.ERROR if quiet else logging.DEBUG if verbose else logging.INFO)

    def progress(self) -> Progress:
        """Bars on a terminal, a line now and then in a log file, nothing when quiet."""
        if self.quiet:
            return SILENT
        return _Bars() if sys.stderr.isatty() else _Lines()

    def hush(self) -> None:
        """From here on as with ``--quiet``: another process reports the progress."""
        self.quiet = True
        _set_up_logging(logging.ERROR)

    def line(self, text: str = "") -> None:
        """A line of a human-readable result; nothing with --json."""
        if not self.as_json:
            _write(text)

    def pairs(self, rows: Mapping[str, Any]) -> None:
        """Names and values in two aligned columns; long texts wrap within the second column, paths are not broken.

        A tuple of texts is one value: each begins on a line of its own, and its further lines are indented.
        """
        width = max((len(name) for name in rows), default=0)
        room = max(_WIDTH - width - 2, 20)
        for name, value in rows.items():
            if isinstance(value, tuple):
                parts = [part for text in value for part in folded(text, room, "  ")]
            else:
                parts = folded(value, room) if isinstance(value, str) else [str(value)]
            for number, part in enumerate(parts):
                self.line(f"{'' if number else name:<{width}}  {part}")

    def table(self, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Aligned columns; numbers to the right, text to the left."""
        if self.as_json or not rows:
            return
        cells = [[str(cell) for cell in row] for row in rows]
        widths = [max(len(cell) for cell in column) for column in zip(header, *cells, strict=True)]
        numeric = [all(isinstance(row[i], (int, float)) for row in rows) for i in range(len(header))]
        for line in [list(header), *cells]:
            aligned = (
                cell.rjust(width) if right else cell.ljust(width)
                for cell, width, right in zip(line, widths, numeric, strict=True)
            )
            _write("  ".join(aligned).rstrip())

    def finish(self, result: Any, show: Callable[[Any], None] | None = None) -> None:
        """Print ``result`` (a dataclass) as JSON or through ``show``; exit with status 4 if it lists failures."""
        if self.as_json:
            _write(to_json(result, is_ascii=not (sys.stdout.encoding or "utf-8").lower().startswith("utf")))
        elif show is not None:
            show(result)
        failures = getattr(result, "failures", ())
        if failures:
            self._list_failures(failures)
            raise typer.Exit(ITEMS_FAILED)

    def _list_failures(self, failures: Sequence[Any]) -> None:
        if self.as_json:
            return
        for failure in failures[:_MOST_FAILURES_SHOWN]:
            say("failed: ", str(failure))
        if len(failures) > _MOST_FAILURES_SHOWN:
            more = len(failures) - _MOST_FAILURES_SHOWN
            typer.echo(f"failed: {more} more; --json lists all", err=True)


def _write(text: str) -> None:
    """A line on standard output; a full disk behind it is the user's to mend."""
    try:
        typer.echo(text)
    except OSError as error:
        if error.errno in DISK_FULL:
            raise MedcliError(f"the work is done, but its result cannot be printed: {error.strerror}") from error
        raise


class _StderrHandler(logging.Handler):
    """Writes to the stderr of the moment, which a progress bar may have replaced."""

    def emit(self, record: logging.LogRecord) -> None:
        prefix = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        say(prefix, self.format(record))


def say(prefix: str, text: str) -> None:
    """A line on standard error; on a terminal folded between words, under its beginning; in a file one line."""
    text = redact(text)  # before it is folded: a credential may hold blanks
    if sys.stderr.isatty():
        width = max(shutil.get_terminal_size().columns, len(prefix) + 20)
        lines = [part for line in f"{prefix}{text}".splitlines() for part in folded(line, width, " " * len(prefix))]
        prefix, text = "", "\n".join(lines)
    if _Bars.display is not None:
        _Bars.display.console.print(_Whole(f"{prefix}{text}\n"), crop=False)
    else:
        print(prefix + text, file=sys.stderr, flush=True)


class _Whole:
    """Text above the bars, which the display would break into lines of the screen's width."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        from rich.segment import Segment

        yield Segment(self.text)


_COMMAND = re.compile(r"\b(?:medcli|wandb|pip) (?=[a-z])")


def folded(line: str, width: int, indent: str = "") -> list[str]:
    """``line`` folded between words, the following lines indented; a command in it stays one line.

    A command that is longer than the screen is left to the terminal to wrap, so that it can be copied.
    """
    options = {"subsequent_indent": indent, "break_long_words": False, "break_on_hyphens": False}
    found = _COMMAND.search(line)
    if found is None or len(line) <= width:
        return textwrap.wrap(line, width, **options) or [""]  # type: ignore[arg-type]
    before, command = line[: found.start()], line[found.start() :]
    lines = textwrap.wrap(before, width, **options) or [""]  # type: ignore[arg-type]
    if not before.strip():
        return [before + command]
    if len(lines[-1]) + 1 + len(command) <= width:
        return [*lines[:-1], f"{lines[-1]} {command}"]
    return [*lines, indent + command]


def _set_up_logging(level: int) -> None:
    logger = logging.getLogger("medcli")
    logger.handlers = [_StderrHandler()]
    logger.setLevel(level)
    logger.propagate = False


class _Lines:
    """Progress for a log file: a line when a task has run for a while, then every half minute."""

    def __init__(self, every_s: float = 30.0) -> None:
        self.every_s = every_s

    @contextlib.contextmanager
    def task(self, label: str, total: float | None, unit: str = "") -> Iterator[Advance]:
        lock = threading.Lock()
        started = last = time.monotonic()
        done = 0.0

        def advance(amount: float) -> None:
            nonlocal done, last
            with lock:
                done += amount
                now = time.monotonic()
                if now - last >= self.every_s:
                    last = now
                    print(_progress_line(label, done, total, unit, now - started), file=sys.stderr, flush=True)

        yield advance


def _progress_line(label: str, done: float, total: float | None, unit: str, seconds: float) -> str:
    rate = done / seconds if seconds > 0 else 0.0
    if unit == "B":
        speed, counted = f"{rate / 1e6:,.1f} MB/s", f"{done / 1e6:,.0f}"
        goal = f" of {total / 1e6:,.0f} MB" if total else " MB"
    else:
        speed, counted = f"{rate:,.1f}/s", f"{done:,.0f}"
        goal = f" of {total:,.0f} {unit}" if total else f" {unit}"
    is_begun = rate > 0 and done >= min(1, (total or 0) / 100)  # a part of the first item says little
    left = f", {time_left((total - done) / rate)} left" if total and is_begun else ""
    now = f" ({redact(current_activity())})" if current_activity() else ""
    return f"{label}: {counted}{goal}, {speed}{left}{now}"


class _Bars:
    """Progress bars on a terminal: one display for all tasks that run at the same time.

    The bar of a task that ends while others run (one file of many) disappears; the last one stays visible.
    """

    display: Any = None
    """The display of this process, while it is shown."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open = 0

    @contextlib.contextmanager
    def task(self, label: str, total: float | None, unit: str = "") -> Iterator[Advance]:
        with self._lock:
            if _Bars.display is None:
                _Bars.display = _display()
                _Bars.display.start()
            self._open += 1
            display = _Bars.display
            bar = display.add_task(redact(label), total=total, unit=unit)
        try:
            yield lambda amount: display.advance(bar, amount)
        finally:
            with self._lock:
                self._open -= 1
                if self._open:
                    display.remove_task(bar)
                else:
                    _Bars.display = None
                    display.stop()


def _display() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress
    from rich.table import Column
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Any) -> Text:
            if not task.speed:
                return Text("")
            unit = task.fields["unit"]
            return Text(
                f"{task.speed / 1e6:,.1f} MB/s" if unit == "B" else f"{task.speed:,.1f} {unit}/s".replace(" /", "/")
            )

    class Count(ProgressColumn):
        def render(self, task: Any) -> Text:
            scale, suffix = (1e6, " MB") if task.fields["unit"] == "B" else (1, "")
            goal = f"/{task.total / scale:,.0f}" if task.total else ""
            return Text(f"{task.completed / scale:,.0f}{goal}{suffix}")

    class Bars(RichProgress):
        """Below the bars: what is in progress, or what they wait for; folded, never cut."""

        def get_renderables(self) -> Any:
            longest = max((len(task.description) for task in self.tasks), default=0)
            label.min_width = min(longest, max(console.width - _NUMBERS_WIDTH, _LEAST_LABEL))
            yield from super().get_renderables()
            if now := current_activity():
                yield Text(f"  {redact(now)}", style="dim", overflow="fold")

    label, console = Column(overflow="fold"), Console(stderr=True)
    columns = [
        TextColumn("{task.description}", table_column=label),
        BarColumn(None),
        Count(),
        Rate(),
        TimeRemainingColumn(compact=True),
    ]
    return Bars(*columns, console=console, transient=False, expand=True)
