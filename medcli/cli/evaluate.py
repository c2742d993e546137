"""``medcli evaluate``: compare predictions with labels."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medcli.cli import options
from medcli.cli.output import Output
from medcli.cli.words import App, DefaultGroup
from medcli.errors import MedcliError, UsageError
from medcli.ultrabones.floors import Floor

if TYPE_CHECKING:
    from medcli.ultrabones.evaluate import Evaluation
    from medcli.ultrabones.summary import SegmentationResult

app = App(cls=DefaultGroup, help="Compare predictions with labels; without a subcommand: segmentation (seg).")


class Labels(str, Enum):
    partial = "partial"
    full = "full"


class Protocol(str, Enum):
    paper = "paper"
    strict = "strict"
    both = "both"


@app.command("seg")
def seg(
    specimens: Annotated[
        list[int] | None, typer.Option("--specimens", help="Specimens to evaluate; default: the published test split.")
    ] = None,
    root: options.UltrabonesRoot = options.ULTRABONES_ROOT,
    checkpoint: Annotated[
        Path | None,
        typer.Option("--checkpoint", help="Model to evaluate; default: the newest best.safetensors in runs/seg."),
    ] = None,
    predictions: Annotated[
        str | None,
        typer.Option("--predictions", metavar="FOLDER", help="Evaluate masks on disk: Labels_pred or another folder."),
    ] = None,
    labels: Annotated[Labels, typer.Option("--labels", help="Labels to compare with.")] = Labels.partial,
    protocol: Annotated[
        Protocol, typer.Option("--protocol", help="paper: as published; strict: native pixels, every frame counts.")
    ] = Protocol.paper,
    visible_threshold: Annotated[
        float, typer.Option("--visible-threshold", min=0, max=255, help="Grey value from which a pixel is visible.")
    ] = 107,
    train_specimens: Annotated[
        list[int] | None,
        typer.Option("--train-specimens", help="What the model was trained on, if it does not say itself."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder for tables and pictures.")] = options.RUNS
    / "evaluate"
    / "seg",
    fail_under: Annotated[
        list[Floor] | None,
        typer.Option(
            "--fail-under", parser=Floor.parse, metavar="FLOOR", help="Leave with 1 if missed: f1@0.5=0.6, dice=0.7."
        ),
    ] = None,
    device: options.Device = "auto",
    workers: options.Workers = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Measure how near predicted bone surfaces lie to the labels.

    Precision, recall and F1 at 0.0 to 2.0 mm for all, visible and invisible bone, by the published protocol, by a
    stricter one, or by both; a table of frames, the curves, and the best, median and worst frames as pictures.
    """
    from medcli.ultrabones.evaluate import PROTOCOLS, EvaluationSettings, evaluate_segmentation
    from medcli.ultrabones.predictions import Model, Source, StoredMasks
    from medcli.ultrabones.registry import TEST_SPECIMENS

    if checkpoint is not None and predictions is not None:
        raise UsageError("--checkpoint and --predictions exclude each other")
    output = Output(json, quiet, verbose)
    source: Source = StoredMasks(predictions) if predictions else Model.from_checkpoint(checkpoint, device)
    settings = EvaluationSettings(
        specimens=tuple(specimens or TEST_SPECIMENS),
        labels=labels.value,
        protocols=PROTOCOLS if protocol is Protocol.both else (protocol.value,),
        visible_grey=visible_threshold,
        train=tuple(train_specimens) if train_specimens else None,
    )
    evaluation = evaluate_segmentation(root, source, settings, out, workers, output.progress())
    answer = evaluation.answer()
    output.finish(answer, lambda _: _show(output, evaluation))
    _hold_to(fail_under or [], evaluation)


def _show(output: Output, evaluation: Evaluation) -> None:
    for result in evaluation.results.values():
        _show_result(output, result)
    output.line(f"tables and pictures in {evaluation.out}")


def _show_result(output: Output, result: SegmentationResult) -> None:
    skipped = "no predicted or label pixel" if result.protocol == "paper" else "empty label"
    rows = {
        "protocol": f"{result.protocol}, {result.labels} labels, {result.source}",
        "frames": f"{result.frames:,} of specimens {' '.join(map(str, result.specimens))}"
        f"; left out: {result.frames_skipped:,} ({skipped})",
        "Dice": f"{result.dice:.3f}",
        "distance": f"mean {result.assd_mm:.2f} mm, 95 % {result.hd95_mm:.2f} mm, both ways",
    }
    if result.frames_without_prediction:
        rows["missed"] = f"{result.frames_without_prediction:,} frames without any prediction"
    if result.donor_overlap:
        rows["donors"] = "; ".join(map(str, result.donor_overlap))
    output.pairs(rows)
    output.line()
    header = ["region", "within", "precision", "recall", "F1"]
    output.table(header, [_row(result, region, k) for region in result.f1 for k in (5, 10, 20)])
    output.line()
    if len(result.per_specimen) > 1:
        lines = [
            [number, one.donor, one.frames, *(f"{getattr(one, name)['all'][5]:.3f}" for name in _CURVES)]
            for number, one in result.per_specimen.items()
        ]
        output.table(["specimen", "donor", "frames", "precision", "recall", "F1 at 0.5 mm"], lines)
        output.line()


_CURVES = ("precision", "recall", "f1")


def _row(result: SegmentationResult, region: str, k: int) -> list[str]:
    return [region, f"{k / 10} mm", *(f"{getattr(result, name)[region][k]:.3f}" for name in _CURVES)]


def _hold_to(floors: list[Floor], evaluation: Evaluation) -> None:
    missed = [
        f"{floor.what} is {floor.value_in(result):.4f} by the {name} protocol, wanted at least {floor.floor:g}"
        for name, result in evaluation.results.items()
        for floor in floors
        if floor.is_missed_by(result)
    ]
    if missed:
        raise MedcliError("; ".join(missed))
