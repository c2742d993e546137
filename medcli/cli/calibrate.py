"""``medcli calibrate``: correct the distortion of X-ray images; measure that of your own, and your own probe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from medcli.cli.calibrate_probe import probe
from medcli.cli.shared import options
from medcli.cli.shared.multi_value_options import App
from medcli.cli.shared.output import Output
from medcli.core.errors import quantity
from medcli.core.files import check_figure_path, check_output_folder, check_readable
from medcli.core.refusals import refusals

if TYPE_CHECKING:
    from medcli.veriserum.calibration.grid_fit.fit_calibration import FitResult
    from medcli.veriserum.calibration.map_points import PointsResult
    from medcli.veriserum.calibration.undistort import CalibrationResult

POLYNOMIAL = "polynomial"

app = App()


@app.command("veriserum")
def veriserum(
    output: Output,
    root: options.VeriserumRoot = options.VERISERUM_ROOT,
    out: Annotated[Path | None, typer.Option(help="Folder of the results.  [default: ROOT/calibrated]")] = None,
    poses: options.PoseTable = None,
    distortion: options.DistortionTable = None,
    ids: options.Ids = None,
    planes: Annotated[list[Literal["bs", "fs"]], typer.Option(help="Planes to calibrate.")] = ["bs", "fs"],  # noqa: B006
    workers: options.Workers = None,
    size: Annotated[int, typer.Option(min=1, max=1600, help="Pixels along each side.")] = 512,
    file_format: Annotated[Literal["jpg", "png"], typer.Option("--format", help="File format of the results.")] = "jpg",
    quality: Annotated[int, typer.Option(min=0, max=100, help="JPEG quality, percent.")] = 95,
    resample: Annotated[
        Literal["reference", "area"],
        typer.Option(help="reference: the published pixels; area: anti-aliased, black outside."),
    ] = "reference",
    mask: Annotated[bool, typer.Option(help="With --resample area: also write the valid area of each plane.")] = False,
    skip_obsolete: Annotated[bool, typer.Option(help="Leave out ids whose pose is marked obsolete.")] = False,
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
) -> None:
    """Correct the distortion of every Veriserum image below ROOT.

    Writes calibrated_bs_NNNNNN.jpg and calibrated_fs_NNNNNN.jpg, pixel for pixel as the published code does. Images
    that exist are not computed again, so an interrupted run resumes.

    \b
    All images on 12 cores; then a few, sharper, as PNG:
      medcli calibrate veriserum --workers 12
      medcli calibrate veriserum --ids 1-100 --resample area --size 1024 \\
        --format png --out sharper
    """
    from medcli.veriserum.dataset import contents_check, folder_index

    if mask and resample != "area":
        raise typer.BadParameter("--mask needs --resample area: the published pixels have no outside")
    with refusals() as check:
        check(contents_check.check_native_images, root)
        check(contents_check.check_table, root, folder_index.POSES, poses)
        check(contents_check.check_table, root, folder_index.DISTORTIONS, distortion)
        if out and not dry_run:
            check(check_output_folder, out)
    from medcli.veriserum.calibration.undistort import CalibrationSettings, ImageSelection, calibrate

    result = calibrate(
        root,
        out,
        CalibrationSettings(size, file_format, quality, resample, mask),
        ImageSelection(poses, distortion, options.id_filter(ids), planes, skip_obsolete),
        workers=workers,
        overwrite=overwrite,
        dry_run=dry_run,
        progress=output.progress(),
    )
    output.finish(result, lambda done: _show(output, done))


def _show(output: Output, result: CalibrationResult) -> None:
    rows: dict[str, str | Path] = {
        "to do" if result.dry_run else "done": quantity(result.done, "image"),
        "existing": f"{result.skipped:,}",
        "failed": f"{result.failed:,}",
    }
    if result.obsolete:
        rows["obsolete"] = f"{result.obsolete:,} left out"
    rows["poses"] = result.poses
    rows["calibration table"] = result.distortion
    rows["calibrations"] = ", ".join(map(str, result.calibrations)) or "none"
    if result.images_per_second:
        rows["speed"] = f"{result.images_per_second:,.1f} images/s, {result.seconds:,.1f} s"
    rows["results"] = f"{result.out}{' (dry run: nothing written)' if result.dry_run else ''}"
    output.pairs(rows)


@app.command("points")
def points(
    output: Output,
    source: Annotated[
        Path, typer.Argument(metavar="POINTS.csv", help="Table, CSV, with columns x_px, y_px or x_mm, y_mm.")
    ],
    out: Annotated[Path, typer.Option(help="Table to write, CSV.")],
    to: Annotated[Literal["mm", "px"], typer.Option(help="mm: from pixels to millimetres; px: back.")] = "mm",
    calibration: Annotated[
        int | None,
        typer.Option(help="Id of the calibration.  [default: that of the pose of each row's id]"),
    ] = None,
    plane: Annotated[
        Literal["bs", "fs"] | None, typer.Option(help="Plane of the points.  [default: the plane column]")
    ] = None,
    root: options.VeriserumRoot = options.VERISERUM_ROOT,
    distortion: options.DistortionTable = None,
    poses: options.PoseTable = None,
) -> None:
    """Map points between native pixels and millimetres.

    Pixels (of tracked markers, say) are column and row of the native image, the top-left pixel's centre is (0, 0);
    millimetres are measured at the detector from the image centre, x to the right, y up.
    """
    from medcli.veriserum.dataset import contents_check, folder_index

    with refusals() as check:
        check(contents_check.check_points, source)
        check(contents_check.check_table, root, folder_index.DISTORTIONS, distortion)
        if calibration is None:
            check(contents_check.check_table, root, folder_index.POSES, poses)
        check(check_output_folder, out.parent)
    from medcli.veriserum.calibration.map_points import map_points

    result = map_points(source, out, root, to, calibration, plane, distortion, poses)
    output.finish(result, lambda done: _show_points(output, done))


def _show_points(output: Output, result: PointsResult) -> None:
    rows = {"points": f"{result.points:,}, to {result.to}", "table": result.out}
    if result.outside:
        rows["outside"] = (
            f"{quantity(result.outside, 'point is', 'points are')} outside the image (extrapolated or empty)"
        )
    output.pairs(rows)


@app.command("fit")
def fit(
    output: Output,
    grid_images: Annotated[
        list[str],
        typer.Argument(
            metavar="GRID_IMAGE",
            help="Image of the bead grid for each plane: bs=FILE fs=FILE, or files with bs or fs in their names.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Table of calibrations to add the row to, CSV.")],
    number: Annotated[
        int | None, typer.Option("--id", min=0, help="The row's id.  [default: one more than the largest]")
    ] = None,
    mirrored: Annotated[
        bool, typer.Option(help="The study's images are mirrored, as this one is; turn them back.")
    ] = False,
    figure: Annotated[
        Path | None, typer.Option(help="PNG of beads and residuals to write.  [default: beside the table]")
    ] = None,
    model: Annotated[str, typer.Option(help="Distortion model to fit.", metavar="NAME")] = POLYNOMIAL,
    overwrite: options.Overwrite = False,
) -> None:
    """Measure the distortion from images of the bead grid.

    Writes a row in the published format, which calibrate veriserum --distortion reads. Other rows of the table stay.

    \b
    Both planes of your own intensifier:
      medcli calibrate fit bs=grid_bs.png fs=grid_fs.png --out table.csv
    """
    from medcli.veriserum.calibration.grid_fit.calibration_table import CalibrationTable
    from medcli.veriserum.calibration.grid_fit.grid_images import images_by_plane

    with refusals() as check:
        if model != POLYNOMIAL:  # other models are known where NumPy is
            from medcli.veriserum.calibration.distortion_model import check_model

            check(check_model, model)
        images = check(images_by_plane, grid_images) or {}
        for path in images.values():
            check(check_readable, path)
        check(CalibrationTable.read, out)
        check(check_output_folder, out.parent)
        check(check_figure_path, figure, (".png",))
    from medcli.veriserum.calibration.grid_fit.fit_calibration import fit_calibration

    result = fit_calibration(
        images,
        out,
        number,
        mirrored=mirrored,
        overwrite=overwrite,
        figure=figure,
        model=model,
    )
    output.finish(result, lambda done: _show_fit(output, done))


def _show_fit(output: Output, result: FitResult) -> None:
    output.table(
        ["plane", "beads", "missing", "outliers", "rotation deg", "mean mm", "max mm", "mean px", "max px"],
        [
            [
                report.plane,
                report.beads,
                report.missing,
                report.outliers,
                *(f"{report.rotation_deg:+.2f}", f"{report.mean_mm:.4f}", f"{report.max_mm:.4f}"),
                *(f"{report.mean_px:.3f}", f"{report.max_px:.3f}"),
            ]
            for report in result.planes
        ],
    )
    output.line()
    output.table(
        ["held-out beads", "mean mm", "95 % mm", "autocorrelation", "systematic mm", "largest mm"],
        [
            [
                report.plane,
                *(f"{report.held_out_mean_mm:.4f}", f"{report.held_out_95_mm:.4f}", f"{report.autocorrelation:.2f}"),
                *(f"{report.systematic_mm:.4f}", f"{report.largest_systematic_mm:.4f}"),
            ]
            for report in result.planes
        ],
    )
    output.line()
    mirrored = [f"{report.plane} {report.view}" for report in result.planes if report.view != "upright"]
    rows = {"calibration": f"{result.id}, {result.row}", "table": result.out, "figure": result.figure}
    output.pairs(rows | ({"view": ", ".join(mirrored)} if mirrored else {}) | {"time": f"{result.seconds:.1f} s"})


app.command("probe")(probe)
