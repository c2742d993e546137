"""Augmented pairs are pairs that the renderer could have made: shifts against renderings of the moved implant."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from medcli.core.errors import DataError
from medcli.synthetic.fluoroscopy.dataset import FluoroscopySettings, Study
from medcli.veriserum.dataset.detector import PLANES
from medcli.veriserum.geometry.biplane import ImageGrid
from medcli.veriserum.pose.augmentation import (
    SHIFT_MM,
    PoseAugmentation,
    augment_pairs,
    draw_augmentation,
    pair_numbers,
    shift_pairs,
)

SIZE = 256
TOLERANCE_MM = 0.5
"""On the detector, for every point of an implant; a pixel of 256 x 256 is 1.4 mm."""


@pytest.fixture(scope="module")
def study() -> Study:
    return Study(FluoroscopySettings(pairs=12))


def target_of(pose: NDArray[np.float64]) -> torch.Tensor:
    return torch.from_numpy(np.concatenate([pose[:3, 3], pose[:2, :3].ravel()])[None]).float()


@pytest.mark.parametrize("number", [1, 7], ids=["femur", "tibia"])
@pytest.mark.parametrize("shift_mm", [(SHIFT_MM, SHIFT_MM), (-SHIFT_MM, 0.0)])
def test_shifted_images_are_those_of_the_moved_implant(
    study: Study, number: int, shift_mm: tuple[float, float]
) -> None:
    """Both planes: every vertex moves as projected within the tolerance, and so do the rendered images."""
    frame, cameras = study.frames[number], study.cameras(number)
    implant = study.implants[frame.anatomy_id]
    pose = np.asarray(frame.knee.of(implant.kind))
    grid = ImageGrid.calibrated(SIZE)
    before = np.stack([cameras.camera(plane).path_length(implant.mesh, pose, grid) for plane in PLANES])
    numbers = torch.from_numpy(pair_numbers(study.cameras, np.array([number]), pose[None, :3, 3]))
    moved, target = shift_pairs(torch.from_numpy(before[None]), target_of(pose), numbers, torch.tensor([shift_mm]))

    after = pose.copy()
    after[:3, 3] = target[0, :3]
    plane = cameras.bs.plane
    assert after[:3, 3] - pose[:3, 3] == pytest.approx(
        shift_mm[0] * plane.horizontal + shift_mm[1] * plane.vertical, abs=1e-3
    )
    assert torch.equal(target[:, 3:], target_of(pose)[:, 3:])
    for side, name in enumerate(PLANES):
        camera = cameras.camera(name)
        truth = camera.path_length(implant.mesh, after, grid)
        residual, moving = (
            np.abs(image - truth).mean() / truth.mean() for image in (moved[0, side].numpy(), before[side])
        )
        assert residual < 0.12
        assert residual < 0.15 * moving
        was, is_now = (camera.project(implant.mesh.vertices @ p[:3, :3].T + p[:3, 3]) for p in (pose, after))
        axes, point, (distance, depth) = (
            numbers[0, side, :9].reshape(3, 3),
            numbers[0, side, 9:11],
            numbers[0, side, 11:],
        )
        t = axes.double().numpy() @ (after[:3, 3] - pose[:3, 3])
        expected = point.numpy() + (float(depth) * (was - point.numpy()) + float(distance) * t[:2]) / (
            float(depth) - t[2]
        )
        assert np.linalg.norm(is_now - expected, axis=1).max() < TOLERANCE_MM


def test_a_point_at_the_origin_of_the_implant_moves_exactly(study: Study) -> None:
    """The one bright pixel of each plane stands where the camera sees the moved origin, to a tenth of a pixel."""
    cameras, grid = study.cameras(1), ImageGrid.calibrated(SIZE)
    origin, shift = np.array([3.0, 5.0, 500.0]), torch.tensor([[7.0, -9.0]])
    columns, rows = np.meshgrid(np.arange(SIZE), np.arange(SIZE))
    planes = np.empty((1, 2, SIZE, SIZE), np.float32)
    for side, name in enumerate(PLANES):
        column, row = grid.to_pixels(cameras.camera(name).project(origin[None]))[0]
        planes[0, side] = np.exp(-((columns - column) ** 2 + (rows - row) ** 2) / (2 * 2.0**2))
    numbers = torch.from_numpy(pair_numbers(lambda _: cameras, np.array([1]), origin[None]))
    target = torch.cat([torch.from_numpy(origin)[None].float(), torch.zeros(1, 6)], dim=1)
    moved, corrected = shift_pairs(torch.from_numpy(planes), target, numbers, shift)
    for side, name in enumerate(PLANES):
        image = moved[0, side].numpy()
        found = [(image * axis).sum() / image.sum() for axis in (columns, rows)]
        there = grid.to_pixels(cameras.camera(name).project(corrected[:, :3].double().numpy()))[0]
        assert found == pytest.approx(there.tolist(), abs=0.1)


def test_what_is_drawn_follows_from_seed_and_place() -> None:
    one, same, other = (draw_augmentation(3, seed, 4, 5, 0) for seed in (1, 1, 2))
    for field in dataclasses.fields(PoseAugmentation):
        assert np.array_equal(getattr(one, field.name), getattr(same, field.name))
        assert not np.array_equal(getattr(one, field.name), getattr(other, field.name))


def test_grey_values_blur_and_noise(study: Study) -> None:
    """Each in turn, alone: everything else is neutral, and what is neutral changes nothing."""
    generator = torch.Generator().manual_seed(0)
    planes = torch.randint(60, 190, (2, 2, 32, 32), generator=generator, dtype=torch.uint8)
    numbers = torch.from_numpy(pair_numbers(study.cameras, np.array([1, 2]), np.full((2, 3), [0.0, 0, 500])))
    ones, none = np.ones((2, 2)), np.zeros((2, 2))
    neutral = PoseAugmentation(none, ones, ones, none, none, none, 7)

    def of(**changed: NDArray[np.float64]) -> torch.Tensor:
        return augment_pairs(planes, torch.zeros(2, 9), numbers, dataclasses.replace(neutral, **changed))[0]

    grey = planes.float()
    assert torch.allclose(of(), grey, atol=0.01)
    assert torch.allclose(of(brightness=none + 0.1), grey + 25.5, atol=0.01)
    assert torch.allclose(of(gamma=2 * ones), grey**2 / 255, atol=0.01)
    mean = grey.mean(dim=(2, 3), keepdim=True)
    assert torch.allclose(of(contrast=0.5 * ones), mean + (grey - mean) / 2, atol=0.01)
    noise = of(noise=none + 0.03) - grey
    assert noise.std().item() == pytest.approx(0.03 * 255, rel=0.05)
    assert torch.equal(noise, of(noise=none + 0.03) - grey)
    blurred = of(blur_px=np.array([[0.0, 1.0], [0.0, 0.0]]))
    assert torch.allclose(blurred[0, 0], grey[0, 0], atol=0.01)
    assert blurred[0, 1].std() < 0.5 * grey[0, 1].std()
    assert blurred[0, 1].mean().item() == pytest.approx(grey[0, 1].mean().item(), abs=1)


def test_a_pair_without_calibration_is_named() -> None:
    def unknown(number: int) -> None:
        raise DataError("source-intensifier calibration 9 is not in the table")

    with pytest.raises(DataError, match="pair 4 cannot be augmented: source-intensifier calibration 9") as raised:
        pair_numbers(unknown, np.array([4]), np.zeros((1, 3)))  # type: ignore[arg-type]
    assert "--augment none" in str(raised.value.hint)
