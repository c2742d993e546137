"""What is computed on a GPU against the same on the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from medcli.training.device_step.upsampling import UpsamplingByProducts
from medcli.ultrabones.segmentation.augmentation.affine import warp
from medcli.ultrabones.segmentation.augmentation.filters import kernels_work, thicken_batch, thicken_by_shifts
from medcli.ultrabones.segmentation.augmentation.plan import compose, draw_plan
from medcli.ultrabones.segmentation.augmentation.trivial import augment, augment_by_operations, augment_on_gpu
from medcli.ultrabones.segmentation.checkpoint import save_checkpoint
from medcli.ultrabones.segmentation.checkpoint_metadata import Metadata
from medcli.ultrabones.segmentation.inference import Segmenter
from medcli.ultrabones.segmentation.losses import LOSSES
from medcli.ultrabones.segmentation.network import build_model
from medcli.ultrabones.segmentation.onnx_graph.export import export_seg
from medcli.ultrabones.segmentation.preprocessing import normalise_unit
from medcli.ultrabones.segmentation.validation_metrics import distance_maps, distance_maps_by_rows, one_sided_distances


@pytest.fixture
def _kernels() -> None:
    if not kernels_work():
        pytest.skip("Triton, a C compiler or a GPU that it knows is missing")


GREY = 1.01 / 255


def smooth_frames(frames: int, height: int, width: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Blurred noise and sparse labels, (B, H, W) uint8."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand((frames, 1, height, width), generator=generator)
    images = functional.avg_pool2d(noise, 5, 1, 2, count_include_pad=False)[:, 0]
    images = ((images - images.amin()) / (images.amax() - images.amin()) * 255).to(torch.uint8)
    return images, (torch.rand((frames, height, width), generator=generator) < 0.05).to(torch.uint8) * 255


@pytest.mark.usefixtures("_kernels")
@pytest.mark.parametrize(("height", "width"), [(256, 256), (40, 70)])
def test_augmentation(height: int, width: int) -> None:
    images, labels = smooth_frames(64, height, width)
    plan = draw_plan(64, np.random.default_rng(1))
    expected_images, expected_labels = augment(images, labels, plan)
    on_gpu = images.cuda(), labels.cuda()
    for way in (augment_on_gpu, augment_by_operations):
        found, bones = way(*on_gpu, plan)
        assert ((found.cpu() - expected_images).abs() > GREY).float().mean() < 1e-4
        assert (bones.cpu() != expected_labels).float().mean() < 1e-4
    assert torch.equal(augment_on_gpu(*on_gpu, plan)[0], augment_on_gpu(*on_gpu, plan)[0])
    assert torch.equal(augment(*on_gpu, plan)[0], augment_on_gpu(*on_gpu, plan)[0])


def test_warp() -> None:
    images, labels = smooth_frames(16, 64, 48)
    maps, crops = (
        torch.from_numpy(part).float() for part in compose(draw_plan(16, np.random.default_rng(2)), (48, 64))
    )
    parts = (images[:, None] / 255, labels[:, None] == 255, maps, crops)
    expected, expected_labels = warp(*parts)
    found, found_labels = warp(*(part.cuda() for part in parts))
    assert ((found.cpu() - expected).abs() > 1e-4).float().mean() < 1e-3
    assert (found_labels.cpu() != expected_labels).float().mean() < 1e-3


@pytest.mark.parametrize("radius", [0, 1, 3, 7])
def test_thickening(radius: int) -> None:
    labels = torch.rand((5, 1, 61, 40)) < 0.01
    assert torch.equal(thicken_batch(labels.cuda(), radius).cpu(), thicken_by_shifts(labels, radius))


def test_distances() -> None:
    labels = torch.rand((6, 1, 64, 48)) < 0.02
    predictions = torch.rand((6, 1, 64, 48)) < 0.1
    labels[4], predictions[5] = False, False
    expected = one_sided_distances(predictions, labels)
    found = one_sided_distances(predictions.cuda(), labels.cuda()).cpu()
    torch.testing.assert_close(found, expected, equal_nan=True)
    assert torch.equal(distance_maps_by_rows(labels[:4, 0].cuda()).cpu(), distance_maps(labels[:4, 0]))


@pytest.mark.parametrize("name", LOSSES)
def test_losses(name: str) -> None:
    logits = torch.randn((4, 1, 64, 64), requires_grad=True)
    labels, skeletons = torch.rand((2, 4, 1, 64, 64)) < 0.1
    weights = tuple(LOSSES[name].terms.values())
    loss = LOSSES[name](logits, labels, skeletons, weights)
    (gradient,) = torch.autograd.grad(loss, logits)
    on_gpu = logits.detach().cuda().requires_grad_()
    other = LOSSES[name](on_gpu, labels.cuda(), skeletons.cuda(), weights)
    (other_gradient,) = torch.autograd.grad(other, on_gpu)
    torch.testing.assert_close(other.cpu(), loss)
    torch.testing.assert_close(other_gradient.cpu(), gradient, atol=1e-7, rtol=1e-4)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.bfloat16, 6e-3)])
def test_upsampling_by_products(dtype: torch.dtype, bound: float) -> None:
    images = torch.randn((3, 8, 16, 12), dtype=torch.float64)
    expected = functional.interpolate(images, scale_factor=2.0, mode="bilinear", align_corners=True)
    with UpsamplingByProducts():
        found = functional.interpolate(images.cuda().to(dtype), scale_factor=2.0, mode="bilinear", align_corners=True)
    assert ((found.cpu().double() - expected).norm() / expected.norm()).item() < bound


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    torch.manual_seed(3)
    return build_model().eval()


def test_network_in_single_precision_and_in_bfloat16(network: torch.nn.Module) -> None:
    """Relative error of the logits: 0.5 % in float32, whose products cuDNN rounds to TF32, and 3 % in bfloat16."""
    images, _ = smooth_frames(4, 256, 256)
    inputs = normalise_unit(images[:, None] / 255)
    on_gpu = build_model().cuda().eval()
    on_gpu.load_state_dict(network.state_dict())
    with torch.inference_mode():
        expected = network(inputs)
        found = on_gpu(inputs.cuda()).cpu()
        with torch.autocast("cuda", torch.bfloat16), UpsamplingByProducts():
            coarse = on_gpu(inputs.cuda()).float().cpu()
    assert ((found - expected).norm() / expected.norm()).item() < 5e-3
    assert ((coarse - expected).norm() / expected.norm()).item() < 3e-2


def test_predictions_and_exported_network(network: torch.nn.Module, tmp_path: Path) -> None:
    """Masks of both precisions and of the exported graph, which runs on the CPU: shares of pixels that differ."""
    pytest.importorskip("onnxruntime")
    checkpoint, graph = tmp_path / "network.safetensors", tmp_path / "network.onnx"
    save_checkpoint(checkpoint, network, Metadata(arch="fpn", encoder="resnet34"))
    export_seg(checkpoint, graph)
    images = smooth_frames(4, 256, 256)[0].numpy()
    expected = Segmenter.load(checkpoint, "cpu").predict(images)
    for path, device, precision, bound in (
        (checkpoint, "cuda", "32", 2e-3),
        (checkpoint, "cuda", "bf16", 3e-2),
        (graph, "cpu", "32", 1e-4),
    ):
        found = Segmenter.load(path, device, precision).predict(images)
        assert np.abs(found - expected).max() < bound * 5
        assert np.mean((found > 0.5) != (expected > 0.5)) < bound
