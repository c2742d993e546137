"""``medcli reconstruct``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from medcli.cli.shared import options
from medcli.cli.shared.multi_value_options import App
from medcli.cli.shared.output import Output
from medcli.core.errors import quantity
from medcli.core.files import check_output_folder
from medcli.core.refusals import refusals
from medcli.ultrabones.dataset.presence import check_record_masks, check_records
from medcli.ultrabones.dataset.probe import ULTRABONES100K, find_probe
from medcli.ultrabones.reconstruction.cleaning_options import Cleaning, check_cleaning, check_surface_extra

if TYPE_CHECKING:
    from medcli.ultrabones.reconstruction.settings import Reconstruction, ReconstructResult

app = App()


@app.command("ultrabones")
def ultrabones(
    output: Output,
    root: options.UltrabonesRoot = options.ULTRABONES_ROOT,
    specimens: options.Specimens = None,
    records: options.Records = None,
    mask: options.MaskFolder = "Labels",
    poses: options.PosesOfMasks = None,
    voxel_mm: Annotated[
        float, typer.Option(min=0.0, help="Keep one point in each cube with edges of so many mm; 0: all.")
    ] = 0.0,
    outlier_sd: Annotated[
        float,
        typer.Option(
            min=0.0,
            help="Leave out statistical outliers: mean distance to the 20 nearest cubes of 0.5 mm more than so many "
            "standard deviations above the mean; 0: none.",
        ),
    ] = 0.0,
    radius_mm: Annotated[
        float,
        typer.Option(min=0.0, help="Leave out points with fewer than 5 other cubes within so many mm; 0: none."),
    ] = 0.0,
    normals: Annotated[bool, typer.Option(help="Write normals, towards the probe, into the .ply file.")] = False,
    layout: Annotated[
        Literal["authors"] | None,
        typer.Option(help="authors: the .xyz file as SPECIMEN/3D_reconstructions/RECORD/reconstruction_pcd….xyz."),
    ] = None,
    surface: Annotated[
        Literal["open", "watertight"] | None,
        typer.Option(
            help="Also a surface (.stl) and its distance to CT: open, where bone was seen; or watertight, "
            "closed by a guess."
        ),
    ] = None,
    meshes: options.Meshes = None,
    merged: options.Merged = False,
    probe: options.ProbeChoice = None,
    out: Annotated[Path, typer.Option(help="Folder of point clouds, figures and measures.")] = options.RUNS
    / "reconstruct-ultrabones",
    workers: options.Workers = None,
    seed: options.Seed = 0,
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
) -> None:
    """Rebuild the bone surface that each record saw in 3D.

    Writes a .ply file, an .xyz file and a figure for each record.

    Distances are exact, from each point to the nearest triangle of the CT meshes; the published metric
    (nearest of a million random mesh points) is reported as well.

    \b
    From the labels; then from masks that medcli predict seg wrote:
      medcli reconstruct ultrabones --specimens 2
      medcli reconstruct ultrabones --specimens 2 --mask Labels_pred
    """
    with refusals() as check:
        calibration = check(find_probe, probe)
        check(check_records, root, specimens, records, meshes, merged)
        check(check_record_masks, root, specimens, records, mask)
        check(check_cleaning, Cleaning(voxel_mm, outlier_sd, radius_mm))
        check(check_surface_extra, surface)
        if not dry_run:
            check(check_output_folder, out)
    from medcli.ultrabones.reconstruction.reconstruct import reconstruct_ultrabones
    from medcli.ultrabones.reconstruction.settings import ReconstructSettings

    settings = options.settings_from(ReconstructSettings, locals(), probe=calibration)
    result = reconstruct_ultrabones(root, out, specimens, records, settings, workers, output.progress())
    output.finish(result, lambda found: _show(output, found))


def _show(output: Output, result: ReconstructResult) -> None:
    from medcli.ultrabones.pose_refinement.refinement_summary import describe_check

    header = ("record", "frames", "points", "mean", "median", "95 %", "max", "publ.")
    output.table(header, [_row(record) for record in result.records])
    output.line()
    for record in result.records:
        seen = ", ".join(f"{bone} {100 * share:.1f} %" for bone, share in record.seen.items())
        empty = f", {quantity(record.empty, 'mask')} empty" if record.empty else ""
        probe = "" if record.probe == ULTRABONES100K.name else f", probe: {record.probe}"
        output.line(
            f"{record.name}: {record.poses} poses{probe}{empty}" + (f"; seen within 1 mm: {seen}" if seen else "")
        )
        if record.echoes is not None and record.echoes.points:
            output.line(f"{record.name}: {describe_check(record.echoes)}")
        for line in _made(record):
            output.line(f"{record.name}: {line}")
    if result.dry_run:
        output.line(f"would write to {result.out}")
        return
    if not any(record.files for record in result.records):
        output.line("no mask has a bone pixel: no point cloud was written")
        return
    output.line("distances to the CT mesh in mm; publ.: the published metric")
    for caution in dict.fromkeys(record.caution for record in result.records if record.caution):
        output.pairs({"beware": caution})
    output.line(f"point clouds and figures in {result.out}")


def _made(record: Reconstruction) -> Iterator[str]:
    """What was made of the points beside the files of them all."""
    if record.cleaned_mm is not None:
        left, given = record.points_written, quantity(record.points, "point")
        yield (
            f"cleaned: {left:,} of {given}, mean {record.cleaned_mm.mean:.3f}, "
            f"95 % {record.cleaned_mm.percentile_95:.3f} mm"
        )
    elif 0 < record.points_written < record.points:
        yield f"thinned: {record.points_written:,} of {quantity(record.points, 'point')} in the files"
    if (shell := record.surface) is not None:
        back = f"{shell.from_ct.mean:.3f}" if shell.from_ct else "-"
        yield (
            f"{shell.kind} surface, {shell.faces:,} triangles: to CT {shell.to_ct.mean:.3f} mm (95 % "
            f"{shell.to_ct.percentile_95:.3f}), from CT {back} mm where seen, {shell.from_ct_all_mm:.2f} mm everywhere"
        )


def _row(record: Reconstruction) -> tuple[str | int, ...]:
    found = record.distance_mm
    if found is None or record.published_mm is None:
        return record.name, record.frames, record.points, "-", "-", "-", "-", "-"
    distances = (found.mean, found.median, found.percentile_95, found.maximum, record.published_mm)
    return record.name, record.frames, record.points, *(f"{value:.3f}" for value in distances)
