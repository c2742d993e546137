"""Accuracy and time of knee motion: synthetic trials whose motion is known, poses with noise.

python tests/benchmarks/bench_kinematics.py [TRIALS] [FRAMES]

The noise is that of registered poses: 0.06 mm and 0.15 degrees in each of the six numbers of both components. Motion
with the true axes shows what the noise does; motion with guessed axes, what the guess adds. A constant error of an
origin displaces a curve and leaves its form and range alone: the last column but one is without the constant part of
each trial. Time is processor time without reading the table. Exits with 1 if an error or the time misses what is
promised.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[2]))

from medcli.veriserum.dataset.anatomies import KIND_OF
from medcli.veriserum.dataset.study import VeriserumStudy
from medcli.veriserum.kinematics.axes_guess import KnownAxes, known_axes
from medcli.veriserum.kinematics.compare_motion import COMPARED
from medcli.veriserum.kinematics.knee_frames import pair_frames
from medcli.veriserum.kinematics.motion import knee_motion
from medcli.veriserum.kinematics.pose_rows import read_pose_rows
from tests.support import knees

NOISE_MM, NOISE_DEG = 0.06, 0.15
ANGLES_DEG, AP_MM, SECONDS = 0.3, 0.2, 3.0
"""Promised: largest RMS of an angle and of an AP position, and processor time for 1,000 frames with error bars."""


def motion(study: VeriserumStudy, known: KnownAxes) -> tuple[pd.DataFrame, float]:
    """The table, and processor seconds for 1,000 frames."""
    rows, source = read_pose_rows(study, None, KIND_OF)
    began = time.process_time()
    found = knee_motion(pair_frames(rows, study.contents, source), known, knees.SIDE).table
    return found, 1000 * (time.process_time() - began) / len(found)


def main() -> int:
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    frames = int(sys.argv[2]) if len(sys.argv) > 2 else 100
    logging.disable(logging.WARNING)
    drawn = knees.draw_knees(trials, frames, seed=11)
    with tempfile.TemporaryDirectory() as place:
        exact = VeriserumStudy(knees.write_knees(Path(place, "exact"), knees.pose_rows(drawn)))
        noise = (NOISE_MM, NOISE_DEG)
        noisy = VeriserumStudy(
            knees.write_knees(Path(place, "noisy"), knees.pose_rows(drawn, noise=noise, errors=True))
        )
        own = {number: knees.true_axes(number) for number in (1, 3)}
        true = KnownAxes(own, "true", {number: knees.implants()[number].mesh for number in own})
        guessed = known_axes(exact.surfaces, own)
        reference, _ = motion(exact, true)
        found, seconds = motion(noisy, true)
        by_guess, _ = motion(noisy, guessed)
        without, _ = motion(exact, guessed)
    rows = {"noise": found, "noise, guessed axes": by_guess, "guessed axes": without}
    print(f"{trials} trials of {frames} frames; noise {NOISE_MM} mm and {NOISE_DEG} degrees in each number; RMS")
    print(f"{'':28}" + "".join(f"{name:>22}" for name in (*rows, "without constant")) + f"{'in 95 % band':>16}")
    worst = {"deg": 0.0, "AP": 0.0}
    for name, (title, unit) in COMPARED.items():
        errors = [table[name] - reference[name] for table in rows.values()]
        constant = errors[-1].groupby(reference["trial"]).transform("mean")
        rms = [float(np.sqrt((error**2).mean())) for error in (*errors, errors[-1] - constant)]
        inside = ((found[name] - reference[name]).abs() <= 1.96 * found[f"se_{name}"]).mean()
        print(f"{title + ', ' + unit:28}" + "".join(f"{value:>22.3f}" for value in rms) + f"{100 * inside:>14.0f} %")
        kind = unit if unit == "deg" else "AP" if "ap_mm" in name or name == "anterior_mm" else ""
        if kind:
            worst[kind] = max(worst[kind], rms[0])
    print(f"{seconds:.2f} s of processor time for 1,000 frames with error bars")
    print(f"promised: angles {ANGLES_DEG} degrees, AP {AP_MM} mm, {SECONDS:.0f} s")
    return int(worst["deg"] > ANGLES_DEG or worst["AP"] > AP_MM or seconds > SECONDS)


if __name__ == "__main__":
    sys.exit(main())
