"""``medcli kinematics``: how the components of a knee move against each other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from medcli.cli.shared import options
from medcli.cli.shared.multi_value_options import App
from medcli.cli.shared.output import Output
from medcli.core.errors import quantity
from medcli.core.files import check_figure_path, check_output_folder
from medcli.core.refusals import refusals
from medcli.core.shell import spell

if TYPE_CHECKING:
    from medcli.veriserum.kinematics.kinematics import KinematicsResult, TrialMotion
    from medcli.veriserum.kinematics.study_axes import AxesResult

app = App()
_MOST_ROWS = 20
_MOST_REASONS = 5
Side = Annotated[
    Literal["right", "left"] | None,
    typer.Option(help="Side of the knee.  [default: as stated by the table or the axes, else right]"),
]
AxesFile = Annotated[
    Path | None,
    typer.Option(help="Axes of the implants, JSON.  [default: guessed from the meshes]"),
]
Pairs = Annotated[
    Literal["auto", "id", "measurement", "order"],
    typer.Option(
        help="What makes a femur and a tibia a frame: one image id, one measurement_id, or their order in it."
    ),
]


@app.command("veriserum")
def veriserum(
    output: Output,
    root: options.VeriserumRoot = options.VERISERUM_ROOT,
    poses: options.AnyPoses = None,
    trials: options.TrialNames = None,
    side: Side = None,
    axes: AxesFile = None,
    implants: options.Implants = None,
    frame_rate: Annotated[
        float | None,
        typer.Option(min=0.1, max=10_000, help="Frames per second.  [default: that of the table, else 25]"),
    ] = None,
    pair: Pairs = "auto",
    out: Annotated[Path, typer.Option(help="Folder of tables, figures and .mot files.")] = options.RUNS / "kinematics",
    overwrite: options.Overwrite = False,
) -> None:
    """Compute how tibia and femur move against each other, from any table of poses.

    Six joint coordinates by Grood and Suntay and the low points of both condyles on the tray, with standard errors
    where the table has those of the poses. A table, a figure and a .mot file for OpenSim of each trial.

    \b
    By the dataset's reference poses; then by registered ones:
      medcli kinematics veriserum
      medcli kinematics veriserum --poses registered.csv --axes axes.json
    """
    from medcli.veriserum.dataset import contents_check, folder_index
    from medcli.veriserum.kinematics.implant_axes import check_axes_file

    with refusals() as check:
        check(folder_index.check_root, root)
        kind = replace(folder_index.POSE_FILE, option="--poses") if poses else folder_index.POSES
        check(contents_check.check_table, root, kind, poses)
        check(check_axes_file, axes)
        if implants:
            check(folder_index.check_root, implants)
        check(check_output_folder, out)
    from medcli.veriserum.kinematics.kinematics import KinematicsSettings, compute_kinematics

    settings = options.settings_from(KinematicsSettings, locals(), pairing=pair)
    result = compute_kinematics(root, out, settings, output.progress(), overwrite)
    output.finish(result, lambda done: _show(output, done))


@app.command("axes")
def axes(
    output: Output,
    root: options.VeriserumRoot = options.VERISERUM_ROOT,
    implants: options.Implants = None,
    axes: Annotated[
        Path | None, typer.Option(help="Axes that are kept and drawn, JSON.  [default: all are guessed]")
    ] = None,
    side: Annotated[
        Literal["right", "left"] | None,
        typer.Option(help="Side of the knee, noted with each implant.  [default: not noted]"),
    ] = None,
    out: Annotated[Path, typer.Option(help="File to write, JSON.")] = Path("axes.json"),
    figure: Annotated[
        Path | None, typer.Option(help="Figure to draw, PNG.  [default: beside OUT, ending in .png]")
    ] = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Guess the axes of every implant from its mesh, and draw them for a person to confirm.

    Look at the figure, correct the file where an arrow is wrong, and give it to the other commands: --axes axes.json.

    \b
    Guess; then draw what was corrected:
      medcli kinematics axes
      medcli kinematics axes --axes axes.json --out confirmed.json
    """
    from medcli.veriserum.dataset import folder_index
    from medcli.veriserum.kinematics.implant_axes import check_axes_file

    target = figure or out.with_suffix(".png")
    with refusals() as check:
        check(folder_index.check_root, implants or root)
        check(check_axes_file, axes)
        check(check_figure_path, target)
        check(check_output_folder, out.parent)
    from medcli.veriserum.kinematics.study_axes import find_axes

    result = find_axes(root, out, target, implants, axes, side, output.progress(), overwrite)
    found_in = [] if root == options.VERISERUM_ROOT else ["--root", root]
    following = spell("medcli", "kinematics", "veriserum", *found_in, "--axes", out)
    output.finish(result, lambda done: _show_axes(output, done, following))


def _show(output: Output, result: KinematicsResult) -> None:
    from medcli.veriserum.kinematics.joint_coordinates import COORDINATES

    output.pairs(
        {
            "poses": f"{result.poses}, paired by {result.pairing}; trials by {result.trials_by}",
            "axes": result.axes,
            "time": f"{_rate(result)}; {result.seconds:,.1f} s in all",
        }
    )
    output.line()
    shown = result.trials[:_MOST_ROWS]
    counts = [[one.trial, one.side, one.frames, one.missing, one.doubtful] for one in shown]
    angles = {one.name: f"{one.title.partition(' ')[0]} {one.sign}" for one in COORDINATES[:3]}
    _table(output, shown, counts, ["trial", "side", "frames", "missing", "doubtful"], angles)
    output.line()
    shifts = {one.name: f"{one.title.partition(' ')[0]} mm" for one in COORDINATES[3:]}
    low = {f"{condyle}_low_ap_mm": f"{condyle} low AP" for condyle in ("medial", "lateral")}
    _table(output, shown, [[one.trial] for one in shown], ["trial"], shifts | low)
    if len(result.trials) > _MOST_ROWS:
        output.line(f"… {len(result.trials) - _MOST_ROWS:,} more in {result.out / 'kinematics.json'}")
    output.line()
    reasons = [*_counted("missing", result.missing_reasons), *_counted("doubtful", result.doubtful_reasons)]
    if reasons:
        output.table(["frames", "status", "reason"], reasons)
        output.line()
    if not result.has_errors:
        output.line("no standard errors: the table of poses has none")
    output.line(f"table, figures and .mot files in {result.out}")


def _rate(result: KinematicsResult) -> str:
    """Frames per second, and where that is from: ``25 frames per second, assumed``."""
    rate = f"{result.frame_rate:g} frames per second"
    return result.time_from if result.time_from.startswith(rate) else f"{rate}, by {result.time_from}"


def _counted(status: str, reasons: dict[str, int]) -> list[list[Any]]:
    """How many frames have each of the most frequent reasons."""
    rows: list[list[Any]] = [[count, status, reason] for reason, count in list(reasons.items())[:_MOST_REASONS]]
    others = list(reasons.values())[_MOST_REASONS:]
    return [*rows, *([[sum(others), status, quantity(len(others), "further reason")]] if others else [])]


def _table(
    output: Output, trials: list[TrialMotion], begin: list[list[Any]], header: list[str], names: dict[str, str]
) -> None:
    """Ranges of the columns ``names``, a row a trial, behind the cells ``begin``."""
    ranges = [[_range(one.ranges[name]) for name in names] for one in trials]
    output.table([*header, *names.values()], [[*one, *more] for one, more in zip(begin, ranges, strict=True)])


def _range(values: tuple[float, float]) -> str:
    low, high = (round(value, 1) + 0.0 for value in values)  # no -0.0
    return "-" if low != low else f"{low:.1f} to {high:.1f}"


def _show_axes(output: Output, result: AxesResult, following: str) -> None:
    for number, one in result.implants.items():
        output.pairs({f"{number} {one.kind}": f"{one.found_by}{'; ' if one.remarks else ''}{'; '.join(one.remarks)}"})
    output.line()
    kept = ", which has these axes already" if result.existing else ""
    output.pairs({"axes": f"{result.out}{kept}", "figure": result.figure})
    output.line("confirm them in the figure, and correct the file where an arrow is wrong; then")
    output.line(f"  {following}")
