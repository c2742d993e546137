"""What every reader of checkpoints does first: see that there is a file to read, and of which kind it is."""

from __future__ import annotations

from pathlib import Path

from medcli.core.errors import DataError, quantity
from medcli.training.checkpoint_files.stored_zip import SIGNATURE

_HEAD = 1024  # bytes; these distinguish the kinds
_BEGINNINGS = {
    b"version https://git-lfs": "is a Git LFS pointer, not the file itself: get it with git lfs pull",
    b"<": "is a web page or XML, not a checkpoint: the download may have needed a login",
    b"\x1f\x8b": "is packed with gzip: unpack it first",
    b"7z\xbc\xaf": "is packed with 7-Zip: unpack it first",
    b"\x89HDF": "is an HDF5 file (Keras?), expected one of PyTorch",
    b"\x89PNG": "is an image, not a checkpoint",
    b"\xff\xd8\xff": "is an image, not a checkpoint",
    b"{": "is JSON text, not a checkpoint; the weights lie in the .safetensors beside it",
}
_PICKLES = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
SAFETENSORS = "is a safetensors file with another ending: rename it to .safetensors"
FOR_RESUMING = "is for resuming a training: name the last.safetensors or best.safetensors beside it"
_ONNX = "is an ONNX network, for predict seg and evaluate seg alone: name the checkpoint that it was exported from"


def check_checkpoint_file(path: Path, hint: str | None = None) -> int:
    """The size in bytes of the file at ``path``, if it is one that can be read.

    Links are followed. Pipes and devices, which may have no end, are never opened.

    Raises:
        DataError: there is nothing, a folder, a pipe, a device, or an empty file; ``hint`` says what to do.
    """
    try:
        if not path.exists():
            raise DataError(f"no checkpoint {path}", hint)
        if not path.is_file():
            kind = "a folder" if path.is_dir() else "a pipe or a device"
            raise DataError(f"{path} is {kind}, expected a checkpoint file", hint)
        size = path.stat().st_size
    except (OSError, ValueError, RuntimeError) as error:  # no right to look, an impossible name, links in a circle
        raise DataError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}", hint) from error
    if not size:
        raise DataError(f"{path} is empty (0 bytes): it was truncated, or never written", hint)
    return size


def check_pickled_file(path: Path) -> None:
    """Make sure that a file, which is there, is not known to be other than one that torch.save wrote.

    Raises:
        DataError: it is, or cannot be read.
    """
    try:
        kind = name_kind(path)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    if kind:
        raise DataError(f"{path} {kind}")


def name_kind(path: Path) -> str | None:
    """What the file is, where it is known not to be what its name says; to stand behind the name of the file."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if path.suffix.lower() == ".onnx" or (head[:1] == b"\x08" and b"pytorch" in head[:64]):
        return _ONNX
    for beginning, words in _BEGINNINGS.items():
        if head.lstrip().startswith(beginning):
            return words
    if not head.strip(b"\0"):
        return f"holds only zeros in its first {quantity(len(head), 'byte')}: it was not written to the end"
    if head[257:262] == b"ustar":
        return "is a tar archive: unpack it first, or save the network again with torch 1.6 or later"
    if 2 <= int.from_bytes(head[:8], "little") < 1 << 40 and head[8:9] == b"{":
        return SAFETENSORS
    if path.suffix == ".safetensors" and (head.startswith(SIGNATURE) or head[:2] in _PICKLES):
        return "is a file of torch.save with another ending: rename it to .pth"
    if all(byte >= 32 or byte in b"\t\n\r\f" for byte in head):
        return "is a text file, not a checkpoint"
    return None
