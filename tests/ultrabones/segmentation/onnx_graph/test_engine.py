"""Which program computes a network: what is asked for, what is in the cache, and what each command may not load."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medcli.core import image_io
from medcli.core.errors import MedcliError, UsageError
from medcli.core.files import cache_folder
from medcli.core.shell import install_extra
from medcli.synthetic.ultrasound.dataset import SweepSettings, make_ultrabones
from medcli.ultrabones.segmentation import checkpoint
from medcli.ultrabones.segmentation.checkpoint_metadata import Metadata
from medcli.ultrabones.segmentation.network import build_model
from medcli.ultrabones.segmentation.onnx_graph import engine, export
from medcli.ultrabones.segmentation.onnx_graph.engine import check_engine, find_graph, load_segmenter
from tests.conftest import REPOSITORY
from tests.ultrabones.segmentation.onnx_graph.test_run import frame, write_graph

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

ENCODER = "tu-mobilenetv3_small_050"  # quick


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(7)
    path = tmp_path_factory.mktemp("run") / "best.safetensors"
    return checkpoint.save_checkpoint(path, build_model("fpn", ENCODER), Metadata(encoder=ENCODER))


@pytest.fixture
def weights(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint, with an empty cache."""
    monkeypatch.setenv("MEDCLI_CACHE_DIR", str(tmp_path / "cache"))
    return made


def cached(weights: Path) -> Path:
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    return cache_folder("graphs") / f"{digest[:32]}-{engine._VERSION}.onnx"


def put_into_cache(weights: Path) -> Path:
    """A graph that gives grey / 255, which no network does."""
    graph = write_graph(cached(weights))
    graph.with_suffix(".json").write_text("{}")
    return graph


def test_a_cached_graph_is_taken_and_a_missing_one_is_not_worth_an_export(weights: Path) -> None:
    assert load_segmenter(weights, "cpu").engine == "torch"  # which is loaded here
    assert not cached(weights).exists()
    put_into_cache(weights)
    small = np.stack([np.asarray(frame(1, (256, 256)))])
    by_graph = load_segmenter(weights, "cpu")
    assert by_graph.engine == "onnx"
    np.testing.assert_allclose(by_graph.predict(small), small / 255.0, atol=1e-6)
    assert load_segmenter(weights, "cpu", engine="torch").engine == "torch"
    assert load_segmenter(weights, "cpu", "bf16").engine == "torch"


def test_what_a_folder_says_of_a_pickled_network_is_asked_each_time(weights: Path, tmp_path: Path) -> None:
    for folder, train in (
        ("any", None),
        ("train_on_1_3_4_5_6_9_10_11_12_13_14", (1, 3, 4, 5, 6, 9, 10, 11, 12, 13, 14)),
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "epoch_100.pth").write_bytes(b"of the authors")
        put_into_cache(tmp_path / folder / "epoch_100.pth")
        assert load_segmenter(tmp_path / folder / "epoch_100.pth", "cpu").metadata.train_specimens == train


def test_a_damaged_graph_leaves_the_cache(weights: Path, caplog: pytest.LogCaptureFixture) -> None:
    graph = put_into_cache(weights)
    graph.write_bytes(b"no graph")
    assert load_segmenter(weights, "cpu").engine == "torch"
    assert "the graph is removed from the cache" in caplog.text
    assert not list(graph.parent.glob(f"{graph.stem}*"))


def test_a_missing_package_is_said_only_where_the_engine_was_named(
    weights: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    put_into_cache(weights)
    monkeypatch.setattr(engine, "find_spec", lambda name: None if name == "onnxruntime" else name)
    assert load_segmenter(weights, "cpu").engine == "torch"
    assert not caplog.records
    assert load_segmenter(weights, "cpu", engine="onnx").engine == "torch"
    assert {record.message for record in caplog.records} == {
        f"--engine onnx needs onnxruntime: torch computes instead; {install_extra('onnx')}"
    }


def test_a_network_that_cannot_be_exported_is_not_tried_again(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def fail(*given: Any, **more: Any) -> None:
        calls.append(given)
        raise RuntimeError("no operator for that\nmore")

    monkeypatch.setattr(export, "export_seg", fail)
    for _ in range(2):
        with pytest.raises(MedcliError, match=r"cannot be computed by ONNX Runtime: no operator for that$"):
            find_graph(weights, "onnx")
    monkeypatch.delitem(sys.modules, "torch")
    assert find_graph(weights, "auto") is None
    assert len(calls) == 2  # where it is named, it is tried


def test_a_full_cache_is_no_reason_to_stop(
    weights: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*given: Any, **more: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(export, "export_seg", fail)
    assert find_graph(weights, "onnx") is None
    assert "No space left on device; torch computes" in caplog.text
    assert not list(cached(weights).parent.glob("*.json"))


def test_old_graphs_leave_the_cache(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(9):
        old = write_graph(cache_folder("graphs") / f"old{number}-{engine._VERSION}.onnx")
        old.with_suffix(".json").write_text("{}")
        os.utime(old.with_suffix(".json"), (number, number))
    monkeypatch.setattr(export, "export_seg", lambda source, out, overwrite: write_graph(out) and {})
    assert find_graph(weights, "onnx") == cached(weights)
    left = sorted(path.name for path in cache_folder("graphs").glob("*.onnx"))
    assert len(left) == 8
    assert f"old1-{engine._VERSION}.onnx" not in left
    assert f"old2-{engine._VERSION}.onnx" in left


def test_contradictions_are_usage_errors() -> None:
    for path, device, precision, name, says in (
        ("best.safetensors", "auto", "32", "tensorrt", "no engine 'tensorrt'"),
        ("best.safetensors", "auto", "bf16", "onnx", "not with --precision bf16"),
        ("best.safetensors", "mps", "32", "onnx", "not with --device mps|device mps requested"),
        ("model.onnx", "cpu", "32", "torch", "is a graph, which torch does not compute"),
    ):
        with pytest.raises(UsageError, match=says):
            check_engine(Path(path), device, precision, name)


PROCESS = """
import sys
from medcli.cli.app import main
try:
    main()
finally:
    print(sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
"""
BUILDERS = {"torchvision", "timm", "segmentation_models_pytorch", "lightning", "torchmetrics"}
TORCH = {*BUILDERS, "torch", "functorch", "sympy"}
UNUSED = {"onnx", "onnxscript", "huggingface_hub", "azure", "jinja2", "pydicom", "tensorboard"}


def run_and_list(*words: str | Path) -> tuple[dict[str, Any], set[str]]:
    """The answer of a command in a process of its own, and the packages that it loaded."""
    ran = subprocess.run(
        [sys.executable, "-c", PROCESS, *map(str, words), "--json"],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout), set(eval(ran.stderr.splitlines()[-1]))


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained network of the published architecture that takes all for bone, so that no frame is empty."""
    network = build_model("fpn", "resnet18")
    torch.nn.init.constant_(network.get_submodule("segmentation_head.0").bias, 100.0)
    folder = tmp_path_factory.mktemp("published")
    return checkpoint.save_checkpoint(folder / "published", network, Metadata("fpn", "resnet18"))


@pytest.fixture(scope="module")
def bones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = SweepSettings(frames=2, scale=0.5, predictions=True)
    return make_ultrabones(tmp_path_factory.mktemp("bones"), (2,), settings=settings)


@pytest.mark.parametrize(
    ("verb", "network", "unwanted"),
    [
        ("predict", "graph", {*TORCH, "pandas", "numba"}),
        pytest.param("evaluate", "graph", TORCH, marks=pytest.mark.deep),
        ("evaluate", "none", {*TORCH, "onnxruntime"}),
        ("predict", "torch", {*BUILDERS, "pandas", "onnxruntime", "numba"}),
        pytest.param("evaluate", "torch", {*BUILDERS, "onnxruntime"}, marks=pytest.mark.deep),
    ],
)
def test_each_command_loads_what_it_needs(
    weights: Path, published: Path, bones: Path, tmp_path: Path, verb: str, network: str, unwanted: set[str]
) -> None:
    """Of a checkpoint whose graph is in the cache, of masks on disk, and of the published architecture by torch."""
    put_into_cache(weights)
    image_io.write_image(tmp_path / "scan.png", frame(1))
    words: dict[str, tuple[str | Path, ...]] = {
        "predict": ("predict", "seg", tmp_path / "scan.png"),
        "evaluate": ("evaluate", "--root", bones, "--specimens", "2", "--no-figures"),
        "graph": ("--checkpoint", weights),
        "none": ("--predictions", "Labels_pred"),
        "torch": ("--checkpoint", published, "--engine", "torch", "--device", "cpu"),
    }
    answer, loaded = run_and_list(*words[verb], *words[network], "--out", tmp_path / "out")
    assert not loaded & {*unwanted, *UNUSED, "matplotlib"}
    assert answer["frames"] == (1 if verb == "predict" else 2)
    assert not list((tmp_path / "out").glob("*curves*"))


@pytest.mark.deep
def test_the_first_prediction_exports_and_the_next_needs_no_torch(weights: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    image_io.write_image(tmp_path / "scan.png", frame(1))
    masks, words = [], ("predict", "seg", tmp_path / "scan.png", "--checkpoint", weights, "--device", "cpu")
    for name in ("first", "second", "torch"):
        more = ("--engine", "torch") if name == "torch" else ()
        answer, loaded = run_and_list(*words, "--out", tmp_path / name, *more)
        assert ("torch" in loaded) == (name != "second")
        assert answer["engine"] == ("torch" if name == "torch" else "onnx")
        masks.append(image_io.read_grey(tmp_path / name / "scan_label_pred.png"))
    assert (masks[0] != masks[2]).mean() < 1e-3
    np.testing.assert_array_equal(masks[0], masks[1])
    note = json.loads(cached(weights).with_suffix(".json").read_text())
    assert note["network_difference"] < 1e-4
    assert note["checkpoint"] == str(weights)
