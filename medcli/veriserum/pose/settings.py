"""Settings of a pose training; the defaults are the published ones where known."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from medcli.core.errors import DataError, UsageError
from medcli.training.losses import check_loss
from medcli.training.monitors import Monitor, check_monitor
from medcli.training.settings import FitSettings, check_learning_rate
from medcli.veriserum.dataset.anatomies import anatomy_ids
from medcli.veriserum.pose.losses import POSE_LOSSES, PUBLISHED_POSE_LOSS

Augmentation = Literal["none", "published"]
AUGMENTATIONS = get_args(Augmentation)
BACKBONE = "resnext50_32x4d"
_BACKBONES = "resnet18 resnet34 resnet50 resnet101 resnext50_32x4d efficientnet_b0 efficientnet_v2_s convnext_tiny"
BACKBONES = tuple(_BACKBONES.split())
"""The backbones that are used most: known without a library, and offered by the shell; others can be typed as well."""
NO_WEIGHTS = "none"
MONITORS = {
    "loss": Monitor("val_loss", "as published"),
    "in-plane": Monitor("val_in_plane_mm", "smallest error in plane bs"),
    "out-of-plane": Monitor("val_out_of_plane_mm", "smallest error along its normal"),
    "rotation": Monitor("val_rotation_deg", "smallest angle"),
}
"""What can choose the best epoch."""
REMEDY = "give a local file of backbone weights (--backbone-weights FILE) or start untrained (--backbone-weights none)"
_SMALLEST_SIZE = 32


@dataclass(frozen=True)
class PoseSettings(FitSettings):
    """Settings of :func:`medcli.veriserum.pose.train.train_pose`; see :class:`FitSettings` for the others.

    Attributes:
        root: folder of Veriserum.
        calibrated: folder of calibrated images; None: ``root/calibrated`` if it contains any, otherwise the originals
            are calibrated on the fly.
        anatomy: ``femur``, ``tibia``, or an ``anatomy_id`` (published: 1).
        split: ``trial``, or ``published``: the first 1,000 ids in their order, split 80/20.
        size: pixels along each side of a plane.
        backbone: a classification model of torchvision.
        backbone_weights: ``imagenet``, ``none``, or a local file.
        augment: ``none``, or ``published``: see :mod:`medcli.veriserum.pose.augmentation`, also for what is assumed.
        loss: a name of :data:`medcli.veriserum.pose.losses.POSE_LOSSES`.
        loss_weights: of the translation (mm) and of the rotation (degrees).
        limit_pairs: maximum number of training and of validation pairs, evenly over all; None: all.
        use_cache: read decoded pairs from the cache; otherwise decode the images in every epoch.
    """

    epochs: int = 250
    batch_size: int = 4
    lr: float = 1e-3
    root: Path = Path("data/veriserum")
    calibrated: Path | None = None
    anatomy: str = "1"
    split: str = "trial"
    size: int = 256
    backbone: str = BACKBONE
    backbone_weights: str = "imagenet"
    augment: str = "none"
    loss: str = PUBLISHED_POSE_LOSS
    loss_weights: tuple[float, float] = (1.0, 1.0)
    limit_pairs: int | None = None
    use_cache: bool = True


def check_pose_settings(settings: PoseSettings) -> None:
    """Check the values that are not checked elsewhere.

    Raises:
        UsageError: names the option, its value, and what is expected.
    """
    check_loss(POSE_LOSSES, settings.loss, settings.loss_weights)
    check_monitor(MONITORS, settings.monitor, settings.early_stop)
    check_learning_rate(settings)
    if settings.augment not in AUGMENTATIONS:
        raise UsageError(f"--augment '{settings.augment}' is not one of {', '.join(AUGMENTATIONS)}")
    if settings.size < _SMALLEST_SIZE:
        raise UsageError(f"--size {settings.size} is too small: at least {_SMALLEST_SIZE} pixels")
    anatomy_ids(settings.anatomy)


def check_backbone(name: str) -> None:
    """Make sure that there is such a backbone; torchvision is imported for a name outside :data:`BACKBONES` only.

    Raises:
        UsageError: there is none; names similar ones.
    """
    if name in BACKBONES:
        return
    names = backbone_names()
    if name not in names:
        close = difflib.get_close_matches(name, names)
        similar = f"; did you mean {', '.join(close)}?" if close else ""
        raise UsageError(f"no backbone '{name}'{similar}", "a classification model of torchvision, such as resnet18")


def backbone_names() -> list[str]:
    """Every name that ``medcli.veriserum.pose.network.build_pose_network`` accepts."""
    import torchvision.models as zoo

    with_helpers = ("googlenet", "inception_v3")  # their training needs auxiliary losses
    return [name for name in zoo.list_models(module=zoo) if name not in with_helpers]


def check_backbone_weights(weights: str) -> None:
    """Make sure that weights are published ones, none, or a file.

    Raises:
        DataError: they are not.
    """
    if weights.lower() not in ("imagenet", NO_WEIGHTS) and not Path(weights).is_file():
        raise DataError(f"backbone weights '{weights}' are neither imagenet, none nor a file", REMEDY)
