"""Pickled networks: those that users have load to the same numbers, hostile ones execute nothing."""

from __future__ import annotations

import builtins
import functools
import io
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import torch

from medcli.core.errors import DataError
from medcli.training.checkpoint_files.safe_unpickler import read_pickled_model
from medcli.ultrabones.segmentation import checkpoint
from medcli.ultrabones.segmentation.published_checkpoint import load_upstream

ARCHIVE, STREAM = True, False


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    torch.manual_seed(5)
    return smp.FPN("resnet34", encoder_weights=None, in_channels=1, classes=1).eval()


@pytest.fixture(scope="module", params=[ARCHIVE, STREAM], ids=["archive", "stream"])
def published(request: pytest.FixtureRequest, network: torch.nn.Module, tmp_path_factory: Any) -> Path:
    path = tmp_path_factory.mktemp("published") / "epoch_100.pth"
    torch.save(network, path, _use_new_zipfile_serialization=request.param)
    return path


def assert_same(loaded: torch.nn.Module, expected: torch.nn.Module) -> None:
    state = expected.state_dict()
    assert list(loaded.state_dict()) == list(state)
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, state[name]), name
    inputs = torch.rand(1, 1, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(loaded(inputs), expected(inputs), rtol=0, atol=0)


def rename_in_pickle(source: Path, target: Path, renamed: dict[str, str]) -> None:
    """Write the archive ``source`` with other class paths in its pickle, as another version would have them."""
    with zipfile.ZipFile(source) as before, zipfile.ZipFile(target, "w") as after:
        for entry in before.infolist():
            content = before.read(entry)
            if entry.filename.endswith("data.pkl"):
                for old, new in renamed.items():
                    assert f"c{old}\n".encode() in content, old
                    content = content.replace(f"c{old}\n".encode(), f"c{new}\n".encode())
            after.writestr(entry.filename, content)


def pickle_of(value: Any, protocol: int = 2) -> bytes:
    return pickle.dumps(value, protocol)


def archive_of(content: bytes, path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/version", b"3\n")
    return path


def stream_of(content: bytes, path: Path) -> Path:
    head = b"".join(pickle_of(value) for value in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))
    path.write_bytes(head + content + pickle_of([]))
    return path


class Calls:
    """Pickles to a call of ``function``."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self.call = (function, args)

    def __reduce__(self) -> Any:
        return self.call


def hostile_calls(witness: Path) -> dict[str, Calls]:
    code = f"open({str(witness)!r}, 'w').close()"
    return {
        "open": Calls(open, str(witness), "w"),
        "system": Calls(os.system, f"echo > {witness}"),
        "eval": Calls(eval, code),
        "exec": Calls(exec, code),
        "popen": Calls(subprocess.Popen, [sys.executable, "-c", code]),
        "partial": Calls(functools.partial, os.system, f"echo > {witness}"),
        "getattr": Calls(getattr, "", "join"),
        "import": Calls(builtins.__import__, "antigravity"),
        "touch": Calls(Path.touch, witness),
        "nested": Calls(torch.storage._load_from_bytes, b""),
        "tensor": Calls(torch.zeros, 3),
    }


def test_whole_network_loads_to_the_same_numbers(published: Path, network: torch.nn.Module) -> None:
    loaded, metadata = load_upstream(published)
    assert (metadata.arch, metadata.encoder) == ("fpn", "resnet34")
    assert not loaded.training
    assert_same(loaded, network)


def test_in_data_parallel_and_in_half_precision(network: torch.nn.Module, tmp_path: Path) -> None:
    torch.save(torch.nn.DataParallel(network), tmp_path / "parallel.pth")
    assert_same(load_upstream(tmp_path / "parallel.pth")[0], network)
    half = smp.FPN("resnet18", encoder_weights=None, in_channels=1, classes=1).half()
    torch.save(half, tmp_path / "half.pth")
    weight = load_upstream(tmp_path / "half.pth")[0].get_parameter("encoder.conv1.weight")
    torch.testing.assert_close(weight, half.encoder.conv1.weight.float(), rtol=0, atol=0)


def test_class_paths_of_other_versions_need_not_exist(network: torch.nn.Module, tmp_path: Path) -> None:
    torch.save(network, tmp_path / "now.pth")
    renamed = {
        "segmentation_models_pytorch.decoders.fpn.model\nFPN": "segmentation_models_pytorch.fpn.model\nFPN",
        "segmentation_models_pytorch.decoders.fpn.decoder\nFPNBlock": "smp_of_another_time\nPyramidBlock",
        "segmentation_models_pytorch.encoders.resnet\nResNetEncoder": "somewhere.else\nEncoder",
        "torch.nn.modules.conv\nConv2d": "torch.nn.no_such_module\nConv2d",
    }
    rename_in_pickle(tmp_path / "now.pth", tmp_path / "then.pth", renamed)
    assert_same(load_upstream(tmp_path / "then.pth")[0], network)
    assert "smp_of_another_time" not in sys.modules


def test_attributes_of_other_versions_do_not_matter(tmp_path: Path) -> None:
    network = smp.FPN("resnet18", encoder_weights=None, in_channels=1, classes=1).eval()
    del network._hub_mixin_config, network._is_encoder_frozen, network.name
    network.encoder.__dict__["_strange"] = {"a": (1, 2.5, None, {3})}
    network.register_buffer("scratch", torch.ones(3), persistent=False)
    torch.save(network, tmp_path / "odd.pth")
    loaded, metadata = load_upstream(tmp_path / "odd.pth")
    assert metadata.encoder == "resnet18"
    assert torch.equal(loaded.get_parameter("decoder.p5.weight"), network.decoder.p5.weight)


@pytest.mark.parametrize("wrap", [lambda state: state, lambda state: {"epoch": 3, "state_dict": state}])
def test_state_dicts_of_other_networks_are_recognised(wrap: Callable[[Any], Any], tmp_path: Path) -> None:
    network = smp.Unet("resnet18", encoder_weights=None, in_channels=1, classes=1).eval()
    torch.save(wrap({f"model.{name}": value for name, value in network.state_dict().items()}), tmp_path / "unet.pth")
    loaded, metadata = load_upstream(tmp_path / "unet.pth")
    assert (metadata.arch, metadata.encoder) == ("unet", "resnet18")
    assert_same(loaded, network)


def test_convert_writes_ours(published: Path, network: torch.nn.Module, tmp_path: Path) -> None:
    written = checkpoint.convert_checkpoint(published, tmp_path / "ours.safetensors")
    assert written.format == "medcli"
    assert written.metadata.source == "epoch_100.pth (pickled network)"
    assert_same(checkpoint.load_model(written.path)[0], network)


@pytest.mark.parametrize("name", hostile_calls(Path("x")))
@pytest.mark.parametrize("container", [archive_of, stream_of])
@pytest.mark.parametrize("protocol", [0, 1, 2, 4])
def test_hostile_pickles_execute_nothing(
    name: str, container: Callable[[bytes, Path], Path], protocol: int, tmp_path: Path
) -> None:
    witness = tmp_path / "witness"
    content = pickle_of({"state_dict": hostile_calls(witness)[name]}, protocol)
    with pytest.raises(DataError) as raised:
        load_upstream(container(b"\x80\x02" + content if protocol < 2 else content, tmp_path / "evil.pth"))
    assert not witness.exists()
    assert "\n" not in raised.value.message
    assert "evil.pth asks to call " in raised.value.message
    assert "nothing was executed" in raised.value.message


def test_a_hostile_attribute_deep_in_a_real_network(network: torch.nn.Module, tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    network.decoder.__dict__["extra"] = Calls(open, str(witness), "w")
    try:
        torch.save(network, tmp_path / "evil.pth")
    finally:
        del network.decoder.__dict__["extra"]
    with pytest.raises(DataError, match=r"asks to call (io|_io)\.open while loading: refused"):
        checkpoint.convert_checkpoint(tmp_path / "evil.pth", tmp_path / "out.safetensors")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["evil.pth"]


def hostile_programs(witness: Path) -> dict[str, bytes]:
    """Pickles written by hand, for the opcodes that Python's own pickler does not choose."""
    text = f"echo > {witness}".encode()
    quoted = b"X" + len(text).to_bytes(4, "little") + text
    rebuild = b"ctorch._utils\n_rebuild_tensor_v2\n"
    return {
        "INST": b"(" + quoted + b"ios\nsystem\n.",
        "OBJ": b"(cos\nsystem\n" + quoted + b"o.",
        "REDUCE by a dotted name": b"\x80\x04\x8c\x02os\x8c\x0bpath.os.exe\x93" + quoted + b"\x85R.",
        "BUILD with a class as __setstate__": b"\x80\x02ca\nB\n)\x81N}X\x0c\x00\x00\x00__setstate__cos\nsystem\ns\x86b"
        + quoted
        + b"b.",
        "BUILD on an admitted function": rebuild
        + b"N}X\x09\x00\x00\x00_functioncos\nsystem\ns\x86b("
        + quoted
        + b"tR.",
        "REDUCE on the result of a rebuild": rebuild + b"(NK\x00))tR(" + quoted + b"tR.",
        "extension": b"\x80\x02\x82\x01(" + quoted + b"tR.",
        "persistent id": b"\x80\x02(X\x06\x00\x00\x00modulecos\nsystem\ntQ" + quoted + b"\x85R.",
    }


@pytest.mark.parametrize("name", hostile_programs(Path("x")))
@pytest.mark.parametrize("container", [archive_of, stream_of])
def test_hand_written_programs_execute_nothing(
    name: str, container: Callable[[bytes, Path], Path], tmp_path: Path
) -> None:
    witness = tmp_path / "witness"
    content = hostile_programs(witness)[name]
    content = content if content.startswith(b"\x80") else b"\x80\x02" + content
    with pytest.raises(DataError):
        load_upstream(container(content, tmp_path / "evil.pth"))
    assert not witness.exists()


def test_new_objects_of_known_classes_are_never_made(tmp_path: Path) -> None:
    """``NEWOBJ`` makes a stand-in, not an object of the class that the file names."""
    path = archive_of(b"\x80\x02cpathlib\nPosixPath\nX\x01\x00\x00\x00x\x85\x81.", tmp_path / "path.pth")
    root = read_pickled_model(path).root
    assert root.origin == "pathlib.PosixPath"
    assert not isinstance(root, Path)


def damaged(network: torch.nn.Module, path: Path, new_format: bool, share: float) -> Path:
    content = io.BytesIO()
    torch.save(network, content, _use_new_zipfile_serialization=new_format)
    path.write_bytes(content.getvalue()[: int(share * len(content.getvalue()))])
    return path


@pytest.mark.parametrize("new_format", [ARCHIVE, STREAM])
@pytest.mark.parametrize("share", [0.0, 0.00002, 0.001, 0.5, 0.9999])
def test_cut_files_are_one_clear_error(
    new_format: bool, share: float, network: torch.nn.Module, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"cut\.pth"):
        load_upstream(damaged(network, tmp_path / "cut.pth", new_format, share))


@pytest.mark.parametrize("content", [b"no pickle", b"\x80\x02K\x01.", b"\x80\x02\xff"])
def test_other_files_are_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "other.pth").write_bytes(content)
    with pytest.raises(DataError, match=r"other\.pth is "):
        load_upstream(tmp_path / "other.pth")


def test_a_zip_file_of_something_else(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "other.pth", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(DataError, match=r"without the data\.pkl"):
        load_upstream(tmp_path / "other.pth")


@pytest.mark.parametrize(
    ("size", "stride", "offset"), [((9,), (1,), 0), ((2, 2), (1, 100), 0), ((2,), (1,), 7), ((10**12,), (0,), 0)]
)
def test_tensors_beyond_their_numbers(
    size: tuple[int, ...], stride: tuple[int, ...], offset: int, tmp_path: Path
) -> None:
    program = io.BytesIO()
    ReferringPickler(program, 2).dump({"encoder.weight": Tensor(Reference(), offset, size, stride)})
    with zipfile.ZipFile(tmp_path / "far.pth", "w") as archive:
        archive.writestr("archive/data.pkl", program.getvalue())
        archive.writestr("archive/data/0", bytes(4 * 8))
    pickled = read_pickled_model(tmp_path / "far.pth")
    with pytest.raises(DataError, match="lacks numbers"):
        pickled.tensors(pickled.root)


class Reference:
    identity = ("storage", torch.FloatStorage, "0", "cpu", 8)


class ReferringPickler(pickle.Pickler):
    def persistent_id(self, value: object) -> object:
        return value.identity if isinstance(value, Reference) else None


class Tensor:
    def __init__(self, *description: Any) -> None:
        self.description = description

    def __reduce__(self) -> Any:
        return torch._utils._rebuild_tensor_v2, (*self.description, False, {})


def test_a_network_that_contains_itself_ends(tmp_path: Path) -> None:
    network = torch.nn.Sequential(torch.nn.Linear(1, 1))
    network._modules["self"] = network
    torch.save(network, tmp_path / "loop.pth")
    with pytest.raises(DataError, match="no network of segmentation_models_pytorch"):
        load_upstream(tmp_path / "loop.pth")


def test_networks_that_are_not_known(tmp_path: Path) -> None:
    colour = smp.FPN("resnet18", encoder_weights=None, in_channels=3, classes=1)
    torch.save(colour.state_dict(), tmp_path / "colour.pth")
    with pytest.raises(DataError, match="its first layer takes 3 channels, expected 1"):
        load_upstream(tmp_path / "colour.pth")
    torch.save({"pytorch-lightning_version": "2.5", "state_dict": colour.state_dict()}, tmp_path / "last.ckpt")
    with pytest.raises(DataError, match=r"last\.ckpt is for resuming a training: name the last\.safetensors"):
        load_upstream(tmp_path / "last.ckpt")
    wide = smp.FPN("resnet18", encoder_weights=None, in_channels=1, classes=4)
    torch.save(wide, tmp_path / "wide.pth")
    with pytest.raises(DataError, match="encoder resnet18, but no architecture"):
        load_upstream(tmp_path / "wide.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(DataError, match="holds no network: list without weights"):
        load_upstream(tmp_path / "list.pth")
