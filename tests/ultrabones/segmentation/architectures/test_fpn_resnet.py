"""Equal to segmentation_models_pytorch, whose networks published checkpoints hold, to the last bit."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn

from medcli.ultrabones.segmentation.architectures.fpn_resnet import BLOCKS, FpnResNet
from medcli.ultrabones.segmentation.network import build_model
from tests.conftest import REPOSITORY


def of_library(encoder: str) -> nn.Module:
    network: nn.Module = smp.create_model("fpn", encoder, encoder_weights=None, in_channels=1, classes=1)
    return network


def seeded(build: Callable[[str], nn.Module], encoder: str) -> tuple[nn.Module, Tensor]:
    """A network, and the number that the generator gives next."""
    torch.manual_seed(11)
    return build(encoder), torch.rand(1)


def computed(network: nn.Module, images: Tensor, is_training: bool) -> tuple[Tensor, list[Tensor]]:
    """Logits, and the gradients of their squares' sum; dropout is drawn anew."""
    network.train(is_training).zero_grad()
    torch.manual_seed(3)
    logits = network(images)
    logits.square().sum().backward()
    return logits, [torch.empty(0) if p.grad is None else p.grad.clone() for p in network.parameters()]


@pytest.mark.parametrize("encoder", BLOCKS)
def test_a_seed_gives_the_library_s_weights_under_its_names(encoder: str) -> None:
    (ours, after_ours), (theirs, after_theirs) = seeded(FpnResNet, encoder), seeded(of_library, encoder)
    assert [name for name, _ in ours.named_parameters()] == [name for name, _ in theirs.named_parameters()]
    state, expected = ours.state_dict(), theirs.state_dict()
    assert list(state) == list(expected)
    assert [name for name in expected if not torch.equal(state[name], expected[name])] == []
    assert after_ours == after_theirs


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("is_training", [False, True])
def test_outputs_gradients_and_running_statistics_are_the_library_s(
    is_training: bool, memory: torch.memory_format
) -> None:
    (ours, _), (theirs, _) = seeded(FpnResNet, "resnet18"), seeded(of_library, "resnet18")
    images = torch.randn(2, 1, 96, 64).contiguous(memory_format=memory)
    logits, gradients = computed(ours.to(memory_format=memory), images, is_training)
    expected, expected_gradients = computed(theirs.to(memory_format=memory), images, is_training)
    assert logits.shape == images.shape
    assert torch.equal(logits, expected)
    assert all(torch.equal(one, other) for one, other in zip(gradients, expected_gradients, strict=True))
    assert all(torch.equal(one, other) for one, other in zip(ours.buffers(), theirs.buffers(), strict=True))


def test_it_is_what_a_checkpoint_s_network_is_built_with() -> None:
    assert isinstance(build_model("FPN", "resnet18"), FpnResNet)
    assert not isinstance(build_model("unet", "resnet18"), FpnResNet)


def test_an_outline_without_memory_needs_no_compiler() -> None:
    """Drawing normal numbers on ``meta`` imports ``torch._dynamo``, which takes as long as torch."""
    code = """
import sys, torch
from medcli.ultrabones.segmentation.network import build_model
with torch.device("meta"):
    network = build_model()
assert all(tensor.is_meta for tensor in network.state_dict().values())
print([name for name in ("torch._dynamo", "torchvision", "timm") if name in sys.modules])
"""
    ran = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert (ran.returncode, ran.stdout.strip()) == (0, "[]"), ran.stderr
