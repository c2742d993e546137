"""Numbers of pickled tensors: the same as torch reads, in proportion to the file, and never more than are there."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from medcli.core.errors import DataError
from medcli.training.checkpoint_files.safe_unpickler import read_pickled_model
from medcli.training.weights import read_tensors
from tests.support import hostile_checkpoints
from tests.support.hostile_checkpoints import as_archive, as_stream, number, state, storage, tensor, text

_TYPES = (
    torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
    torch.uint8, torch.bool,
)  # fmt: skip


@pytest.mark.parametrize("archive", [True, False], ids=["archive", "stream"])
def test_tensors_are_those_that_torch_reads(archive: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    base = torch.arange(60.0).reshape(3, 4, 5)
    values = {str(kind): torch.arange(7).to(kind) for kind in _TYPES} | {
        "view": base[:, 1:3, ::2],
        "transposed": base.permute(2, 0, 1),
        "channels last": torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "expanded": torch.ones(1).expand(3, 4),
        "shared": base,
        "scalar": torch.tensor(2.5),
        "empty": torch.empty(0, 3),
        "parameter": torch.nn.Parameter(torch.rand(2)),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(values, path, _use_new_zipfile_serialization=archive)
    found = read_tensors(path)
    assert list(found) == list(values)
    for name, value in values.items():
        assert found[name].dtype == value.dtype
        assert torch.equal(found[name], value), name


def read(content: bytes, path: Path) -> Any:
    path.write_bytes(content)
    pickled = read_pickled_model(path)
    return pickled.tensors(pickled.root)


@pytest.mark.parametrize("container", [as_archive, as_stream])
@pytest.mark.parametrize(
    ("described", "numbers"),
    ids=["cut", "none", "longer", "absent", "elsewhere", "offset", "size", "stride"],
    argvalues=[
        (tensor(), bytes(7)),
        (tensor(), b""),
        (tensor(storage(length=number(1 << 50))), bytes(8)),
        (tensor(storage("7")), bytes(8)),
        (tensor(storage("../data.pkl")), bytes(8)),
        (tensor(offset=b"K\x09"), bytes(8)),
        (tensor(size=number(1 << 40) + b"\x85", stride=b"K\x00\x85"), bytes(8)),
        (tensor(stride=number(1 << 40) + b"\x85"), bytes(8)),
    ],
)
def test_numbers_that_are_not_there(container: Any, described: bytes, numbers: bytes, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.pth is (damaged|not a checkpoint).*(lacks|too early|list of numbers)"):
        read(container(state(text("a"), described), numbers), tmp_path / "a.pth")


def test_many_tensors_of_the_same_numbers_are_out_of_proportion(tmp_path: Path) -> None:
    """A file of 8 MB would become 80 GB."""
    count = 2 << 20
    one = tensor(storage(length=number(count)), size=number(count) + b"\x85")
    items = b"".join(text(f"{index}") + one for index in range(10_000))
    with pytest.raises(DataError, match="out of proportion"):
        read(as_archive(b"}(" + items + b"u", bytes(4 * count)), tmp_path / "a.pth")


def test_a_small_view_of_many_numbers_is_out_of_proportion(tmp_path: Path) -> None:
    """A file of 50 GB, of which nothing but two numbers is wanted: it is not read through."""
    path = tmp_path / "a.pth"
    content = hostile_checkpoints.others()["sparse_numbers.pth"]
    assert not isinstance(content, bytes)
    content(path)
    pickled = read_pickled_model(path)
    with pytest.raises(DataError, match="out of proportion"):
        pickled.tensors(pickled.root)


def test_a_limit_is_kept_before_numbers_are_read(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1000)}, tmp_path / "a.pth")
    assert len(read_tensors(tmp_path / "a.pth", 4000)) == 1
    with pytest.raises(DataError, match="many more than the network that they are for"):
        read_tensors(tmp_path / "a.pth", 3999)


def test_a_flipped_bit_in_the_weights_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save({"a": torch.ones(1000)}, path)
    content = bytearray(path.read_bytes())
    content[content.index(b"\x00\x00\x80\x3f" * 100) + 1] = 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"checksum of .*data/0 does not match"):
        read_tensors(path)


@pytest.mark.parametrize("container", [as_archive, as_stream])
def test_a_file_that_vanishes_while_it_is_read_is_named(container: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(container(state(text("a"), tensor())))
    pickled = read_pickled_model(path)
    path.unlink()
    for read_on in (pickled.check_numbers, lambda: pickled.tensors(pickled.root)):
        with pytest.raises(DataError, match=r"cannot read .*a\.pth: No such file"):
            read_on()
