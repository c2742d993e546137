"""``medcli convert opensim`` and ``croissant``: knee motion, and the description of a data folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medcli.cli.shared import options
from medcli.cli.shared.output import Output
from medcli.core.errors import quantity
from medcli.core.files import check_output_folder
from medcli.core.refusals import refusals
from medcli.interchange.notes import check_motion_run

if TYPE_CHECKING:
    from medcli.interchange.croissant import CroissantResult
    from medcli.interchange.opensim import OpensimResult


def opensim(
    output: Output,
    run: Annotated[
        Path,
        typer.Argument(metavar="[RUN]", help="Folder of medcli kinematics, or a table like its kinematics.csv."),
    ] = options.RUNS / "kinematics",
    trials: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only these trials, as the table names them: 3 7."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the files, one a trial.")] = Path("opensim"),
    overwrite: options.Overwrite = False,
) -> None:
    """Write knee motion as motion files of OpenSim (.mot).

    medcli kinematics veriserum writes such files itself; this is for a table that was filtered, corrected or merged.

    \b
    The motion of a run; then of a table of your own:
      medcli convert opensim runs/kinematics
      medcli convert opensim corrected.csv --out corrected
    """
    with refusals() as check:
        check(check_motion_run, run)
        check(check_output_folder, out)
    from medcli.interchange.opensim import convert_to_opensim

    output.finish(convert_to_opensim(run, out, trials, overwrite), lambda done: _show_opensim(output, done))


def croissant(
    output: Output,
    root: Annotated[Path, typer.Argument(metavar="ROOT", help="A data folder of UltraBones100k or Veriserum.")],
    out: Annotated[
        Path | None, typer.Option(help="The file to write.  [default: croissant.json in the folder]")
    ] = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Describe a data folder for data catalogues (Croissant).

    Tables and meshes with their SHA-256, images as sets of files, the columns of tables as records. Paths are relative
    to the file.

    \b
    Each dataset:
      medcli convert croissant data/ultrabones
      medcli convert croissant data/veriserum
    """
    from medcli.interchange.croissant import croissant_path

    with refusals() as check:
        check(croissant_path, root, out, overwrite)
    from medcli.interchange.croissant import describe_folder

    output.finish(describe_folder(root, out, overwrite), lambda done: _show_croissant(output, done))


def _show_opensim(output: Output, result: OpensimResult) -> None:
    output.table(
        ["trial", "side", "frames", "left out"],
        [[one.trial, one.side, one.frames, one.missing] for one in result.motions],
    )
    output.line()
    output.line(f"{quantity(len(result.motions), 'file')} in {result.out}")


def _show_croissant(output: Output, done: CroissantResult) -> None:
    output.pairs(
        {
            "description": done.path,
            "dataset": done.dataset,
            "licence": done.licence or "none stated",
            "files": f"{done.files:,} with their SHA-256",
            "sets": ", ".join(done.sets) or "none",
            "records": ", ".join(f"{name} {count:,}" for name, count in done.records.items()),
        }
    )
