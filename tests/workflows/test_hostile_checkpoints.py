"""Checkpoints from anybody: each refusal is one clear error, soon, with little memory; real ones with errors in them.

``make test-deep`` gives each hostile file a process of its own, and tries 10,000 mutations of real checkpoints.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import torch

from medcli.core.errors import DataError
from medcli.training.run_folder import BEST, RESULT, RESUMABLE
from medcli.training.settings import SETTINGS_FILE
from medcli.training.trainer import epochs_done
from medcli.training.weights import read_tensors
from medcli.ultrabones.segmentation.checkpoint import save_checkpoint
from medcli.ultrabones.segmentation.checkpoint_metadata import Metadata
from medcli.ultrabones.segmentation.network import build_model
from medcli.veriserum.pose.checkpoint import save_pose_checkpoint
from medcli.veriserum.pose.checkpoint_metadata import PoseMetadata
from medcli.veriserum.pose.network import build_pose_network
from medcli.workspace.checkpoint_listing import describe_checkpoint, inspect_checkpoint
from tests.conftest import REPOSITORY, Ran
from tests.support.hostile_checkpoints import others, safetensors, write_all, write_file

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="makes pipes and links")
_SECONDS = 5
"""Of processor time, for one file."""
_MEGABYTES = 1000


def peak_mb() -> float:
    """The largest memory of this process since :func:`forget_peak`; 0 where the system does not tell."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.is_file() else []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0)


def forget_peak() -> float:
    """Count the largest memory from now on; returns the memory of now."""
    if Path("/proc/self/clear_refs").exists():
        Path("/proc/self/clear_refs").write_text("5")
    return peak_mb()


def complaint(path: Path, ways: tuple[Callable[[Path], Any], ...]) -> str:
    """What is wrong with how ``path`` is read; nothing where it is read, or refused as it must be."""
    for way in ways:
        before, started = forget_peak(), time.process_time()
        said = ""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                way(path)
        except DataError as error:
            said = error.message
            if str(path) not in said or "\n" in said or len(said) > 600:
                return f"{way.__name__}: its words are {said!r}"
        except BaseException as error:
            return f"{way.__name__}: {type(error).__name__}: {error}"
        seconds, megabytes = time.process_time() - started, peak_mb() - before
        if seconds > _SECONDS or megabytes > _MEGABYTES:
            return f"{way.__name__}: {seconds:.1f} s, {megabytes:.0f} MB"
    return ""


@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.deep)])
def test_every_hostile_file_is_refused(tmp_path: Path, every: int) -> None:
    """In this process, so that a hang is this test's; each in a process of its own in :func:`test_each_apart`."""
    paths = [path for path in write_all(tmp_path / "files") if not path.name.startswith("stream_")]
    assert len(paths) > 300
    paths = sorted(paths)[::every]
    found = {path.name: complaint(path, (inspect_checkpoint, describe_checkpoint)) for path in paths}
    assert {name: words for name, words in found.items() if words} == {}


@pytest.mark.deep
@pytest.mark.timeout(3000)
def test_each_apart(tmp_path: Path) -> None:
    """Every file, by every reader, in a process with a limit on what it may take."""
    paths = write_all(tmp_path / "files")
    ran = subprocess.run(
        [sys.executable, "-m", "tests.support.checkpoint_reader", str(tmp_path / "files")],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        check=True,
    )
    found = [json.loads(line) for line in ran.stdout.splitlines()]
    assert len(found) == len(paths)
    wrong = [
        one
        for one in found
        if not one["said"].startswith("refused: ") or one["seconds"] > 3 * _SECONDS or one["megabytes"] > _MEGABYTES
    ]
    assert wrong == []
    assert ran.stderr == ""


def test_show_exits_with_status_3_and_one_error(medcli: Callable[..., Ran], tmp_path: Path) -> None:
    files = {
        "pipe.pth": others()["pipe.pth"],
        "lfs.pth": others()["lfs.pth"],
        "network.onnx": others()["network.onnx"],
        "deep.safetensors": safetensors()["description_deep"],
        "control.safetensors": safetensors()["description_control"],
        "elsewhere.safetensors": safetensors()["encoder_elsewhere"],
        "unknown.safetensors": safetensors()["encoder_unknown"],
        "warnings.safetensors": safetensors()["warnings_numbers"],
    }
    for name, content in files.items():
        path = write_file(tmp_path / name, content)
        ran = medcli("checkpoint", "show", path)
        assert (ran.code, ran.out) == (3, ""), name
        assert str(path) in ran.err
        assert "Traceback" not in ran.err
        assert ran.err.count("\n") <= 2, ran.err
        assert "\x1b" not in ran.err


def test_info_survives_folders_full_of_them(
    medcli: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Among the published weights, and as every file of runs; pipes included, which would be waited for."""
    monkeypatch.chdir(tmp_path)
    weights = tmp_path / "data" / "weights"
    weights.mkdir(parents=True)
    contents = {name: content for name, content in safetensors().items() if name != "header_of_90_mb"}
    contents |= {name: content for name, content in others().items() if name.endswith(".safetensors")}
    for name, content in contents.items():
        write_file(weights / f"{name.removesuffix('.safetensors')}.safetensors", content)
    hostile = [others()["pipe.pth"], others()["link_to_zero.pth"], b"[" * 100_000, b'{"epochs": "a"}', b"\xff", b"{}"]
    for number, content in enumerate(hostile):
        for name in (SETTINGS_FILE, RESULT, BEST, RESUMABLE, "metrics.csv", "evaluation.json", "predictions.json"):
            folder = tmp_path / "runs" / f"{name}-{number}"
            folder.mkdir(parents=True)
            if name != SETTINGS_FILE:
                (folder / SETTINGS_FILE).write_text('{"epochs": 3, "encoder": "resnet18"}')
            write_file(folder / name, content)
    started = time.process_time()
    ran = medcli("info", "--json")
    assert (ran.code, "Traceback" in ran.err) == (0, False)
    found = {Path(one["path"]).stem: one["kind"] for one in json.loads(ran.out)["checkpoints"]}
    assert len(found) >= len(contents)
    assert found["lfs"] == found["pipe"] == found["link_to_zero"] == found["overlapping"] == "damaged"
    assert found["description_deep"] == found["splits_of_text"] == "damaged"
    assert medcli("info").code == 0
    assert time.process_time() - started < 20


# Real checkpoints with errors in them.


@dataclass(frozen=True)
class Original:
    """A checkpoint to make errors in.

    Attributes:
        name: of the file; the suffix counts.
        content: its bytes.
        ways: readers to try.
    """

    name: str
    content: bytes
    ways: tuple[Callable[[Path], Any], ...]

    def mutated(self, seed: int) -> bytes:
        """The content with errors that ``seed`` decides: bytes of any place, or of the parts that readers interpret."""
        draw = random.Random(seed)
        content = bytearray(self.content)
        if self.content[:2] == b"PK" and draw.random() < 0.5:
            return _repacked(self.content, lambda pickled: _with_errors(bytearray(pickled), draw))
        if self.name.endswith(".safetensors") and draw.random() < 0.5:
            length = int.from_bytes(content[:8], "little")
            header = _with_errors(content[8 : 8 + length], draw)
            return len(header).to_bytes(8, "little") + header + bytes(content[8 + length :])
        return _with_errors(content, draw)


_NUMBERS = (
    b"\xff" * 4,
    b"\xff" * 8,
    b"\0" * 8,
    b"\xff\xff\xff\x7f",
    b"\0\0\0\x80",
    b"\x01",
    b"9" * 20,
    b"-1",
    b"[[",
    b"\x85",
)


def _with_errors(content: bytearray, draw: random.Random) -> bytes:
    for _ in range(draw.choice((1, 1, 1, 2, 4, 16))):
        edge = min(len(content), 1 << 16)  # pickles and headers begin a file, directories end it
        place = draw.choice(
            (draw.randrange(edge + 1), len(content) - draw.randrange(edge + 1), draw.randrange(len(content) + 1))
        )
        count = draw.choice((1, 1, 2, 4, 8, 64, 4096))
        kind = draw.randrange(8)
        if kind == 0:
            content[place : place + 1] = bytes([draw.randrange(256)])
        elif kind == 1:
            content[place : place + 1] = bytes(
                [(content[place] if place < len(content) else 0) ^ 1 << draw.randrange(8)]
            )
        elif kind == 2:
            del content[place : place + count]
        elif kind == 3:
            content[place:place] = content[place : place + count] * draw.choice((1, 2, 100))
        elif kind == 4:
            content[place : place + count] = bytes(count)
        elif kind == 5:
            number = draw.choice(_NUMBERS)
            content[place : place + len(number)] = number
        elif kind == 6:
            other = draw.randrange(len(content) + 1)
            content[place : place + count] = content[other : other + count]
        else:
            content[place:place] = draw.randbytes(count)
    if draw.random() < 0.1:
        del content[draw.randrange(len(content) + 1) :]
    return bytes(content)


def _repacked(content: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """An archive with a changed pickle and checksums that fit: the errors that a checksum does not tell."""
    import io

    after = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as reader, zipfile.ZipFile(after, "w") as writer:
        for entry in reader.infolist():
            value = reader.read(entry)
            name = zipfile.ZipInfo(entry.filename)  # of one fixed time
            writer.writestr(name, change(value) if entry.filename.endswith("data.pkl") else value)
    return after.getvalue()


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> list[Original]:
    folder = tmp_path_factory.mktemp("originals")
    torch.manual_seed(7)
    network = smp.create_model("pan", "mobilenet_v2", encoder_weights=None, in_channels=1, classes=1).eval().half()
    small = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.ReLU())
    torch.save(network, folder / "archive.pth")
    torch.save(small, folder / "small_archive.pth")
    torch.save({"state_dict": small.state_dict(), "epoch": 3}, folder / "state.pth")
    torch.save(network, folder / "stream.pth", _use_new_zipfile_serialization=False)
    torch.save(small, folder / "small_stream.pth", _use_new_zipfile_serialization=False)
    optimizer = torch.optim.AdamW(small.parameters())
    small(torch.ones(1, 1, 4, 4)).sum().backward()
    optimizer.step()
    resumable = {
        "epoch": 3, "global_step": 12, "pytorch-lightning_version": "2.4", "state_dict": small.state_dict(),
        "optimizer_states": [optimizer.state_dict()], "lr_schedulers": [],
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 4}}}},
        "callbacks": {"RunFiles": {"history": [{"epoch": 1.0, "val_loss": 0.5}], "best_from": 0}},
    }  # fmt: skip
    torch.save(resumable, folder / "last.ckpt")
    segmenter = build_model("linknet", "tu-test_resnet.r160_in1k")
    save_checkpoint(folder / "best.safetensors", segmenter, Metadata("linknet", "tu-test_resnet.r160_in1k"))
    told = PoseMetadata("shufflenet_v2_x0_5", 64, (1,), (0.0,) * 6, splits={"train": "1-5", "warnings": ["mind this"]})
    save_pose_checkpoint(folder / "pose.safetensors", build_pose_network("shufflenet_v2_x0_5"), told)
    ways: dict[str, tuple[Callable[[Path], Any], ...]] = {
        ".pth": (describe_checkpoint, read_tensors),
        ".ckpt": (epochs_done,),
        ".safetensors": (inspect_checkpoint, describe_checkpoint),
    }
    return [
        Original(path.name, path.read_bytes(), ways[path.suffix])
        for path in sorted(folder.iterdir())
        if path.suffix in ways
    ]


def _mutations(originals: list[Original], count: int) -> Iterator[tuple[Original, int]]:
    """Mostly of small files, which are quick to write and whose structure is as rich."""
    small = [original for original in originals if len(original.content) < 1_000_000]
    for seed in range(count):
        draw = random.Random(f"original {seed}")
        yield draw.choice(originals if draw.random() < 0.25 else small), seed


def _try_mutations(originals: list[Original], folder: Path, count: int) -> dict[str, str]:
    """Complaints by file and seed."""
    found: dict[str, str] = {}
    before = forget_peak()
    for original, seed in _mutations(originals, count):
        path = folder / original.name
        path.write_bytes(original.mutated(seed))
        words = complaint(path, original.ways)
        if words:
            found[f"{original.name} {seed}"] = words
        assert peak_mb() - before < 2000
    return found


def test_originals_are_read(originals: list[Original], tmp_path: Path) -> None:
    assert len(originals) == 8
    for original in originals:
        (tmp_path / original.name).write_bytes(original.content)
        for way in original.ways:
            if (original.name, way) in {
                ("small_archive.pth", describe_checkpoint),
                ("small_stream.pth", describe_checkpoint),
            }:
                continue
            if way is read_tensors and original.name != "state.pth":
                continue
            if original.name == "state.pth" and way is describe_checkpoint:
                continue
            way(tmp_path / original.name)
        assert original.mutated(3) == original.mutated(3) != original.content


def test_hundreds_of_mutations(originals: list[Original], tmp_path: Path) -> None:
    assert _try_mutations(originals, tmp_path, 300) == {}


@pytest.mark.deep
@pytest.mark.timeout(7200)
def test_ten_thousand_mutations(originals: list[Original], tmp_path: Path) -> None:
    count = int(os.environ.get("MEDCLI_MUTATIONS", "10000"))
    assert _try_mutations(originals, tmp_path, count) == {}
