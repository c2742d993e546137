"""Weights as safetensors files with an embedded description; loading executes nothing in a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from medcli.core.errors import DataError, UsageError, printable, quantity
from medcli.core.files import replacing, write_bytes
from medcli.core.run_records.options import resolve_option
from medcli.core.secrets import redact
from medcli.core.shell import spell
from medcli.core.system.open_files import remove_file
from medcli.training.checkpoint_files.safetensors_header import read_safetensors_header

if TYPE_CHECKING:
    import torch

SUFFIX = ".safetensors"
HEADER_KEY = "medcli"
Network = TypeVar("Network", bound="torch.nn.Module")


def save_weights(path: Path, model: torch.nn.Module, description: str) -> Path:
    """Write the weights of ``model`` with ``description`` (JSON) in the header, and the description next to them.

    Each file is whole or absent at any moment, the description is never that of other weights, and the weights' file
    alone is enough to load. Wrappers of
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
    content, copy = save(state, metadata={HEADER_KEY: description}), path.with_suffix(".json")
    contents, is_new = {path: content, copy: _as_copy(description)}, not path.exists()
    # Both are written before one is in place: of a full disk, nothing is left. Killed in between, new weights are
    # absent, so that the command is run again; of weights that are replaced, the copy is absent.
    last, first = (path, copy) if is_new else (copy, path)
    with replacing(last, needed=len(contents[last])) as last_part:
        last_part.write_bytes(contents[last])
        with replacing(first, needed=len(contents[first])) as first_part:
            first_part.write_bytes(contents[first])
            if not is_new:
                remove_file(copy)
    return path


def complete_copy(path: Path) -> None:
    """Write the description of ``path`` next to it where :func:`save_weights` was killed before it did.

    Raises:
        DataError: see :func:`read_description`.
    """
    copy = path.with_suffix(".json")
    if path.is_file() and not copy.exists():
        write_bytes(copy, _as_copy(read_description(path, "")))


def _as_copy(description: str) -> bytes:
    return f"{redact(description)}\n".encode("utf-8", "backslashreplace")


def read_description(path: Path, hint: str) -> str:
    """The description in a file that :func:`save_weights` wrote, without reading the weights.

    Raises:
        DataError: the file is missing or was not written by medcli; ``hint`` says what to do.
    """
    try:
        header = read_safetensors_header(path, hint)
    except DataError as error:
        raise DataError(f"cannot read checkpoint: {error.message}", hint) from error
    if HEADER_KEY not in header.metadata:
        raise DataError(f"{path} holds weights but no description of a network", hint)
    if not header.shapes:
        raise DataError(f"{path} describes a network but holds no weights", hint)
    return header.metadata[HEADER_KEY]


def build_and_load(build: Callable[[], Network], path: Path, network: str) -> Network:
    """The network of ``path``, a safetensors file: built by ``build``, with the weights of the file.

    A file of a few bytes may name a network of many gigabytes. So the network is first built without memory, where that
    can be done, and compared with what the file holds.

    Args:
        network: names it in errors.

    Raises:
        DataError: no such network exists, or the weights do not fit.
    """
    import torch

    shapes = read_safetensors_header(path).shapes
    try:
        with torch.device("meta"):
            outline = build()
    except Exception:  # some networks cannot be built so, each fails in its own way
        outline = None
    if outline is not None:
        _check_shapes(shapes, outline, path, network)
    try:
        model = build()
    except UsageError as error:
        raise DataError(f"{path} names a network that cannot be built: {error.message}", error.hint) from error
    load_state(model, _load_safetensors(path), path, network)
    return model


def load_state(model: torch.nn.Module, state: Mapping[str, torch.Tensor], path: Path, network: str) -> None:
    """Give ``model`` the weights ``state``, which were read from ``path``; ``network`` names it in errors.

    Raises:
        DataError: names, shapes or types do not fit, or numbers are not finite.
    """
    _check_shapes({name: tuple(tensor.shape) for name, tensor in state.items()}, model, path, network)
    for name, wanted in model.state_dict().items():
        given = state[name]
        if given.is_complex() or given.is_floating_point() != wanted.is_floating_point():
            raise DataError(f"{path} does not fit {network}: {name} is of type {str(given.dtype)[6:]}")
        if given.is_floating_point() and not given.isfinite().all():
            raise DataError(f"{path} is damaged: {name} holds numbers that are not finite")
    model.load_state_dict(state)


def _check_shapes(given: Mapping[str, tuple[int, ...]], model: torch.nn.Module, path: Path, network: str) -> None:
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    different = [name for name in {**wanted, **given} if wanted.get(name) != given.get(name)]
    if different:
        first = different[0]
        words = "is missing" if first not in given else "has another shape"
        words = words if first in wanted else "is not part of it"
        raise DataError(
            f"{path} does not fit the network it names ({network}): {printable(first)} {words} "
            f"(of {len(different)} that differ)"
        )


def find_best(runs_root: Path, task: str) -> list[Path]:
    """Every ``<runs_root>/<task>/*/best.safetensors``, of a training or put there by ``medcli checkpoint convert``."""
    return sorted((runs_root / task).glob(f"*/best{SUFFIX}"))


def find_newest(runs_root: Path, task: str) -> Path:
    """The newest ``<runs_root>/<task>/*/best.safetensors``; ``task`` is ``seg`` or ``pose``.

    Raises:
        DataError: there is none.
    """
    found = find_best(runs_root, task)
    folds = sorted((runs_root / task).glob(f"*/*/best{SUFFIX}"))
    if not found and folds:
        raise DataError(
            f"no checkpoint {runs_root / task / '*' / f'best{SUFFIX}'}, but those of {quantity(len(folds), 'fold')}",
            "name one: "
            + spell("--checkpoint", folds[0])
            + (f" (to {folds[-1].parent.name})" if len(folds) > 1 else ""),
        )
    if not found:
        raise DataError(
            f"no checkpoint {runs_root / task / '*' / f'best{SUFFIX}'}",
            f"train one (medcli train {task}) or name one (--checkpoint FILE)",
        )
    newest = max(found, key=lambda path: (path.stat().st_mtime_ns, path))
    resolve_option("checkpoint", newest)
    return newest


def read_tensors(path: Path, most_bytes: int = 8 << 30) -> dict[str, torch.Tensor]:
    """Named tensors of a safetensors file or of a torch state dict; executes nothing in the file.

    Args:
        path: what begins as a safetensors file, or as a file of torch.save.
        most_bytes: refuse files whose tensors take more, before they are read.

    Raises:
        DataError: it is neither, is damaged, or too large.
    """
    if path.suffix == SUFFIX:
        read_safetensors_header(path)
        return _load_safetensors(path)
    from medcli.training.checkpoint_files.inert_values import StandIn
    from medcli.training.checkpoint_files.safe_unpickler import TensorRecord, read_pickled_model

    pickled = read_pickled_model(path)
    content = pickled.root
    if isinstance(content, StandIn):
        raise DataError(
            f"{path} is not a torch state dict but a whole {printable(content.origin)}: save its state_dict()"
        )
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(value, TensorRecord) for name, value in content.items()
    ):
        raise DataError(f"{path} holds no state dict (a mapping of names to tensors)")
    found = sum(record.count * record.storage.item_size for record in content.values())
    if found > most_bytes:
        raise DataError(
            f"{path} holds tensors of {quantity(found, 'byte')}, many more than the network that they are for"
        )
    return pickled.tensors(content)


def most_bytes_for(model: torch.nn.Module) -> int:
    """Bytes that a file of weights for ``model`` may hold: also of a larger network that contains it."""
    return int(10 * sum(tensor.nbytes for tensor in model.state_dict().values())) + (1 << 30)


def _load_safetensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load, load_file

    try:
        name = str(path)
        if name.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in name):
            return load_file(path)
        return load(path.read_bytes())  # a name that is not UTF-8, which its reader of files does not take
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise DataError(f"{path} is damaged: {printable(str(error))}") from error
