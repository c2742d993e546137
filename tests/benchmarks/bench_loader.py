"""Frames a second of the training input on one core: a plain loader as published, and ours.

The plain one opens PNG files with PIL, resizes, applies five of the fourteen operations one after the other to each
frame, and thickens the label by an exact distance transform. Ours takes frames from the cache and augments the batch.
Both draw the same plans. Run it with ``python tests/benchmarks/bench_loader.py [DATA FOLDER]``; without a folder it
makes synthetic frames of the native size. Leaves with 1 if ours is not 10 times as fast.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import statistics
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
import torchvision.transforms.functional as tv
from PIL import Image
from scipy.ndimage import distance_transform_edt
from torch.nn import functional
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as tv2

sys.path.insert(0, str(Path(__file__).parents[2]))

from medcli.synthetic.ultrasound.dataset import SweepSettings, make_ultrabones
from medcli.training.batches import HostFrames
from medcli.ultrabones.dataset.constants import IMAGE_MEAN, IMAGE_STD
from medcli.ultrabones.dataset.frame_index import index_frames
from medcli.ultrabones.segmentation.augmentation.filters import thicken_batch
from medcli.ultrabones.segmentation.augmentation.plan import GEOMETRIC, OPERATIONS, AugmentationPlan, draw_plan
from medcli.ultrabones.segmentation.augmentation.trivial import augment
from medcli.ultrabones.segmentation.frame_cache import FrameCache
from medcli.ultrabones.segmentation.preprocessing import normalise_unit

SIDE = 256
FRAMES = 32
ROUNDS = 5
PROMISED = 10.0


def plain_batch(frames: pd.DataFrame, plan: AugmentationPlan) -> list[torch.Tensor]:
    """One frame after the other, as the published data set and transform do it."""
    items = [plain_frame(row.image, row.label, plan, i) for i, row in enumerate(frames.itertuples())]
    return [torch.stack(part) for part in zip(*items, strict=True)]


def plain_frame(image_path: str, label_path: str, plan: AugmentationPlan, i: int) -> tuple[torch.Tensor, ...]:
    image = tv.to_tensor(Image.open(image_path).convert("L"))
    image = tv.resize(image, [SIDE, SIDE], InterpolationMode.BILINEAR, antialias=True)
    label = tv.resize(Image.open(label_path).convert("L"), [SIDE, SIDE], InterpolationMode.NEAREST_EXACT)
    for code, value in zip(plan.operations[i], plan.magnitudes[i].tolist(), strict=True):
        name = OPERATIONS[code]
        image = plain_operation(name, value, image, InterpolationMode.BILINEAR)
        if GEOMETRIC[code]:
            label = plain_operation(name, value, label, InterpolationMode.NEAREST)
    image = tv.normalize(image, [IMAGE_MEAN], [IMAGE_STD])
    distance = distance_transform_edt(np.asarray(label) != 255)
    thick, skeleton = ((distance <= radius).astype(np.float32)[None] for radius in (3, 1))
    return image, torch.from_numpy(thick), torch.from_numpy(skeleton)


def plain_operation(name: str, value: float, image, sampling: InterpolationMode):
    if name in ("identity", "saturation"):
        return image
    if name == "horizontal_flip":
        return tv.hflip(image)
    if name == "vertical_flip":
        return tv.vflip(image)
    if name == "rotation":
        return tv.rotate(image, value, interpolation=sampling)
    if name.startswith(("translate", "shear")):
        along = {"x": (value, 0.0), "y": (0.0, value)}[name[-1]]
        shift = [round(part * SIDE) for part in along] if name.startswith("translate") else [0, 0]
        shear = list(along) if name.startswith("shear") else [0.0, 0.0]
        return tv.affine(image, 0.0, shift, 1.0, shear, interpolation=sampling)
    if name == "brightness":
        return tv.adjust_brightness(image, value)
    if name == "contrast":
        return tv.adjust_contrast(image, value)
    if name == "gaussian_blur":
        return tv.gaussian_blur(image, [3, 3], [value, value])
    if name == "equalize":
        return tv2.equalize(image)
    windows = functional.unfold(functional.pad(image[None], (3,) * 4, mode="replicate"), 7)
    return windows.median(dim=1).values.view(1, SIDE, SIDE)


def our_batch(frames: HostFrames, positions: np.ndarray, plan: AugmentationPlan) -> list[torch.Tensor]:
    augmented, bones = augment(*frames.take(positions), plan)
    return [normalise_unit(augmented), thicken_batch(bones, 3).float(), thicken_batch(bones, 1).float()]


def main() -> int:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(folder) / "data"
        if len(sys.argv) < 2:
            make_ultrabones(root, (1,), settings=SweepSettings(frames=FRAMES))
        index = index_frames(root)
        full = not (index["label"] != "").any()
        labelled = index[index["label_full" if full else "label"] != ""].head(FRAMES)
        labelled = labelled.assign(label=labelled["label_full"]) if full else labelled
        cache = FrameCache.open_or_build(labelled, Path(folder) / "cache")
        return compare(labelled, HostFrames(cache.images, cache.labels))


def compare(table: pd.DataFrame, frames: HostFrames) -> int:
    positions = np.arange(len(frames))
    plans = [draw_plan(len(frames), np.random.default_rng(number)) for number in range(ROUNDS + 1)]
    seconds: list[tuple[float, float]] = []
    for plan in plans:  # the first round warms up
        start = time.perf_counter()
        plain = plain_batch(table, plan)
        between = time.perf_counter()
        ours = our_batch(frames, positions, plan)
        seconds.append((between - start, time.perf_counter() - between))
    assert [part.shape for part in plain] == [part.shape for part in ours]
    per_frame = [tuple(1e3 * part / len(frames) for part in pair) for pair in seconds[1:]]
    ratios = [plain_ms / our_ms for plain_ms, our_ms in per_frame]
    plain_ms, our_ms = (statistics.median(part) for part in zip(*per_frame, strict=True))
    ratio = statistics.median(ratios)
    print(f"{len(frames)} frames a batch, median of {ROUNDS} rounds, one core")
    print(f"plain loader  {plain_ms:7.2f} ms a frame  {1e3 / plain_ms:7.0f} frames/s")
    print(f"medcli        {our_ms:7.2f} ms a frame  {1e3 / our_ms:7.0f} frames/s")
    print(f"ratio         {ratio:7.1f}  (rounds {min(ratios):.1f} to {max(ratios):.1f}; promised {PROMISED:.0f})")
    return 0 if ratio >= PROMISED else 1


if __name__ == "__main__":
    sys.exit(main())
