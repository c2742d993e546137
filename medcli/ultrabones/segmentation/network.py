"""Segmentation networks of segmentation_models_pytorch by name, one grey channel in, one logit a pixel out.

The published model is ``build_model("fpn", "resnet34", "imagenet")``. Its architecture is built without that library,
whose import takes longer than PyTorch's, unless the library is to download the encoder's weights.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medcli.core.errors import DataError, UsageError
from medcli.training.weights import most_bytes_for, read_tensors
from medcli.ultrabones.segmentation.settings import ARCHITECTURES, ENCODERS

if TYPE_CHECKING:
    import torch

ARCH = "fpn"
ENCODER = "resnet34"
NO_WEIGHTS = "none"
_CLASSIFIER_PREFIXES = ("fc.", "classifier.", "last_linear.", "head.")
_REMEDY = "give a local file of encoder weights (--encoder-weights FILE) or start untrained (--encoder-weights none)"


def build_model(arch: str = ARCH, encoder: str = ENCODER, encoder_weights: str | Path | None = None) -> torch.nn.Module:
    """A network for (N, 1, H, W) float32 inputs (H, W multiples of 32) that returns (N, 1, H, W) logits.

    Args:
        arch: a segmentation_models_pytorch architecture, as ``fpn`` or ``unet``.
        encoder: one of its encoders, as ``resnet34``; ``tu-NAME`` takes any timm model.
        encoder_weights: None (or "none") for random weights; the name of published weights ("imagenet"), which are
            downloaded once; or a local file, a torch state dict or safetensors, of an encoder with 3 or 1 input
            channels. Weights of 3 channels are summed over them, which answers to a grey image as they would.

    Raises:
        UsageError: no such architecture or encoder.
        DataError: the weights cannot be had (no internet) or do not fit; never falls back silently.
    """
    weights = None if encoder_weights is None or str(encoder_weights).lower() == NO_WEIGHTS else encoder_weights
    if weights is None:
        return _construct(arch, encoder, None)
    if isinstance(weights, str) and _is_weights_name(encoder, weights):
        return _construct_pretrained(arch, encoder, weights)
    path = Path(weights)
    if not path.is_file():
        raise _no_weights(encoder, weights)
    model = _construct(arch, encoder, None)
    _load_encoder(model.get_submodule("encoder"), path, encoder)
    return model


def build_empty_model(arch: str, encoder: str) -> torch.nn.Module:
    """:func:`build_model` for weights that are loaded next: none are drawn before, where that is known to be safe."""
    import torch

    if not _is_published(arch, encoder):
        return build_model(arch, encoder)
    device = torch.get_default_device()
    with torch.device("meta"):
        outline = build_model(arch, encoder)
    # What ``to_empty`` does, but that makes torch import sympy.
    model: torch.nn.Module = outline._apply(  # type: ignore[no-untyped-call]
        lambda tensor: torch.empty(tensor.shape, dtype=tensor.dtype, device=device)
    )
    return model


def check_encoder_weights(encoder: str, weights: str) -> None:
    """Make sure that weights named as a file are one; names of published weights are left to :func:`build_model`.

    Raises:
        DataError: there is no such file.
    """
    if not _may_be_name(encoder, weights) and not Path(weights).is_file():
        raise _no_weights(encoder, weights)


def check_architecture(arch: str) -> None:
    """Make sure that there is such an architecture; the library is imported for a name that is not one of the usual.

    Raises:
        UsageError: there is none; names similar ones.
    """
    if arch.lower() in ARCHITECTURES:
        return
    import segmentation_models_pytorch as smp

    known = list(smp.MODEL_ARCHITECTURES_MAPPING)
    if arch.lower() not in known:
        raise UsageError(f"no architecture '{arch}'{_similar(arch.lower(), known)}", f"one of: {', '.join(known)}")


def check_encoder(encoder: str) -> None:
    """Make sure that there is such an encoder; the library is imported for a name that is not one of the usual.

    Raises:
        UsageError: there is none; names similar ones.
    """
    if encoder in ENCODERS:
        return
    if ":" in encoder:  # timm would look for it on a server or in a folder, also when a checkpoint's header says so
        raise UsageError(f"encoder '{encoder}' is a place, not a name", "tu-NAME for any model that timm has built in")
    import segmentation_models_pytorch as smp
    import timm

    if encoder.startswith("tu-"):
        known, is_known = [f"tu-{name}" for name in timm.list_models()], timm.is_model(encoder[3:])
    else:
        known = list(smp.encoders.get_encoder_names())
        is_known = encoder in known
    if not is_known:
        raise UsageError(f"no encoder '{encoder}'{_similar(encoder, known)}", "or tu-NAME for any model of timm")


def _no_weights(encoder: str, weights: str | Path) -> DataError:
    return DataError(f"encoder weights '{weights}' are neither a published set of {encoder} nor a file", _REMEDY)


def _construct(arch: str, encoder: str, weights: str | None) -> torch.nn.Module:
    check_architecture(arch)
    check_encoder(encoder)
    if weights is None and _is_published(arch, encoder):
        from medcli.ultrabones.segmentation.architectures.fpn_resnet import FpnResNet

        return FpnResNet(encoder)
    import segmentation_models_pytorch as smp

    try:
        model: torch.nn.Module = smp.create_model(arch, encoder, encoder_weights=weights, in_channels=1, classes=1)
    except (ValueError, RuntimeError, KeyError) as error:
        if weights is not None:
            raise
        raise UsageError(f"{arch} cannot be built on {encoder}: {error}") from error
    return model


def _is_published(arch: str, encoder: str) -> bool:
    from medcli.ultrabones.segmentation.architectures.fpn_resnet import BLOCKS

    return arch.lower() == ARCH and encoder in BLOCKS


def _construct_pretrained(arch: str, encoder: str, weights: str) -> torch.nn.Module:
    try:
        with _quiet_hub():
            return _construct(arch, encoder, weights)
    except UsageError:
        raise
    except Exception as error:  # a download fails in the ways of several HTTP libraries
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(f"cannot get the {weights} weights of {encoder}: {reason}", _REMEDY) from error


@contextmanager
def _quiet_hub() -> Iterator[None]:
    """No lines of the download library while the block runs: what matters of a failure is in its exception."""
    import huggingface_hub.utils  # noqa: F401 (its import sets the level)

    hub = logging.getLogger("huggingface_hub")
    before = hub.level
    hub.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        hub.setLevel(before)


def _may_be_name(encoder: str, weights: str) -> bool:
    return encoder.startswith("tu-") or (weights == Path(weights).name and not Path(weights).suffix)


def _is_weights_name(encoder: str, weights: str) -> bool:
    if not _may_be_name(encoder, weights):
        return False
    from segmentation_models_pytorch.encoders import encoders

    if encoder.startswith("tu-") or encoder not in encoders:
        return not Path(weights).is_file()
    return weights in encoders[encoder]["pretrained_settings"]


def _similar(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known)
    return f"; did you mean {', '.join(close)}?" if close else ""


def _load_encoder(encoder: Any, path: Path, name: str) -> None:
    state = _encoder_state(read_tensors(path, most_bytes_for(encoder)), encoder.state_dict(), path)
    wanted = encoder.state_dict()
    missing = [key for key in wanted if key not in state and not key.endswith("num_batches_tracked")]
    wrong = [key for key in state if key not in wanted or wanted[key].shape != state[key].shape]
    if missing or wrong:
        first = (missing or wrong)[0]
        raise DataError(
            f"{path} does not hold weights of {name}: {len(missing)} missing and {len(wrong)} of another name or shape "
            f"(first: {first})",
            _REMEDY,
        )
    encoder.load_state_dict({**wanted, **state})


def _encoder_state(
    tensors: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor], path: Path
) -> dict[str, torch.Tensor]:
    """The encoder's part of ``tensors`` under the encoder's names, its first layer for one channel."""
    for prefix in ("encoder.", "model.encoder."):
        if any(key.startswith(prefix) for key in tensors):
            tensors = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
    state = {key: value for key, value in tensors.items() if not key.startswith(_CLASSIFIER_PREFIXES)}
    for key, value in state.items():
        if key in wanted and value.ndim == 4 and (value.shape[1], wanted[key].shape[1]) == (3, 1):
            state[key] = value.sum(dim=1, keepdim=True)
    return state
