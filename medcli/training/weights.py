"""Weights as safetensors files with an embedded description; loading executes nothing in a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from medcli.core.errors import DataError
from medcli.core.files import write_bytes, write_text

if TYPE_CHECKING:
    import torch

SUFFIX = ".safetensors"
HEADER_KEY = "medcli"


def save_weights(path: Path, model: torch.nn.Module, description: str) -> Path:
    """Write the weights of ``model`` with ``description`` (JSON) in the header, and the description next to them.

    Each file is whole or absent at any moment, and the weights' file alone is enough to load. Wrappers of
    ``torch.compile`` are seen through; the model may be on any device and in any memory format.

    Args:
        path: the suffix ``.safetensors`` is added if it is missing; the description is also written to ``.json`` next
            to it.
    """
    from safetensors.torch import save

    path = path if path.suffix == SUFFIX else path.with_name(path.name + SUFFIX)
    state = {
        name.replace("_orig_mod.", ""): tensor.detach().cpu().contiguous()
        for name, tensor in model.state_dict().items()
    }
    write_bytes(path, save(state, metadata={HEADER_KEY: description}))
    write_text(path.with_suffix(".json"), description + "\n")
    return path


def read_description(path: Path, hint: str) -> str:
    """The description in a file that :func:`save_weights` wrote, without reading the weights.

    Raises:
        DataError: the file is missing or was not written by medcli; ``hint`` says what to do.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as content:
            header = content.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise DataError(f"cannot read checkpoint {path}: {error}", hint) from error
    if HEADER_KEY not in header:
        raise DataError(f"{path} holds weights but no description of a network", hint)
    return str(header[HEADER_KEY])


def load_into(model: torch.nn.Module, path: Path, network: str) -> None:
    """Load the weights of ``path`` into ``model``; ``network`` names it in errors.

    Raises:
        DataError: they do not fit.
    """
    from safetensors.torch import load_file

    try:
        model.load_state_dict(load_file(path))
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[1] if len(lines) > 1 else lines[0]
        raise DataError(f"{path} does not fit the network it names ({network}): {reason}") from error


def find_newest(runs_root: Path, task: str) -> Path:
    """The newest ``<runs_root>/<task>/*/best.safetensors``; ``task`` is ``seg`` or ``pose``.

    Raises:
        DataError: there is none.
    """
    found = list((runs_root / task).glob(f"*/best{SUFFIX}"))
    folds = sorted((runs_root / task).glob(f"*/*/best{SUFFIX}"))
    if not found and folds:
        raise DataError(
            f"no checkpoint {runs_root / task / '*' / f'best{SUFFIX}'}, but those of {len(folds)} folds",
            f"name one: --checkpoint {folds[0]}" + (f" (to {folds[-1].parent.name})" if len(folds) > 1 else ""),
        )
    if not found:
        raise DataError(
            f"no checkpoint {runs_root / task / '*' / f'best{SUFFIX}'}",
            f"train one (medcli train {task}) or name one (--checkpoint FILE)",
        )
    return max(found, key=lambda path: (path.stat().st_mtime_ns, path))


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Named tensors of a safetensors file or of a torch state dict; executes nothing in the file.

    Raises:
        DataError: it is neither.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == SUFFIX:
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    except Exception as error:  # torch.load raises what its formats raise
        raise DataError(f"{path} is not a torch state dict: {str(error).splitlines()[0]}") from error
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise DataError(f"{path} holds no state dict (a mapping of names to tensors)")
    return content
