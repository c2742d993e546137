"""Write the report of a run's folder."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import TemplateError

from medcli.core.errors import DataError, MedcliError, UsageError, quantity
from medcli.core.files import make_output_folder, write_text
from medcli.report.blocks import KeyFigures, Section
from medcli.report.demo import is_demo, read_demo
from medcli.report.html_page import Page, is_report, render_page
from medcli.report.provenance import data_section, facts, how_section
from medcli.report.run_files import RunReport
from medcli.report.runs import runs_in
from medcli.workspace.demo_folder import REPORT, RESULT
from medcli.workspace.report_folder import check_run_folder, no_run


@dataclass(frozen=True)
class ReportResult:
    """The written report.

    Attributes:
        folder: the run's folder.
        out: the page.
        title: of the page.
        runs: titles of the runs in it.
        sections: titles of its sections.
        bytes: size of the page.
        seconds: elapsed time.
    """

    folder: Path
    out: Path
    title: str
    runs: tuple[str, ...]
    sections: tuple[str, ...]
    bytes: int
    seconds: float
    schema: str = "medcli.report.v1"


def write_report(folder: Path, out: Path | None = None, overwrite: bool = False) -> ReportResult:
    """Write one self-contained HTML page on the run in ``folder``.

    Args:
        folder: of a run, finished or not, or of ``medcli demo``; or the table that a run wrote, or the JSON file of
            ``register bone``.
        out: the file to write; default ``folder/report.html``, or ``table.report.html``; a report is replaced.
        overwrite: also replace a file that is not a report.

    Raises:
        DataError: the folder does not exist or contains no run (the message lists what was looked for and the runs
            below it), or a file of the run is damaged.
        UsageError: ``out`` is another file.
        MedcliError: ``out`` cannot be written.
    """
    started = time.perf_counter()
    page, runs = page_of(folder)
    out = out or (folder.with_suffix(f".{REPORT}") if folder.is_file() else folder / REPORT)
    if out.is_file() and not overwrite and not is_report(out):
        raise UsageError(
            f"{out} exists and is not a medcli report", "choose another --out, or replace it with --overwrite"
        )
    text = _rendered(page, folder)
    try:
        make_output_folder(out.parent)
    except MedcliError as error:
        raise MedcliError(error.message, "write the page elsewhere: --out FILE") from error
    write_text(out, text, is_redacted=True)
    return ReportResult(
        folder=folder,
        out=out,
        title=page.title,
        runs=tuple(run.title for run in runs),
        sections=tuple(section.title for section in page.sections),
        bytes=len(text.encode("utf-8", "backslashreplace")),
        seconds=round(time.perf_counter() - started, 3),
    )


def page_of(folder: Path) -> tuple[Page, list[RunReport]]:
    """The report of a folder before rendering, and the runs in it; see :func:`write_report` for errors."""
    check_run_folder(folder)
    if is_demo(folder):
        demo, runs = _read_demo(folder)
        return _page(demo, [*demo.sections, how_section(demo), data_section(runs, synthetic=True)]), [demo, *runs]
    runs = runs_in(folder.parent, folder) if folder.is_file() else runs_in(folder)
    if not runs:
        raise no_run(folder)
    if len(runs) == 1:
        run = runs[0]
        return _page(run, [*run.sections, how_section(run), data_section(runs)]), runs
    sections = [Section(run.title, _figures(run), [*run.sections, how_section(run)]) for run in runs]
    both = RunReport(
        f"{quantity(len(runs), 'run')} in {folder.absolute().name}",
        "; ".join(run.title for run in runs) + ".",
        origin=runs[0].origin,
    )
    return _page(both, [*sections, data_section(runs)]), runs


def _rendered(page: Page, folder: Path) -> str:
    """The page; what a file says in place of a text, such as a list, is noticed only here."""
    try:
        return render_page(page)
    except (KeyError, TypeError, ValueError, AttributeError, TemplateError) as error:
        raise DataError(
            f"a file in {folder} is damaged, or of another version of medcli: {type(error).__name__} {error}",
            "run the command that wrote it again",
        ) from error


def _read_demo(folder: Path) -> tuple[RunReport, list[RunReport]]:
    try:
        return read_demo(folder)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{folder / RESULT} is damaged: {type(error).__name__} {error}", "run medcli demo again"
        ) from error


def _page(run: RunReport, sections: Sequence[Section]) -> Page:
    figures = next(iter(_figures(run)), None)
    shown = [one for one in sections if one.blocks or one.sections]
    return Page(run.title, run.lead, facts(run), figures, list(run.notes), shown)


def _figures(run: RunReport) -> list[KeyFigures]:
    return [KeyFigures(run.known_figures)] if run.known_figures else []
