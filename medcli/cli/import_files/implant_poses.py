"""``medcli import jtml`` and ``autoscoper``: tables of poses from files of programs that match implants."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from medcli.cli.shared import options
from medcli.cli.shared.output import Output
from medcli.core.errors import quantity
from medcli.core.files import check_readable
from medcli.core.refusals import refusals

if TYPE_CHECKING:
    from medcli.interchange.imported_poses import ImportedPoses

Anatomies = Annotated[
    list[int], typer.Option(metavar="N", help="The implant (anatomy_id) of each file, in their order.")
]
FramesTable = Annotated[
    Path | None,
    typer.Option(help="Which id each row is of, CSV: row, id.  [default: frames.csv beside the files or above]"),
]
OutFolder = Annotated[Path, typer.Option(help="Folder of the table.")]


def jtml(
    output: Output,
    files: Annotated[list[Path], typer.Argument(metavar="POSES", help="Files of one trial: .jts or .jtak.")],
    anatomies: Anatomies,
    calibration: Annotated[Path, typer.Option(help="Calibration of the plane: JT_INTCALIB.")],
    plane: Annotated[
        Literal["bs", "fs"] | None,
        typer.Option(help="Plane that the files belong to.  [default: by their folder, bs or fs]"),
    ] = None,
    inter_plane: options.InterPlane = None,
    frames: FramesTable = None,
    out: OutFolder = Path("imported"),
    overwrite: options.Overwrite = False,
) -> None:
    """Make a table of poses of files of JointTrack and JTML.

    Poses are taken from the frame of their plane, at its source, to the world. Frames without a pose are left out.

    \b
    A trial that medcli convert jtml wrote, after a correction; then its motion:
      medcli import jtml bs/femur.jts bs/tibia.jts --anatomies 1 3 \\
        --calibration bs/calibration.txt
      medcli kinematics veriserum --poses imported/poses.csv
    """
    with refusals() as check:
        for file in (*files, calibration):
            check(check_readable, file)
        if frames:
            check(check_readable, frames)
    from medcli.interchange.imported_poses import import_jtml

    result = import_jtml(files, anatomies, calibration, out, plane, inter_plane, frames, overwrite)
    output.finish(result, lambda done: _show(output, done))


def autoscoper(
    output: Output,
    files: Annotated[list[Path], typer.Argument(metavar="POSES", help="Files of one trial: .tra (matrix, row, mm).")],
    anatomies: Anatomies,
    calibration: Annotated[
        list[Path],
        typer.Option(metavar="BS FS", help="Cameras of plane bs and plane fs, MayaCam 2.0."),
    ],
    frames: FramesTable = None,
    out: OutFolder = Path("imported"),
    overwrite: options.Overwrite = False,
) -> None:
    """Make a table of poses of files of Autoscoper, with cameras.

    The world may be any: it becomes that of plane bs. Beside poses.csv are source_int_calibration.csv and
    inter_plane.json, which other commands read.

    \b
    A trial that medcli convert autoscoper wrote, after a correction:
      medcli import autoscoper femur.tra tibia.tra --anatomies 1 3 \\
        --calibration mayacam_bs.txt mayacam_fs.txt
      medcli kinematics veriserum --poses imported/poses.csv
    """
    with refusals() as check:
        for file in (*files, *calibration):
            check(check_readable, file)
        if frames:
            check(check_readable, frames)
    from medcli.interchange.imported_poses import import_autoscoper

    result = import_autoscoper(files, anatomies, calibration, out, frames, overwrite)
    output.finish(result, lambda done: _show(output, done))


def _show(output: Output, done: ImportedPoses) -> None:
    rows = {
        "poses": f"{quantity(done.poses, 'pose')} of anatomies {' '.join(map(str, done.anatomies))}",
        "missing": f"{done.missing:,}",
        "table": f"{done.out / 'poses.csv'}; --poses of other commands names it",
    }
    if done.numbered:
        rows["ids"] = "numbered from 1: no frames.csv"
    if done.has_cameras:
        rows["cameras"] = f"{done.out / 'source_int_calibration.csv'}, {done.out / 'inter_plane.json'}"
    output.pairs(rows)
