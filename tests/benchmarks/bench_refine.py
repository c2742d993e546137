"""Time and gain of pose refinement, against differential evolution with as many looks at J; run with
``python bench_refine.py [data folder]``. Processor time of one core; exits with 1 if a frame takes over 0.35 s, or if
the search ends higher in J than differential evolution on more than a fifth of the frames.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from medcli.core.image_io import read_grey
from medcli.synthetic.ultrasound.dataset import SweepSettings, make_ultrabones
from medcli.ultrabones.dataset.mesh_files import find_meshes
from medcli.ultrabones.dataset.records import INITIAL, find_sweeps, read_poses
from medcli.ultrabones.geometry.bone_meshes import load_surfaces
from medcli.ultrabones.geometry.image_to_ct import pixels_to_ct
from medcli.ultrabones.pose_refinement import pose_optimizer
from medcli.ultrabones.pose_refinement.distance_field import DistanceField
from medcli.ultrabones.pose_refinement.refine_frame import RefineSettings, refine_frame, select_pixels

PROMISED_S = 0.35
FRAMES = 8


def main(root: Path) -> int:
    from scipy.optimize import differential_evolution

    sweep = find_sweeps(root)[0]
    surfaces = load_surfaces(find_meshes(sweep.folder, sweep.specimen))
    poses, settings = read_poses(sweep, INITIAL), RefineSettings()
    field = DistanceField.around(surfaces[:1])
    started = time.process_time()
    DistanceField.around(surfaces[:1])
    seconds = time.process_time() - started
    print(f"{sweep.name}: field of {surfaces[0].name}: {field.values.nbytes / 1e6:.0f} MB, "
          f"{seconds:.1f} s of processor time")  # fmt: skip
    ours, theirs, better, refined = [], [], 0, 0
    frames = np.linspace(0, len(sweep.timestamps) - 1, FRAMES).round().astype(int)
    warm = read_grey(sweep.images[0])
    refine_frame(warm, poses.pose[0], float(poses.spacing_mm[0]), surfaces[:1], field)
    for frame in frames:
        image, pose, spacing = read_grey(sweep.images[frame]), poses.pose[frame], float(poses.spacing_mm[frame])
        started = time.thread_time()
        found = refine_frame(image, pose, spacing, surfaces[:1], field, sweep.timestamps[frame])
        ours.append(time.thread_time() - started)
        if not found.refined:
            continue
        refined += 1
        grey = image[1::2, 1::2] / 255.0
        rows, columns = np.mgrid[1 : image.shape[0] : 2, 1 : image.shape[1] : 2]
        near = surfaces[0].distances(pixels_to_ct(pose, columns.ravel(), rows.ravel(), spacing), 3.0)
        pixels = select_pixels(grey, near.reshape(rows.shape)[: grey.shape[0], : grey.shape[1]], spacing, settings)
        known = (pixels.points, pixels.weights, *field.arrays)
        started = time.thread_time()
        other = differential_evolution(
            lambda x, pose=pose, known=known: pose_optimizer.objective(x, pose, *known),
            np.stack([pose - 1, pose + 1], axis=1), x0=pose, seed=0, popsize=10, maxiter=19, tol=0, polish=False,
        )  # fmt: skip
        theirs.append(time.thread_time() - started)
        reached = pose_optimizer.objective(found.pose, pose, *known)
        better += reached <= other.fun
        print(f"  frame {sweep.timestamps[frame]}: J {found.j_before:10,.0f}, refined {reached:10,.0f}, "
              f"differential evolution {other.fun:10,.0f} ({other.nfev} looks)")  # fmt: skip
    print(f"refine                 {np.median(ours):.3f} s a frame (promised: {PROMISED_S} s)")
    ratio = np.median(theirs) / np.median(ours)
    print(f"differential evolution {np.median(theirs):.3f} s a frame, search alone ({ratio:.2f} times)")
    print(f"refined at least as low in {better} of {refined} frames")
    return int(np.median(ours) > PROMISED_S or better < 0.8 * refined)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit(main(Path(sys.argv[1])))
    with tempfile.TemporaryDirectory() as folder:
        make_ultrabones(folder, (1,), settings=SweepSettings(frames=8))
        sys.exit(main(Path(folder)))
