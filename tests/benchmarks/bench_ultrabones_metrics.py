"""Metrics of a frame by the published protocol: SciPy's distance transforms beside ours, one core, same frames.

Run: ``python tests/benchmarks/bench_ultrabones_metrics.py [DATA]``. With DATA, a folder of records with full labels,
also what the measures say of every fourth label of its first record, thickened and moved, against itself: the table
of ``docs/segmentation.md``.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from medcli.core.image_io import read_grey
from medcli.synthetic.ultrasound.dataset import SweepSettings, make_ultrabones
from medcli.ultrabones.dataset.frame_index import index_frames, mask_path
from medcli.ultrabones.evaluation.mask_distances import dilate
from medcli.ultrabones.evaluation.metrics import LISTED
from medcli.ultrabones.evaluation.protocols import paper_score, strict_score, thicken_label
from medcli.ultrabones.segmentation.preprocessing import resize_frame_exactly, resize_label
from tests.support import published_ultrabones

PROMISED = 10.0
SPACING_MM = 0.05392
CHANGES_PX = ((0, 0), (8, 0), (12, 0), (12, 12), (12, 30))
"""Radius of the disk that thickens a label, and rows by which it is moved down."""
EVERY = 4


def median_ms(work: Callable[[], Any], repeats: int) -> float:
    work()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return 1000 * float(np.median(times))


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        make_ultrabones(folder, (2,), anatomies=("fibula", "tibia"), settings=SweepSettings(frames=6, predictions=True))
        frames = index_frames(folder)
        native = [
            (resize_frame_exactly(read_grey(image)), read_grey(mask) == 255, read_grey(label) == 255)
            for image, mask, label in zip(frames.image, mask_path(frames, "Labels_pred"), frames.label, strict=True)
        ]
    # A network learns the thickened label, so predictions are as thick as that.
    small = [
        (g, thicken_label(resize_label(p.view(np.uint8)) > 0), resize_label(q.view(np.uint8)) > 0) for g, p, q in native
    ]
    worst = 0.0
    for frame in small:
        ours, theirs = paper_score(*frame), published_ultrabones.paper(*frame)
        assert ours is not None
        assert theirs is not None
        for mine, slow in zip(ours.curves.values(), theirs, strict=True):
            worst = max(worst, float(np.nanmax(np.abs(mine - slow))))
            assert np.array_equal(np.isnan(mine), np.isnan(slow))
    slow_ms = median_ms(lambda: [published_ultrabones.paper(*frame) for frame in small], 5) / len(small)
    fast_ms = median_ms(lambda: [paper_score(*frame) for frame in small], 21) / len(small)
    print(
        f"paper protocol: SciPy {slow_ms:.2f} ms a frame, ours {fast_ms:.3f} ms: {slow_ms / fast_ms:.1f} times as fast"
    )
    print(f"largest difference of any curve: {worst:.1e}")
    spacing = SPACING_MM
    slow_native = median_ms(lambda: [native_with_scipy(p, q, spacing) for _, p, q in native], 3) / len(native)
    fast_native = median_ms(lambda: [strict_score(g, p, q, spacing) for g, p, q in native], 11) / len(native)
    print(
        f"strict protocol, 950 x 811: SciPy's two distance transforms alone {slow_native:.1f} ms a frame, "
        f"ours with all scores {fast_native:.2f} ms: {slow_native / fast_native:.1f} times as fast"
    )
    if len(sys.argv) > 1:
        show_changed_labels(Path(sys.argv[1]))
    return int(slow_ms < PROMISED * fast_ms or worst > 1e-6)


def show_changed_labels(root: Path) -> None:
    """Means over frames by the strict protocol."""
    frames = index_frames(root)
    frames = frames[frames.record_dir == frames.record_dir.iloc[0]].iloc[::EVERY]
    labels = [read_grey(path) == 255 for path in frames.label_full]
    names = ("dice", "dice_limit", "surface_dice_1mm", "assd_mm")
    nearer = LISTED[1]
    print(f"{len(labels)} labels, strict protocol")
    titles = ("Dice", "highest Dice", "surface Dice at 1 mm", "mean surface distance", "F1 at 1 mm")
    print(f"| thickened by, moved by | {' | '.join(titles)} |\n|---|{'---:|' * len(titles)}")
    for radius, rows in CHANGES_PX:
        scores = []
        for label in labels:
            thick = dilate(label, radius) if radius else label
            moved = np.zeros_like(thick)
            moved[rows:] = thick[: len(thick) - rows]
            scores.append(strict_score(np.zeros((256, 256), np.float32), moved, label, SPACING_MM))
        cells = [np.mean([one.scalars[name] for one in scores]) for name in names]
        cells.append(np.mean([one.curves["f1"][0, nearer] for one in scores]))
        print("| {:.2f} mm, {:.2f} mm | {:.3f} | {:.3f} | {:.3f} | {:.2f} mm | {:.3f} |".format(
            radius * SPACING_MM, rows * SPACING_MM, *cells))  # fmt: skip


def native_with_scipy(prediction: np.ndarray, label: np.ndarray, spacing_mm: float) -> float:
    from scipy.ndimage import distance_transform_edt

    there = distance_transform_edt(~label)[prediction] * spacing_mm
    back = distance_transform_edt(~prediction)[label] * spacing_mm
    return float(there.sum() + back.sum())


if __name__ == "__main__":
    raise SystemExit(main())
