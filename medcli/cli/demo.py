"""``medcli demo``."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from medcli.cli.shared import options
from medcli.cli.shared.command_runner import CommandRunner
from medcli.cli.shared.multi_value_options import App
from medcli.cli.shared.output import Output, folded
from medcli.core.errors import quantity
from medcli.core.shell import spell
from medcli.demo import DemoResult, Listener, Step, run_demo
from medcli.demo.plan import DemoTask

_WIDTH = 80


app = App()


@app.command("demo")
def demo(
    ctx: typer.Context,
    output: Output,
    out: Annotated[Path, typer.Option(help="Folder of everything the demonstration makes.")] = Path("demo"),
    quick: Annotated[bool, typer.Option(help="Less data, shorter training, no knee motion.")] = False,
    data_only: Annotated[bool, typer.Option(help="Make the synthetic data, and stop.")] = False,
    seed: options.Seed = 0,
    workers: options.Workers = None,
) -> None:
    """See every command work, without any data.

    It takes 2 to 7 minutes on two free cores, or 1 to 3 with --quick.

    Makes small synthetic copies of both datasets, then labels, trains, evaluates, predicts, reconstructs, calibrates
    and registers, prints the command of each step, and writes a report. Run again, it does nothing twice.
    """
    commands = CommandRunner(ctx, output)
    if not output.verbose:  # the steps' own lines, as one an epoch, would drown those of the demonstration
        logging.getLogger("medcli").setLevel(logging.ERROR if output.quiet else logging.WARNING)
    lines = _Lines(output)
    result = run_demo(out, commands.run, quick, seed, workers, data_only, lines, commands.progress())
    output.finish(result, lambda done: _show(output, done, lines))


class _Lines(Listener):
    """Prints each step as it comes."""

    def __init__(self, output: Output) -> None:
        self.output = output
        self.kept, self.seconds = 0, 0.0

    def begins(self, task: DemoTask, number: int, total: int) -> None:
        self.output.line(f"[{number}/{total}] {task.title}")
        self.output.line(f"  $ {task.command}")  # one line, however long: it can be copied into any shell

    def ends(self, step: Step, was_done: bool) -> None:
        self.kept += was_done
        self.seconds += 0 if was_done else step.seconds
        seconds = f"{step.seconds} s" + (", done by an earlier run" if was_done else "")
        rows = {**step.numbers, "time": seconds}
        width = max(map(len, rows))
        for name, value in rows.items():
            self.output.line(f"    {name:<{width}}  {value}")
        self.output.line()

    def fails(self, reasons: Sequence[str]) -> None:
        for reason in reasons:
            for line in folded(f"failed: {reason}", _WIDTH - 4):
                self.output.line(f"    {line}")
        self.output.line()


_OPENERS = {"darwin": "open", "win32": "explorer"}


def _show(output: Output, result: DemoResult, lines: _Lines) -> None:
    steps, took = quantity(len(result.steps), "step"), f"{lines.seconds:,.0f} s on {quantity(result.cores, 'core')}"
    if lines.kept == len(result.steps):
        done = f"{steps}, by an earlier run: nothing was left to do"
    else:
        done = f"{steps}, {lines.kept} of them by an earlier run; {took}" if lines.kept else f"{steps} in {took}"
    rows = {"done": done, "folder": result.out}
    if result.report:
        rows["report"] = result.report
        rows["open it"] = f"{spell(_OPENERS.get(sys.platform, 'xdg-open'), result.report)}, or with any browser"
    output.pairs(rows)
