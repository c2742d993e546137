from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medcli.core.errors import MedcliError, UsageError
from medcli.core.shell import install_extra
from medcli.ultrabones.segmentation import checkpoint
from medcli.ultrabones.segmentation.checkpoint_metadata import Metadata
from medcli.ultrabones.segmentation.inference import Segmenter
from medcli.ultrabones.segmentation.network import build_model
from medcli.ultrabones.segmentation.onnx_graph import export
from medcli.ultrabones.segmentation.preprocessing import mask_at_size, resize_frame

pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")

ENCODER = "tu-mobilenetv3_small_050"  # quick


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(7)
    path = tmp_path_factory.mktemp("run") / "best.safetensors"
    return checkpoint.save_checkpoint(path, build_model("fpn", ENCODER), Metadata(encoder=ENCODER))


@pytest.fixture(scope="module")
def exported(weights: Path) -> export.SegExport:
    return export.export_seg(weights, weights.parent / "model.onnx", threshold=0.45)


@pytest.mark.deep
def test_parity_is_measured_and_small(exported: export.SegExport) -> None:
    assert exported.network_difference < 1e-5
    assert exported.largest_difference < 5e-3
    assert exported.pixels_differing < 1e-3 * exported.pixels_compared
    assert exported.bytes == exported.path.stat().st_size


@pytest.mark.parametrize("shape", [(1, 811, 950), (3, 100, 333)])
@pytest.mark.deep
def test_graph_takes_frames_of_any_size(shape: tuple[int, ...], exported: export.SegExport, weights: Path) -> None:
    frames = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    session = onnxruntime.InferenceSession(exported.path)
    probability, mask = session.run(["probability", "mask"], {"frames": frames})
    assert probability.shape == mask.shape == shape
    assert (probability.dtype, mask.dtype) == (np.float32, np.uint8)
    small = Segmenter.load(weights, "cpu").predict(np.stack([resize_frame(frame) for frame in frames]))
    expected = np.stack([mask_at_size(one, shape[1], shape[2], 0.45) for one in small])
    assert (mask != expected).mean() < 1e-3


@pytest.mark.deep
def test_graph_says_what_it_is(exported: export.SegExport) -> None:
    described = onnxruntime.InferenceSession(exported.path).get_modelmeta().custom_metadata_map
    assert json.loads(described["medcli"])["encoder"] == ENCODER
    assert described["threshold"] == "0.45"


@pytest.mark.deep
def test_an_exported_graph_predicts_like_its_checkpoint(exported: export.SegExport, weights: Path) -> None:
    frames = export._speckle((256, 256))
    graph, network = Segmenter.load(exported.path), Segmenter.load(weights, "cpu")
    assert (graph.metadata.encoder, graph.metadata.threshold) == (ENCODER, 0.45)
    np.testing.assert_allclose(graph.predict(frames), network.predict(frames), atol=1e-5)


def test_resizing_inside_is_the_resizing_outside() -> None:
    for length in (811, 950, 256, 100, 3):
        row = np.random.default_rng(length).integers(0, 256, length, dtype=np.uint8)
        frame = torch.from_numpy(np.tile(row, (256, 1))).float()
        inside = (frame @ export._triangle_weights(length, 256).T)[0].numpy()
        assert np.abs(inside - resize_frame(np.tile(row, (256, 1)))[0]).max() <= 0.501


@pytest.mark.deep
def test_existing_file_and_missing_packages(
    exported: export.SegExport, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="exists"):
        export.export_seg(weights, exported.path)
    monkeypatch.setattr(export, "find_spec", lambda name: None if name == "onnxruntime" else object())
    with pytest.raises(MedcliError, match="exporting needs onnxruntime") as raised:
        export.export_seg(weights, exported.path, overwrite=True)
    assert raised.value.hint == install_extra("onnx")


def test_a_graph_that_disagrees_is_not_written(
    weights: Path, tmp_path: Path, medcli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "_write_graph", lambda *arguments: arguments[-1].write_bytes(b"graph"))
    monkeypatch.setattr(export, "_compare", lambda *arguments: (0.5, 1, 2))
    ran = medcli("export", "seg", "--checkpoint", weights, "--out", tmp_path / "wrong.onnx")
    assert ran.code == 1
    assert "differs from torch by 5.0e-01" in ran.err
    assert list(tmp_path.iterdir()) == []
