"""Frames per second of building the frame cache on one core beside PIL with torchvision, and the second start."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

import numba  # noqa: F401 - as after the first hundred images of a process

sys.path.insert(0, str(Path(__file__).parents[2]))

from medcli.synthetic.ultrasound.dataset import make_ultrabones
from medcli.ultrabones.dataset.frame_index import index_frames
from medcli.ultrabones.segmentation.frame_cache import FrameCache

COPIES = 40
MOST_SECOND_START_S = 20.0


def lay_out(root: Path) -> None:
    """A few frames of full size, copied under many timestamps."""
    make_ultrabones(root, (1,), frames_per_record=4)
    for row in index_frames(root).itertuples():
        for copy in range(COPIES):
            for path, folder, ending in ((row.image, "UltrasoundImages", ""), (row.label, "Labels", "_label")):
                shutil.copy(path, Path(row.record_dir, folder, f"{row.timestamp}{copy:03d}{ending}.png"))


def seconds_with_torchvision(paths: list[tuple[str, str]]) -> float:
    import torch
    from PIL import Image
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2 import functional as transforms

    torch.set_num_threads(1)
    started = time.perf_counter()
    for image, label in paths:
        plain = transforms.to_dtype(transforms.pil_to_tensor(Image.open(image).convert("L")), torch.float32, scale=True)
        transforms.resize(plain, [256, 256], antialias=True)
        mask = Image.open(label).convert("L")
        transforms.resize(transforms.pil_to_tensor(mask), [256, 256], interpolation=InterpolationMode.NEAREST_EXACT)
    return time.perf_counter() - started


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        lay_out(root / "data")
        frames = index_frames(root / "data")
        FrameCache.open_or_build(frames.iloc[:2], root / "warm", workers=1)
        started = time.perf_counter()
        FrameCache.open_or_build(frames, root / "cache", workers=1)
        build_s = time.perf_counter() - started
        started = time.perf_counter()
        FrameCache.open_or_build(frames, root / "cache", workers=1)
        again_s = time.perf_counter() - started
        slow_s = seconds_with_torchvision(list(zip(frames["image"], frames["label"], strict=True)))
    count = len(frames)
    projected_s = again_s / count * 100_000
    print(f"one core: torchvision {count / slow_s:.0f} frames/s, cache {count / build_s:.0f} frames/s")
    print(f"building is {slow_s / build_s:.2f} times as fast as decoding and resizing with torchvision once")
    print(f"second start: {1000 * again_s / count:.3f} ms a frame, {projected_s:.1f} s for 100,000 frames")
    return int(projected_s > MOST_SECOND_START_S or build_s > 1.5 * slow_s)


if __name__ == "__main__":
    raise SystemExit(main())
