"""``medcli register pose`` and ``trial``: match implants to X-ray images."""

from __future__ import annotations

from collections.abc import Mapping
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medcli.cli.shared import options
from medcli.cli.shared.output import Output
from medcli.core.errors import quantity
from medcli.core.files import check_output_folder
from medcli.core.refusals import refusals

if TYPE_CHECKING:
    from medcli.veriserum.registration.register import RegisterResult
    from medcli.veriserum.registration.register_trial import RegisterTrialResult
    from medcli.veriserum.registration.start_poses import Sources

_MOST_ROWS = 20
OutTable = Annotated[Path, typer.Option(help="Table to write, CSV with the published columns.")]
LeastSimilarity = Annotated[
    float, typer.Option(min=-1, max=1, help="A match with a lower gradient correlation counts as failed.")
]


def pose(
    output: Output,
    root: options.VeriserumRoot = options.VERISERUM_ROOT,
    out: OutTable = Path("poses_registered.csv"),
    start: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE|table",
            help="Start poses, CSV; table: those of the pose table.  [default: none, the implant is searched for]",
        ),
    ] = None,
    search: Annotated[
        bool, typer.Option("--search/--no-search", help="Search for the implant where a start does not lead to it.")
    ] = True,
    ids: options.Ids = None,
    anatomy: Annotated[int | None, typer.Option(help="Only the implant of this anatomy_id.")] = None,
    poses: options.PoseTable = None,
    distortion: options.DistortionTable = None,
    source_calibration: options.SourceCalibration = None,
    calibrated: options.Calibrated = None,
    implants: options.Implants = None,
    inter_plane: options.InterPlane = None,
    pose_frame: options.PoseFrame = "world",
    planes: options.MatchedPlanes = "both",
    least_similarity: LeastSimilarity = 0.5,
    overlays: Annotated[
        Path | None,
        typer.Option(help="Folder for images of the outlines before and after.  [default: not drawn]"),
    ] = None,
    workers: options.Workers = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Find implants in both planes by matching their renderings.

    No start is needed. With --start, poses within about 5 mm and 5 degrees are refined, which is faster; where that
    fails, the implant is searched for. Ids already in OUT are not computed again.

    \b
    Find the implants of the first hundred pairs:
      medcli register pose --ids 1-100
    Refine the poses predicted by a network, with overlays:
      medcli register pose --start poses.csv --out refined.csv --overlays looks
    """
    sources = _sources(locals())
    from medcli.veriserum.registration.register import register_poses

    result = register_poses(
        sources,
        out,
        options.id_filter(ids),
        anatomy,
        least_similarity=least_similarity,
        overlays=overlays,
        workers=workers,
        overwrite=overwrite,
        progress=output.progress(),
        fall_back=search,
    )
    output.finish(result, lambda done: _show(output, done))


def _sources(given: Mapping[str, Any]) -> Sources:
    """The files that both commands match implants by, checked, from their options."""
    from medcli.veriserum.dataset import contents_check, folder_index

    root, start, implants = given["root"], given.get("start"), given["implants"]
    with refusals() as check:
        if start and str(start) != "table":
            check(contents_check.check_table, root, folder_index.POSE_FILE, start)
        else:
            check(contents_check.check_table, root, folder_index.POSES, given["poses"])
        check(contents_check.check_table, root, folder_index.SOURCES, given["source_calibration"])
        check(contents_check.check_pair_images, root, given["calibrated"])
        check(contents_check.check_inter_plane, given["inter_plane"])
        if implants:
            check(folder_index.check_root, implants)
        check(check_output_folder, given["out"].parent)
    from medcli.veriserum.geometry.biplane import PoseFrame
    from medcli.veriserum.registration.start_poses import Sources

    planes = ("bs", "fs") if given["planes"] == "both" else (given["planes"],)
    return options.settings_from(Sources, given, frame=PoseFrame(given["pose_frame"]), planes=planes)


def _show(output: Output, result: RegisterResult) -> None:
    if result.poses:
        output.table(
            ["id", "anatomy", "similarity", "", "displacement mm", "rotation deg", "status"],
            [
                [
                    report.id,
                    report.anatomy_id,
                    f"{report.similarity_before:.3f} ->",
                    f"{report.similarity_after:.3f}",
                    *(round(report.displacement_mm, 2), round(report.rotation_deg, 2)),
                    report.quality.status,
                ]
                for report in result.poses[:_MOST_ROWS]
            ],
        )
        if len(result.poses) > _MOST_ROWS:
            output.line(f"… {len(result.poses) - _MOST_ROWS} more in the file")
        output.line()
    rows = {
        "done": f"{quantity(result.done, 'pair')}, {result.seconds:,.1f} s",
        "searched": f"{result.searched:,}{' of these: their start led to no good match' if result.searched else ''}",
        "existing": f"{result.skipped:,}",
        "failed": f"{len(result.failures):,}",
        "status": ", ".join(f"{count} {name}" for name, count in sorted(result.statuses.items())) or "-",
        "start": "the pose table, that is, the reference" if result.start == "table" else result.start,
        "frame": f"{result.frame}; planes: {result.inter_plane}",
        "poses": str(result.out or "none: no file was written"),
    }
    if result.start == "search":
        rows.pop("searched")
    output.pairs(rows | ({"overlays": result.overlays} if result.overlays else {}))


def trial(
    output: Output,
    root: options.VeriserumRoot = options.VERISERUM_ROOT,
    out: OutTable = Path("trials_registered.csv"),
    ids: options.Ids = None,
    trials: options.TrialNames = None,
    anatomies: Annotated[
        list[int] | None,
        typer.Option(
            metavar="N",
            help="anatomy_id of the femoral and of the tibial component.  [default: those in the pose table]",
        ),
    ] = None,
    smooth: Annotated[
        bool, typer.Option(help="Smooth each trial by a spline, weighted by the standard errors.")
    ] = False,
    poses: options.PoseTable = None,
    distortion: options.DistortionTable = None,
    source_calibration: options.SourceCalibration = None,
    calibrated: options.Calibrated = None,
    implants: options.Implants = None,
    inter_plane: options.InterPlane = None,
    pose_frame: options.PoseFrame = "world",
    planes: options.MatchedPlanes = "both",
    least_similarity: LeastSimilarity = 0.5,
    overlays: Annotated[
        Path | None,
        typer.Option(help="Folder for a strip and a video of each trial.  [default: not drawn]"),
    ] = None,
    workers: options.Workers = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Track both implants of a knee through trials, without start poses.

    The first frame is searched; each further one is predicted, refined, and searched where it is lost. A second pass
    runs backward. One row for each frame and component; trials already in OUT are not tracked again.

    \b
    The trial that has the ids 1 to 60, with a strip of frames and a video:
      medcli register trial --ids 1-60 --overlays looks
    Where the pose table names one component only:
      medcli register trial --trials 1 --anatomies 1 3 --smooth --out smoothed.csv
    """
    sources = _sources(locals())
    from medcli.veriserum.registration.register_trial import register_trials

    result = register_trials(
        sources,
        out,
        options.id_filter(ids),
        anatomies,
        least_similarity,
        smooth,
        overlays,
        workers,
        overwrite,
        output.progress(),
        trials,
    )
    output.finish(result, lambda done: _show_trials(output, done))


def _show_trials(output: Output, result: RegisterTrialResult) -> None:
    if result.trials:
        output.table(
            ["ids", "anatomies", "good", "doubtful", "ambiguous", "failed", "intersection mm", "s"],
            [
                [
                    one.ids,
                    " ".join(map(str, one.anatomies)),
                    *(one.statuses.get(name, 0) for name in ("good", "doubtful", "ambiguous", "failed")),
                    "-" if isnan(one.deepest_mm) else f"{one.deepest_mm:.1f}",
                    round(one.seconds, 1),
                ]
                for one in result.trials[:_MOST_ROWS]
            ],
        )
        output.line()
    rows = {
        "done": f"{quantity(len(result.trials), 'trial')}, {result.seconds:,.1f} s; by {result.rule}",
        "existing": f"{result.skipped:,}",
        "planes": " ".join(result.planes),
        "frame": f"{result.frame}; planes: {result.inter_plane}",
        "poses": f"{result.out}{', smoothed' if result.smooth else ''}",
    }
    output.pairs(rows | ({"overlays": result.overlays} if result.overlays else {}))
