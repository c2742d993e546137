"""``medcli reconstruct``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medcli.cli.shared import options
from medcli.cli.shared.multi_value_options import App
from medcli.cli.shared.output import Output
from medcli.core.errors import quantity
from medcli.core.files import check_output_folder
from medcli.core.refusals import refusals
from medcli.ultrabones.dataset.presence import check_record_masks, check_records

if TYPE_CHECKING:
    from medcli.ultrabones.reconstruction.reconstruct import Reconstruction, ReconstructResult

app = App()


@app.command("ultrabones")
def ultrabones(
    output: Output,
    root: options.UltrabonesRoot = options.ULTRABONES_ROOT,
    specimens: options.Specimens = None,
    records: options.Records = None,
    mask: Annotated[
        str, typer.Option("--mask", help="Folder of masks: Labels, Labels_full or Labels_pred.", metavar="NAME")
    ] = "Labels",
    poses: Annotated[
        options.PoseChoice | None,
        typer.Option("--poses", help="As tracked, or optimised.  [default: those the masks were made from]"),
    ] = None,
    voxel_mm: Annotated[
        float, typer.Option("--voxel-mm", min=0.0, help="Keep one point in each cube with edges of so many mm; 0: all.")
    ] = 0.0,
    meshes: options.Meshes = None,
    merged: options.Merged = False,
    out: Annotated[Path, typer.Option("--out", help="Folder of point clouds, figures and measures.")] = options.RUNS
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
        check(check_records, root, specimens, records, meshes, merged)
        check(check_record_masks, root, specimens, records, mask)
        if not dry_run:
            check(check_output_folder, out)
    from medcli.ultrabones.reconstruction.reconstruct import ReconstructSettings, reconstruct_ultrabones

    settings = ReconstructSettings(
        mask=mask,
        poses=poses,
        voxel_mm=voxel_mm,
        meshes=meshes,
        merged=merged,
        seed=seed,
        overwrite=overwrite,
        dry_run=dry_run,
    )
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
        output.line(f"{record.name}: {record.poses} poses{empty}" + (f"; seen within 1 mm: {seen}" if seen else ""))
        if record.echoes is not None and record.echoes.points:
            output.line(f"{record.name}: {describe_check(record.echoes)}")
    if result.dry_run:
        output.line(f"would write to {result.out}")
        return
    if not any(record.files for record in result.records):
        output.line("no mask has a bone pixel: no point cloud was written")
        return
    output.line("distances to the CT mesh in mm; publ.: the published metric")
    output.line(f"point clouds and figures in {result.out}")


def _row(record: Reconstruction) -> tuple[str | int, ...]:
    found = record.distance_mm
    if found is None or record.published_mm is None:
        return record.name, record.frames, record.points, "-", "-", "-", "-", "-"
    distances = (found.mean, found.median, found.percentile_95, found.maximum, record.published_mm)
    return record.name, record.frames, record.points, *(f"{value:.3f}" for value in distances)
