"""The published network for prediction: the same function of the image, in a tenth less time on a CPU.

Between two activations the pyramid is linear, so its steps may be taken in another order and merged. Results differ by
rounding alone; the exported graph is compared with the network itself.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from medcli.ultrabones.segmentation.architectures.fpn_resnet import FpnResNet

_MERGED_TAPS = torch.tensor([[[1.0, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]], dtype=torch.float64)
"""(phase, tap, row of a 3 x 3 kernel): which rows of the kernel read the same row before a doubling by repetition.

Even rows of the doubled image read rows i - 1 and i of the small one, odd rows i and i + 1."""


class FewerOperations(nn.Module):
    """(N, 1, H, W) to (N, 1, H, W) logits, as :class:`FpnResNet` in evaluation.

    - Branches are summed, and the head turns 128 channels into one, before the bilinear enlargement, not after it.
    - The finest branch starts with a 3 x 3 convolution of d + v, where v is the coarser level with each pixel repeated
      2 x 2, and d a 1 x 1 convolution of the encoder's output. Of d, both convolutions become one of 64 channels, not
      256; of v, each of four interleaved grids is a 2 x 2 convolution of the coarser level.

    Args:
        network: in evaluation mode; its weights are shared where they are not merged.
    """

    def __init__(self, network: FpnResNet) -> None:
        super().__init__()
        parts: Any = network  # torch knows a part as a module or a tensor only
        self.encoder, self.decoder, self.head = parts.encoder, parts.decoder, parts.segmentation_head[0]
        convolution, self.norm, self.activation = parts.decoder.seg_blocks[-1].block[0].block
        lateral = parts.decoder.p2.skip_conv
        kernel = convolution.weight.detach().double()
        direct = torch.einsum("opyx,pi->oiyx", kernel, lateral.weight.detach().double()[:, :, 0, 0])
        phases = torch.einsum("ary,bcx,oiyx->aboirc", _MERGED_TAPS, _MERGED_TAPS, kernel)
        # The lateral bias belongs to d; added to the coarser level it is repeated and padded in the same way.
        self.bias = nn.Parameter(lateral.bias.detach()[:, None, None])
        self.direct = nn.Parameter(direct.to(convolution.weight.dtype))
        self.phases = nn.Parameter(phases.flatten(0, 1).to(convolution.weight.dtype))

    def forward(self, images: Tensor) -> Tensor:
        finest, *levels = self.encoder(images)
        coarse, level = self._coarse_branches(levels)
        fine = functional.conv2d(finest, self.direct, padding=1) + self._doubled(level + self.bias)
        fine = self.activation(self.norm(fine))
        logits = _enlarged(self.head(coarse), 2) + functional.conv2d(fine, self.head.weight)
        return _enlarged(logits, 4)

    def _coarse_branches(self, levels: list[Tensor]) -> tuple[Tensor, Tensor]:
        """The sum of the three coarser branches at an eighth of the input's size, and their finest level."""
        decoder: Any = self.decoder
        *finer, coarsest = levels
        pyramid = [decoder.p5(coarsest)]
        for lateral, level in zip((decoder.p4, decoder.p3), finer[::-1], strict=True):
            pyramid.append(functional.interpolate(pyramid[-1], scale_factor=2.0, mode="nearest") + lateral(level))
        outputs = []
        for branch, level in zip(list(decoder.seg_blocks)[:-1], pyramid, strict=True):
            *before, last = branch.block
            for layer in before:
                level = layer(level)
            outputs.append(last.block(level))
        first, second, third = outputs
        return first + second + third, pyramid[-1]

    def _doubled(self, level: Tensor) -> Tensor:
        """The 3 x 3 convolution of ``level`` with its pixels repeated, (N, 256, H, W) to (N, 128, 2 H, 2 W)."""
        grids = [
            functional.conv2d(functional.pad(level, (1 - right, right, 1 - below, below)), kernel)
            for kernel, (below, right) in zip(self.phases, ((0, 0), (0, 1), (1, 0), (1, 1)), strict=True)
        ]
        return functional.pixel_shuffle(torch.stack(grids, 2).flatten(1, 2), 2)


def _enlarged(images: Tensor, factor: int) -> Tensor:
    return functional.interpolate(images, scale_factor=factor, mode="bilinear", align_corners=True)
