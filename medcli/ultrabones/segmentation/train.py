"""Train the bone segmentation: one run, or leave-one-specimen-out cross-validation."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medcli.core.progress import SILENT, Progress
from medcli.core.run_provenance import is_synthetic, synthetic_like
from medcli.core.run_records.options import changed_options
from medcli.training.batches import FrameData, Transform, name_of
from medcli.training.callbacks import Row
from medcli.training.curves import Panel
from medcli.training.devices import resolve_devices
from medcli.training.epoch_table import Column
from medcli.training.results import RunResult, finite
from medcli.training.seeds import seed_torch
from medcli.training.settings import as_dict
from medcli.training.training_run import Trained, Training, TrainingTask, finish, note
from medcli.ultrabones.dataset.publication import ABOUT
from medcli.ultrabones.dataset.splits import SpecimenSplit, TrainingFrames, leave_one_out, split_frames
from medcli.ultrabones.segmentation.checkpoint import save_checkpoint
from medcli.ultrabones.segmentation.checkpoint_metadata import Metadata
from medcli.ultrabones.segmentation.lightning_module import SegmentationModule
from medcli.ultrabones.segmentation.network import build_model
from medcli.ultrabones.segmentation.recipes.strong import describe_recipe
from medcli.ultrabones.segmentation.settings import (
    MONITORS,
    SegmentationSettings,
    check_segmentation_settings,
    fold_folder,
    refuse_resuming_folds,
)
from medcli.ultrabones.segmentation.training_data import frames_fingerprint, open_frames

PANELS: tuple[Panel, ...] = (
    ("loss", {"train_loss": "training", "val_loss": "validation"}),
    ("Dice", {"val_dice": "validation"}),
    ("prediction to label, mm", {"val_chamfer_mm": "mean", "val_hausdorff_95_mm": "95 %"}),
)
COLUMNS = (
    Column("train_loss", "train", "loss"),
    Column("val_loss", "val", "loss"),
    Column("val_dice", "val", "Dice"),
    Column("val_chamfer_mm", "chamfer", "mm"),
    Column("val_hausdorff_95_mm", "HD95", "mm"),
)
VERB = "train seg"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainResult(RunResult):
    """What a training leaves; see :class:`RunResult` for the rest.

    Attributes:
        train_specimens, val_specimens: those with frames.
        train_frames, val_frames: how many.
        donor_overlap: donors with a leg on either side of the split.
        warnings: what to keep in mind when quoting the metrics.
        device: what it was trained on, and in which precision.
        seconds: time of this process; of a run that went on, since then.
        failures: frames that cannot be read and took no part.
    """

    train_specimens: tuple[int, ...]
    val_specimens: tuple[int, ...]
    train_frames: int
    val_frames: int
    donor_overlap: tuple[str, ...]
    warnings: tuple[str, ...]
    device: str
    seconds: float
    failures: tuple[str, ...] = ()
    schema: str = "medcli.train_seg.v1"


@dataclass(frozen=True)
class CrossValidationResult:
    """Leave one specimen out.

    Attributes:
        out: the folder of the folds.
        folds: one training for each specimen left out.
        mean_metrics: mean over the folds of their best epochs' metrics; a fold without a value is left out.
    """

    out: Path
    folds: tuple[TrainResult, ...]
    mean_metrics: dict[str, float | None]
    schema: str = "medcli.train_seg_cv.v1"


def train_segmentation(
    settings: SegmentationSettings,
    out: Path,
    resume: str = "auto",
    overwrite: bool = False,
    progress: Progress = SILENT,
    transform: Transform | None = None,
) -> TrainResult:
    """Train on ``settings.train_specimens`` and validate on ``settings.val_specimens`` after each epoch.

    Args:
        settings: see :class:`SegmentationSettings`; the learning rate is that of the recipe unless one was given.
        out: folder of the run, see :mod:`medcli.training.run_folder`. A run that stopped there resumes, with the same
            numbers as if it had not stopped; one that is done is reported again and nothing is computed.
        resume: ``auto``, or a Lightning checkpoint to resume from.
        overwrite: forget the run in ``out``.
        progress: reports training frames.
        transform: your own change of each training frame, see
            :func:`medcli.ultrabones.segmentation.training_data.open_frames`. Its name is part of the settings.

    Raises:
        UsageError: settings contradict each other, this machine, or the run in ``out``.
        DataError: frames, labels or encoder weights are missing.
        KeyboardInterrupt: interrupted; the epochs done are on disk.
    """
    check_segmentation_settings(settings)
    settings = dataclasses.replace(settings, transform=name_of(transform))
    split = SpecimenSplit(settings.train_specimens, settings.val_specimens)
    devices = resolve_devices(settings)
    frames = split_frames(settings.root, split, settings.labels, settings.limit_frames)
    return _Segmentation(settings, frames, transform).run(devices, out, resume, overwrite, progress)


@dataclass(frozen=True)
class _Segmentation(Training[TrainResult]):
    settings: SegmentationSettings
    split: TrainingFrames
    transform: Transform | None
    result_type = TrainResult
    verb = VERB
    about = ABOUT

    def fingerprint(self) -> str:
        return frames_fingerprint(self.split, self.settings.labels)

    def prepare(self, out: Path, is_new: bool, progress: Progress) -> TrainingTask:
        settings = self.settings
        frames = open_frames(settings, self.split, progress, self.transform)
        for warning in self.split.warnings:
            logger.warning("%s", warning)
        if recipe := describe_recipe(settings):
            logger.info("%s", recipe)
        seed_torch(settings.seed)
        model = build_model(settings.arch, settings.encoder, settings.encoder_weights if is_new else "none")
        module = SegmentationModule(model, settings)
        data = FrameData(frames.train, frames.val, settings.batch_size, settings.seed)
        return TrainingTask(
            module,
            data,
            _weights_writer(out, module, self.split),
            MONITORS[settings.monitor],
            PANELS,
            COLUMNS,
            frames.failures,
        )

    def report(self, out: Path, trained: Trained) -> TrainResult:
        split = self.split
        return TrainResult(
            **trained.fields(out),
            train_specimens=split.train_specimens,
            val_specimens=split.val_specimens,
            train_frames=len(split.train),
            val_frames=len(split.val),
            donor_overlap=split.donor_overlap,
            warnings=split.warnings,
        )


def cross_validate(
    settings: SegmentationSettings,
    out: Path,
    resume: str = "auto",
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> CrossValidationResult:
    """Leave one specimen out: one training for each of ``settings.train_specimens``, validated on it.

    Each fold is a run of its own in ``out/specimenNN``; folds that are done are not repeated.
    """
    splits = leave_one_out(settings.train_specimens)
    refuse_resuming_folds(resume)
    folds = []
    for number, split in enumerate(splits, 1):
        logger.info("fold %d of %d: specimen %d left out", number, len(splits), *split.val)
        fold = dataclasses.replace(settings, train_specimens=split.train, val_specimens=split.val)
        folder = fold_folder(out, *split.val)
        own = {"cv": None, "train_specimens": split.train, "val_specimens": split.val, "out": folder}
        with changed_options(**own):
            folds.append(train_segmentation(fold, folder, "auto", overwrite, progress))
    result = CrossValidationResult(out, tuple(folds), _mean_metrics(folds))
    finish(out, result)
    note(f"{VERB} --cv loo", out, ABOUT, settings, folds[0].device)
    return result


def _weights_writer(out: Path, module: SegmentationModule, split: TrainingFrames) -> Any:
    settings = module.settings
    about = synthetic_like(ABOUT.dataset) if is_synthetic(Path(settings.root)) else None

    def write(name: str, row: Row) -> None:
        metadata = Metadata(
            arch=settings.arch,
            encoder=settings.encoder,
            input_size=settings.size,
            settings=as_dict(settings),
            splits=split.as_dict(),
            metrics=finite(row),
        )
        if about:
            metadata = dataclasses.replace(metadata, licence=about.licence, citation=about.citation)
        save_checkpoint(out / f"{name}.safetensors", module.result, metadata)

    return write


def _mean_metrics(folds: list[TrainResult]) -> dict[str, float | None]:
    names = [name for name in folds[0].best_metrics if name.startswith("val_")]
    values = {name: [fold.best_metrics.get(name) for fold in folds] for name in names}
    known = {name: [value for value in found if value is not None] for name, found in values.items()}
    return {name: sum(found) / len(found) if found else None for name, found in known.items()}
