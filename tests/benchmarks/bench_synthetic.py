"""Time to make a synthetic pair of X-ray images, one thread, and what share of it is compressing the JPEG files.

Promise: at most 0.5 s of processor time a pair. Before it, the size of the components, and the error of both ways to
calibrate the images, against the truth: the table of ``docs/synthetic.md``.

    python tests/benchmarks/bench_synthetic.py
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from medcli.core.image_io import encode, use_single_threaded_codecs
from medcli.synthetic.fluoroscopy.dataset import FluoroscopySettings, Study
from medcli.synthetic.fluoroscopy.implants import make_implants
from medcli.veriserum.calibration.undistortion_map import load_or_build
from medcli.veriserum.dataset.detector import PLANES

PROMISE_S = 0.5
PAIRS = 6
COMPARED_PAIRS, SIZES, NOISE = 4, (256, 512, 1024), (1.0, 0.0)


def show_components() -> None:
    meshes = [implant.mesh for implant in make_implants()]
    faces, widths = [len(mesh.faces) for mesh in meshes], [np.ptp(mesh.vertices[:, 0]) for mesh in meshes]
    print(f"{len(meshes)} components of {min(faces):,} to {max(faces):,} triangles, ", end="")
    print(f"{min(widths):.0f} to {max(widths):.0f} mm wide")


def compare_calibrations() -> None:
    """Root mean square error, grey levels, of pixels that have a place in the native image; with and without noise."""
    print("| size | published procedure | `--resample area` | both without noise |\n|---:|---:|---:|---:|")
    for size in SIZES:
        squares: dict[tuple[float, str], list[np.ndarray]] = {}
        for noise in NOISE:
            study = Study(FluoroscopySettings(pairs=COMPARED_PAIRS, noise=noise))
            for number, frame in study.frames.items():
                for plane in PLANES:
                    distortion = study.calibrations[frame.calibration_id].distortion(plane)
                    native, truth = study.native(number, plane), 255 * study.truth(number, plane, size)
                    seen = load_or_build(distortion, size, "area").inside
                    for way in ("reference", "area"):
                        image = load_or_build(distortion, size, way).apply(native, 0.0)
                        squares.setdefault((noise, way), []).append((image[seen] - truth[seen]) ** 2)
        errors = [float(np.sqrt(np.concatenate(parts).mean())) for parts in squares.values()]
        print("| {} | {:.2f} | {:.2f} | {:.2f} and {:.2f} |".format(size, *errors), flush=True)


def main() -> int:
    use_single_threaded_codecs()
    show_components()
    compare_calibrations()
    study = Study(FluoroscopySettings(pairs=PAIRS, calibrations=1))
    for plane in PLANES:
        study.native(1, plane)  # compiles, and builds the map of the calibration
    started = time.process_time()
    natives = [study.native(number, plane) for number in study.frames for plane in PLANES]
    made = time.process_time()
    for native in natives:
        encode(native, ".jpg", 90)
    encoded = time.process_time()
    pair_s, codec_s = (encoded - started) / PAIRS, (encoded - made) / PAIRS
    print(f"{pair_s:.3f} s a pair, of which {codec_s:.3f} s JPEG; promised at most {PROMISE_S} s")
    return int(pair_s > PROMISE_S)


if __name__ == "__main__":
    sys.exit(main())
