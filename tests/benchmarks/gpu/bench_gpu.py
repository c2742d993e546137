"""Speed on one GPU: training of both networks, prediction and evaluation; a table and a JSON file.

Run: ``python tests/benchmarks/gpu/bench_gpu.py [--out FOLDER] [--only WORD ...] [--skip WORD ...]``

Training runs as ``medcli train`` does, by the same trainer, on frames made here: three epochs, of which the third is
timed and the second is traced, which gives the share of time in which the GPU computes. ``launched``: kernel by kernel
(``--compile off``); ``recorded``: as a CUDA graph (the default); ``compiled``: compiled, then recorded
(``--compile on``; ``first step`` holds what compiling takes). ``from main memory``: the frames do not fit on the GPU.
Prediction and evaluation are whole commands on synthetic frames of 950 x 811 pixels, PNG files to masks and tables.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[3]))

CASES = ("seg", "compiled", "pose", "predict", "evaluate")


def train_speed(module: Any, data: Any, settings: Any, share: float = 0.5) -> dict[str, float]:
    """Frames a second of the third epoch, the GPU's share of the second, and the time of validation in the third."""
    import lightning.pytorch as pl
    import torch

    from medcli.training import batches
    from medcli.training.callbacks import SeedEachStep, StopAtNonFiniteLoss
    from medcli.training.devices import resolve_devices
    from medcli.training.trainer import make_trainer, run_fit

    class Clock(pl.Callback):
        def __init__(self) -> None:
            self.found: dict[str, float] = {}
            self.trace: Any = None

        def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
            self.begun = time.perf_counter()

        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            if trainer.current_epoch == 0 and batch_idx == 0:
                torch.cuda.synchronize()
                self.found["first step, s"] = time.perf_counter() - self.begun

        def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
            torch.cuda.synchronize()
            if trainer.current_epoch == 1:
                self.trace = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA])
                self.trace.__enter__()
            self.started = time.perf_counter()

        def on_validation_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
            torch.cuda.synchronize()
            seconds = time.perf_counter() - self.started
            if self.trace is not None:
                self.trace.__exit__(None, None, None)
                spent = sum(row.self_device_time_total for row in self.trace.key_averages()) / 1e6
                self.found["GPU busy"] = spent / seconds
                self.trace = None
            if trainer.current_epoch == 2:
                self.found["frames/s"] = len(data.train) / seconds
                self.found["ms a step"] = 1e3 * seconds * settings.batch_size / len(data.train)
            self.started = time.perf_counter()

        def on_validation_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
            torch.cuda.synchronize()
            self.found["validation, ms a batch"] = (
                1e3 * (time.perf_counter() - self.started) / max(len(data.val) // settings.batch_size, 1)
            )

    clock, before = Clock(), batches.GPU_SHARE
    batches.GPU_SHARE = share
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    with tempfile.TemporaryDirectory() as folder:
        calls = [StopAtNonFiniteLoss(), SeedEachStep(settings.seed), clock]
        try:
            run_fit(make_trainer(settings, resolve_devices(settings), Path(folder), calls), module, data, None)
        finally:
            batches.GPU_SHARE = before
    return {**clock.found, "memory, GB": torch.cuda.max_memory_allocated() / 1e9}


def seg_training(batch: int, choice: str, frames: int, share: float = 0.5) -> dict[str, float]:
    from medcli.training.batches import FrameData, HostFrames
    from medcli.training.seeds import seed_torch
    from medcli.ultrabones.segmentation.lightning_module import SegmentationModule
    from medcli.ultrabones.segmentation.network import build_model
    from medcli.ultrabones.segmentation.settings import SegmentationSettings

    random = np.random.default_rng(0)
    images = np.repeat(np.repeat(random.integers(0, 256, (frames, 64, 64), dtype=np.uint8), 4, 1), 4, 2)
    labels = ((random.random((frames, 64, 64)) < 0.01) * 255).astype(np.uint8).repeat(4, 1).repeat(4, 2)
    settings = SegmentationSettings(epochs=3, batch_size=batch, compile=choice, gpus="1", encoder_weights="none")
    seed_torch(settings.seed)
    held = max(frames // 8, batch)
    data = FrameData(HostFrames(images, labels), HostFrames(images[:held], labels[:held]), batch, settings.seed)
    return train_speed(SegmentationModule(build_model(), settings), data, settings, share)


def pose_training(batch: int, augment: str, pairs: int) -> dict[str, float]:
    from medcli.training.batches import FrameData, HostFrames
    from medcli.training.seeds import seed_torch
    from medcli.veriserum.pose.augmentation import NUMBERS
    from medcli.veriserum.pose.lightning_module import PoseModule
    from medcli.veriserum.pose.network import build_pose_network
    from medcli.veriserum.pose.settings import PoseSettings

    random = np.random.default_rng(0)
    planes = random.integers(0, 256, (pairs, 2, 64, 64), dtype=np.uint8).repeat(4, 2).repeat(4, 3)
    targets = np.tile(np.array([0, 0, 0, 1, 0, 0, 0, 1, 0], np.float32), (pairs, 1))
    numbers = np.zeros((pairs, 2, NUMBERS), np.float32)
    numbers[:, :, [0, 4, 8]], numbers[:, :, 11:] = 1, (1000, 800)
    settings = PoseSettings(epochs=3, batch_size=batch, gpus="1", backbone_weights="none", lr=1e-5)
    seed_torch(settings.seed)
    parts = [planes, targets, *([numbers] if augment == "published" else [])]
    data = FrameData(HostFrames(*parts), HostFrames(planes[:256], targets[:256]), batch, settings.seed)
    return train_speed(PoseModule(build_pose_network(), settings), data, settings)


def make_study(place: Path, frames: int) -> tuple[Path, Path]:
    import torch

    from medcli.synthetic.ultrasound.dataset import SweepSettings, make_ultrabones
    from medcli.ultrabones.segmentation.checkpoint import save_checkpoint
    from medcli.ultrabones.segmentation.checkpoint_metadata import Metadata
    from medcli.ultrabones.segmentation.network import build_model

    torch.manual_seed(0)
    root = make_ultrabones(place / "bones", (2,), settings=SweepSettings(frames=frames))
    return root, save_checkpoint(place / "network.safetensors", build_model(), Metadata(arch="fpn", encoder="resnet34"))


def images_of(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*.png") if "abel" not in str(path.parent))


def predict_speed(place: Path, root: Path, checkpoint: Path, precision: str) -> dict[str, float]:
    from medcli.ultrabones.segmentation.predict import PredictSettings, predict_seg

    files = images_of(root)
    for round_ in range(2):  # the first loads the libraries
        started = time.perf_counter()
        settings = PredictSettings(out=place / f"masks-{precision}-{round_}", device="cuda", precision=precision)
        predict_seg(files, checkpoint, settings)
        seconds = time.perf_counter() - started
    return {"frames/s": len(files) / seconds}


def evaluate_speed(root: Path, checkpoint: Path, device: str) -> dict[str, float]:
    from medcli.ultrabones.evaluation.evaluate import evaluate_segmentation
    from medcli.ultrabones.evaluation.prediction_sources import Model
    from medcli.ultrabones.segmentation.inference import Segmenter

    for _ in range(2):
        started = time.perf_counter()
        evaluate_segmentation(root, Model(Segmenter.load(checkpoint, device), "network"))
        seconds = time.perf_counter() - started
    return {"frames/s": len(images_of(root)) / seconds}


def as_table(results: dict[str, dict[str, float]], about: str) -> str:
    names = list(dict.fromkeys(name for values in results.values() for name in values))
    lines = [about, "", f"| | {' | '.join(names)} |", "|---|" + "---:|" * len(names)]
    for case, values in results.items():
        cells = [
            f"{values[name]:.3g}"
            if name in values and values[name] < 100
            else f"{values[name]:,.0f}"
            if name in values
            else ""
            for name in names
        ]
        lines.append(f"| {case} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder of gpu.json and gpu.md")
    parser.add_argument("--only", nargs="*", default=CASES, choices=CASES)
    parser.add_argument("--skip", nargs="*", default=(), choices=CASES)
    given = parser.parse_args()
    if not torch.cuda.is_available():
        print("no GPU that PyTorch can use: nothing was measured")
        return 0
    logging.basicConfig(level=logging.WARNING)
    wanted = [case for case in given.only if case not in given.skip]
    results: dict[str, dict[str, float]] = {}
    about = f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}, cuDNN {torch.backends.cudnn.version()}"
    print(about)

    def measure(case: str, work: Any, *arguments: Any) -> None:
        started = time.perf_counter()
        try:
            results[case] = work(*arguments)
        except Exception as error:  # the other cases go on, and the exit status tells
            results[case] = {}
            print(f"{case}: {type(error).__name__}: {str(error)[:300]}", flush=True)
        print(
            case,
            {k: round(v, 3) for k, v in results[case].items()},
            f"[{time.perf_counter() - started:.0f} s]",
            flush=True,
        )
        if given.out:
            given.out.mkdir(parents=True, exist_ok=True)
            (given.out / "gpu.json").write_text(json.dumps({"about": about, "results": results}, indent=2) + "\n")
            (given.out / "gpu.md").write_text(as_table(results, about))

    if "seg" in wanted:
        for batch, frames in ((32, 4096), (128, 4096)):
            for way, choice in (("launched", "off"), ("recorded", "auto")):
                measure(f"seg training, batch {batch}, {way}", seg_training, batch, choice, frames)
        measure("seg training, batch 32, recorded, from main memory", seg_training, 32, "auto", 4096, 0.0)
    if "pose" in wanted:
        measure("pose training, batch 4, published", pose_training, 4, "none", 512)
        measure("pose training, batch 32, augmented", pose_training, 32, "published", 1024)
    if {"predict", "evaluate"} & set(wanted):
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            root, checkpoint = make_study(place, 64)
            if "predict" in wanted:
                for precision in ("32", "bf16"):
                    measure(f"predict seg, {precision}", predict_speed, place, root, checkpoint, precision)
            if "evaluate" in wanted:
                measure("evaluate seg, GPU", evaluate_speed, root, checkpoint, "cuda")
    if "compiled" in wanted:
        measure("seg training, batch 32, compiled", seg_training, 32, "on", 4096)
    print(as_table(results, about))
    return int(not all(results.values()))


if __name__ == "__main__":
    sys.exit(main())
