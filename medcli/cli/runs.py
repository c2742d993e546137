"""``medcli runs``: list, compare and repeat runs."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medcli.cli.shared import options
from medcli.cli.shared.command_runner import CommandRunner
from medcli.cli.shared.multi_value_options import App
from medcli.cli.shared.output import Output, say
from medcli.core.errors import UsageError
from medcli.core.files import check_output_folder
from medcli.core.refusals import refusals
from medcli.core.run_provenance import command_line
from medcli.core.shell import spell

if TYPE_CHECKING:
    from medcli.workspace.run_comparison import ComparedValue, RunComparison
    from medcli.workspace.run_listing import RunList
    from medcli.workspace.run_repeat import RepeatPlan, RepeatResult

app = App(help="List, compare and repeat runs.")
Folder = Annotated[Path, typer.Option(help="Folder of the runs.")]
_PLACES = ("--out", "--resume", "--overlays", "--figure")
_WIDTH = 80
_NARROWEST = 9


@app.command("list")
def list_(output: Output, runs: Folder = options.RUNS) -> None:
    """List the runs, newest last.

    When each began, its command, its state, its folder; then its data and its most important number.
    """
    from medcli.workspace.run_listing import list_runs

    output.finish(list_runs(runs, must_exist=runs != options.RUNS), lambda found: _show_list(output, found))


def _show_list(output: Output, found: RunList) -> None:
    from medcli.workspace.runs import DAMAGED

    if not found.runs:
        output.line(f"no runs yet; they would be in the folder {found.root}, made by medcli train, evaluate and others")
    kind = max((len(one.run.kind) for one in found.runs), default=0)
    state = max((len(one.run.state) for one in found.runs), default=0)
    for one in found.runs:
        output.line(f"{one.started[:16]}  {one.run.kind:<{kind}}  {one.run.state:<{state}}  {one.run.path}")
        data = f"{one.data}{' (synthetic)' if one.synthetic else ''}"
        what = one.run.detail if one.run.state == DAMAGED else one.run.headline or one.run.detail
        text = "; ".join(filter(None, (what, data)))
        for part in textwrap.wrap(text, _WIDTH - 18, break_long_words=False, break_on_hyphens=False):
            output.line(f"                  {part}")


@app.command("compare")
def compare(
    output: Output,
    names: Annotated[
        list[Path],
        typer.Argument(metavar="RUN", help="Two or more runs of one command: folders or tables.", show_default=False),
    ],
    runs: Folder = options.RUNS,
    report: Annotated[Path | None, typer.Option(help="Also write one HTML page with the curves of all runs.")] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace the page even if it is not a medcli report.")] = False,
) -> None:
    """Show differing settings and all figures side by side.

    A run is named by its folder or table, or by the end of its path below the folder of the runs. An asterisk marks
    figures that differ.

    \b
    Two trainings, with a page that shows both:
      medcli runs compare fpn-resnet34 unet-resnet34 --report compared.html
    """
    from medcli.workspace.run_comparison import compare_runs

    with refusals() as check:
        result = check(compare_runs, names, runs)
        if report:
            check(check_output_folder, report.parent)
    assert result is not None
    if report:
        from medcli.report.comparison import write_comparison

        write_comparison(result, report, overwrite)
        result = replace(result, report=report)
    output.finish(result, lambda found: _show_comparison(output, found))


def _show_comparison(output: Output, found: RunComparison) -> None:
    letters = [chr(ord("A") + i) if i < 26 else str(i + 1) for i in range(len(found.runs))]
    for letter, one in zip(letters, found.runs, strict=True):
        output.line(f"{letter:<3} {one.started[:16]}  {one.run.state}  {one.run.path}")
    output.line()
    if found.settings:
        _show_values(output, "setting that differs", letters, found.settings, marked=False)
    else:
        output.line("all settings are equal")
    output.line()
    _show_values(output, "figure", letters, found.figures, marked=True)
    if found.report:
        output.line()
        output.line(f"page: {found.report}")


def _show_values(
    output: Output, title: str, letters: Sequence[str], rows: Sequence[ComparedValue], marked: bool
) -> None:
    """A table that is as narrow as a terminal; values too long for their columns are below their name, one a line."""
    mark = {True: "* ", False: "  "} if marked else {True: "", False: ""}
    shown = [(row, [_text(value) for value in row.values]) for row in rows]
    texts = [[mark[row.differs and len(set(cells)) > 1] + row.name, *cells] for row, cells in shown]
    header = [("  " if marked else "") + title, *letters]
    name = max(len(line[0]) for line in [header, *texts])
    room = max((_WIDTH - name) // len(letters) - 2, _NARROWEST)
    columns = [line for line in [header, *texts] if max(map(len, line[1:])) <= room]
    widths = [max(len(line[i]) for line in columns) for i in range(len(header))]
    for line in [header, *texts]:
        if line not in columns:
            output.line(line[0])
            for letter, text in zip(letters, line[1:], strict=True):
                output.line(f"    {letter}  {text}")
            continue
        aligned = [line[0].ljust(widths[0])]
        aligned += [
            text.rjust(width) if marked else text.ljust(width) for text, width in zip(line[1:], widths[1:], strict=True)
        ]
        output.line("  ".join(aligned).rstrip())


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return " ".join(map(str, value))
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) and value >= 1e4 else str(value)


@app.command("repeat")
def repeat(
    ctx: typer.Context,
    output: Output,
    name: Annotated[Path, typer.Argument(metavar="RUN", help="Folder or table of the run.", show_default=False)],
    out: Annotated[Path | None, typer.Option(help="Folder or table of the new run.  [default: RUN-repeat]")] = None,
    runs: Folder = options.RUNS,
    dry_run: options.DryRun = False,
) -> None:
    """Run a run again, with the same settings.

    Into a new folder, from the settings that the run has stored; environment variables and medcli.toml do not change
    them. Says which versions and data are not those of that time, and afterwards which figures differ.

    \b
    Look first at the command:
      medcli runs repeat fpn-resnet34 --dry-run
    """
    from medcli.workspace.run_listing import get_run
    from medcli.workspace.run_repeat import RepeatResult, compare_repeated, plan_repeat

    run = get_run(name, runs)
    plan = plan_repeat(run, out)
    words = _words(ctx, plan)
    result = RepeatResult(plan.run, plan.out, spell("medcli", *words), plan.changes, dry_run=dry_run)
    if not output.quiet:
        for change in plan.changes:
            say("warning: ", change)
    if not dry_run:
        say("", result.command)
        with command_line(result.command), _arguments(words):
            CommandRunner(ctx, output).run(words)
        differences, count = compare_repeated(run, plan.out)
        result = replace(result, differences=differences, figures=count)
    output.finish(result, lambda done: _show_repeat(output, done))


def _words(ctx: typer.Context, plan: RepeatPlan) -> list[str]:
    """The command of a repetition; every value that something else could change is spelled out."""
    import os

    from medcli.cli.shared.config_file import words_of

    command: Any = ctx.find_root().command
    for part in plan.table:
        command = command.commands[part]
    if not any(param.name == "out" for param in command.params):
        raise UsageError(
            f"medcli {' '.join(plan.table)} writes into the data folder, not into one of its own",
            f"run it again as it was: {spell('medcli', *plan.typed)}",
        )
    if plan.options is None:
        return [*_without_out(plan.typed), "--out", str(plan.out)]
    values = {name: value for name, value in plan.options.items() if name not in ("out", "resume")}
    return [*plan.table, *words_of(command, values, os.environ), "--out", str(plan.out)]


def _without_out(typed: Sequence[str]) -> Iterator[str]:
    """A command line without what it writes, and without what would make it replace results or resume."""
    rest = iter(typed)
    for word in rest:
        if word in _PLACES:
            next(rest, None)
        elif word.partition("=")[0] not in (*_PLACES, "--overwrite", "--json"):
            yield word


@contextmanager
def _arguments(words: Sequence[str]) -> Iterator[None]:
    """The other processes of a training on several GPUs start with the words of this one: those of the training."""
    before = sys.argv
    sys.argv = [before[0], *words]
    try:
        yield
    finally:
        sys.argv = before


def _show_repeat(output: Output, done: RepeatResult) -> None:
    if done.dry_run:
        output.line(done.command)
        return
    rows: dict[str, Any] = {"repeated": done.run, "into": done.out}
    for value in done.differences:
        output.line(f"{value.name}: was {_text(value.values[0])}, is {_text(value.values[1])}")
    rows["figures"] = (
        f"{len(done.differences)} of {done.figures} differ" if done.differences else f"all {done.figures} equal"
    )
    output.pairs(rows)
