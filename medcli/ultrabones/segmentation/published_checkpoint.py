"""Checkpoints as the dataset's authors publish them: a whole pickled network, ``torch.save(model, "epoch_30.pth")``.

The weights are read by ``safe_unpickler``, which executes nothing; architecture and encoder are
recognised from the names and shapes of the weights; a network built here then takes all of them or none.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medcli.core.errors import DataError, printable, quantity
from medcli.training.checkpoint_files.checkpoint_file import FOR_RESUMING
from medcli.training.checkpoint_files.inert_values import StandIn
from medcli.training.checkpoint_files.safe_unpickler import PickledModel, TensorRecord, read_pickled_model
from medcli.training.weights import load_state
from medcli.ultrabones.segmentation.checkpoint_metadata import Metadata, pickled_metadata
from medcli.ultrabones.segmentation.network import ARCH, build_empty_model, build_model

if TYPE_CHECKING:
    import torch

Shapes = Mapping[str, tuple[int, ...]]
_STATE_KEYS = ("state_dict", "model_state_dict", "model")
_LIGHTNING = "pytorch-lightning_version"
_WRAPPERS = ("module.", "model.", "_orig_mod.")
_MOST_WRAPPED = 5  # mappings around a state dict
_MOST_TENSORS = 20_000  # the largest network has 1,400
_DEEPEST = 100  # modules inside one another; networks have some ten levels
_LONGEST_WALK = 4_000_000  # characters of the names of all tensors and modules; the largest network has 0.1 million


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
    records = _without_wrappers(_records(pickled))
    try:
        arch, encoder = recognise(
            {name: record.size for name, record in records.items()}, path
        )  # before numbers are read
    except DataError as error:
        if isinstance(pickled.root, dict) and _LIGHTNING in pickled.root:
            raise DataError(f"{path} {FOR_RESUMING}") from error
        raise
    model = build_empty_model(arch, encoder)
    load_state(model, pickled.tensors(records), path, f"{arch} on {encoder}")
    return model.eval(), pickled_metadata(path, arch, encoder)


def recognise(shapes: Shapes, path: Path) -> tuple[str, str]:
    """Architecture and encoder whose weights have exactly these names and shapes.

    The published architecture is tried first; then every encoder, then every architecture on the encoder that fits.

    Raises:
        DataError: none fits; says what is next to it.
    """
    from medcli.ultrabones.segmentation.architectures.fpn_resnet import BLOCKS

    for encoder in BLOCKS:
        if _fits(ARCH, encoder, shapes):
            return ARCH, encoder
    import segmentation_models_pytorch as smp

    encoder_shapes = {name: shape for name, shape in shapes.items() if name.startswith("encoder.")}
    if not encoder_shapes:
        raise DataError(f"{path} holds no network of segmentation_models_pytorch: no weights of an encoder")
    for encoder in _encoders({edge for shape in encoder_shapes.values() for edge in shape}):
        if _encoder_fits(encoder, encoder_shapes):
            for arch in smp.MODEL_ARCHITECTURES_MAPPING:
                if _fits(arch, encoder, shapes):
                    return arch, encoder
            raise DataError(f"{path} has the encoder {encoder}, but no architecture with its defaults fits the rest")
    first = next((shape[1] for shape in encoder_shapes.values() if len(shape) == 4), 1)
    channels = f"; its first layer takes {quantity(first, 'channel')}, expected 1" if first != 1 else ""
    raise DataError(f"{path} holds a network of no known encoder{channels}")


def _records(pickled: PickledModel) -> dict[str, TensorRecord]:
    """Names and records of all parameters and persistent buffers."""
    root = pickled.root
    for _ in range(_MOST_WRAPPED):  # a mapping may also contain itself
        inner = next((root[key] for key in _STATE_KEYS if key in root), None) if isinstance(root, dict) else None
        root = inner if isinstance(inner, (dict, StandIn)) else root
    if isinstance(root, StandIn):
        found = _Walk(pickled.path).records_of(root)
    elif isinstance(root, dict):
        found = {name: record for name, record in root.items() if isinstance(name, str) and _is_record(record)}
    else:
        found = {}
    if not found:
        raise DataError(f"{pickled.path} holds no network: {_describe(root)} without weights")
    if len(found) > _MOST_TENSORS:
        raise DataError(
            f"{pickled.path} holds {quantity(len(found), 'tensor')}, no network has more than {_MOST_TENSORS:,}"
        )
    return found


class _Walk:
    """Through the modules of a pickled network; modules that contain one another cannot make it long."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._left = _LONGEST_WALK

    def records_of(self, module: StandIn) -> dict[str, TensorRecord]:
        """Records of the parameters and persistent buffers, by name."""
        return dict(self._walk(module, "", ()))

    def _walk(self, module: StandIn, prefix: str, parents: tuple[int, ...]) -> Iterator[tuple[str, TensorRecord]]:
        if id(module) in parents:
            return
        if len(parents) > _DEEPEST:
            raise DataError(f"{self._path} holds modules nested more than {_DEEPEST} deep, as no network does")
        transient = module.attribute("_non_persistent_buffers_set")
        for group in ("_parameters", "_buffers"):
            left_out = transient if group == "_buffers" and isinstance(transient, set) else ()
            for name, value in self._items(module, group, prefix):
                if isinstance(value, TensorRecord) and name not in left_out:
                    yield f"{prefix}{name}", value
        for name, child in self._items(module, "_modules", prefix):
            if isinstance(child, StandIn):
                yield from self._walk(child, f"{prefix}{name}.", (*parents, id(module)))

    def _items(self, module: StandIn, group: str, prefix: str) -> Iterator[tuple[str, Any]]:
        items = module.attribute(group)
        for name, value in items.items() if isinstance(items, dict) else ():
            self._left -= 1 + len(prefix) + (len(name) if isinstance(name, str) else 0)
            if self._left < 0:
                raise DataError(f"{self._path} holds more modules than any network has, or modules inside one another")
            if isinstance(name, str):
                yield name, value


def _without_wrappers(records: dict[str, TensorRecord]) -> dict[str, TensorRecord]:
    """Names without what DataParallel, Lightning or torch.compile put before all of them."""
    for wrapper in _WRAPPERS * 2:
        if all(name.startswith(wrapper) for name in records):
            records = {name.removeprefix(wrapper): record for name, record in records.items()}
    return records


def _fits(arch: str, encoder: str, shapes: Shapes) -> bool:
    return _outline(arch, encoder) == shapes


def _encoder_fits(encoder: str, shapes: Shapes) -> bool:
    return _outline(None, encoder) == shapes


@functools.cache
def _outline(arch: str | None, encoder: str) -> Shapes | None:
    """Names and shapes of the weights of a network, or of an encoder alone; None where it cannot be built so."""
    import torch

    try:
        with torch.device("meta"):
            if arch is not None:
                model, prefix = build_model(arch, encoder), ""
            else:
                import segmentation_models_pytorch as smp

                model, prefix = smp.encoders.get_encoder(encoder, in_channels=1, weights=None), "encoder."
    except Exception:  # some pairs cannot be built at all, and each says so in its own way
        return None
    return {f"{prefix}{name}": tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def _encoders(edges: Collection[int]) -> list[str]:
    """Names of the encoders whose numbers of channels are among ``edges``; ResNets, which nearly all have, first."""
    import segmentation_models_pytorch as smp

    names = [name for name in smp.encoders.get_encoder_names() if not name.startswith("timm-")]  # renamed to tu-
    fitting = [name for name in names if {0, *edges}.issuperset(_channels(name))]
    return sorted(fitting, key=lambda name: not name.startswith("res"))


def _channels(encoder: str) -> list[int]:
    """Channels of the outputs of an encoder, but of its input; none where its package does not say."""
    from segmentation_models_pytorch.encoders import encoders

    return list(encoders[encoder]["params"].get("out_channels") or ())[1:]


def _is_record(value: Any) -> bool:
    return isinstance(value, TensorRecord)


def _describe(root: Any) -> str:
    return printable(root.origin) if isinstance(root, StandIn) else type(root).__name__
