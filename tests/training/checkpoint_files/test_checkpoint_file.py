"""What is no checkpoint is named for what it is, and what has no end is not opened."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from medcli.core.errors import DataError
from medcli.training.checkpoint_files.checkpoint_file import check_checkpoint_file, name_kind
from medcli.training.checkpoint_files.safe_unpickler import read_pickled_model
from medcli.training.checkpoint_files.safetensors_header import read_safetensors_header
from tests.support.hostile_checkpoints import others, write_file


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("lfs", "is a Git LFS pointer"),
        ("web_page", "is a web page"),
        ("text", "is a text file"),
        ("zeros", "holds only zeros in its first 1,024 bytes"),
        ("sparse", "holds only zeros in its first 1,024 bytes"),
        ("onnx", "is an ONNX network, for predict seg and evaluate seg alone"),
        ("gzip", "is packed with gzip"),
        ("tar", "is a tar archive"),
        ("png", "is an image"),
        ("hdf5", "is an HDF5 file"),
        ("json", "is JSON text"),
        ("folder", "is a folder, expected a checkpoint file"),
        ("pipe", "is a pipe or a device, expected a checkpoint file"),
        ("link_to_zero", "is a pipe or a device, expected a checkpoint file"),
        ("link_to_folder", "is a folder"),
        ("link_to_nothing", "no checkpoint"),
        ("empty", "is empty (0 bytes)"),
    ],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.skipif(sys.platform == "win32", reason="makes pipes and links")
def test_other_files_are_named(name: str, words: str, suffix: str, tmp_path: Path) -> None:
    path = write_file(tmp_path / f"{name}{suffix}", others()[f"{name}{suffix}"])
    with pytest.raises(DataError) as raised:
        read_pickled_model(path) if suffix == ".pth" else read_safetensors_header(path)
    assert words in raised.value.message
    assert str(path) in raised.value.message


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("other_safetensors.pth", "is a safetensors file with another ending: rename it to .safetensors"),
        ("torch_archive.safetensors", "is a file of torch.save with another ending: rename it to .pth"),
        ("torch_stream.safetensors", "is a file of torch.save with another ending: rename it to .pth"),
        ("network.onnx", "is an ONNX network"),
    ],
)
def test_checkpoints_of_another_name(name: str, words: str, tmp_path: Path) -> None:
    assert words in str(name_kind(write_file(tmp_path / name, others()[name])))


@pytest.mark.skipif(os.name == "nt" or (hasattr(os, "geteuid") and os.geteuid() == 0), reason="root may read all")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(b"\x80\x02")
    path.chmod(0)
    with pytest.raises(DataError, match=r"cannot read .*a\.pth: Permission denied"):
        read_pickled_model(path)


def test_names_that_cannot_be_of_a_file(tmp_path: Path) -> None:
    for name in ("a\0b", "a" * 1000):
        with pytest.raises(DataError, match=r"cannot read|no checkpoint"):
            check_checkpoint_file(tmp_path / name)
