"""Pose networks: a torchvision backbone by name, from both planes to nine numbers.

Input: (B, 3, S, S), the channels being plane bs, plane fs and zeros, as published, so that weights trained on colour
images fit unchanged. Output: (B, 9), the translation in millimetres and the first two rows of the rotation matrix.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from medcli.core.errors import DataError, UsageError
from medcli.training.weights import most_bytes_for, read_tensors
from medcli.veriserum.pose.settings import BACKBONE, NO_WEIGHTS, REMEDY, check_backbone, check_backbone_weights

GREY_MEAN, GREY_STD = 0.449, 0.226
"""Mean and standard deviation of ImageNet in grey, which its weights expect."""
OUTPUTS = 9


class PoseNetwork(nn.Module):
    """A backbone with a head of nine outputs, which are offsets from ``mean`` in units of ``scale``.

    Args:
        backbone: (B, 3, S, S) to (B, 9).
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.register_buffer("mean", torch.tensor([0.0, 0, 0, 1, 0, 0, 0, 1, 0]))
        self.register_buffer("scale", torch.ones(OUTPUTS))

    def start_from(self, mean: Tensor, scale: Tensor) -> None:
        """Set the output (9,) of an untrained network, and the unit (9,) of each output."""
        self.mean.copy_(mean)
        self.scale.copy_(scale)

    def forward(self, inputs: Tensor) -> Tensor:
        output: Tensor = self.mean + self.scale * self.backbone(inputs).float()
        return output


def as_input(planes: Tensor) -> Tensor:
    """(B, 2, S, S) uint8 planes bs, fs to the network's (B, 3, S, S) float32 input."""
    grey = (planes.float() / 255 - GREY_MEAN) / GREY_STD
    return torch.cat([grey, grey.new_zeros(len(grey), 1, *grey.shape[2:])], dim=1)


def build_pose_network(backbone: str = BACKBONE, weights: str | Path = NO_WEIGHTS) -> PoseNetwork:
    """A network on a torchvision classifier, whose last linear layer is replaced.

    Args:
        backbone: a classification model of torchvision, such as ``resnext50_32x4d`` or ``resnet18``.
        weights: ``none``; ``imagenet`` (downloaded once by torchvision); or a local file, a torch state dict or
            safetensors, of that classifier or of a pose network of medcli.

    Raises:
        UsageError: no such backbone.
        DataError: the weights are not available (no internet) or do not fit; never falls back silently.
    """
    model = _construct(backbone, None)
    if str(weights).lower() == "imagenet":
        model = _construct(backbone, _download(backbone))
    elif str(weights).lower() != NO_WEIGHTS:
        _load_file(model, Path(weights), backbone)
    _replace_head(model, backbone)
    return PoseNetwork(model)


def _construct(name: str, state: dict[str, Tensor] | None) -> nn.Module:
    import torchvision.models as zoo

    check_backbone(name)
    model: nn.Module = zoo.get_model(name, weights=None)
    if state is not None:
        model.load_state_dict(state)
    return model


def _download(name: str) -> dict[str, Tensor]:
    import torchvision.models as zoo

    try:
        return dict(zoo.get_model_weights(name)["DEFAULT"].get_state_dict(progress=False, check_hash=True))
    except Exception as error:  # several libraries raise their own errors in a download
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(f"cannot get the imagenet weights of {name}: {reason}", REMEDY) from error


def _load_file(model: nn.Module, path: Path, name: str) -> None:
    """Load everything but the classifier's last layer."""
    check_backbone_weights(str(path))
    given = {key.removeprefix("backbone."): value for key, value in read_tensors(path, most_bytes_for(model)).items()}
    head, _ = _find_head(model, name)
    wanted = {key: value for key, value in model.state_dict().items() if not key.startswith(f"{head}.")}
    missing = [
        key
        for key, value in wanted.items()
        if not key.endswith("num_batches_tracked") and (key not in given or given[key].shape != value.shape)
    ]
    if missing:
        raise DataError(
            f"{path} does not contain weights of {name}: {len(missing)} of {len(wanted)} missing or of another shape "
            f"(first: {missing[0]})",
            REMEDY,
        )
    model.load_state_dict({**model.state_dict(), **{key: given[key] for key in wanted if key in given}})


def _replace_head(model: nn.Module, name: str) -> None:
    path, last = _find_head(model, name)
    head = nn.Linear(last.in_features, OUTPUTS)
    nn.init.zeros_(head.weight)  # an untrained network then gives the mean pose
    nn.init.zeros_(head.bias)
    parent, _, leaf = path.rpartition(".")
    owner: Any = model.get_submodule(parent)
    if leaf.isdecimal():
        owner[int(leaf)] = head
    else:
        setattr(owner, leaf, head)


def _find_head(model: nn.Module, name: str) -> tuple[str, nn.Linear]:
    """The classifier's last linear layer and its parent module."""
    linear = [(path, module) for path, module in model.named_modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise UsageError(f"backbone '{name}' does not end in a linear layer", "choose another, such as resnet18")
    return linear[-1]
