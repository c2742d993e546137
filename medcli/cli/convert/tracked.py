"""``medcli convert plus`` and ``slicer-ultrabones``: records of tracked ultrasound with their poses."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from medcli.cli.shared import options
from medcli.cli.shared.output import Output
from medcli.core.errors import quantity
from medcli.core.files import check_output_folder
from medcli.core.refusals import refusals
from medcli.interchange.notes import check_slicer_packages
from medcli.ultrabones.dataset.presence import check_frames_present
from medcli.ultrabones.dataset.probe import find_probe

if TYPE_CHECKING:
    from medcli.interchange.plus_sequence import PlusResult
    from medcli.interchange.slicer_sweep import SlicerSweeps


def plus(
    output: Output,
    root: options.UltrabonesRoot = options.ULTRABONES_ROOT,
    specimens: options.Specimens = None,
    records: options.Records = None,
    poses: options.KnownPoses = None,
    probe: options.ProbeChoice = None,
    compress: Annotated[bool, typer.Option(help="Compress the pixels (zlib).")] = False,
    out: Annotated[Path, typer.Option(help="Folder of the files, one a record.")] = Path("plus"),
    overwrite: options.Overwrite = False,
) -> None:
    """Write records as sequence files of PLUS (.igs.mha).

    Every frame with ProbeToReference, its pose in CT, and ImageToProbe. medcli import plus makes records of them again.

    \b
    The records of a specimen; then one, with the poses as tracked:
      medcli convert plus --specimens 2
      medcli convert plus --specimens 2 --records 1 --poses initial --out one
    """
    with refusals() as check:
        check(check_frames_present, root, specimens)
        check(find_probe, probe)
        check(check_output_folder, out)
    from medcli.interchange.plus_sequence import convert_to_plus

    result = convert_to_plus(root, out, specimens, records, poses, probe, compress, overwrite, output.progress())
    output.finish(result, lambda done: _show_plus(output, done))


def slicer_ultrabones(
    output: Output,
    root: options.UltrabonesRoot = options.ULTRABONES_ROOT,
    specimens: options.Specimens = None,
    records: options.Records = None,
    poses: options.KnownPoses = None,
    probe: options.ProbeChoice = None,
    meshes: options.Meshes = None,
    mask: Annotated[str, typer.Option(help="Folder of masks whose pixels become points; none: no points.")] = "Labels",
    points: Annotated[int, typer.Option(min=0, help="At most so many points of bone.")] = 500,
    file_format: Annotated[
        Literal["tfm", "h5"], typer.Option("--format", help="File format of single transforms.")
    ] = "tfm",
    out: Annotated[Path, typer.Option(help="Folder of the results, with one for each record.")] = Path("slicer"),
    overwrite: options.Overwrite = False,
) -> None:
    """Write records for 3D Slicer: poses, points, meshes.

    ProbeToReference as a sequence and as single transforms, ImageToProbe, points as markups, and the CT meshes. CT
    coordinates are taken as LPS, as Slicer takes those of a mesh.

    \b
    A record; drag its folder into Slicer:
      medcli convert slicer-ultrabones --specimens 2 --records 1
    """
    with refusals() as check:
        check(check_frames_present, root, specimens)
        check(check_slicer_packages)
        check(find_probe, probe)
        check(check_output_folder, out)
    from medcli.interchange.slicer_sweep import SlicerSweepSettings, convert_sweeps_to_slicer

    settings = SlicerSweepSettings("" if mask == "none" else mask, points, meshes, file_format)
    result = convert_sweeps_to_slicer(
        root, out, specimens, records, settings, poses, probe, overwrite, output.progress()
    )
    output.finish(result, lambda done: _show_slicer(output, done))


def _show_plus(output: Output, result: PlusResult) -> None:
    output.table(
        ["record", "frames", "without pose", "pixels", "poses", "MB"],
        [
            [one.record, one.frames, one.untracked, f"{one.columns} x {one.rows}", one.poses, round(one.bytes / 1e6, 1)]
            for one in result.sequences
        ],
    )
    output.line()
    output.line(f"{quantity(len(result.sequences), 'file')} in {result.out}")


def _show_slicer(output: Output, result: SlicerSweeps) -> None:
    output.table(
        ["record", "poses", "points", "meshes"],
        [[one.record, one.poses, one.points, " ".join(one.meshes) or "none"] for one in result.sweeps],
    )
    output.line()
    output.pairs({"folders": result.out, "coordinates": result.coordinates})
