"""The published architecture in PyTorch alone: a feature pyramid on ResNet-18 or -34, one grey channel to one logit.

segmentation_models_pytorch builds the same network, but imports all encoders that it knows first, those of torchvision
and timm as well. Names and order of the weights are its own, and so is each operation: results are equal to the bit.

He et al., Deep residual learning for image recognition, CVPR 2016: the encoder. Lin et al., Feature pyramid networks,
CVPR 2017: the pyramid. Kirillov et al., Panoptic feature pyramid networks, CVPR 2019 (figure 3): the branches, which
bring each level to a quarter of the input's size, and their sum.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional

BLOCKS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3)}
"""Residual blocks in each of the four stages, at 1/4, 1/8, 1/16 and 1/32 of the input's size."""
_WIDTHS = (64, 128, 256, 512)
_PYRAMID, _BRANCH, _GROUPS = 256, 128, 32
_DROPOUT = 0.2
_CLASSES = 1000


class FpnResNet(nn.Module):
    """(N, 1, H, W) float32, H and W multiples of 32, to (N, 1, H, W) logits.

    Initial weights are drawn as segmentation_models_pytorch and torchvision draw them, what these throw away included,
    so that a seed gives the same ones.

    Args:
        encoder: ``resnet18`` or ``resnet34``.
    """

    def __init__(self, encoder: str) -> None:
        super().__init__()
        self.encoder = _Encoder(BLOCKS[encoder])
        self.decoder = _Decoder()
        self.segmentation_head = nn.Sequential(nn.Conv2d(_BRANCH, 1, 1), _bilinear(4))
        of_decoder, of_head = _convolutions(self.decoder), _convolutions(self.segmentation_head)
        for layer in of_decoder:
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
        for layer in of_head:
            nn.init.xavier_uniform_(layer.weight)
        for layer in (*of_decoder, *of_head):
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.segmentation_head(self.decoder(self.encoder(images)))
        return logits


class _Encoder(nn.Module):
    """A ResNet of basic blocks without its classifier; gives the four stages' outputs, the finest first."""

    def __init__(self, blocks: tuple[int, ...]) -> None:
        super().__init__()
        self.conv1 = _first_layer(3)
        self.bn1 = nn.BatchNorm2d(_WIDTHS[0])
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        first, second, third, fourth = _WIDTHS
        self.layer1 = _stage(first, first, blocks[0])
        self.layer2 = _stage(first, second, blocks[1])
        self.layer3 = _stage(second, third, blocks[2])
        self.layer4 = _stage(third, fourth, blocks[3])
        nn.Linear(_WIDTHS[-1], _CLASSES)  # the classifier, drawn for the generator's sake
        for layer in _convolutions(self):
            if not layer.weight.is_meta:  # or torch loads its compiler
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        self.conv1 = _first_layer(1)

    def forward(self, images: Tensor) -> list[Tensor]:
        levels = [self.maxpool(self.relu(self.bn1(self.conv1(images))))]
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            levels.append(stage(levels[-1]))
        return levels[1:]


class _Block(nn.Module):
    """Two convolutions, and a way past them; the way past is drawn first."""

    def __init__(self, channels: int, width: int, stride: int = 1) -> None:
        super().__init__()
        past = None
        if channels != width:
            past = nn.Sequential(nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width))
        self.conv1 = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = past

    def forward(self, values: Tensor) -> Tensor:
        changed: Tensor = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(values)))))
        changed += values if self.downsample is None else self.downsample(values)
        return functional.relu(changed, inplace=True)


def _stage(channels: int, width: int, blocks: int) -> nn.Sequential:
    """Residual blocks; the first halves the size where the number of channels changes."""
    stride = 1 if channels == width else 2
    return nn.Sequential(_Block(channels, width, stride), *(_Block(width, width) for _ in range(1, blocks)))


class _Decoder(nn.Module):
    """The pyramid from its coarsest level to its finest, and the sum of a branch of each."""

    def __init__(self) -> None:
        super().__init__()
        finest, fine, coarse, coarsest = _WIDTHS
        self.p5 = nn.Conv2d(coarsest, _PYRAMID, 1)
        self.p4, self.p3, self.p2 = (
            nn.Sequential(OrderedDict(skip_conv=nn.Conv2d(width, _PYRAMID, 1))) for width in (coarse, fine, finest)
        )
        self.seg_blocks = nn.ModuleList(_branch(doublings) for doublings in (3, 2, 1, 0))
        self.dropout = nn.Dropout2d(_DROPOUT, inplace=True)

    def forward(self, levels: list[Tensor]) -> Tensor:
        *finer, coarsest = levels
        pyramid = [self.p5(coarsest)]
        for lateral, level in zip((self.p4, self.p3, self.p2), finer[::-1], strict=True):
            pyramid.append(functional.interpolate(pyramid[-1], scale_factor=2.0, mode="nearest") + lateral(level))
        branches = [branch(level) for branch, level in zip(self.seg_blocks, pyramid, strict=True)]
        total: Tensor = self.dropout(torch.stack(branches).sum(dim=0))
        return total


def _branch(doublings: int) -> nn.Sequential:
    """Convolutions that each double the size; one that does not where the size is right already."""
    layers = []
    for number in range(max(doublings, 1)):
        channels = _BRANCH if number else _PYRAMID
        convolution = nn.Conv2d(channels, _BRANCH, 3, padding=1, bias=False)
        layer = nn.Sequential(
            OrderedDict(block=nn.Sequential(convolution, nn.GroupNorm(_GROUPS, _BRANCH), nn.ReLU(True)))
        )
        if doublings:
            layer.append(_bilinear(2))
        layers.append(layer)
    return nn.Sequential(OrderedDict(block=nn.Sequential(*layers)))


def _first_layer(channels: int) -> nn.Conv2d:
    return nn.Conv2d(channels, _WIDTHS[0], 7, stride=2, padding=3, bias=False)


def _bilinear(factor: int) -> nn.Upsample:
    return nn.Upsample(scale_factor=factor, mode="bilinear", align_corners=True)


def _convolutions(part: nn.Module) -> list[nn.Conv2d]:
    return [module for module in part.modules() if isinstance(module, nn.Conv2d)]
