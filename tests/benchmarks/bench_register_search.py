"""Poses found without a start, on pairs of a ray-casting simulator that shares no code with the package's renderer.

python tests/benchmarks/bench_register_search.py [PAIRS] [SEED]

Both components of each pair are searched for. Libraries are built before the clock starts; time is processor time of
all threads. Prints the share of wrong poses called good first. Exits with 1 if it exceeds 0.5 %.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from medcli.core import image_io
from medcli.core.errors import DataError
from medcli.core.rigid_transforms import rotation_angle_deg
from medcli.veriserum.geometry.biplane import DualPlane, SourceIntensifier
from medcli.veriserum.registration.orientation_library import load_or_build_library
from medcli.veriserum.registration.pose_quality import status_of
from medcli.veriserum.registration.pose_search import search_pose
from tests.support.ray_cast_knees import MESHES, knee

WRONG_MM = WRONG_DEG = 1.5
FOUND_MM = FOUND_DEG = 1.0


def main() -> int:
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 1001
    image_io.use_single_threaded_codecs()
    rows: list[list[float]] = []
    statuses: Counter[str] = Counter()
    for number in range(pairs):
        seen = knee(seed, number)
        cameras = DualPlane.from_calibration(SourceIntensifier.from_row(seen.source))
        for anatomy in (seen.femur_id, seen.tibia_id):
            mesh, true = MESHES[anatomy], seen.pose(anatomy)
            load_or_build_library(mesh, cameras)
            began = time.process_time()
            try:
                found = search_pose(seen.images, cameras, mesh)
            except DataError:
                statuses["failed"] += 1
                continue
            seconds = time.process_time() - began
            pose, middle = found.refined.pose, np.append(mesh.bounds.mean(axis=0), 1.0)
            distance = float(np.linalg.norm(((pose - true) @ middle)[:3]))
            angle = float(rotation_angle_deg(pose[:3, :3] @ true[:3, :3].T))
            status = status_of(found.refined.after_planes, found.margin, 0.4)
            statuses[status] += 1
            rows.append([anatomy, distance, angle, status == "good", seconds])
            planes = " ".join(f"{value:.3f}" for value in found.refined.after_planes.values())
            print(f"{number:>4} {anatomy} {distance:7.3f} mm {angle:7.2f} deg  {planes}  {found.margin:6.3f} {status}")
    table = np.array(rows)
    good, wrong = table[:, 3] > 0, (table[:, 1] > WRONG_MM) | (table[:, 2] > WRONG_DEG)
    share = float(np.mean(wrong[good])) if good.any() else 0.0
    print(f"wrong and called good: {np.count_nonzero(wrong & good)} of {np.count_nonzero(good)} ({share:.1%})")
    right = (table[:, 1] < FOUND_MM) & (table[:, 2] < FOUND_DEG)
    print(f"statuses: {dict(statuses)}; median time {np.median(table[:, 4]):.1f} s")
    for name, kind in (("femora", table[:, 0] < 3), ("tibiae", table[:, 0] >= 3)):
        median = np.median(table[kind & right][:, 1:3], axis=0)
        print(f"{name}: {right[kind].mean():.1%} found; median {median[0]:.3f} mm, {median[1]:.2f} degrees")
    return int(share > 0.005)


if __name__ == "__main__":
    sys.exit(main())
