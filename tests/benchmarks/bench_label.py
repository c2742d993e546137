"""Time of a full label, against the published way of making it; run with ``python bench_label.py [data folder]``.

The published way: ten million random points on the mesh, and for each pixel the distance to the nearest. Here it is
timed on a share of the points and pixels, which flatters it. Processor time of one core; exits with 1 if a label takes
over 3 ms.

With the example record as data folder also the accuracy that ``docs/label-and-reconstruct.md`` states: labels against
the published masks of six frames at the initial pose, published optimised masks against the surface at the tracked and
at the refined pose, and what ``--visible-rule echo`` keeps of the first runs, and of the runs behind them (far walls,
which ultrasound cannot show), by the least grey value.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from medcli.core.image_io import read_grey
from medcli.synthetic.ultrasound.dataset import SweepSettings, make_ultrabones
from medcli.ultrabones.dataset.mesh_files import find_meshes
from medcli.ultrabones.dataset.records import INITIAL, find_sweeps, read_poses
from medcli.ultrabones.geometry.bone_meshes import load_surfaces
from medcli.ultrabones.geometry.image_to_ct import pixels_to_ct
from medcli.ultrabones.labelling import visible_echo
from medcli.ultrabones.labelling.label_rules import partial_label
from medcli.ultrabones.labelling.mesh_section import full_label
from medcli.ultrabones.pose_refinement.distance_field import DistanceField
from medcli.ultrabones.pose_refinement.refine_frame import refine_frame
from medcli.ultrabones.reconstruction.point_cloud import sample_surface

PROMISED_S = 0.003
PUBLISHED_POINTS, POINTS, PIXELS = 10_000_000, 1_000_000, 7_704
SPACING_MM = 0.05392
LEAST_GREYS = (60.0, 80.0, 100.0, 120.0)


def cpu_seconds(function: Callable[[], object], repeats: int) -> float:
    """Least processor time of several calls, after one to compile."""
    function()
    times = []
    for _ in range(repeats):
        started = time.thread_time()
        function()
        times.append(time.thread_time() - started)
    return min(times)


def main(root: Path) -> int:
    from scipy.spatial import cKDTree

    sweep = find_sweeps(root)[0]
    surfaces = load_surfaces(find_meshes(sweep.folder, sweep.specimen))
    poses = read_poses(sweep, INITIAL).pose[:50]
    faces = sum(len(surface.triangles) for surface in surfaces)
    print(f"{sweep.name}: {len(surfaces)} meshes, {faces:,} triangles, {len(poses)} frames of 950 x 811")
    ours = cpu_seconds(lambda: [full_label(surfaces, pose) for pose in poses], 5) / len(poses)
    labels = [full_label(surfaces, pose)[0] for pose in poses]
    partial = cpu_seconds(lambda: [partial_label(label) for label in labels], 5) / len(labels)
    tree = cKDTree(sample_surface(surfaces[0], POINTS, 0))
    chosen = np.random.default_rng(0).choice(950 * 811, PIXELS, replace=False)
    pixels = pixels_to_ct(poses[0], chosen % 950, chosen // 950, SPACING_MM)
    theirs = cpu_seconds(lambda: tree.query(pixels), 2) * 950 * 811 / PIXELS
    print(f"full label            {1e3 * ours:9.2f} ms a frame   (promised: {1e3 * PROMISED_S:.0f} ms)")
    print(f"partial label         {1e3 * partial:9.2f} ms a frame")
    print(f"published way, at least {1e3 * theirs:7.0f} ms a frame   ({theirs / ours:,.0f} times as long; "
          f"{POINTS:,} of {PUBLISHED_POINTS:,} points, one mesh, tree not counted)")  # fmt: skip
    if (root / "published_masks").is_dir():
        compare_with_published(root)
        compare_visible_rule(root)
    return int(ours + partial > PROMISED_S)


def compare_with_published(root: Path) -> None:
    """Labels against the published masks of some frames, and refined poses against the published optimised masks."""
    sweep = find_sweeps(root)[0]
    surfaces = load_surfaces(find_meshes(sweep.folder, sweep.specimen))
    field = DistanceField.around(surfaces)
    tracked = read_poses(sweep, INITIAL).pose
    recalls, dices, distances = [], [], []
    for path in sorted((root / "published_masks").glob("*_initial.png")):
        timestamp = int(path.name.split("_")[0])
        frame = sweep.timestamps.index(timestamp)
        published, label = read_grey(path) > 0, full_label(surfaces, tracked[frame])[0] > 0
        both = (published & label).sum()
        recalls.append(both / published.sum())
        dices.append(2 * both / (published.sum() + label.sum()))
        rows, columns = np.nonzero(read_grey(path.with_name(f"{timestamp}_optimized.png")))
        refined = refine_frame(read_grey(sweep.images[frame]), tracked[frame], SPACING_MM, surfaces, field, timestamp)
        places = (pixels_to_ct(pose, columns, rows, SPACING_MM) for pose in (tracked[frame], refined.pose))
        distances.append([surfaces[0].distances(points).mean() for points in places])
    before, after = np.mean(distances, axis=0)
    print(f"published masks, {len(dices)} frames: recall {min(recalls):.3f} to {max(recalls):.3f}, "
          f"Dice {min(dices):.3f} to {max(dices):.3f}; optimised ones to the surface: "
          f"tracked {before:.2f} mm, refined {after:.2f} mm")  # fmt: skip


def compare_visible_rule(root: Path) -> None:
    """Share of the pixels that the rule keeps, of the first runs and of the others, in all frames of all records."""
    kept = dict.fromkeys(LEAST_GREYS, np.zeros(2))
    total, frames = np.zeros(2), 0
    for sweep in find_sweeps(root):
        surfaces = load_surfaces(find_meshes(sweep.folder, sweep.specimen))
        for image, pose in zip(sweep.images, read_poses(sweep, INITIAL).pose, strict=True):
            full, grey = full_label(surfaces, pose)[0], read_grey(image)
            first = partial_label(full)
            parts = (first, np.where(first > 0, 0, full).astype(np.uint8))
            total, frames = total + [np.count_nonzero(part) for part in parts], frames + 1
            for least in LEAST_GREYS:
                visible_echo.LEAST_GREY = least
                seen = [np.count_nonzero(visible_echo.echo_part(part, grey, SPACING_MM)) for part in parts]
                kept[least] = kept[least] + seen
    print(f"{frames} frames\n| least grey value | first runs kept | far walls that would pass |\n|---:|---:|---:|")
    for least, seen in kept.items():
        print("| {:g} | {:.0f} % | {:.1f} % |".format(least, *(100 * seen / total)))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit(main(Path(sys.argv[1])))
    with tempfile.TemporaryDirectory() as folder:
        make_ultrabones(folder, (1,), settings=SweepSettings(frames=8))
        sys.exit(main(Path(folder)))
