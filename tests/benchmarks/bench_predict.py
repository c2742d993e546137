"""Prediction on a CPU: what the whole run costs beside the network alone, and which way to compute is fastest.

Run: ``python tests/benchmarks/bench_predict.py [--frames 48] [--rounds 5] [--checkpoint FILE] [FOLDER]``

1. The ways to compute one network, each by workers side by side on one core each, interleaved; medians of the rounds,
   relative to the plain float32 network, and how far their masks are from its masks: Dice of all frames, and the
   lowest of a frame.
2. The whole run (decode, resize, predict, enlarge, encode, write) beside the forward passes alone of the same frames
   on the same workers, interleaved in one process. Exits with 1 when the run in the default
   precision takes more than 1.2 times the passes, both in processor time and on the clock.

Frames are those of FOLDER, or synthetic ones of 950 x 811 pixels. Processor time of all threads is compared where
both sides are busy throughout, since it does not count what other programs take from them; wall time stands beside it.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

MOST_TIMES_FORWARD = 1.2


@dataclass
class Times:
    """Seconds of each round: on the clock, and of the processor in all threads."""

    wall: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)

    def measure(self, work: Callable[[], Any]) -> None:
        wall, processor = time.perf_counter(), time.process_time()
        work()
        self.wall.append(time.perf_counter() - wall)
        self.processor.append(time.process_time() - processor)


def make_inputs(folder: Path | None, count: int, place: Path) -> list[Path]:
    from medcli.synthetic.ultrasound.dataset import make_ultrabones

    if folder is None:
        folder = make_ultrabones(place / "data", (1,), frames_per_record=8)
    files = sorted(path for path in folder.rglob("*.png") if "abel" not in str(path))
    chosen = []
    for number in range(count):
        chosen.append(place / "frames" / f"{number:04d}.png")
        chosen[-1].parent.mkdir(exist_ok=True)
        chosen[-1].write_bytes(files[number % len(files)].read_bytes())
    return chosen


def on_workers(work: Callable[[np.ndarray], Any], frames: np.ndarray, batch: int, workers: int) -> list[Any]:
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(work, [frames[start : start + batch] for start in range(0, len(frames), batch)]))


def ways_to_compute(checkpoint: Path, place: Path) -> tuple[dict[str, Callable[[np.ndarray], np.ndarray]], list[Any]]:
    """Ways by name, and the segmenters among them, whose threads can be set."""
    import torch

    from medcli.ultrabones.segmentation.checkpoint import load_model
    from medcli.ultrabones.segmentation.inference import Segmenter
    from medcli.ultrabones.segmentation.preprocessing import normalise

    plain, metadata = load_model(checkpoint)
    last, _ = load_model(checkpoint)
    last = last.to(memory_format=torch.channels_last)

    def of(network: torch.nn.Module, autocast: bool, order: torch.memory_format) -> Callable[[Any], Any]:
        def run(frames: np.ndarray) -> np.ndarray:
            inputs = normalise(torch.from_numpy(frames), metadata.mean, metadata.std).contiguous(memory_format=order)
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                return torch.sigmoid(network(inputs)[:, 0].float()).numpy()

        return run

    segmenters = [Segmenter.load(checkpoint, "cpu", "bf16")]
    ways = {
        "float32": of(plain, False, torch.contiguous_format),
        "float32, channels last": of(last, False, torch.channels_last),
        "bfloat16 by autocast, channels last": of(last, True, torch.channels_last),
        "bfloat16 convolutions (--precision bf16)": segmenters[0].predict,
    }
    if find_spec("onnxruntime") and find_spec("onnxscript"):
        from medcli.ultrabones.segmentation.onnx_graph import export

        export._write_graph(torch.nn.Sequential(plain), metadata, 0.5, place / "unmerged.onnx")
        segmenters.append(Segmenter.load(export.export_seg(checkpoint, place / "network.onnx").path))
        segmenters.append(Segmenter.load(place / "unmerged.onnx"))
        ways["graph of medcli export seg"] = segmenters[1].predict
        ways["the same, linear steps not merged"] = segmenters[2].predict
    else:
        print("the packages of the extra onnx are not installed: left out")
    return ways, segmenters


def compare_ways(checkpoint: Path, frames: np.ndarray, rounds: int, workers: int, place: Path) -> None:
    ways, segmenters = ways_to_compute(checkpoint, place)
    times = {name: Times() for name in ways}
    masks = {}
    with ExitStack() as stack:
        for segmenter in segmenters:
            stack.enter_context(segmenter.on_workers(workers, workers))
        for name, way in ways.items():
            masks[name] = np.concatenate(on_workers(way, frames, 2, workers)) > 0.5
        for _ in range(rounds):
            for name, way in ways.items():
                times[name].measure(lambda way=way: on_workers(way, frames, 2, workers))
    base = masks["float32"]
    print(f"\n{'the network alone':42}{'ms/frame':>9}{'relative':>9}  {'Dice':>7} {'lowest':>7}  pixels differing")
    for name, measured in times.items():
        each = 1e3 * statistics.median(measured.processor) / len(frames)
        relative = statistics.median(
            one / other for one, other in zip(measured.processor, times["float32"].processor, strict=True)
        )
        common, sizes = (masks[name] & base).sum(axis=(1, 2)), (masks[name].astype(int) + base).sum(axis=(1, 2))
        both = 2 * common.sum() / max(1, sizes.sum())
        lowest = np.where(sizes > 0, 2 * common / np.maximum(sizes, 1), 1.0).min()
        print(f"{name:42}{each:9.1f}{relative:9.2f}  {both:7.5f} {lowest:7.3f}  {(masks[name] != base).mean():.1e}")
    print("(processor milliseconds; Dice of the masks at 256 x 256 with those of float32)")


def compare_run(
    checkpoint: Path, files: list[Path], frames: np.ndarray, rounds: int, workers: int, place: Path
) -> bool:
    from medcli.ultrabones.segmentation.inference import Segmenter
    from medcli.ultrabones.segmentation.predict import PredictSettings, _Run
    from medcli.ultrabones.segmentation.prediction_inputs import find_sources

    held = True
    print(f"\n{'the whole run beside the passes':34}{'passes':>9}{'run':>9}  {'ratio':>6}  {'on the clock':>12}")
    for precision in ("bf16", "32"):
        segmenter = Segmenter.load(checkpoint, "cpu", precision)
        settings = PredictSettings(out=place / precision, workers=workers)
        settings.out.mkdir()
        passes, whole = Times(), Times()

        def forward(segmenter: Any = segmenter) -> None:
            with segmenter.on_workers(workers, workers):
                on_workers(segmenter.predict, frames, segmenter.batch_size, workers)

        def run(segmenter: Any = segmenter, settings: Any = settings) -> None:
            from medcli.core.progress import SILENT

            result = _Run(segmenter, settings, find_sources(files, settings.out), SILENT).result(checkpoint, [place])
            assert result.frames == len(files), result

        forward(), run()
        for _ in range(rounds):
            passes.measure(forward)
            whole.measure(run)
        ratio = statistics.median(a / b for a, b in zip(whole.processor, passes.processor, strict=True))
        clock = statistics.median(a / b for a, b in zip(whole.wall, passes.wall, strict=True))
        each = [1e3 * statistics.median(times.processor) / len(files) for times in (passes, whole)]
        print(f"{'precision ' + precision:34}{each[0]:9.1f}{each[1]:9.1f}  {ratio:6.3f}  {clock:12.3f}")
        if precision == PredictSettings().precision:
            held = min(ratio, clock) <= MOST_TIMES_FORWARD
    print(f"(processor milliseconds a frame; at most {MOST_TIMES_FORWARD} is promised for the default)")
    return held


def main() -> int:
    import torch

    from medcli.core import image_io
    from medcli.core.files import usable_cores
    from medcli.ultrabones.segmentation.checkpoint import save_checkpoint
    from medcli.ultrabones.segmentation.checkpoint_metadata import Metadata
    from medcli.ultrabones.segmentation.network import build_model
    from medcli.ultrabones.segmentation.preprocessing import resize_frame

    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--frames", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--checkpoint", type=Path)
    options = parser.parse_args()
    workers = usable_cores()
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        checkpoint = options.checkpoint
        if checkpoint is None:
            torch.manual_seed(0)
            checkpoint = save_checkpoint(place / "untrained", build_model(), Metadata())
        files = make_inputs(options.folder, options.frames, place)
        frames = np.stack([resize_frame(image_io.read_grey(file)) for file in files])
        print(f"{len(files)} frames, {workers} workers, {options.rounds} rounds, torch {torch.__version__}")
        compare_ways(checkpoint, frames, options.rounds, workers, place)
        held = compare_run(checkpoint, files, frames, options.rounds, workers, place)
    print("held" if held else "MISSED")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
