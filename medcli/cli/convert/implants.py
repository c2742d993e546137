"""``medcli convert jtml``, ``autoscoper`` and ``slicer-veriserum``: implants' poses and both planes' cameras."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from medcli.cli.shared import options
from medcli.cli.shared.output import Output
from medcli.core.errors import quantity
from medcli.core.files import check_output_folder
from medcli.core.refusals import refusals
from medcli.interchange.notes import check_slicer_packages

if TYPE_CHECKING:
    from medcli.interchange.implant_files import ConvertedTrials

Size = Annotated[int, typer.Option(min=1, help="Pixels along each side of the calibrated images.")]


def jtml(
    output: Output,
    root: options.VeriserumRoot = options.VERISERUM_ROOT,
    poses: options.AnyPoses = None,
    trials: options.TrialNames = None,
    source_calibration: options.SourceCalibration = None,
    inter_plane: options.InterPlane = None,
    pose_frame: options.PoseFrame = "world",
    size: Size = 512,
    file_format: Annotated[
        Literal["jts", "jtak"], typer.Option("--format", help="Form of the poses; JTML reads both.")
    ] = "jts",
    out: Annotated[Path, typer.Option(help="Folder of the results, with one for each trial.")] = Path("jtml"),
    overwrite: options.Overwrite = False,
) -> None:
    """Write poses of implants and cameras for JTML.

    For JointTrack as well. For each plane a calibration and the poses of each component, a line for each image;
    frames.csv has their ids. medcli import jtml makes a table of them again.

    \b
    Every trial; and calibrated images that JTML reads:
      medcli convert jtml
      medcli calibrate veriserum --format png --out calibrated-png
    """
    _convert("jtml", output, locals())


def autoscoper(
    output: Output,
    root: options.VeriserumRoot = options.VERISERUM_ROOT,
    poses: options.AnyPoses = None,
    trials: options.TrialNames = None,
    source_calibration: options.SourceCalibration = None,
    inter_plane: options.InterPlane = None,
    pose_frame: options.PoseFrame = "world",
    size: Size = 512,
    out: Annotated[Path, typer.Option(help="Folder of the results, with one for each trial.")] = Path("autoscoper"),
    overwrite: options.Overwrite = False,
) -> None:
    """Write poses of implants and cameras for Autoscoper.

    A .tra file of each component, and a MayaCam 2.0 file of each plane, which XMALab reads too. medcli import
    autoscoper makes a table of them again.

    \b
    Every trial, for calibrated images of 1024 pixels:
      medcli convert autoscoper --size 1024
    """
    _convert("autoscoper", output, locals())


def slicer_veriserum(
    output: Output,
    root: options.VeriserumRoot = options.VERISERUM_ROOT,
    poses: options.AnyPoses = None,
    trials: options.TrialNames = None,
    source_calibration: options.SourceCalibration = None,
    implants: options.Implants = None,
    inter_plane: options.InterPlane = None,
    pose_frame: options.PoseFrame = "world",
    frame_rate: Annotated[
        float | None,
        typer.Option(min=0.1, max=10_000, help="Frames per second.  [default: times of the table, else 25]"),
    ] = None,
    file_format: Annotated[
        Literal["tfm", "h5"], typer.Option("--format", help="File format of single transforms.")
    ] = "tfm",
    out: Annotated[Path, typer.Option(help="Folder of the results, with one for each trial.")] = Path("slicer"),
    overwrite: options.Overwrite = False,
) -> None:
    """Write poses and meshes of implants for 3D Slicer.

    FemurToWorld and TibiaToWorld as sequences and single transforms, the meshes in their own coordinates, and markups
    of both sources and image planes. The world is plane bs, taken as LPS.

    \b
    A trial; drag its folder into Slicer, and put each mesh under its transform:
      medcli convert slicer-veriserum --trials 1
    """
    _convert("slicer", output, locals())


def _convert(program: str, output: Output, given: Mapping[str, Any]) -> None:
    """Write the files of a program by the options of its command, of which all have most."""
    from medcli.veriserum.dataset import contents_check, folder_index

    root, poses, implants, out = given["root"], given["poses"], given.get("implants"), given["out"]
    with refusals() as check:
        check(folder_index.check_root, root)
        check(contents_check.check_table, root, folder_index.POSE_FILE if poses else folder_index.POSES, poses)
        check(contents_check.check_table, root, folder_index.SOURCES, given["source_calibration"])
        check(contents_check.check_inter_plane, given["inter_plane"])
        if implants:
            check(folder_index.check_root, implants)
        if program == "slicer":
            check(check_slicer_packages)
        check(check_output_folder, out)
    from medcli.interchange.implant_files import ImplantFileSettings, convert_implants
    from medcli.interchange.implant_trials import ImplantSources
    from medcli.veriserum.geometry.biplane import PoseFrame

    sources = options.settings_from(ImplantSources, given, frame=PoseFrame(given["pose_frame"]))
    settings = options.settings_from(ImplantFileSettings, given, format=given.get("file_format", ""))
    result = convert_implants(sources, out, program, settings, given["trials"], given["overwrite"], output.progress())
    output.finish(result, lambda done: _show(output, done))


_MOST_ROWS = 20


def _show(output: Output, result: ConvertedTrials) -> None:
    output.table(
        ["trial", "frames", "missing poses", "implants"],
        [
            [
                one.trial,
                one.frames,
                one.missing,
                ", ".join(f"{kind} {number}" for kind, number in one.anatomies.items()),
            ]
            for one in result.trials[:_MOST_ROWS]
        ],
    )
    if len(result.trials) > _MOST_ROWS:
        output.line(f"… {len(result.trials) - _MOST_ROWS:,} more")
    output.line()
    output.pairs(
        {
            "poses": f"{result.poses}; {quantity(len(result.trials), 'trial')} by {result.trials_by}",
            "coordinates": result.frame,
            "folders": result.out,
        }
    )
