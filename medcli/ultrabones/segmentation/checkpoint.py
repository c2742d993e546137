"""Checkpoints: safetensors weights that carry their own description, and the same description as JSON beside them.

``best.safetensors`` is complete in itself (the description is in its header, so weights and description can never
be of two different moments); ``best.json`` is a copy of it for people and scripts. Loading executes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from medcli.core.errors import UsageError
from medcli.core.files import check_replaceable, make_output_folder
from medcli.training.checkpoint_files.checkpoint_file import check_checkpoint_file
from medcli.training.seeds import seed_torch
from medcli.training.weights import SUFFIX, build_and_load, complete_copy, save_weights
from medcli.ultrabones.dataset.published_networks import UNTRAINED
from medcli.ultrabones.segmentation.checkpoint_metadata import (
    Metadata,
    read_metadata,
    splits_of_training,
    training_specimens_of,
)
from medcli.ultrabones.segmentation.network import ARCH, ENCODER, NO_WEIGHTS, build_empty_model, build_model
from medcli.ultrabones.segmentation.published_checkpoint import load_upstream

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Checkpoint:
    """What ``medcli checkpoint show`` and ``convert_checkpoint`` answer.

    Attributes:
        path: the file.
        format: ``medcli``, or ``upstream`` for a pickled network of segmentation_models_pytorch.
        parameters: number of trained numbers.
        metadata: what it says of itself.
    """

    path: Path
    format: str
    parameters: int
    metadata: Metadata
    schema: str = "medcli.checkpoint.v1"


def save_checkpoint(path: Path, model: torch.nn.Module, metadata: Metadata) -> Path:
    """Write the weights of ``model`` to ``path`` (``.safetensors``) and the description to the ``.json`` beside it.

    Each file is whole or absent at any moment, and the weights' file alone is enough to load. Wrappers of
    ``torch.compile`` are seen through; the model may be on any device and in any memory format.
    """
    return save_weights(path, model, metadata.to_json())


def load_model(path: Path) -> tuple[torch.nn.Module, Metadata]:
    """The network of a checkpoint, on the CPU and in evaluation mode, and its description.

    Args:
        path: ours (``.safetensors``), or a pickled whole network as the dataset's authors publish (``.pth``), which
            is read without executing anything.

    Raises:
        DataError: the file is missing, damaged, hostile, or does not fit the network it names.
    """
    path = Path(path)
    check_checkpoint_file(path, "train one: medcli train seg")
    if path.suffix != SUFFIX:
        return load_upstream(path)
    metadata = read_metadata(path)
    network = f"{metadata.arch} on {metadata.encoder}"
    return build_and_load(lambda: build_empty_model(metadata.arch, metadata.encoder), path, network).eval(), metadata


def describe_segmentation_checkpoint(path: Path) -> Checkpoint:
    """Load a checkpoint of either format and say what it is."""
    model, metadata = load_model(Path(path))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Checkpoint(Path(path), "medcli" if Path(path).suffix == SUFFIX else "upstream", parameters, metadata)


def convert_checkpoint(
    source: Path, target: Path, overwrite: bool = False, train: Sequence[int] | None = None
) -> Checkpoint:
    """Read a checkpoint of either format and write it as ours; returns what was written.

    Args:
        train: specimens that the network was trained on, where it does not say; None leaves what it says.

    Raises:
        DataError: see :func:`load_model`.
        UsageError: ``target`` exists and ``overwrite`` is not set, or ``train`` contradicts the checkpoint.
    """
    target = with_suffix(target)
    check_replaceable(target, overwrite)
    check_stated_training(source, train)
    model, metadata = load_model(Path(source))
    if train and metadata.train_specimens is None:
        told = f"{metadata.source}; training specimens as stated when it was converted"
        metadata = replace(metadata, splits=splits_of_training(train), source=told)
    make_output_folder(target.absolute().parent)
    return describe_segmentation_checkpoint(save_checkpoint(target, model, metadata))


def check_stated_training(source: Path, train: Sequence[int] | None) -> None:
    """Make sure that training specimens stated for a checkpoint, if any, do not contradict what is known of it.

    Raises:
        UsageError: they do.
    """
    known = training_specimens_of(source) if train else None
    if train and known is not None and set(train) != set(known):
        words = f"specimens {' '.join(map(str, known))}" if known else "no specimen"
        raise UsageError(
            f"{source} was trained on {words}, not on {' '.join(map(str, train))}",
            "leave --train-specimens out",
        )


def create(
    target: Path,
    arch: str = ARCH,
    encoder: str = ENCODER,
    encoder_weights: str = NO_WEIGHTS,
    seed: int = 42,
    overwrite: bool = False,
) -> Checkpoint:
    """Write a network that is not trained, to compare trained ones with.

    Its weights are those that a training with the same network and seed begins with. A file that holds the same
    network already is left alone.

    Raises:
        UsageError: no such network, or ``target`` holds something else and ``overwrite`` is not set.
        DataError: the encoder's weights cannot be had.
    """
    target = with_suffix(target)
    settings = {"encoder_weights": str(encoder_weights), "seed": seed}
    if target.exists() and not overwrite:
        found = read_metadata(target)
        if (found.arch, found.encoder, dict(found.settings), found.source) != (arch, encoder, settings, UNTRAINED):
            raise UsageError(f"{target} exists and is another network", "use --overwrite to replace it")
        complete_copy(target)
        return describe_segmentation_checkpoint(target)
    seed_torch(seed)
    model = build_model(arch, encoder, encoder_weights)
    make_output_folder(target.absolute().parent)
    pretrained = str(encoder_weights) != NO_WEIGHTS
    licence = f"that of the encoder's weights, {encoder_weights}" if pretrained else "none: random weights, no data"
    about = Metadata(arch, encoder, settings=settings, source=UNTRAINED, licence=licence, citation="")
    return describe_segmentation_checkpoint(save_checkpoint(target, model, about))


def with_suffix(path: Path) -> Path:
    """The path with the ending ``.safetensors``, added if it has another."""
    path = Path(path)
    return path if path.suffix == SUFFIX else path.with_name(path.name + SUFFIX)
