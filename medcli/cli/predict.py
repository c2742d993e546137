"""``medcli predict``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from medcli.cli.shared import options
from medcli.cli.shared.multi_value_options import App
from medcli.cli.shared.output import Output
from medcli.core.errors import UsageError, quantity
from medcli.core.files import check_output_folder, check_replaceable
from medcli.core.refusals import refusals
from medcli.training.devices import check_device

if TYPE_CHECKING:
    from medcli.ultrabones.segmentation.predict import SegPrediction
    from medcli.veriserum.pose.predict import PosePrediction

app = App()


@app.command("seg")
def seg(
    output: Output,
    inputs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="INPUT",
            help="Images, movies (AVI, MP4), DICOM files, folders, patterns, records or specimens.",
            show_default=False,
        ),
    ] = None,
    checkpoint: options.SegCheckpoint = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the masks.  [default: Labels_pred of a record, else predictions]")
    ] = None,
    specimens: Annotated[
        list[int] | None, typer.Option(help="All records of these specimens of --root: 2 7 8 or 2-5.", metavar="N")
    ] = None,
    root: options.UltrabonesRoot = options.ULTRABONES_ROOT,
    overlay: Annotated[bool, typer.Option(help="Also write the frames with their masks on them.")] = False,
    threshold: options.Threshold = None,
    skip_existing: Annotated[
        bool, typer.Option(help="Keep every mask that is there, also one of another network.")
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option(
            help="Make all masks again, also those of another network or program, such as the published ones."
        ),
    ] = False,
    device: options.Device = "auto",
    engine: options.Engine = "auto",
    tta: options.Tta = False,
    precision: Annotated[
        Literal["32", "bf16"], typer.Option(help="bf16 is faster where the hardware has it, but moves edges a little.")
    ] = "32",
    batch_size: Annotated[int | None, typer.Option(min=1, help="Frames in one pass.  [default: by device]")] = None,
    workers: options.Workers = None,
) -> None:
    """Write a bone mask of each ultrasound frame.

    Masks are 0/255, of the frame's own size, and named <stem>_label_pred.png; one contact sheet shows some of them.
    A second run keeps those that the same network made of unchanged files with the same options.

    \b
    A folder of your own images, with the newest network:
      medcli predict seg scans/ --out masks --overlay
    """
    from medcli.ultrabones.segmentation.checkpoint_metadata import check_segmentation_checkpoint, check_threshold
    from medcli.ultrabones.segmentation.onnx_graph.engine import check_engine
    from medcli.ultrabones.segmentation.prediction_inputs import check_input, records_of, refuse_skip_and_overwrite

    with refusals() as check:
        check(_check_given, inputs, specimens)
        check(check_threshold, threshold)
        check(refuse_skip_and_overwrite, skip_existing, overwrite)
        for given in inputs or []:
            check(check_input, given)
        if specimens:
            check(records_of, root, specimens)
        check(check_segmentation_checkpoint, checkpoint, takes_graphs=True)
        if out:
            check(check_output_folder, out)
        check(check_engine, checkpoint, device, precision, engine)
    from medcli.ultrabones.segmentation.predict import PredictSettings, predict_seg

    settings = options.settings_from(PredictSettings, locals())
    result = predict_seg(inputs or [], checkpoint, settings, root, specimens or (), output.progress())
    named = [*(inputs or []), *([root] if specimens else []), *([out] if out else [])]
    output.finish(result, lambda done: _show(output, done, named))


def _check_given(inputs: list[Path] | None, specimens: list[int] | None) -> None:
    if not inputs and not specimens:
        raise UsageError("INPUT is missing", "name images, movies or folders, or specimens of --root with --specimens")


def _as_given(path: Path, named: list[Path]) -> Path:
    """A path below the current folder as others were typed: relative, unless one of them is absolute."""
    if any(one.is_absolute() for one in named):
        return path
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _show(output: Output, done: SegPrediction, named: list[Path]) -> None:
    rate = f", {done.frames / done.seconds:.1f} frames/s" if done.frames and done.seconds else ""
    kept = f", {done.frames_skipped:,} kept" if done.frames_skipped else ""
    folders = quantity(len(done.folders), "folder")
    first = _as_given(done.folders[0], named) if done.folders else "-"
    rows = {
        "checkpoint": done.checkpoint,
        "device": f"{done.device}, precision {done.precision}, {done.engine}",
        "masks": f"{done.frames:,} written{kept}{rate}; {done.frames_without_bone:,} without bone",
        "in": first if len(done.folders) == 1 else folders,
    }
    if len(done.folders) > 1:
        rows["first"] = first
    if done.contact_sheet:
        rows["contact sheet"] = _as_given(done.contact_sheet, named)
    output.pairs(rows)


@app.command("pose")
def pose(
    output: Output,
    inputs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="INPUT",
            help="Images (either plane of a pair, as recorded or calibrated) or folders.  [default: all of --root]",
            show_default=False,
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Table to write, with the published columns.")] = Path("poses.csv"),
    checkpoint: options.PoseCheckpoint = None,
    root: options.VeriserumRoot = options.VERISERUM_ROOT,
    calibration: Annotated[
        int | None, typer.Option(help="Id of the calibration of pairs without a row in the pose table.")
    ] = None,
    anatomy: Annotated[
        int | None,
        typer.Option(
            help="anatomy_id of pairs without a row of it in the pose table.  [default: the network's, if only one]"
        ),
    ] = None,
    overlay: Annotated[bool, typer.Option(help="Also write the pairs with the implant's outline.")] = False,
    device: options.Device = "auto",
    batch_size: Annotated[int | None, typer.Option(min=1, help="Pairs in one pass.  [default: by device]")] = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Estimate the pose of the implant in each X-ray pair.

    Recordings are calibrated on the fly by the tables below ROOT; calibrated images are taken as they are.

    \b
    Your own recordings, with the newest network:
      medcli predict pose recordings/ --out poses.csv --overlay
    """
    from medcli.veriserum.dataset.contents_check import check_pair_input
    from medcli.veriserum.pose.checkpoint_metadata import check_pose_checkpoint

    with refusals() as check:
        check(check_device, device)
        for given in inputs or [root]:
            check(check_pair_input, given, is_root=not inputs)
        check(check_pose_checkpoint, checkpoint)
        check(check_replaceable, out, overwrite=True)
        check(check_output_folder, out.parent)
    from medcli.veriserum.pose.predict import PosePredictSettings, predict_pose

    settings = PosePredictSettings(calibration, anatomy, overlay, device, batch_size, overwrite)
    result = predict_pose(inputs or [], out, checkpoint, root, settings, output.progress())
    output.finish(result, lambda done: _show_pose(output, done))


def _show_pose(output: Output, done: PosePrediction) -> None:
    rate = f", {done.pairs / done.seconds:.1f} pairs/s" if done.seconds else ""
    rows = {
        "checkpoint": done.checkpoint,
        "device": done.device,
        "poses": f"{done.pairs:,}{rate}{', already made of the same pairs' if done.is_earlier else ''}",
        "table": done.out,
    }
    if done.contact_sheet:
        rows["contact sheet"] = done.contact_sheet
    output.pairs(rows)
