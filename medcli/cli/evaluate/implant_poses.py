"""``medcli evaluate pose``: compare estimated implant poses with the reference."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from medcli.cli.shared import options
from medcli.cli.shared.output import Output
from medcli.core.files import check_output_folder
from medcli.core.refusals import Refusals
from medcli.training.devices import check_device
from medcli.training.weights import find_newest

if TYPE_CHECKING:
    from medcli.veriserum.pose.evaluate import PoseEvaluation
    from medcli.veriserum.pose.evaluation_plan import PosePlan
    from medcli.veriserum.pose.metrics import PoseMeasure


def pose(
    output: Output,
    ids: options.Ids = None,
    split: Annotated[
        Literal["test", "val", "train", "all"],
        typer.Option(help="Part of the network's split, or of the split by trial."),
    ] = "test",
    root: options.VeriserumRoot = options.VERISERUM_ROOT,
    checkpoint: options.PoseCheckpoint = None,
    predictions: Annotated[
        Path | None,
        typer.Option(help="Table of poses instead of a network, CSV: id, tx, ty, tz (mm), rz, rx, ry (degrees)."),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(metavar="manual|FILE", help="Reference poses.  [default: the pose table]"),
    ] = None,
    anatomy: Annotated[
        str | None,
        typer.Option(
            metavar="femur|tibia|ID", help="Implants: femur, tibia or an anatomy_id.  [default: those trained on]"
        ),
    ] = None,
    calibrated: options.Calibrated = None,
    pose_frame: options.PoseFrame = "world",
    inter_plane: options.InterPlane = None,
    out: Annotated[Path, typer.Option(help="Folder of tables and figures.")] = options.RUNS / "evaluate" / "pose",
    device: options.Device = "auto",
    overwrite: options.Overwrite = False,
    dry_run: options.DryRun = False,
) -> None:
    """Measure how far estimated implant poses are from the reference.

    In-plane and out-of-plane translation, rotation, and the implant's outline on both detectors; beside published
    single-plane figures. Writes a table of pairs, the errors' distributions, and the best, median and worst pair.
    """
    from medcli.veriserum.dataset.contents_check import check_inter_plane, check_pair_images, check_table
    from medcli.veriserum.dataset.folder_index import POSES, PREDICTIONS, REFERENCE
    from medcli.veriserum.pose.checkpoint_metadata import read_pose_metadata
    from medcli.veriserum.pose.evaluation_plan import plan_pose_evaluation

    options.refuse_both_sources(checkpoint, predictions)
    found = Refusals()
    found(check_device, device)
    network = None if predictions else checkpoint or found(find_newest, options.RUNS, "pose")
    if network:
        found(read_pose_metadata, network)
    before = len(found.problems)
    if predictions:
        found(check_table, root, PREDICTIONS, predictions)
    else:
        found(check_pair_images, root, calibrated)
    found(check_table, root, POSES)
    if reference not in (None, "manual"):
        found(check_table, root, REFERENCE, Path(reference))
    found(check_inter_plane, inter_plane)
    is_there = len(found.problems) == before
    found(check_output_folder, out)
    if not dry_run:
        found.raise_found()
    elif not is_there:
        _finish_plan(output, plan_pose_evaluation(root, None, out, network, predictions, device, found), found)
        return
    from medcli.veriserum.geometry.biplane import PoseFrame
    from medcli.veriserum.pose.evaluated_pairs import PoseEvaluationSettings

    frame, chosen = PoseFrame(pose_frame), options.id_filter(ids)
    settings = options.settings_from(PoseEvaluationSettings, locals(), ids=chosen)
    if dry_run:
        _finish_plan(output, plan_pose_evaluation(root, settings, out, network, predictions, device, found), found)
        return
    from medcli.veriserum.pose.evaluate import evaluate_pose
    from medcli.veriserum.pose.inference import PosePredictor

    predictor = PosePredictor.load(network, device) if network else None
    result = evaluate_pose(
        root, predictor, predictions, settings, out, str(network or ""), output.progress(), overwrite
    )
    output.finish(result, lambda done: _show_pose(output, done))


def _finish_plan(output: Output, plan: PosePlan, found: Refusals) -> None:
    output.finish(plan, lambda _: _show_pose_plan(output, plan))
    found.raise_found()


def _show_pose_plan(output: Output, plan: PosePlan) -> None:
    anatomies = ", ".join(f"{count} of anatomy {number}" for number, count in plan.anatomies.items())
    rows = {
        "to evaluate": plan.source or "missing",
        "reference": plan.reference or "missing",
        "pairs": f"{plan.pairs:,} ({plan.split}): {anatomies}" if plan.pairs else "none",
        "results": f"{plan.out} (dry run: nothing computed or written)",
    }
    output.pairs(rows | ({"device": plan.device} if plan.device else {}))


def _show_pose(output: Output, result: PoseEvaluation) -> None:
    from medcli.veriserum.pose.metrics import POSE_MEASURES, SIGNED

    anatomies = ", ".join(f"{count} of anatomy {number}" for number, count in result.anatomies.items())
    of_all = f" of {result.pairs + len(result.failures):,}" if result.failures else ""
    output.pairs(
        {
            "poses": result.source,
            "reference": result.reference,
            "pairs": f"{result.pairs:,}{of_all} ({result.split}): {anatomies}",
            "geometry": result.geometry,
        }
    )
    output.line()
    header = ["error", "unit", "mean", "50 %", "90 %", "95 %", "mean pose", "one plane"]
    output.table(header, [_pose_row(result, measure) for measure in POSE_MEASURES if measure.is_printed])
    output.line()
    rows = []
    for name, title in SIGNED.items():
        one = result.bias[name]
        rows.append([title, name.rpartition("_")[2], f"{one.mean:+.2f}", f"{one.sd:.2f}"])
    output.table(["estimate minus reference", "unit", "bias", "SD"], rows)
    output.line()
    output.line("mean pose: mean error of always guessing the mean of the training pairs")
    output.line("one plane: 50 % and 90 %, published for one plane (Vogl et al. 2022)")
    output.line(f"tables and figures in {result.out}")


def _pose_row(result: PoseEvaluation, measure: PoseMeasure) -> list[str]:
    one, name = result.errors[measure.name], measure.name
    guess = f"{result.mean_pose[name].mean:.2f}" if result.mean_pose else "-"
    published = " ".join(f"{value:g}" for value in measure.single_plane.values())
    numbers = (f"{value:.2f}" for value in (one.mean, one.median, one.p90, one.p95))
    return [measure.title, measure.unit, *numbers, guess, published]
