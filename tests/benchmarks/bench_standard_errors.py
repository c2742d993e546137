"""What the standard errors of registered poses hold: signed bias, spread and coverage on simulated images.

python tests/benchmarks/bench_standard_errors.py [pairs|frames|own] [COUNT] [--match MATCH]

``pairs``: independent pairs of the ray-casting simulator, which shares no code with the package, the bearing of the
implants drawn anew for each. ``frames``: a trial of it, whose frames look alike. ``own``: pairs of the package's own
simulator, whose beam has one energy, calibrated on the fly. Each component is refined from a start within 1 mm and 1
degree, the femur first, the tibia with the femur beside it, as ``medcli register trial`` does; the axes are those that
the shapes were made with. For the numbers of the poses in their table, and for the joint coordinates computed from
them: mean and standard deviation of the signed errors, mean standard error, share of errors within 1.96 of it.
``--match`` looks for causes: ``exponent-1`` is the logarithm of the image without hardening, ``linear`` the image as it
is without hardening.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from medcli.core import image_io
from medcli.synthetic.fluoroscopy.dataset import FluoroscopySettings, Study
from medcli.veriserum.calibration.undistortion_map import load_or_build
from medcli.veriserum.dataset.anatomies import KIND_OF
from medcli.veriserum.dataset.detector import PLANES
from medcli.veriserum.dataset.folder_index import POSE_COLUMNS
from medcli.veriserum.dataset.pose_tables import matrices_of, pose_numbers
from medcli.veriserum.geometry.biplane import DualPlane, SourceIntensifier
from medcli.veriserum.kinematics.error_bars import spread_of
from medcli.veriserum.kinematics.joint_coordinates import COORDINATES, SIDES, joint_coordinates
from medcli.veriserum.registration.gradient_matching import Beside, ImplantView, refine
from medcli.veriserum.registration.pose_quality import errors_of_numbers, pose_covariance
from medcli.veriserum.registration.resolution_levels import LEVELS, LOG_LEVELS
from medcli.veriserum.registration.rigid_motion import moved
from tests.support import knees, ray_cast_knees

SEED = 2001
COUNTS = {"pairs": 12, "frames": 15, "own": 12}


@dataclass(frozen=True)
class Seen:
    """A knee in both images: ``anatomy_id`` and true pose of femur and tibia."""

    images: Mapping[str, np.ndarray]
    cameras: DualPlane
    poses: dict[int, np.ndarray]


def of_other_simulator(kind: str, count: int) -> Iterator[Seen]:
    made = iter(ray_cast_knees.trial(SEED, 0, count)) if kind == "frames" else None
    for number in range(count):
        one = next(made) if made else ray_cast_knees.knee(SEED, number)
        cameras = DualPlane.from_calibration(SourceIntensifier.from_row(one.source))
        yield Seen(one.images, cameras, {one.femur_id: one.femur, one.tibia_id: one.tibia})


def of_own_simulator(count: int) -> Iterator[Seen]:
    study = Study(FluoroscopySettings(pairs=count, seed=3, frames_per_trial=1, obsolete_every=0))
    for number, frame in study.frames.items():
        calibration = study.calibrations[frame.calibration_id]
        maps = {plane: load_or_build(calibration.distortion(plane), 512, "area") for plane in PLANES}
        images = {plane: maps[plane].apply(study.native(number, plane), 0.0) for plane in PLANES}
        both = sorted((frame.anatomy_id, frame.companion_id))  # femora have the smaller numbers
        yield Seen(images, study.cameras(number), {one: frame.knee.of(KIND_OF[one]) for one in both})


def registered(seen: Seen, match: str, random: np.random.Generator) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Numbers found and their standard errors, (6,) of femur and tibia each."""
    beside, numbers, errors = None, [], []
    for anatomy, true in seen.poses.items():
        mesh = ray_cast_knees.MESHES[anatomy]
        view = ImplantView(seen.images, seen.cameras, mesh, beside)
        start = moved(true, random.uniform(-1, 1, 6), view.middle_mm)
        found = refine(
            view if match == "linear" else view.in_logarithms(), start, LOG_LEVELS if match == "log" else LEVELS
        )
        covariance = pose_covariance(view, found.pose, found.per_mm)
        numbers.append(pose_numbers(found.pose))
        errors.append(errors_of_numbers(covariance, found.pose, view.middle_mm, pose_numbers))
        beside = Beside(mesh, found.pose, found.per_mm)
    return numbers, errors


def line(name: str, off: np.ndarray, errors: np.ndarray) -> None:
    within = (np.abs(off) <= 1.96 * errors).mean()
    print(f"{name:24}{off.mean():+10.3f}{off.std(ddof=1):10.3f}{errors.mean():10.3f}{100 * within:10.0f} %", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=COUNTS, nargs="?", default="pairs")
    parser.add_argument("count", type=int, nargs="?")
    parser.add_argument("--match", choices=("log", "exponent-1", "linear"), default="log")
    chosen = parser.parse_args()
    count = chosen.count or COUNTS[chosen.kind]
    image_io.use_single_threaded_codecs()
    random = np.random.default_rng(SEED)
    axes, true, found, errors = [], [], [], []
    for seen in of_own_simulator(count) if chosen.kind == "own" else of_other_simulator(chosen.kind, count):
        axes.append([knees.true_axes(anatomy).matrix() for anatomy in seen.poses])
        true.append([pose_numbers(pose) for pose in seen.poses.values()])
        for into, values in zip((found, errors), registered(seen, chosen.match, random), strict=True):
            into.append(values)
        print(f"{len(true)} of {count}", file=sys.stderr, flush=True)
    of, seen_as, spread = np.array(true), np.array(found), np.array(errors)
    off = seen_as - of
    off[..., 3:] = (off[..., 3:] + 180) % 360 - 180
    print(f"{chosen.kind}, {count}, {chosen.match}")
    print(f"{'':24}{'bias':>10}{'SD':>10}{'mean SE':>10}{'in band':>12}")
    for i, kind in enumerate(("femur", "tibia")):
        for j, name in enumerate(POSE_COLUMNS):
            line(f"{kind} {name}, {'mm' if j < 3 else 'deg'}", off[:, i, j], spread[:, i, j])
    frames = np.swapaxes(np.array(axes), 0, 1)
    sign = np.full(count, SIDES[knees.SIDE])
    coordinates = [
        joint_coordinates(*(matrices_of(table[:, i]) @ frames[i] for i in range(2)), sign) for table in (seen_as, of)
    ]
    bars, _ = spread_of(seen_as, spread, (frames[0], frames[1]), sign, None)
    for j, one in enumerate(COORDINATES):
        line(f"{one.title}, {one.unit}", coordinates[0][:, j] - coordinates[1][:, j], bars[:, j])
    return 0


if __name__ == "__main__":
    sys.exit(main())
