"""Time to render an implant: path length and silhouette, 512 x 512 pixels, about 20,000 triangles, one core.

python tests/benchmarks/bench_projection.py
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from medcli.core.mesh import Mesh
from medcli.synthetic.fluoroscopy.implants import make_implants
from medcli.veriserum.geometry.biplane import DualPlane, ImageGrid, SourceIntensifier

PROMISE_MS = 5.0
REPEATS = 200


def divided(mesh: Mesh, most: int) -> Mesh:
    """The mesh with each triangle cut in two through its first edge, from the first on, until there are ``most``."""
    count = max(0, most - len(mesh.faces))
    triangles = mesh.triangles
    middle = triangles[:count, :2].mean(axis=1)
    vertices = np.concatenate([mesh.vertices, middle])
    a, b, c = mesh.faces[:count].T
    new = len(mesh.vertices) + np.arange(count)
    halves = [np.stack([a, new, c], 1), np.stack([new, b, c], 1)]
    return Mesh(vertices, np.concatenate([*halves, mesh.faces[count:]]))


def median_ms(action: Callable[[], object]) -> float:
    action()
    times = []
    for _ in range(REPEATS):
        start = time.process_time_ns()
        action()
        times.append((time.process_time_ns() - start) / 1e6)
    return float(np.median(times))


def main() -> int:
    cameras = DualPlane.from_calibration(SourceIntensifier(2.7, -6.1, 1860.0, -10.2, 1.9, 1851.0))
    grid = ImageGrid.calibrated(512)
    slowest = 0.0
    print(f"{'':28}{'triangles':>10}{'pixels hit':>12}{'path ms':>10}{'outline ms':>12}")
    for implant in make_implants():
        mesh = divided(implant.mesh, 20_000)
        for plane in ("bs", "fs"):
            camera, pose = cameras.camera(plane), cameras.pose_matrix([0, 0, 381], [10, 5, 70])
            hit = int(np.sum(camera.silhouette(mesh, pose, grid)))
            path_ms = median_ms(lambda c=camera, m=mesh, p=pose: c.path_length(m, p, grid))  # type: ignore[misc]
            outline_ms = median_ms(lambda c=camera, m=mesh, p=pose: c.silhouette(m, p, grid))  # type: ignore[misc]
            slowest = max(slowest, path_ms, outline_ms)
            name = f"{implant.kind} {implant.anatomy_id}, plane {plane}"
            print(f"{name:28}{len(mesh.faces):>10}{hit:>12}{path_ms:>10.2f}{outline_ms:>12.2f}")
    # An implant that fills the image: it is held near the source.
    filling = cameras.pose_matrix([0, 0, 1500], [0, 90, 0])
    mesh = divided(make_implants()[2].mesh, 20_000)
    filled_ms = median_ms(lambda: cameras.bs.path_length(mesh, filling, grid))
    share = np.mean(cameras.bs.silhouette(mesh, filling, grid))
    print(f"{'tibia 3 over ' + format(share, '.0%') + ' of the image':50}{filled_ms:>10.2f}")
    print(f"slowest {slowest:.2f} ms of processor time; promised at most {PROMISE_MS} ms")
    return int(max(slowest, filled_ms) > PROMISE_MS)


if __name__ == "__main__":
    sys.exit(main())
