"""``medcli evaluate seg``: bone masks against labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from medcli.cli.shared import options
from medcli.cli.shared.output import Output
from medcli.core.errors import MedcliError, UsageError, numbered, quantity
from medcli.core.files import check_output_folder
from medcli.core.refusals import Refusals
from medcli.ultrabones.evaluation.thresholds import PassThreshold

if TYPE_CHECKING:
    from medcli.ultrabones.evaluation.aggregation import PublishedDifference, SegmentationResult, SpecimenResult
    from medcli.ultrabones.evaluation.evaluate import Evaluation
    from medcli.ultrabones.evaluation.evaluation_plan import EvaluationPlan


def seg(
    output: Output,
    specimens: Annotated[
        list[int] | None,
        typer.Option(help="Specimens to evaluate.  [default: 2 7 8, the published test split]", metavar="N"),
    ] = None,
    root: options.UltrabonesRoot = options.ULTRABONES_ROOT,
    checkpoint: options.SegCheckpoint = None,
    predictions: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER", help="Masks on disk instead of a network: Labels_pred, or another folder of each record."
        ),
    ] = None,
    labels: Annotated[
        str, typer.Option(help="Reference labels: partial, full, or a folder such as LabelsManual.")
    ] = "partial",
    protocol: Annotated[
        Literal["paper", "strict", "both"],
        typer.Option(help="paper: as published; strict: native pixels, every frame counts."),
    ] = "paper",
    visible_threshold: Annotated[
        float, typer.Option(min=0, max=255, help="Grey value from which bone counts as visible.")
    ] = 107,
    train_specimens: options.TrainedOn = None,
    out: Annotated[Path, typer.Option(help="Folder of tables and figures.")] = options.RUNS / "evaluate" / "seg",
    fail_under: Annotated[
        list[PassThreshold] | None,
        typer.Option(
            parser=PassThreshold.parse,
            metavar="MEASURE=VALUE",
            help="Exit with status 1 if a measure is worse: f1@0.5=0.6 dice=0.7 assd_mm=1.5 (distances: at most).",
        ),
    ] = None,
    no_figures: Annotated[bool, typer.Option(help="Write tables only: no curves and no images of frames.")] = False,
    device: options.Device = "auto",
    engine: options.Engine = "auto",
    tta: options.Tta = False,
    workers: options.Workers = None,
    dry_run: options.DryRun = False,
) -> None:
    """Measure how close predicted bone surfaces are to the labels.

    Precision, recall and F1 at 0.0 to 2.0 mm for all, visible and invisible bone, by the published protocol, by a
    stricter one, or by both; a table of frames, the curves, and images of the best, median and worst frames.

    \b
    The newest network, on the published test split, by both protocols:
      medcli evaluate --specimens 2 7 8 --protocol both
    """
    from medcli.ultrabones.dataset.constants import TEST_SPECIMENS
    from medcli.ultrabones.dataset.presence import check_labelled_frames, check_predicted_masks
    from medcli.ultrabones.segmentation.checkpoint_metadata import check_segmentation_checkpoint
    from medcli.ultrabones.segmentation.onnx_graph.engine import check_engine

    chosen = tuple(specimens or TEST_SPECIMENS)
    options.refuse_both_sources(checkpoint, predictions)
    if tta and predictions:
        raise UsageError("--tta is for a network, not for the masks of --predictions", "leave --tta out")
    found = Refusals()
    found(check_engine, checkpoint, device, "32", engine)
    if predictions:
        found(check_predicted_masks, root, chosen, predictions)
    made_by = None if predictions else found(check_segmentation_checkpoint, checkpoint, takes_graphs=True)
    found(check_labelled_frames, root, chosen, labels)
    found(check_output_folder, out)
    if not dry_run:
        found.raise_found()
    from medcli.ultrabones.evaluation.settings import PROTOCOLS, EvaluationSettings

    settings = EvaluationSettings(
        specimens=chosen,
        labels=labels,
        protocols=PROTOCOLS if protocol == "both" else (protocol,),
        visible_grey=visible_threshold,
        train=tuple(train_specimens) if train_specimens else None,
        figures=not no_figures,
    )
    if dry_run:
        from medcli.ultrabones.evaluation.evaluation_plan import plan_evaluation

        plan = plan_evaluation(root, settings, out, made_by, predictions, device, found.lines)
        output.finish(plan, lambda _: _show_plan(output, plan))
        found.raise_found()
        return
    from medcli.ultrabones.evaluation.evaluate import evaluate_segmentation
    from medcli.ultrabones.evaluation.prediction_sources import Model, PredictionSource, StoredMasks

    source: PredictionSource = (
        StoredMasks(predictions) if predictions else Model.from_checkpoint(checkpoint, device, engine=engine, tta=tta)
    )
    evaluation = evaluate_segmentation(root, source, settings, out, workers, output.progress())
    answer = evaluation.answer()
    try:
        output.finish(answer, lambda _: _show(output, evaluation))
    except typer.Exit:  # some frames failed; a missed threshold weighs more
        _hold_to(fail_under or [], evaluation)
        raise
    _hold_to(fail_under or [], evaluation)


def _show_plan(output: Output, plan: EvaluationPlan) -> None:
    rows = {
        "to evaluate": plan.source or "missing",
        "labels": f"{plan.labels}, in {plan.root}",
        "protocol": " and ".join(plan.protocols),
        "results": f"{plan.out} (dry run: nothing computed or written)",
    }
    output.pairs(rows | ({"device": plan.device} if plan.device else {}))
    output.line()
    masks = any(one.predictions is not None for one in plan.specimens)
    header = ["specimen", "records", "frames", *(["with a mask"] if masks else [])]
    lines = [[one.specimen, one.records, one.frames, *([one.predictions] if masks else [])] for one in plan.specimens]
    output.table(header, lines)


def _show(output: Output, evaluation: Evaluation) -> None:
    for result in evaluation.results.values():
        show_segmentation_result(output, result)
    output.line(f"tables and figures in {evaluation.out}")


def show_segmentation_result(output: Output, result: SegmentationResult) -> None:
    """Counts, measures, and shares by region, threshold and specimen; and what they differ from those published."""
    skipped = "no predicted or label pixel" if result.protocol == "paper" else "empty label"
    from medcli.ultrabones.evaluation.metrics import LISTED, REGIONS, curve_measures, notes_of, scalar_measures

    rows = {
        "protocol": f"{result.protocol}, {result.labels} labels, {result.source}",
        "frames": f"{result.frames:,} of {numbered('specimen', result.specimens)}"
        f"; left out: {result.frames_skipped:,} ({skipped})",
    }
    if not result.frames:
        rows["scores"] = "none, since all frames are left out"
    if result.frames_without_prediction:
        missed = f"{quantity(result.frames_without_prediction, 'frame')} without any prediction"
        rows["missed"] = f"{missed}, left out by this protocol" if result.protocol == "paper" else missed
    if result.train_specimens is None:
        rows["trained on"] = "unknown specimens: results may include training data"
    if result.donor_overlap:
        rows["donors"] = "; ".join(map(str, result.donor_overlap))
    output.pairs(rows)
    output.line()
    if not result.frames:
        return
    output.pairs({one.title: one.text(result.scalars[one.key]) for one in scalar_measures()})
    output.line()
    for note in notes_of(result.scalars):
        output.pairs({"note": note})
        output.line()
    measures = curve_measures()

    def row(one: SegmentationResult | SpecimenResult, region: str, k: int) -> list[str]:
        return [f"{k / 10} mm", *(measure.text(one.curves[measure.key][region][k]) for measure in measures)]

    header = ["within", *(measure.title for measure in measures)]
    output.table(["region", *header], [[region, *row(result, region, k)] for region in REGIONS for k in LISTED])
    output.line("means over frames: the F1 of each frame, not of the mean precision and recall")
    output.line()
    if len(result.per_specimen) > 1:
        specimens = result.per_specimen.items()
        lines = [[number, one.donor, one.frames, *row(one, "all", LISTED[0])] for number, one in specimens]
        output.table(["specimen", "donor", "frames", *header], lines)
        output.line()
    if result.published:
        _show_published(output, result.published)


def _show_published(output: Output, differences: Sequence[PublishedDifference]) -> None:
    from medcli.ultrabones.evaluation.metrics import curve_measures

    measures = {measure.key: measure.title for measure in curve_measures()}
    rows: dict[tuple[str, float], dict[str, str]] = {}
    for one in differences:
        rows.setdefault((one.region, one.within_mm), {})[one.measure] = f"{one.difference:+.4f}"
    output.line("minus the published result (epoch_100 on specimens 2 7 8)")
    shown = [title for key, title in measures.items() if key in {one.measure for one in differences}]
    output.table(
        ["region", "within", *shown], [[region, f"{at} mm", *row.values()] for (region, at), row in rows.items()]
    )
    output.line()


def _hold_to(thresholds: list[PassThreshold], evaluation: Evaluation) -> None:
    missed = [
        miss
        for result in evaluation.results.values()
        for threshold in thresholds
        if (miss := threshold.miss_in(result)) is not None
    ]
    if missed:
        raise MedcliError("; ".join(missed), "")
