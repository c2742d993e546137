"""``medcli report``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medcli.cli.shared.multi_value_options import App
from medcli.cli.shared.output import Output
from medcli.core.files import check_output_folder
from medcli.core.refusals import refusals

if TYPE_CHECKING:
    from medcli.report.write import ReportResult


app = App()


@app.command("report")
def report(
    output: Output,
    run: Annotated[
        Path,
        typer.Argument(
            metavar="RUN", help="Folder of a run or of medcli demo, or a run's table or result.", show_default=False
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="File to write.  [default: report.html in RUN, or RUN.report.html]", show_default=False),
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace OUT even if it is not a medcli report.")] = False,
) -> None:
    """Write one HTML page that shows a run to others.

    Command, versions, results, curves, images and 3D views of the run.

    The page is complete in itself: it needs no network and can be sent by mail. RUN is a folder that train, evaluate,
    predict, calibrate, label, reconstruct, register, kinematics or demo wrote to, or the table that one of them wrote,
    or the JSON file of register bone.
    """
    from medcli.workspace.report_folder import check_run_folder

    with refusals() as check:
        check(check_run_folder, run)
        if out:
            check(check_output_folder, out.parent, "--out FILE")
    from medcli.report.write import write_report

    result = write_report(run, out, overwrite)
    output.finish(result, lambda done: _show(output, done))


def _show(output: Output, result: ReportResult) -> None:
    from medcli.transfer.plan import gigabytes

    output.pairs(
        {
            "report": result.title,
            "sections": "; ".join(result.sections),
            "size": gigabytes(result.bytes),
            "open": result.out,
        }
    )
