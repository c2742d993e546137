"""``medcli evaluate kinematics``: compare two pose tables as motion."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medcli.cli.kinematics import AxesFile, Pairs, Side
from medcli.cli.shared import options
from medcli.cli.shared.output import Output
from medcli.core.errors import quantity
from medcli.core.files import check_output_folder
from medcli.core.refusals import refusals

if TYPE_CHECKING:
    from medcli.veriserum.kinematics.compare_motion import MotionComparison


def kinematics(
    output: Output,
    poses: Annotated[
        Path, typer.Argument(metavar="POSES", help="Table of poses to evaluate, CSV or database.", show_default=False)
    ],
    reference: Annotated[
        Path | None,
        typer.Argument(
            metavar="REFERENCE", help="Table to compare with.  [default: the dataset's own]", show_default=False
        ),
    ] = None,
    root: options.VeriserumRoot = options.VERISERUM_ROOT,
    trials: options.TrialNames = None,
    side: Side = None,
    axes: AxesFile = None,
    implants: options.Implants = None,
    pair: Pairs = "auto",
    out: Annotated[Path, typer.Option(help="Folder of tables and figures.")] = options.RUNS / "evaluate" / "kinematics",
    overwrite: options.Overwrite = False,
) -> None:
    """Measure how far the knee motion by one table of poses is from that by another.

    RMS and largest difference of each joint coordinate and low point, per trial and over trials, with bias and limits
    of agreement in a Bland-Altman figure. Both tables are evaluated with the same axes and side.

    \b
    Registered poses against the reference; then two tables:
      medcli evaluate kinematics poses_registered.csv
      medcli evaluate kinematics a.csv b.csv --axes axes.json
    """
    from medcli.veriserum.dataset import contents_check, folder_index
    from medcli.veriserum.kinematics.implant_axes import check_axes_file

    with refusals() as check:
        check(folder_index.check_root, root)
        check(contents_check.check_table, root, replace(folder_index.POSE_FILE, option="POSES"), poses)
        kind = replace(folder_index.POSE_FILE, option="REFERENCE") if reference else folder_index.POSES
        check(contents_check.check_table, root, kind, reference)
        check(check_axes_file, axes)
        if implants:
            check(folder_index.check_root, implants)
        check(check_output_folder, out)
    from medcli.veriserum.kinematics.compare_motion import compare_motion
    from medcli.veriserum.kinematics.kinematics import KinematicsSettings

    settings = KinematicsSettings(
        trials=tuple(trials) if trials else None, side=side, axes=axes, implants=implants, pairing=pair
    )
    result = compare_motion(root, poses, reference, out, settings, output.progress(), overwrite)
    output.finish(result, lambda done: _show(output, done))


def _show(output: Output, result: MotionComparison) -> None:
    from medcli.veriserum.kinematics.compare_motion import COMPARED

    alone = f"; {result.only_poses:,} in POSES only, {result.only_reference:,} in REFERENCE only"
    output.pairs(
        {
            "poses": result.poses,
            "reference": result.reference,
            "frames": f"{result.frames:,} of {quantity(len(result.per_trial), 'trial')}{alone}",
            "axes": result.axes,
        }
    )
    output.line()
    rows, spread = [], []
    for name, (title, unit) in COMPARED.items():
        one, trials = result.overall[name], result.over_trials[name]
        numbers = (one.rms, one.maximum, one.bias, one.sd, trials.largest_rms)
        band = f"{100 * one.within_band:.0f} %" if one.within_band == one.within_band else "-"
        rows.append([title, unit, *(f"{value:.2f}" for value in numbers), band])
        biases = [mine[name].bias for mine in result.per_trial.values() if mine[name].frames]
        spans = ((min(biases), max(biases)), one.limits) if biases else ()
        spread.append([title, unit, *(f"{low:+.2f} to {high:+.2f}" for low, high in spans)])
    output.table(["difference", "unit", "RMS", "largest", "bias", "SD", "worst trial", "in band"], rows)
    output.line()
    output.table(["difference", "unit", "bias of the trials", "limits of agreement"], spread)
    output.line()
    output.line("worst trial: largest RMS of a trial; in band: within 1.96 standard errors of the poses,")
    output.line("which hold no bias; limits: by the variances between trials and within them")
    output.line("(Bland and Altman 2007)")
    output.line()
    output.line(f"tables and figures in {result.out}")
