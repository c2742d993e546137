"""``medcli train``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from medcli.cli.shared import options
from medcli.cli.shared.multi_value_options import App
from medcli.cli.shared.output import Output
from medcli.core.errors import quantity
from medcli.core.files import check_output_folder
from medcli.core.refusals import refusals
from medcli.core.shell import spell
from medcli.training.devices import check_devices, gpus_setting, is_first_process
from medcli.training.loggers import check_loggers
from medcli.training.run_folder import check_run, is_early
from medcli.ultrabones.dataset.constants import INPUT_SIZE
from medcli.ultrabones.segmentation.losses import LOSSES, PUBLISHED
from medcli.ultrabones.segmentation.settings import MONITORS, Augmentation, Labels, Recipe, Size
from medcli.veriserum.pose.losses import POSE_LOSSES, PUBLISHED_POSE_LOSS
from medcli.veriserum.pose.settings import MONITORS as POSE_MONITORS
from medcli.veriserum.pose.settings import Augmentation as PoseAugmentation

if TYPE_CHECKING:
    from medcli.training.results import RunResult
    from medcli.ultrabones.segmentation.settings import SegmentationSettings
    from medcli.ultrabones.segmentation.train import CrossValidationResult, TrainResult
    from medcli.veriserum.pose.settings import PoseSettings
    from medcli.veriserum.pose.train import TrainPoseResult

app = App()

_SHOWN_POSE = {
    "loss": "val_loss",
    "in plane mm": "val_in_plane_mm",
    "out of plane mm": "val_out_of_plane_mm",
    "rotation deg": "val_rotation_deg",
}
_SHOWN = {"loss": "val_loss", "Dice": "val_dice", "chamfer mm": "val_chamfer_mm", "HD95 mm": "val_hausdorff_95_mm"}


@app.command("seg")
def seg(
    output: Output,
    root: options.UltrabonesRoot = options.ULTRABONES_ROOT,
    train_specimens: Annotated[
        list[int] | None,
        typer.Option(help="Training specimens.  [default: 1 3-6 9-14, as published]", metavar="N"),
    ] = None,
    val_specimens: Annotated[
        list[int] | None, typer.Option(help="Validation specimens.  [default: 2 7 8, as published]", metavar="N")
    ] = None,
    cv: Annotated[
        Literal["loo"] | None,
        typer.Option(help="loo: leave-one-specimen-out, one run for each."),
    ] = None,
    labels: Annotated[
        Labels, typer.Option(help="partial: visible bone surface; full: also bone in acoustic shadow.")
    ] = "partial",
    epochs: Annotated[int, typer.Option(min=1, help="Number of passes over the training frames.")] = 100,
    batch_size: Annotated[int, typer.Option(min=1, help="Frames per step and device.")] = 32,
    recipe: Annotated[
        Recipe,
        typer.Option(help="strong: higher learning rate with warm-up and cosine; the weights' average is the result."),
    ] = "published",
    lr: Annotated[
        float | None,
        typer.Option(
            help="Learning rate; times 0.8 every 10 epochs, of strong the highest.  [default: 1e-5; 3e-4 for strong]"
        ),
    ] = None,
    size: Annotated[Size, typer.Option(help="Pixels along each side of what the network sees.")] = "256",
    arch: options.Arch = "fpn",
    encoder: options.Encoder = "resnet34",
    encoder_weights: options.PretrainedWeights = "imagenet",
    augment: Annotated[
        Augmentation, typer.Option(help="trivial: 5 of 14 operations on each frame, as published.")
    ] = "trivial",
    loss: Annotated[str, options.choice(LOSSES)] = PUBLISHED,
    loss_weights: Annotated[
        list[float] | None,
        typer.Option(help="Weights of the loss's terms, in that order.  [default: 1 each, 0.1 of the skeleton term]"),
    ] = None,
    monitor: Annotated[str, options.choice(MONITORS)] = "loss",
    early_stop: options.EarlyStop = None,
    device: options.Device = "auto",
    nodes: options.Nodes = 1,
    precision: options.Precision = "auto",
    compiled: options.Compile = "auto",
    seed: options.Seed = 42,
    resume: options.Resume = "auto",
    limit_frames: Annotated[
        int | None, typer.Option(min=1, help="Maximum number of frames in each split.  [default: all]")
    ] = None,
    no_cache: Annotated[bool, typer.Option(help="Decode the PNG files in every epoch.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run.  [default: runs/seg/ARCH-ENCODER[-RECIPE][-SIZE]]")
    ] = None,
    loggers: options.Loggers = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Train the segmentation of bone in ultrasound.

    Trains on UltraBones100k with the published defaults. The same command again resumes an interrupted run.

    \b
    A short run on a few frames, without a GPU; then the published one:
      medcli train seg --gpus 0 --epochs 5 --limit-frames 500
      medcli train seg --gpus 1
    """
    from medcli.ultrabones.segmentation.settings import SegmentationSettings

    if not is_first_process():
        output.hush()
    settings = options.settings_from(
        SegmentationSettings,
        locals(),
        size=int(size),
        use_cache=not no_cache,
        gpus=gpus_setting(device),
        compile=compiled,
    )
    folder = out or options.RUNS / "seg" / _run_name(settings, bool(cv))
    _check_seg(settings, folder, bool(cv), resume, overwrite)
    from medcli.ultrabones.segmentation.train import cross_validate, train_segmentation

    train = cross_validate if cv else train_segmentation
    result: CrossValidationResult | TrainResult = train(settings, folder, resume, overwrite, output.progress())
    if is_first_process():
        output.finish(result, lambda done: _show(output, done, settings))


def _run_name(settings: SegmentationSettings, folds: bool) -> str:
    words = [settings.arch, settings.encoder]
    words += [settings.recipe] if settings.recipe != "published" else []
    words += [str(settings.size)] if settings.size != INPUT_SIZE else []
    return "-".join([*words, "loo"] if folds else words)


def _check_seg(settings: SegmentationSettings, folder: Path, folds: bool, resume: str, overwrite: bool) -> None:
    from medcli.ultrabones.dataset.presence import check_training_frames
    from medcli.ultrabones.dataset.splits import SpecimenSplit, leave_one_out
    from medcli.ultrabones.segmentation.network import check_architecture, check_encoder, check_encoder_weights
    from medcli.ultrabones.segmentation.settings import (
        check_segmentation_settings,
        fold_folder,
        refuse_resuming_folds,
    )

    train, val, frames = settings.train_specimens, settings.val_specimens, (settings.root, settings.labels)
    with refusals() as check:
        check(check_segmentation_settings, settings)
        check(check_architecture, settings.arch)
        check(check_encoder, settings.encoder)
        check(check_devices, settings)
        check(check_loggers, settings.loggers)
        if folds:
            check(leave_one_out, train)
            check(refuse_resuming_folds, resume)
            for number in train:
                check(check_training_frames, *frames, (number,), "validation", "--val-specimens")
            check(check_output_folder, fold_folder(folder, train[0]))
            return
        check(SpecimenSplit, train, val)
        check(check_training_frames, *frames, train, "training", "--train-specimens")
        check(check_training_frames, *frames, val, "validation", "--val-specimens")
        if check(check_run, folder, settings, resume, overwrite):
            check(check_encoder_weights, settings.encoder, settings.encoder_weights)


@app.command("pose")
def pose(
    output: Output,
    root: options.VeriserumRoot = options.VERISERUM_ROOT,
    calibrated: options.Calibrated = None,
    anatomy: Annotated[
        str, typer.Option(help="Implants to train on: femur, tibia or an anatomy_id.", metavar="femur|tibia|ID")
    ] = "1",
    split: Annotated[
        Literal["trial", "published"],
        typer.Option(help="trial: 70/15/15 % by trial; published: first 1,000 ids, split 80/20."),
    ] = "trial",
    epochs: Annotated[int, typer.Option(min=1, help="Number of passes over the training pairs.")] = 250,
    batch_size: Annotated[int, typer.Option(min=1, help="Pairs per step and device.")] = 4,
    lr: Annotated[float, typer.Option(help="Learning rate of Adam.")] = 1e-3,
    backbone: Annotated[str, typer.Option(help="Classification model of torchvision.")] = "resnext50_32x4d",
    backbone_weights: options.PretrainedWeights = "imagenet",
    augment: Annotated[
        PoseAugmentation,
        typer.Option(
            help="published: shifts with the pose corrected, grey values, blur and noise; ranges are assumed."
        ),
    ] = "none",
    loss: Annotated[str, options.choice(POSE_LOSSES)] = PUBLISHED_POSE_LOSS,
    loss_weights: Annotated[
        list[float] | None,
        typer.Option(help="Weights of a millimetre and of a degree.  [default: 1 1]", metavar="T R"),
    ] = None,
    size: Annotated[int, typer.Option(min=32, help="Pixels along each side of a plane.")] = 256,
    monitor: Annotated[str, options.choice(POSE_MONITORS)] = "loss",
    early_stop: options.EarlyStop = None,
    device: options.Device = "auto",
    nodes: options.Nodes = 1,
    precision: options.Precision = "auto",
    compiled: options.Compile = "auto",
    seed: options.Seed = 42,
    resume: options.Resume = "auto",
    limit_pairs: Annotated[
        int | None, typer.Option(min=1, help="Maximum number of pairs in each split.  [default: all]")
    ] = None,
    no_cache: Annotated[bool, typer.Option(help="Decode the images in every epoch.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder of the run.  [default: runs/pose/BACKBONE-ANATOMY]")] = None,
    loggers: options.Loggers = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Train the pose of knee implants from two X-ray planes.

    Learns from Veriserum: both planes in; three translations and six numbers of the rotation out. The same command
    again resumes an interrupted run.
    """
    from medcli.veriserum.pose.settings import PoseSettings

    if not is_first_process():
        output.hush()
    settings = options.settings_from(
        PoseSettings,
        locals(),
        use_cache=not no_cache,
        gpus=gpus_setting(device),
        compile=compiled,
    )
    folder = out or options.RUNS / "pose" / f"{backbone}-{anatomy}"
    _check_pose(settings, folder, resume, overwrite)
    from medcli.veriserum.pose.train import train_pose

    result = train_pose(settings, folder, resume, overwrite, output.progress())
    if is_first_process():
        output.finish(result, lambda done: _show_pose(output, done, root))


def _check_pose(settings: PoseSettings, folder: Path, resume: str, overwrite: bool) -> None:
    from medcli.veriserum.dataset.contents_check import check_pair_images, check_table
    from medcli.veriserum.dataset.folder_index import POSES, SOURCES
    from medcli.veriserum.pose.settings import check_backbone, check_backbone_weights, check_pose_settings

    with refusals() as check:
        check(check_pose_settings, settings)
        check(check_backbone, settings.backbone)
        check(check_devices, settings)
        check(check_loggers, settings.loggers)
        check(check_table, settings.root, POSES)
        if settings.augment != "none":
            check(check_table, settings.root, SOURCES)
        check(check_pair_images, settings.root, settings.calibrated)
        if check(check_run, folder, settings, resume, overwrite):
            check(check_backbone_weights, settings.backbone_weights)


def _show_pose(output: Output, result: TrainPoseResult, root: Path) -> None:
    rows: dict[str, Mapping[str, float | None]] = {
        "mean pose": result.mean_pose_metrics,
        f"best (epoch {result.best_epoch})": result.best_metrics,
        f"last (epoch {result.epochs})": result.last_metrics,
    }
    output.table(["", *_SHOWN_POSE], [[name, *_row(row, _SHOWN_POSE)] for name, row in rows.items()])
    _show_end(output, result)
    output.line(f"checkpoint: {result.best}")
    output.line(f"next: {spell('medcli', 'evaluate', 'pose', '--root', root, '--checkpoint', result.best)}")


def _show(output: Output, result: TrainResult | CrossValidationResult, settings: SegmentationSettings) -> None:
    from medcli.ultrabones.segmentation.train import CrossValidationResult

    if isinstance(result, CrossValidationResult):
        rows = [[fold.val_specimens[0], *_row(fold.best_metrics), fold.best_epoch] for fold in result.folds]
        output.table(["left out", *_SHOWN, "best epoch"], [*rows, ["mean", *_row(result.mean_metrics), ""]])
        output.line(f"folds in {result.out}")
        return
    output.table(
        ["", *_SHOWN],
        [
            [f"best (epoch {result.best_epoch})", *_row(result.best_metrics)],
            [f"last (epoch {result.epochs})", *_row(result.last_metrics)],
        ],
    )
    _show_end(output, result)
    output.line(f"checkpoint: {result.best}")
    labels = [] if settings.labels == "partial" else ["--labels", settings.labels]
    words = ["--root", settings.root, "--checkpoint", result.best, "--specimens", *result.val_specimens, *labels]
    output.line(f"next: {spell('medcli', 'evaluate', 'seg', *words)}")


def _show_end(output: Output, result: RunResult) -> None:
    if is_early(dataclasses.asdict(result)):
        output.line(f"ended after {quantity(result.epochs, 'epoch')}, {result.ended}")


def _row(metrics: Mapping[str, float | None], shown: Mapping[str, str] = _SHOWN) -> list[str]:
    values = [metrics.get(name) for name in shown.values()]
    return ["-" if value is None else f"{value:.4f}" for value in values]
