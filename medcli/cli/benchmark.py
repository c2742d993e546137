"""``medcli benchmark``: is the published result reproduced."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medcli.cli.shared import options
from medcli.cli.shared.multi_value_options import App
from medcli.cli.shared.output import Output
from medcli.core.errors import MedcliError
from medcli.core.files import check_output_folder
from medcli.core.refusals import refusals
from medcli.training.devices import check_device

if TYPE_CHECKING:
    from medcli.ultrabones.evaluation.aggregation import SegmentationResult
    from medcli.ultrabones.evaluation.reproduce import Reproduction

app = App()


@app.command("seg")
def seg(
    output: Output,
    checkpoint: options.SegCheckpoint = None,
    root: options.UltrabonesRoot = options.ULTRABONES_ROOT,
    train_specimens: options.TrainedOn = None,
    out: Annotated[Path, typer.Option(help="Folder of tables and figures.")] = options.RUNS / "evaluate" / "published",
    device: options.Device = "auto",
    workers: options.Workers = None,
) -> None:
    """Check a network against the published result.

    Published protocol, specimens 2 7 8, partial labels: precision, recall and F1 of all, visible and invisible bone at
    0.5, 1 and 2 mm must each be within 0.005 of the published value. Exit status 0 if they are, 1 if not. Refused
    where a record or an image of the test split is missing, or the network was trained on one of its specimens.

    \b
      medcli download ultrabones --specimens 2 7 8
      medcli download weights --name epoch_100
      medcli benchmark seg --checkpoint data/weights/epoch_100.safetensors
    """
    from medcli.ultrabones.evaluation.published_split import check_not_trained_on_test, check_published_split
    from medcli.ultrabones.segmentation.checkpoint_metadata import check_segmentation_checkpoint, training_specimens_of

    with refusals() as check:
        check(check_device, device)
        chosen = check(check_segmentation_checkpoint, checkpoint)
        if chosen:
            check(check_not_trained_on_test, train_specimens or training_specimens_of(chosen), chosen)
        check(check_published_split, root)
        check(check_output_folder, out)
    from medcli.ultrabones.evaluation.prediction_sources import Model
    from medcli.ultrabones.evaluation.reproduce import reproduce_published

    source = Model.from_checkpoint(chosen, device)
    done, result = reproduce_published(root, source, out, train_specimens, workers, output.progress())
    try:
        output.finish(done, lambda found: _show(output, found, result))
    finally:
        if not done.reproduced:  # weighs more than frames that could not be read
            raise MedcliError(done.verdict)


def _show(output: Output, done: Reproduction, result: SegmentationResult) -> None:
    from medcli.cli.evaluate.frames import show_segmentation_result

    show_segmentation_result(output, result)
    if done.reproduced:
        output.line(done.verdict)
    output.line(f"tables and figures in {done.out}")
