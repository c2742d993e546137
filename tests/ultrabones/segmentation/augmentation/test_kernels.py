"""The kernels for a GPU, run by Triton's interpreter on the CPU, against the operations that they replace."""

from __future__ import annotations

import os
from importlib.util import find_spec
from types import ModuleType

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from medcli.ultrabones.segmentation.augmentation import trivial
from medcli.ultrabones.segmentation.augmentation.filters import thicken_by_shifts
from medcli.ultrabones.segmentation.augmentation.plan import CODES, OPERATIONS, AugmentationPlan, draw_plan
from medcli.ultrabones.segmentation.augmentation.trivial import augment_by_operations, augment_on_gpu

pytestmark = [
    pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed"),
    pytest.mark.skipif(
        os.environ.get("TRITON_INTERPRET") != "1", reason="with a GPU, tests/gpu runs the kernels on it"
    ),
]
HEIGHT, WIDTH = 26, 38
GREY = 1.01 / 255


@pytest.fixture(scope="module")
def kernels() -> ModuleType:
    from medcli.ultrabones.segmentation.augmentation import kernels

    return kernels


def frames(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    random = np.random.default_rng(5)
    images = random.integers(0, 256, (count, HEIGHT, WIDTH), dtype=np.uint8)
    return torch.from_numpy(images), torch.from_numpy((random.random(images.shape) < 0.1).astype(np.uint8) * 255)


def test_every_operation_and_random_plans_are_the_operations(kernels: ModuleType) -> None:
    drawn = draw_plan(10, np.random.default_rng(3))
    alone = np.array([[CODES[name], 0, 0, 0, 0] for name in OPERATIONS])
    strength = np.array([[0.7 if name in ("brightness", "contrast", "gaussian_blur") else 0.05] for name in OPERATIONS])
    plan = AugmentationPlan(
        np.concatenate([alone, drawn.operations]),
        np.concatenate([np.pad(strength, ((0, 0), (0, 4))), drawn.magnitudes]),
    )
    images, labels = frames(len(plan.operations))
    before = images.clone()
    expected, expected_bones = augment_by_operations(images, labels, plan)
    found, bones = augment_on_gpu(images, labels, plan)
    assert found.dtype == torch.float32
    assert bones.dtype == torch.bool
    assert found.shape == bones.shape == (len(images), 1, HEIGHT, WIDTH)
    apart = (found - expected).abs()
    for row, name in enumerate(OPERATIONS):  # one rounding to a grey level may fall the other way
        assert apart[row].max() < (GREY if name in ("equalize", "median_blur") else 1e-5), name
    assert (apart > GREY).float().mean() < 1e-3
    assert (bones != expected_bones).float().mean() < 1e-3
    assert torch.equal(images, before)


def test_a_flat_frame_is_not_equalized(kernels: ModuleType) -> None:
    plan = AugmentationPlan(np.array([[CODES["equalize"]]]), np.zeros((1, 1)))
    flat = torch.full((1, HEIGHT, WIDTH), 77, dtype=torch.uint8)
    assert torch.equal(augment_on_gpu(flat, flat, plan)[0], flat[:, None] / 255)


@pytest.mark.parametrize("radius", [0, 1, 3])
def test_thickening(kernels: ModuleType, radius: int) -> None:
    labels = torch.rand((2, 1, 33, 21)) < 0.02
    assert torch.equal(kernels.thicken_by_kernel(labels, radius), thicken_by_shifts(labels, radius))


class Dispatched(TorchDispatchMode):
    """Counts the operations that torch dispatches."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.count += 1
        return function(*args, **(kwargs or {}))


def test_augmentation_is_few_launches_whatever_was_drawn(kernels: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most 60 operations and one table from main memory: a GPU would wait for more."""
    launches, tables = [], []

    class Launched:
        def __getitem__(self, grid: object) -> object:
            return lambda *arguments, **options: launches.append(grid)

    for name in ("_open", "_survey", "_change"):
        monkeypatch.setattr(kernels, name, Launched())
    by_kernels = kernels.augment_by_kernels
    monkeypatch.setattr(kernels, "augment_by_kernels", lambda *parts: tables.append(parts[2]) or by_kernels(*parts))
    images, labels = frames(6)
    counts = set()
    for seed in range(4):
        launches.clear()
        with Dispatched() as dispatched:
            trivial.augment_on_gpu(images, labels, draw_plan(6, np.random.default_rng(seed)))
        assert len(launches) == 11
        counts.add(dispatched.count + len(launches))
    assert len(counts) == 1
    assert counts.pop() <= 60
    assert len(tables) == 4
