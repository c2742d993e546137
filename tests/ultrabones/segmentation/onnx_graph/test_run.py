"""Graphs as checkpoints: what they give, what they refuse, and that torch stays away."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medcli.core import image_io
from medcli.core.errors import DataError, MedcliError, UsageError
from medcli.synthetic.ultrasound.dataset import SweepSettings, make_ultrabones
from medcli.ultrabones.segmentation import checkpoint_metadata
from medcli.ultrabones.segmentation.checkpoint_metadata import Metadata
from medcli.ultrabones.segmentation.inference import Segmenter
from medcli.ultrabones.segmentation.onnx_graph.run import GraphSegmenter
from medcli.ultrabones.segmentation.preprocessing import mask_at_size, resize_frame
from tests.conftest import REPOSITORY, Ran

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

THRESHOLD = 0.4
DESCRIBED = {"medcli": Metadata(splits={"train": [1, 3]}).to_json(), "threshold": str(THRESHOLD)}


def write_graph(
    path: Path, described: Mapping[str, str] = DESCRIBED, name: str = "frames", result: str = "value", rank: int = 3
) -> Path:
    """A graph whose probability is grey / 255, its logarithm, or a mean of each frame."""
    from onnx import TensorProto, helper

    steps = {"value": "Identity", "logarithm": "Log", "mean": "ReduceMean"}
    nodes = [
        helper.make_node("Cast", [name], ["grey"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["grey", "most"], ["share"]),
        helper.make_node(steps[result], ["share"], ["probability"]),
    ]
    sizes = ["frames", "rows", "columns", "colours"][:rank]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(name, TensorProto.UINT8, sizes)],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, None)],
        [helper.make_tensor("most", TensorProto.FLOAT, [], [255.0])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, dict(described))
    path.write_bytes(model.SerializeToString())
    return path


def frame(number: int, shape: tuple[int, int] = (90, 120)) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    return write_graph(tmp_path / "model.onnx")


def test_probabilities_metadata_and_threshold(graph: Path) -> None:
    segmenter = Segmenter.load(graph)
    assert (segmenter.device, segmenter.precision, segmenter.metadata.threshold) == ("cpu", "32", THRESHOLD)
    assert segmenter.metadata.train_specimens == (1, 3)
    small = np.stack([resize_frame(frame(number)) for number in range(5)])
    np.testing.assert_array_equal(segmenter.predict(small), small.astype(np.float32) / np.float32(255))
    assert segmenter.predict(frame(7)).shape == (90, 120)


def test_workers_side_by_side_give_the_same(graph: Path) -> None:
    segmenter = Segmenter.load(graph, batch_size=1)
    frames = [resize_frame(frame(number)) for number in range(12)]
    expected = segmenter.predict(np.stack(frames))
    with segmenter.on_workers(3, 2), ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda one: segmenter.predict(one[None])[0], frames))
    np.testing.assert_array_equal(np.stack(found), expected)


def run_without_torch(*words: str | Path) -> Any:
    """The answer of a command in a process of its own, which must not load what only torch needs."""
    script = """
import sys
from medcli.cli.app import main
try:
    main()
finally:
    loaded = {"torch", "torchvision", "timm", "segmentation_models_pytorch", "lightning"} & sys.modules.keys()
    assert not loaded, loaded
"""
    ran = subprocess.run(
        [sys.executable, "-c", script, *map(str, words), "--json"],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr.decode()
    return json.loads(ran.stdout)


def test_prediction_by_a_graph_loads_no_torch(graph: Path, tmp_path: Path) -> None:
    for number in (1, 2):
        image_io.write_image(tmp_path / f"scan{number}.png", frame(number))
    scans = sorted(tmp_path.glob("scan*.png"))
    made = run_without_torch("predict", "seg", *scans, "--checkpoint", graph, "--out", tmp_path / "masks")
    assert (made["frames"], made["threshold"], made["device"]) == (2, THRESHOLD, "cpu")
    for number in (1, 2):
        expected = mask_at_size(resize_frame(frame(number)).astype(np.float32) / np.float32(255), 90, 120, THRESHOLD)
        mask = image_io.read_grey(tmp_path / "masks" / f"scan{number}_label_pred.png")
        np.testing.assert_array_equal(mask, expected)
    assert json.loads((tmp_path / "masks/predictions.json").read_text("utf-8"))["training_specimens"] == [1, 3]


def test_evaluation_by_a_graph_loads_no_torch(graph: Path, tmp_path: Path) -> None:
    root = make_ultrabones(tmp_path / "bones", (2,), settings=SweepSettings(frames=2, scale=0.5))
    out = tmp_path / "out"
    run_without_torch("evaluate", "--root", root, "--specimens", "2", "--checkpoint", graph, "--out", out)
    result = json.loads((out / "evaluation.json").read_text("utf-8"))
    assert result["source"] == str(graph)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ({"described": {}}, "does not describe its network"),
        ({"described": {"medcli": "{"}}, "model.onnx"),
        ({"described": DESCRIBED | {"threshold": "many"}}, "threshold is not a number between 0 and 1"),
        ({"described": DESCRIBED | {"threshold": "nan"}}, "threshold is not a number between 0 and 1"),
        ({"name": "images"}, "does not take frames and give a probability"),
        ({"rank": 4}, "does not take frames and give a probability"),
    ],
)
def test_other_graphs_are_refused(made: dict[str, Any], words: str, tmp_path: Path) -> None:
    path = write_graph(tmp_path / "model.onnx", **made)
    with pytest.raises(DataError, match=words):
        GraphSegmenter(path)


@pytest.mark.parametrize("result", ["logarithm", "mean"])
def test_results_that_are_no_probabilities_are_refused(result: str, tmp_path: Path) -> None:
    segmenter = GraphSegmenter(write_graph(tmp_path / "model.onnx", result=result))
    with pytest.raises(DataError, match="does not give a probability of each pixel"):
        segmenter.predict(np.zeros((1, 256, 256), np.uint8))


def test_damaged_files_and_files_that_are_none(graph: Path) -> None:
    whole = graph.read_bytes()
    for content in (b"", b"no graph", whole[: len(whole) // 2], bytes(1000)):
        graph.write_bytes(content)
        with pytest.raises(DataError, match=r"model\.onnx"):
            GraphSegmenter(graph)
    graph.unlink()
    with pytest.raises(DataError, match="no checkpoint"):
        GraphSegmenter(graph)


def test_what_a_graph_cannot_do(graph: Path, medcli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch) -> None:
    for device, precision in (("cuda", "32"), ("cpu", "bf16")):
        with pytest.raises(UsageError, match="computed on the CPU in single precision"):
            GraphSegmenter(graph, device, precision)
    ran = medcli("export", "seg", "--checkpoint", graph, "--out", graph.with_name("again.onnx"))
    assert (ran.code, "for predict seg and evaluate seg alone" in ran.err) == (3, True)
    monkeypatch.setattr(checkpoint_metadata, "find_spec", lambda name: None)
    with pytest.raises(MedcliError, match="needs onnxruntime"):
        GraphSegmenter(graph)
