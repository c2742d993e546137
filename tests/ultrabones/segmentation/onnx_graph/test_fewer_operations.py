"""The rearranged network against the network itself, in double precision, where rounding leaves 1e-13."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from medcli.ultrabones.segmentation.architectures.fpn_resnet import BLOCKS, FpnResNet
from medcli.ultrabones.segmentation.onnx_graph.fewer_operations import FewerOperations


@pytest.fixture(scope="module", params=BLOCKS)
def network(request: pytest.FixtureRequest) -> FpnResNet:
    """With biases and statistics that a training leaves: at the start they are 0 and 1, which would hide a mistake."""
    torch.manual_seed(5)
    network = FpnResNet(request.param).double().eval()
    with torch.no_grad():
        for part in network.modules():
            if isinstance(part, (nn.BatchNorm2d, nn.GroupNorm)):
                part.weight.uniform_(0.5, 1.5)
                part.bias.normal_()
            if isinstance(part, nn.Conv2d) and part.bias is not None:
                part.bias.normal_()
        for name, values in network.named_buffers():
            if name.endswith("running_mean"):
                values.normal_()
            if name.endswith("running_var"):
                values.uniform_(0.5, 1.5)
    return network


@pytest.mark.parametrize("size", [(32, 32), (64, 160)])
def test_logits_are_those_of_the_network(network: FpnResNet, size: tuple[int, int]) -> None:
    images = torch.randn(2, 1, *size, dtype=torch.float64)
    with torch.no_grad():
        expected, found = network(images), FewerOperations(network)(images)
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_multiplications_are_fewer(network: FpnResNet) -> None:
    counted = []
    for module in (network, FewerOperations(network)):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            module(torch.zeros(1, 1, 64, 64, dtype=torch.float64))
        counted.append(counter.get_total_flops())
    assert counted[1] < 0.94 * counted[0]
