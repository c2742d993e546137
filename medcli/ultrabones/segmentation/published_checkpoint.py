"""Checkpoints as the dataset's authors publish them: a whole pickled network, ``torch.save(model, "epoch_30.pth")``.

The weights are read by ``safe_unpickler``, which executes nothing; architecture and encoder are
recognised from the names and shapes of the weights; a network built here then takes all of them or none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medcli.core.errors import DataError
from medcli.ultrabones.segmentation.checkpoint_metadata import Metadata
from medcli.ultrabones.segmentation.network import ARCH, ENCODER, build_model
from medcli.ultrabones.segmentation.safe_unpickler import PickledModel, StandIn, TensorRecord, read_pickled_model

if TYPE_CHECKING:
    import torch

Shapes = Mapping[str, tuple[int, ...]]
_STATE_KEYS = ("state_dict", "model_state_dict", "model")
_WRAPPERS = ("module.", "model.", "_orig_mod.")


def load_upstream(path: Path) -> tuple[torch.nn.Module, Metadata]:
    """The network in a pickled checkpoint, on the CPU and in evaluation mode.

    Args:
        path: written by ``torch.save`` of any version from a whole network of any version of
            segmentation_models_pytorch (also inside DataParallel), or from its state dict.

    Raises:
        DataError: damaged or hostile (see ``safe_unpickler.read_pickled_model``), or no network that
            is known here.
    """
    pickled = read_pickled_model(path)
    state = {name: pickled.tensor(record) for name, record in _without_wrappers(_records(pickled)).items()}
    arch, encoder = recognise({name: tuple(tensor.shape) for name, tensor in state.items()}, path)
    model = build_model(arch, encoder)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise DataError(f"{path} does not fit {arch} on {encoder}: {str(error).splitlines()[-1].strip()}") from error
    return model.eval(), Metadata(arch=arch, encoder=encoder, source=f"{path.name} (pickled network)")


def recognise(shapes: Shapes, path: Path) -> tuple[str, str]:
    """Architecture and encoder whose weights have exactly these names and shapes.

    The published pair is tried first; then every encoder, then every architecture on the encoder that fits.

    Raises:
        DataError: none fits; says what is next to it.
    """
    import segmentation_models_pytorch as smp

    if _fits(ARCH, ENCODER, shapes):
        return ARCH, ENCODER
    encoder_shapes = {name: shape for name, shape in shapes.items() if name.startswith("encoder.")}
    if not encoder_shapes:
        raise DataError(f"{path} holds no network of segmentation_models_pytorch: no weights of an encoder")
    for encoder in _encoders():
        if _encoder_fits(encoder, encoder_shapes):
            for arch in smp.MODEL_ARCHITECTURES_MAPPING:
                if _fits(arch, encoder, shapes):
                    return arch, encoder
            raise DataError(f"{path} has the encoder {encoder}, but no architecture with its defaults fits the rest")
    first = next(shape for shape in encoder_shapes.values() if len(shape) == 4)
    channels = f"; its first layer takes {first[1]} channels, expected 1" if first[1] != 1 else ""
    raise DataError(f"{path} holds a network of no known encoder{channels}")


def _records(pickled: PickledModel) -> dict[str, TensorRecord]:
    """Names and records of all parameters and persistent buffers."""
    root = pickled.root
    while isinstance(root, Mapping) and any(key in root for key in _STATE_KEYS):
        root = next(root[key] for key in _STATE_KEYS if key in root)
    if isinstance(root, StandIn):
        found = dict(_walk(root, "", ()))
    elif isinstance(root, Mapping):
        found = {name: value for name, value in root.items() if isinstance(value, TensorRecord)}
    else:
        found = {}
    if not found:
        raise DataError(f"{pickled.path} holds no network: {_describe(root)} without weights")
    return found


def _walk(module: Any, prefix: str, parents: tuple[int, ...]) -> Iterator[tuple[str, TensorRecord]]:
    if not isinstance(module, StandIn) or id(module) in parents:
        return
    transient = module.attribute("_non_persistent_buffers_set") or set()
    for group in ("_parameters", "_buffers"):
        for name, value in (module.attribute(group) or {}).items():
            if isinstance(value, TensorRecord) and not (group == "_buffers" and name in transient):
                yield f"{prefix}{name}", value
    for name, child in (module.attribute("_modules") or {}).items():
        yield from _walk(child, f"{prefix}{name}.", (*parents, id(module)))


def _without_wrappers(records: dict[str, TensorRecord]) -> dict[str, TensorRecord]:
    """Names without what DataParallel, Lightning or torch.compile put before all of them."""
    for wrapper in _WRAPPERS * 2:
        if all(name.startswith(wrapper) for name in records):
            records = {name.removeprefix(wrapper): record for name, record in records.items()}
    return records


def _fits(arch: str, encoder: str, shapes: Shapes) -> bool:
    import torch

    try:
        with torch.device("meta"):
            model = build_model(arch, encoder)
    except Exception:  # some pairs cannot be built at all, and each says so in its own way
        return False
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()} == shapes


def _encoder_fits(encoder: str, shapes: Shapes) -> bool:
    import segmentation_models_pytorch as smp
    import torch

    try:
        with torch.device("meta"):
            model = smp.encoders.get_encoder(encoder, in_channels=1, weights=None)
    except Exception:  # an encoder that its package no longer provides
        return False
    return {f"encoder.{name}": tuple(tensor.shape) for name, tensor in model.state_dict().items()} == shapes


def _encoders() -> list[str]:
    """Names of the encoders, the ResNets, which nearly every published network has, first."""
    import segmentation_models_pytorch as smp

    names = [name for name in smp.encoders.get_encoder_names() if not name.startswith("timm-")]  # renamed to tu-
    return sorted(names, key=lambda name: not name.startswith("res"))


def _describe(root: Any) -> str:
    return root.origin if isinstance(root, StandIn) else type(root).__name__
