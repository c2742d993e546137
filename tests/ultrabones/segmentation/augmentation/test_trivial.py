"""Batch augmentation against slow, obvious references: torchvision frame by frame, SciPy, and the distance map."""

from __future__ import annotations

import collections
import itertools

import numpy as np
import pytest
import torch
import torchvision.transforms.functional as reference
from scipy.ndimage import distance_transform_edt, median_filter
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as reference_v2

from medcli.ultrabones.segmentation.augmentation.plan import (
    CODES,
    DRAWN,
    GEOMETRIC,
    MAGNITUDES,
    OPERATIONS,
    AugmentationPlan,
    draw_plan,
)
from medcli.ultrabones.segmentation.augmentation.trivial import augment

SIDE = 256


@pytest.fixture(scope="module")
def frames() -> tuple[torch.Tensor, torch.Tensor]:
    """Smooth images with speckle, and labels with a curved line, (4, 256, 256) uint8."""
    random = np.random.default_rng(7)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    images, labels = [], []
    for frame in range(4):
        curve = 110 + 20 * frame + 25 * np.sin(columns / 40 + frame)
        bright = 170 * np.exp(-(((rows - curve) / 6) ** 2)) + 40 * np.exp(-rows / 90)
        images.append(np.clip(bright * random.uniform(0.7, 1.3, bright.shape), 0, 255).astype(np.uint8))
        labels.append(np.where(np.abs(rows - curve) < 1, 255, 0).astype(np.uint8))
    return torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(labels))


def plan_of(*steps: tuple[str, float], frames: int = 1) -> AugmentationPlan:
    """The same operations for every frame."""
    operations = np.array([[CODES[name] for name, _ in steps]] * frames)
    return AugmentationPlan(operations, np.array([[magnitude for _, magnitude in steps]] * frames, dtype=np.float64))


def one_by_one(image: torch.Tensor, label: torch.Tensor, plan: AugmentationPlan) -> tuple[torch.Tensor, torch.Tensor]:
    """The published way: each operation alone, on one frame, in the order drawn. (1, H, W) each."""
    for code, magnitude in zip(plan.operations[0], plan.magnitudes[0], strict=True):
        name = OPERATIONS[code]
        image = _reference(name, float(magnitude), image, InterpolationMode.BILINEAR)
        if GEOMETRIC[code]:
            label = _reference(name, float(magnitude), label, InterpolationMode.NEAREST)
    return image, label


def _reference(name: str, value: float, image: torch.Tensor, sampling: InterpolationMode) -> torch.Tensor:
    def affine(translate: tuple[float, float] = (0, 0), shear: tuple[float, float] = (0, 0)) -> torch.Tensor:
        return reference.affine(image, 0.0, list(translate), 1.0, list(shear), interpolation=sampling)

    operations = {
        "identity": lambda: image,
        "saturation": lambda: reference.adjust_saturation(image, value),
        "horizontal_flip": lambda: reference.hflip(image),
        "vertical_flip": lambda: reference.vflip(image),
        "rotation": lambda: reference.rotate(image, value, interpolation=sampling),
        "translate_x": lambda: affine(translate=(round(value * SIDE), 0)),
        "translate_y": lambda: affine(translate=(0, round(value * SIDE))),
        "shear_x": lambda: affine(shear=(value, 0.0)),
        "shear_y": lambda: affine(shear=(0.0, value)),
        "brightness": lambda: reference.adjust_brightness(image, value),
        "contrast": lambda: reference.adjust_contrast(image, value),
        "gaussian_blur": lambda: reference.gaussian_blur(image, [3, 3], [value, value]),
        "equalize": lambda: reference_v2.equalize(image),
        "median_blur": lambda: torch.from_numpy(median_filter(image.numpy(), (1, 7, 7), mode="nearest")),
    }
    return operations[name]()


SINGLE = [(name, value) for name in OPERATIONS for value in MAGNITUDES.get(name, (0.0,))]
SINGLE += [("rotation", 11.3), ("shear_x", 7.9), ("shear_y", -3.3), ("translate_x", 0.0331), ("gaussian_blur", 0.8)]


@pytest.mark.parametrize(("name", "value"), SINGLE)
def test_each_operation_alone_is_the_published_one(
    frames: tuple[torch.Tensor, torch.Tensor], name: str, value: float
) -> None:
    images, labels = frames
    plan = plan_of((name, value))
    augmented, bones = augment(images[:1], labels[:1], plan)
    expected, bone = one_by_one(images[:1].float() / 255, (labels[:1] == 255).float(), plan)
    assert augmented.shape == bones.shape == (1, 1, SIDE, SIDE)
    assert augmented.dtype == torch.float32
    assert bones.dtype == torch.bool
    torch.testing.assert_close(augmented[0], expected, atol=2e-4, rtol=0)
    # Ties between two pixels may fall either way in float32.
    assert (bones[0] != (bone > 0.5)).float().mean() < 2e-4


def test_identity_gives_the_frames_back_untouched(frames: tuple[torch.Tensor, torch.Tensor]) -> None:
    images, labels = frames
    before = images.clone()
    steps = [("identity", 0.0), ("saturation", 1.4)]
    augmented, bones = augment(images, labels, plan_of(*steps, frames=4))
    torch.testing.assert_close(augmented[:, 0] * 255, images.float(), atol=2e-5, rtol=0)
    assert torch.equal(bones[:, 0], labels == 255)
    augment(images, labels, plan_of(("horizontal_flip", 0), ("brightness", 1.5), frames=4))
    assert torch.equal(images, before)


SEQUENCES = [
    [("vertical_flip", 0), ("rotation", 20), ("shear_x", -15), ("translate_y", 0.08), ("shear_y", 12)],
    [("brightness", 0.7), ("equalize", 0), ("rotation", -25), ("translate_x", 0.1), ("contrast", 1.4)],
    [("equalize", 0), ("contrast", 0.6), ("median_blur", 0), ("horizontal_flip", 0), ("gaussian_blur", 1.5)],
    [("median_blur", 0), ("shear_y", 30), ("identity", 0), ("brightness", 1.3), ("gaussian_blur", 0.5)],
]


@pytest.mark.parametrize("steps", SEQUENCES)
def test_sequence_with_neighbouring_geometry_is_the_published_sequence(
    frames: tuple[torch.Tensor, torch.Tensor], steps: list[tuple[str, float]]
) -> None:
    """One sampling is sharper than several, so images agree closely, but not to the last digit."""
    images, labels = frames
    plan = plan_of(*steps)
    augmented, bones = augment(images[:1], labels[:1], plan)
    expected, bone = one_by_one(images[:1].float() / 255, (labels[:1] == 255).float(), plan)
    geometric = sum(GEOMETRIC[CODES[name]] for name, _ in steps)
    difference = (augmented[0] - expected).abs()
    assert difference.mean() < (0.02 if geometric > 1 else 0.003)
    # Repeated nearest sampling moves edges by up to a pixel; the thickened lines must lie on each other.
    ours, theirs = bones[0, 0].numpy(), bone[0].numpy() > 0.5
    assert distance_transform_edt(~theirs)[ours].max() <= geometric
    assert distance_transform_edt(~ours)[theirs].max() <= geometric


def test_what_an_earlier_operation_pushed_out_stays_out() -> None:
    """Two opposite moves that, composed without the edge between them, would be no move at all."""
    images = torch.full((1, SIDE, SIDE), 255, dtype=torch.uint8)
    steps = [("rotation", 30.0), ("translate_x", 0.1), ("rotation", -30.0)]
    augmented, bones = augment(images, images, plan_of(*steps))
    expected, bone = one_by_one(torch.ones((1, SIDE, SIDE)), torch.ones((1, SIDE, SIDE)), plan_of(*steps))
    assert 0.5 < expected.mean() < 0.97
    assert abs(augmented.mean() - expected.mean()) < 0.005
    assert ((augmented[0] > 0.5) != (expected > 0.5)).float().mean() < 0.01
    assert (bones[0] != (bone > 0.5)).float().mean() < 0.01


@pytest.mark.parametrize("seed", range(4))
def test_label_stays_on_the_image(seed: int) -> None:
    """An image that shows its own label, under drawn geometry of every kind: both move alike."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    disk = (((rows - 110) ** 2 + (columns - 150) ** 2) < 45**2) | ((abs(rows - 60) < 20) & (columns < 90))
    labels = torch.from_numpy(np.where(disk, 255, 0).astype(np.uint8)).expand(16, -1, -1)
    plan = draw_plan(16, np.random.default_rng(seed))
    only_geometry = AugmentationPlan(np.where(GEOMETRIC[plan.operations], plan.operations, 0), plan.magnitudes)
    augmented, bones = augment(labels, labels, only_geometry)
    edge = (augmented > 0.02) & (augmented < 0.98)
    assert bool(edge.any())
    assert torch.equal((augmented > 0.5)[~edge], bones[~edge])


def test_batch_is_the_same_as_its_frames_alone(frames: tuple[torch.Tensor, torch.Tensor]) -> None:
    images, labels = (part.repeat(4, 1, 1) for part in frames)
    plan = draw_plan(16, np.random.default_rng(3))
    augmented, bones = augment(images, labels, plan)
    for frame in range(16):
        alone = AugmentationPlan(plan.operations[frame : frame + 1], plan.magnitudes[frame : frame + 1])
        expected, bone = augment(images[frame : frame + 1], labels[frame : frame + 1], alone)
        torch.testing.assert_close(augmented[frame : frame + 1], expected, atol=1e-6, rtol=0)
        assert torch.equal(bones[frame : frame + 1], bone)


def test_plans_have_the_published_distribution() -> None:
    frames = 20_000
    plan = draw_plan(frames, np.random.default_rng(0))
    assert all(len(set(row)) == DRAWN for row in plan.operations.tolist())
    # Every operation is equally likely in every place: 20,000 draws at p = 1/14 scatter by sqrt(n p q) = 36.
    for slot, code in itertools.product(range(DRAWN), range(len(OPERATIONS))):
        assert abs((plan.operations[:, slot] == code).sum() - frames / 14) < 6 * 37
    # And every ordered pair in the first two places.
    pairs = collections.Counter(map(tuple, plan.operations[:, :2].tolist()))
    assert len(pairs) == 14 * 13
    assert abs(np.array(list(pairs.values())) - frames / 182).max() < 6 * 10.5
    for name, (low, high) in MAGNITUDES.items():
        values = plan.magnitudes[plan.operations == CODES[name]]
        share = (values - low) / (high - low)
        assert share.min() >= 0
        assert share.max() <= 1
        assert abs(share.mean() - 0.5) < 0.02
        assert abs(share.std() - 12**-0.5) < 0.01


def test_same_seed_same_plan() -> None:
    first, again = (draw_plan(8, np.random.default_rng([42, 3, 1])) for _ in range(2))
    other = draw_plan(8, np.random.default_rng([42, 3, 2]))
    assert np.array_equal(first.operations, again.operations)
    assert np.array_equal(first.magnitudes, again.magnitudes)
    assert not np.array_equal(first.operations, other.operations)
