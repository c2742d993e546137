"""Settings of a segmentation training, with the defaults of Wu et al., Comput. Biol. Med. 194 (2025) 110435."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from medcli.core.errors import UsageError
from medcli.training.losses import check_loss
from medcli.training.monitors import Monitor, check_monitor
from medcli.training.settings import FREE_TO_CHANGE, FitSettings, check_learning_rate
from medcli.ultrabones.dataset.constants import INPUT_SIZE, TEST_SPECIMENS, TRAIN_SPECIMENS
from medcli.ultrabones.segmentation.losses import LOSSES, PUBLISHED

Augmentation = Literal["trivial", "none"]
Labels = Literal["partial", "full"]
Recipe = Literal["published", "strong"]
Size = Literal["256", "384", "512"]
_ARCHITECTURES = "fpn unet unetplusplus manet linknet pspnet pan deeplabv3 deeplabv3plus upernet segformer dpt"
_ENCODERS = (
    "resnet18 resnet34 resnet50 resnet101 resnext50_32x4d se_resnext50_32x4d densenet121 efficientnet-b0 "
    "efficientnet-b1 efficientnet-b2 efficientnet-b3 efficientnet-b4 mobilenet_v2 mit_b0 mit_b1 mit_b2 vgg16_bn "
    "tu-mobilenetv3_small_050 tu-mobilenetv3_large_100 tu-convnext_tiny tu-efficientnetv2_rw_t"
)
ARCHITECTURES, ENCODERS = tuple(_ARCHITECTURES.split()), tuple(_ENCODERS.split())
"""The networks that are used most: known without a library, and offered by the shell; others can be typed as well."""
AUGMENTATIONS, LABELS, RECIPES = get_args(Augmentation), get_args(Labels), get_args(Recipe)
SIZES = tuple(int(size) for size in get_args(Size))
STRONG = "strong"
LEARNING_RATES = {"published": 1e-5, STRONG: 3e-4}
"""That of each recipe; of ``strong`` it is the highest."""
MONITORS = {
    "loss": Monitor("val_loss", "as published"),
    "dice": Monitor("val_dice", "highest Dice", higher_is_better=True),
    "chamfer": Monitor("val_chamfer_mm", "smallest mean distance"),
}
"""What can choose the best epoch. The distance is from the prediction to the label only: bone that is missed does not
count, so that a network which marks little of the bone, but that exactly, is the best."""


@dataclass(frozen=True)
class SegmentationSettings(FitSettings):
    """What :func:`medcli.ultrabones.segmentation.train.train_segmentation` does; see :class:`FitSettings` for the rest.

    Attributes:
        root: folder of UltraBones100k.
        train_specimens, val_specimens: specimen numbers.
        labels: ``partial`` (bone that can be seen) or ``full`` (also where it lies in shadow).
        arch, encoder: names of segmentation_models_pytorch.
        encoder_weights: ``imagenet``, ``none``, or a local file.
        augment: ``trivial`` or ``none``.
        loss: one of :data:`medcli.ultrabones.segmentation.losses.LOSSES`.
        loss_weights: of the loss's terms; none given: their defaults.
        limit_frames: at most so many training and so many validation frames, evenly over the records; None: all.
        use_cache: read decoded frames from the cache; otherwise decode PNG files in every epoch.
        recipe: ``published``; or ``strong``, see :mod:`medcli.ultrabones.segmentation.recipes.strong`.
        lr: learning rate; None: that of the recipe in :data:`LEARNING_RATES`. ``dataclasses.replace`` with another
            recipe keeps what it was.
        size: rows and columns of what the network sees, one of :data:`SIZES`.
    """

    root: Path = Path("data/ultrabones")
    train_specimens: tuple[int, ...] = TRAIN_SPECIMENS
    val_specimens: tuple[int, ...] = TEST_SPECIMENS
    labels: str = "partial"
    arch: str = "fpn"
    encoder: str = "resnet34"
    encoder_weights: str = "imagenet"
    augment: str = "trivial"
    loss: str = PUBLISHED
    loss_weights: tuple[float, ...] = ()
    limit_frames: int | None = None
    use_cache: bool = True
    recipe: str = "published"
    lr: float = None  # type: ignore[assignment]  # a number as soon as the settings are made
    size: int = INPUT_SIZE

    @property
    def free_to_change(self) -> frozenset[str]:
        return FREE_TO_CHANGE - {"epochs"} if self.recipe == STRONG else FREE_TO_CHANGE

    def __post_init__(self) -> None:
        if self.lr is None:
            object.__setattr__(self, "lr", LEARNING_RATES.get(self.recipe, LEARNING_RATES["published"]))
        if not self.loss_weights and self.loss in LOSSES:
            object.__setattr__(self, "loss_weights", tuple(LOSSES[self.loss].terms.values()))


def check_segmentation_settings(settings: SegmentationSettings) -> None:
    """Check the values that no other part checks.

    Raises:
        UsageError: names the option, what came, and what is expected.
    """
    for name, value, allowed in (
        ("--labels", settings.labels, LABELS),
        ("--augment", settings.augment, AUGMENTATIONS),
        ("--recipe", settings.recipe, RECIPES),
        ("--size", settings.size, SIZES),
    ):
        if value not in allowed:
            raise UsageError(f"{name} '{value}' is not one of {', '.join(map(str, allowed))}")
    check_loss(LOSSES, settings.loss, settings.loss_weights)
    check_monitor(MONITORS, settings.monitor, settings.early_stop)
    check_learning_rate(settings)


def refuse_resuming_folds(resume: str) -> None:
    """Refuse ``--resume`` for a leave-one-out, which resumes by itself.

    Raises:
        UsageError: it is not ``auto``.
    """
    if resume != "auto":
        raise UsageError("--cv loo resumes by itself", "leave --resume out")


def fold_folder(out: Path, specimen: int) -> Path:
    """Folder of the fold that leaves ``specimen`` out."""
    return out / f"specimen{specimen:02d}"
