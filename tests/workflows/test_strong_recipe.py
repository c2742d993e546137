"""`--recipe strong --size 384` from training to exported graph: resumed exactly, its size honoured throughout."""

from __future__ import annotations

import contextlib
import csv
import json
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medcli.core.image_io import read_grey
from medcli.synthetic.ultrasound.dataset import SweepSettings, make_ultrabones
from medcli.ultrabones.dataset.frame_index import index_frames
from medcli.ultrabones.segmentation.checkpoint import load_model, read_metadata
from medcli.ultrabones.segmentation.frame_cache import FrameCache, default_folder
from medcli.ultrabones.segmentation.inference import Segmenter
from medcli.ultrabones.segmentation.lightning_module import SegmentationModule
from medcli.ultrabones.segmentation.preprocessing import mask_at_size, resize_frame
from tests.conftest import Ran

pytestmark = pytest.mark.deep
Run = Callable[..., Ran]
TIMING = ("frames_per_second", "seconds", "seconds_left")


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = SweepSettings(frames=4, scale=0.3)
    return make_ultrabones(tmp_path_factory.mktemp("strong"), (1, 2), settings=settings)


def train(data: Path, out: Path, *more: str) -> tuple[str, ...]:
    network = ("--arch", "linknet", "--encoder", "tu-mobilenetv3_small_050", "--encoder-weights", "none")
    split = ("--root", str(data), "--train-specimens", "1", "--val-specimens", "2", "--batch-size", "2")
    recipe = ("--recipe", "strong", "--size", "384", "--epochs", "2", "--device", "cpu")
    return ("train", "seg", *split, *network, *recipe, "--out", str(out), *more)


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was interrupted in its second epoch and resumed; beside it `whole`, that was not."""
    from medcli.cli.app import main

    folder = tmp_path_factory.mktemp("runs")
    step = SegmentationModule.training_step

    def interrupted(self: SegmentationModule, batch: Any, batch_idx: int) -> Any:
        if (self.current_epoch, batch_idx) == (1, 1):
            raise KeyboardInterrupt
        return step(self, batch, batch_idx)

    with pytest.MonkeyPatch.context() as patch:
        for name in ("whole", "run"):
            if name == "run":
                patch.setattr(SegmentationModule, "training_step", interrupted)
                with pytest.raises(SystemExit, match="130"):
                    main(list(train(data, folder / name)))
                patch.setattr(SegmentationModule, "training_step", step)
            with contextlib.suppress(SystemExit):
                main(list(train(data, folder / name)))
            assert (folder / name / "result.json").is_file()
    return folder / "run"


def test_resumes_exactly_with_average_and_schedule(run: Path) -> None:
    rows: dict[Path, list[dict[str, str]]] = {}
    for folder in (run, run.parent / "whole"):
        with (folder / "metrics.csv").open(newline="") as file:
            rows[folder] = [{name: row[name] for name in row if name not in TIMING} for row in csv.DictReader(file)]
    ours, whole = rows.values()
    assert ours == whole
    assert float(ours[0]["lr"]) > float(ours[1]["lr"]) > 0
    for name in ("best", "last"):
        found, expected = (load_model(folder / f"{name}.safetensors")[0].state_dict() for folder in rows)
        assert all(torch.equal(found[key], expected[key]) for key in expected)
    held = torch.load(run / "last.ckpt", weights_only=True)["state_dict"]
    saved = load_model(run / "last.safetensors")[0].state_dict()
    key = next(name for name in saved if name.endswith("weight"))
    assert torch.equal(saved[key], held[f"average.{key}"])
    assert not torch.equal(saved[key], held[f"model.{key}"])


def test_checkpoint_and_settings_name_recipe_and_size(run: Path, data: Path, medcli: Run) -> None:
    metadata = read_metadata(run / "best.safetensors")
    assert (metadata.input_size, metadata.settings["recipe"], metadata.settings["lr"]) == (384, "strong", 3e-4)
    assert json.loads((run / "settings.json").read_text())["size"] == 384
    assert "384 x 384" in medcli("checkpoint", "show", str(run / "best.safetensors")).out
    longer = medcli(*train(data, run, "--epochs", "3"))
    assert longer.code == 2
    assert "epochs was 2, is 3" in longer.err


def test_sizes_have_caches_of_their_own(run: Path, data: Path) -> None:
    frames = index_frames(data)
    folders = {default_folder(frames, "partial", size) for size in (256, 384)}
    assert len(folders) == 2
    for source in (FrameCache.open_or_build(frames, size=384), FrameCache.without_files(frames, size=384)):
        assert source.images[:1].shape == source.labels[:1].shape == (1, 384, 384)
        assert np.array_equal(source.images[0], resize_frame(read_grey(frames["image"].iloc[0]), 384))


def test_prediction_and_evaluation_see_frames_of_that_size(run: Path, data: Path, tmp_path: Path, medcli: Run) -> None:
    """With `--tta`, a mask is that of the mean over a frame and its mirror image."""
    checkpoint, image = run / "best.safetensors", index_frames(data)["image"].iloc[0]
    grey = read_grey(image)
    small = resize_frame(grey, 384)
    probability = Segmenter.load(checkpoint, "cpu").predict(np.stack([small, small[:, ::-1]]))
    mean = 0.5 * (probability[0] + probability[1][:, ::-1])
    assert not np.array_equal(mean, probability[0])
    threshold = float(np.median(mean))
    for flag, expected in (((), probability[0]), (("--tta",), mean)):
        out = tmp_path / f"masks{len(flag)}"
        options = ("--checkpoint", checkpoint, "--out", out, "--engine", "torch", "--threshold", threshold, *flag)
        done = medcli("predict", "seg", image, *map(str, options))
        assert done.code == 0, done.err
        mask = read_grey(next(out.rglob("*_label_pred.png")))
        agreeing = np.mean(mask == mask_at_size(expected, *grey.shape, threshold))
        assert agreeing > 0.999, flag
    scored = medcli(
        *("evaluate", "seg", "--root", str(data), "--specimens", "2", "--checkpoint", str(checkpoint), "--tta"),
        *("--engine", "torch", "--no-figures", "--out", str(tmp_path / "scores"), "--protocol", "both"),
    )
    assert scored.code == 0, scored.err
    kept = medcli("evaluate", "seg", "--root", str(data), "--predictions", "Labels_pred", "--tta")
    assert (kept.code, "--tta is for a network" in kept.err) == (2, True)


@pytest.mark.skipif(find_spec("onnxscript") is None or find_spec("onnxruntime") is None, reason="needs the extra onnx")
def test_graph_is_of_that_size(run: Path, data: Path, tmp_path: Path, medcli: Run) -> None:
    graph, checkpoint = tmp_path / "network.onnx", run / "best.safetensors"
    assert medcli("export", "seg", "--out", str(graph), "--checkpoint", str(checkpoint)).code == 0
    from medcli.ultrabones.segmentation.onnx_graph.run import GraphSegmenter

    small = resize_frame(read_grey(index_frames(data)["image"].iloc[0]), 384)[None]
    by_graph, by_torch = GraphSegmenter(graph), Segmenter.load(checkpoint, "cpu")
    by_graph.flips = by_torch.flips = True
    np.testing.assert_allclose(by_graph.predict(small), by_torch.predict(small), atol=1e-4)
