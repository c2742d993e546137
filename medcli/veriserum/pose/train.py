"""Train the pose of implants from two planes: ``medcli train pose``."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from medcli.core.errors import quantity
from medcli.core.progress import SILENT, Progress
from medcli.core.run_provenance import is_synthetic, synthetic_like
from medcli.training.batches import FrameData, Transform, name_of
from medcli.training.callbacks import Row, WriteWeights
from medcli.training.curves import Panel
from medcli.training.devices import resolve_devices
from medcli.training.epoch_table import Column
from medcli.training.results import RunResult, finite
from medcli.training.seeds import seed_torch
from medcli.training.settings import as_dict
from medcli.training.training_run import Trained, Training, TrainingTask
from medcli.veriserum.dataset.pose_tables import pose_matrices, pose_numbers
from medcli.veriserum.dataset.publication import ABOUT
from medcli.veriserum.dataset.study import VeriserumStudy
from medcli.veriserum.dataset.trial_splits import TrialSplit
from medcli.veriserum.pose.checkpoint import save_pose_checkpoint
from medcli.veriserum.pose.checkpoint_metadata import PoseMetadata
from medcli.veriserum.pose.lightning_module import PoseModule
from medcli.veriserum.pose.network import build_pose_network
from medcli.veriserum.pose.pairs import Pairs, choose_pairs, find_pairs, fingerprint_of, open_pairs
from medcli.veriserum.pose.settings import MONITORS, PoseSettings, check_pose_settings

PANELS: tuple[Panel, ...] = (
    ("loss", {"train_loss": "training", "val_loss": "validation"}),
    ("translation, mm", {"val_in_plane_mm": "in plane bs", "val_out_of_plane_mm": "out of plane bs"}),
    ("rotation, degrees", {"val_rotation_deg": "geodesic angle"}),
)
COLUMNS = (
    Column("train_loss", "train", "loss"),
    Column("val_loss", "val", "loss"),
    Column("val_in_plane_mm", "in", "plane mm"),
    Column("val_out_of_plane_mm", "out of", "plane mm"),
    Column("val_rotation_deg", "rotation", "deg"),
)
_LEAST_SCALE_MM = 1.0
VERB = "train pose"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainPoseResult(RunResult):
    """Result of a training; see :class:`RunResult` for the other fields.

    Attributes:
        mean_pose_metrics: the same errors with the mean pose of the training pairs as estimate.
        train_pairs, val_pairs, test_pairs: their numbers; the test pairs are not used.
        images: ``calibrated`` or ``originals``.
        split_rule: how trials were defined.
        warnings: limitations of the metrics.
        device: device and precision of the training.
        seconds: time of this process; of a resumed run, since then.
        failures: unreadable pairs, which were not used.
    """

    mean_pose_metrics: dict[str, float]
    train_pairs: int
    val_pairs: int
    test_pairs: int
    images: str
    split_rule: str
    warnings: tuple[str, ...]
    device: str
    seconds: float
    failures: tuple[str, ...] = ()
    schema: str = "medcli.train_pose.v1"


def train_pose(
    settings: PoseSettings,
    out: Path,
    resume: str = "auto",
    overwrite: bool = False,
    progress: Progress = SILENT,
    transform: Transform | None = None,
) -> TrainPoseResult:
    """Train on the split's training pairs and validate after each epoch.

    Args:
        settings: see :class:`PoseSettings`.
        out: folder of the run, see :mod:`medcli.training.run_folder`. An interrupted run is resumed, with the same
            numbers as an uninterrupted one; a finished run is reported again and nothing is computed.
        resume: ``auto``, or a Lightning checkpoint to resume from.
        overwrite: discard the run in ``out``.
        progress: reports training pairs.
        transform: your own change of each training pair, see :func:`medcli.veriserum.pose.pairs.open_pairs`. Its name
            is part of the settings.

    Raises:
        UsageError: settings contradict each other, this machine, or the run in ``out``.
        DataError: images, tables or backbone weights are missing.
        KeyboardInterrupt: interrupted; the finished epochs are on disk.
    """
    check_pose_settings(settings)
    settings = dataclasses.replace(settings, transform=name_of(transform))
    devices = resolve_devices(settings)
    pairs = find_pairs(VeriserumStudy(settings.root, settings.calibrated), settings.anatomy)
    training = _PoseTraining(settings, pairs, choose_pairs(pairs, settings.split), transform)
    return training.run(devices, out, resume, overwrite, progress)


@dataclass(frozen=True)
class _PoseTraining(Training[TrainPoseResult]):
    settings: PoseSettings
    pairs: Pairs
    split: TrialSplit
    transform: Transform | None
    result_type = TrainPoseResult
    verb = VERB
    about = ABOUT

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean pose of the training pairs, (4, 4)."""
        return mean_pose(self.pairs.poses.loc[self.split.train])

    def fingerprint(self) -> str:
        return fingerprint_of(self.settings, self.pairs, self.split)

    def prepare(self, out: Path, is_new: bool, progress: Progress) -> TrainingTask:
        settings, pairs, split, mean = self.settings, self.pairs, self.split, self.mean
        _tell(pairs, split)
        opened = open_pairs(settings, pairs, split, progress, self.transform)
        seed_torch(settings.seed)
        network = build_pose_network(settings.backbone, settings.backbone_weights if is_new else "none")
        network.start_from(*_start_of(pairs.poses.loc[split.train], mean))
        module = PoseModule(network, settings)
        data = FrameData(opened.train, opened.val, settings.batch_size, settings.seed)
        write_weights = _weights_writer(out, module, pairs, split, mean)
        monitor = MONITORS[settings.monitor]
        return TrainingTask(module, data, write_weights, monitor, PANELS, COLUMNS, opened.failures)

    def report(self, out: Path, trained: Trained) -> TrainPoseResult:
        split = self.split
        return TrainPoseResult(
            **trained.fields(out),
            mean_pose_metrics=mean_pose_metrics(self.pairs.poses.loc[split.val], self.mean),
            train_pairs=len(split.train),
            val_pairs=len(split.val),
            test_pairs=len(split.test),
            images=self.pairs.source,
            split_rule=split.rule,
            warnings=split.warnings,
        )


def mean_pose(poses: pd.DataFrame) -> NDArray[np.float64]:
    """(4, 4): mean translation, and the rotation nearest to the mean of the rotation matrices."""
    matrices = pose_matrices(poses)
    mean = np.eye(4)
    mean[:3, :3] = Rotation.from_matrix(matrices[:, :3, :3]).mean().as_matrix()
    mean[:3, 3] = matrices[:, :3, 3].mean(axis=0)
    return mean


def mean_pose_metrics(poses: pd.DataFrame, mean: NDArray[np.float64]) -> dict[str, float]:
    """Validation errors of ``mean`` as the estimate for every row of ``poses``."""
    matrices = pose_matrices(poses)
    away = matrices[:, :3, 3] - mean[:3, 3]
    turned = Rotation.from_matrix(matrices[:, :3, :3]) * Rotation.from_matrix(mean[:3, :3]).inv()
    return {
        "val_in_plane_mm": float(np.linalg.norm(away[:, :2], axis=1).mean()),
        "val_out_of_plane_mm": float(np.abs(away[:, 2]).mean()),
        "val_rotation_deg": float(np.degrees(turned.magnitude()).mean()),
    }


def _start_of(poses: pd.DataFrame, mean: NDArray[np.float64]) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and scale of the network's nine outputs: millimetres are measured in units of their spread."""
    spread_mm = np.maximum(pose_matrices(poses)[:, :3, 3].std(axis=0), _LEAST_SCALE_MM)
    start = np.concatenate([mean[:3, 3], mean[:2, :3].ravel()])
    return torch.from_numpy(start).float(), torch.from_numpy(np.concatenate([spread_mm, np.ones(6)])).float()


def _tell(pairs: Pairs, split: TrialSplit) -> None:
    logger.info(
        "%s (%s): %d to train, %d to validate, %d to test; trials by %s",
        quantity(len(pairs.files), "pair"),
        "calibrated images" if pairs.source == "calibrated" else "originals, calibrated on the fly",
        len(split.train),
        len(split.val),
        len(split.test),
        split.rule,
    )
    if pairs.incomplete:
        logger.warning(
            "%s omitted: an image or its calibration is missing", quantity(pairs.incomplete, "pose is", "poses are")
        )
    for warning in split.warnings:
        logger.warning("%s", warning)


def _weights_writer(
    out: Path, module: PoseModule, pairs: Pairs, split: TrialSplit, mean: NDArray[np.float64]
) -> WriteWeights:
    settings = module.settings
    about = synthetic_like(ABOUT.dataset) if is_synthetic(Path(settings.root)) else None
    anatomies = tuple(sorted({int(number) for number in pairs.poses.loc[split.train, "anatomy_id"]}))

    def write(name: str, row: Row) -> None:
        metadata = PoseMetadata(
            backbone=settings.backbone,
            size=settings.size,
            anatomies=anatomies,
            mean_pose=tuple(pose_numbers(mean).tolist()),
            images=pairs.source,
            settings=as_dict(settings),
            splits=split.as_dict(),
            metrics=finite(row),
        )
        if about:
            metadata = dataclasses.replace(metadata, licence=about.licence, citation=about.citation)
        save_pose_checkpoint(out / f"{name}.safetensors", module.model, metadata)

    return write
