"""Headers of safetensors files: as the library reads them, and what is refused before it sees them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from medcli.core.errors import DataError
from medcli.training.checkpoint_files.safetensors_header import read_safetensors_header
from tests.support.hostile_checkpoints import safetensors, write_file

_TYPES = (
    torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
    torch.uint8, torch.bool,
)  # fmt: skip


def test_the_same_as_the_library_reads(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    tensors = {f"t.{index}": torch.zeros(2, index, 3).to(kind) for index, kind in enumerate(_TYPES)}
    save_file({**tensors, "scalar": torch.tensor(1.0)}, path, {"told": "so"})
    header = read_safetensors_header(path)
    with safe_open(path, "pt") as reference:
        assert dict(header.metadata) == reference.metadata()
        assert dict(header.shapes) == {name: tuple(reference.get_tensor(name).shape) for name in reference.keys()}  # noqa: SIM118
    assert header.parameters == sum(tensor.numel() for tensor in tensors.values()) + 1


def test_a_file_for_resuming_is_named_as_such(tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "last.ckpt")
    with pytest.raises(DataError, match=r"last\.ckpt is for resuming a training: name the last\.safetensors"):
        read_safetensors_header(tmp_path / "last.ckpt")


@pytest.mark.parametrize("name", sorted(safetensors()))
def test_what_it_admits_the_library_loads(name: str, tmp_path: Path) -> None:
    path = write_file(tmp_path / "a.safetensors", safetensors()[name])
    try:
        shapes = read_safetensors_header(path).shapes
    except DataError as error:
        said = error.message
    else:
        said = ""
    if said:
        assert str(path) in said
        assert len(said) < 200 + len(str(path))
        return
    with safe_open(path, "pt") as reference:
        assert {key: tuple(reference.get_tensor(key).shape) for key in reference.keys()} == shapes  # noqa: SIM118
