"""``medcli calibrate probe``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medcli.cli.shared import options
from medcli.cli.shared.output import Output
from medcli.core.errors import UsageError, quantity
from medcli.core.files import check_output_folder
from medcli.core.refusals import refusals

if TYPE_CHECKING:
    from medcli.ultrabones.probe_calibration.calibrate_probe import ProbeCalibration


def probe(
    output: Output,
    points: Annotated[
        Path, typer.Argument(metavar="POINTS.csv", help="Segmented points: frame, u, v, and point or wire.")
    ],
    poses: Annotated[
        Path,
        typer.Option(help="Poses of the marker: frame or timestamp, x, y, z, euler_x, euler_y, euler_z."),
    ],
    out: Annotated[Path, typer.Option(help="Calibration to write, JSON.")] = Path("probe.json"),
    phantom: Annotated[
        Path | None,
        typer.Option(
            help="Where its points (point, x, y, z) or wires (wire, x1, y1, z1, x2, y2, z2) are, mm, in the "
            "coordinates of the poses.  [default: points are estimated as well]"
        ),
    ] = None,
    spacing_mm: Annotated[
        float | None,
        typer.Option(min=0.001, max=5, help="Edge of a pixel.  [default: it is estimated]"),
    ] = None,
    rows: Annotated[
        int | None,
        typer.Option(min=16, max=16384, help="Of a frame.  [default: of the images beside the poses]"),
    ] = None,
    columns: Annotated[int | None, typer.Option(min=16, max=16384, help="Likewise.", show_default=False)] = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Measure where the image of a tracked ultrasound probe lies at its marker.

    From points of a phantom (one point seen from all sides, or the wires of an N-wire) that were segmented in tracked
    frames. Writes probe.json, with residuals and standard errors, which --probe reads.

    \b
    One point, seen in the frames of a record:
      medcli calibrate probe points.csv --poses record01/tracking.csv
    """
    from medcli.ultrabones.probe_calibration.table_headers import check_calibration_tables

    with refusals() as check:
        check(_check_sides, rows, columns)
        check(check_output_folder, out.parent)
        check(check_calibration_tables, points, poses, phantom)
    from medcli.ultrabones.probe_calibration.calibrate_probe import calibrate_probe

    size = (rows, columns) if rows and columns else None
    result = calibrate_probe(points, poses, out, phantom, spacing_mm, size, overwrite)
    output.finish(result, lambda done: _show(output, done))


def _check_sides(rows: int | None, columns: int | None) -> None:
    if (rows is None) != (columns is None):
        raise UsageError("--rows and --columns belong together")


def _show(output: Output, done: ProbeCalibration) -> None:
    matrix = done.image_to_probe
    given = f" ± {done.spacing_error_mm:.5f}" if done.spacing_error_mm else " (given)"
    shifts = ", ".join(
        f"{row[3]:.2f} ± {error:.2f}" for row, error in zip(matrix, done.translation_error_mm, strict=False)
    )
    turns = ", ".join(f"{error:.2f}" for error in done.rotation_error_deg)
    targets = quantity(done.targets, done.kind.removesuffix("s"))
    output.pairs(
        {
            "frames": f"{done.frames:,}, {quantity(done.points, 'point')} seen of {targets}",
            "spacing": f"{done.spacing_mm:.5f}{given} mm",
            "translation": f"{shifts} mm",
            "rotation": f"standard errors {turns} degrees",
            "residuals": f"rms {done.residual_mm.rms:.3f} mm, 95 % below {done.residual_mm.percentile_95:.3f}, "
            f"{done.in_plane_mm:.3f} along each axis of the image, {done.out_of_plane_mm:.3f} across it",
            "held out": f"rms {done.held_out_mm.rms:.3f} mm, 95 % below {done.held_out_mm.percentile_95:.3f}, "
            f"largest {done.held_out_mm.maximum:.3f} in frame {done.worst_frame}",
            "calibration": done.out,
            **({"already made": "of the same tables with the same options"} if done.is_earlier else {}),
            **({"beware": done.warnings} if done.warnings else {}),
        }
    )
