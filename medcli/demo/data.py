"""The data of the demonstration: small synthetic versions of both datasets in their published layouts."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medcli.core.contact_sheet import contact_sheet
from medcli.core.errors import quantity
from medcli.core.files import write_text
from medcli.core.image_io import read_grey
from medcli.core.run_provenance import SYNTHETIC
from medcli.demo.knee_motion import make_knee
from medcli.demo.plan import TEST_SPECIMENS, VAL_SPECIMENS, DemoPlan, DemoTask, StepOutcome, command_words
from medcli.demo.result import ResultImage
from medcli.synthetic.fluoroscopy.dataset import GRID_FOLDER, IMAGE_FOLDER, FluoroscopySettings, Study, make_veriserum
from medcli.synthetic.ultrasound.dataset import SweepSettings, make_ultrabones
from medcli.veriserum.dataset.detector import PLANES

ANATOMIES = ("fibula", "tibia")
FRAMES_PER_TRIAL = 3
DRIFTING_FRAMES = 30
IMPLANT = 1
_STUDY: dict[str, Any] = {"frames_per_trial": FRAMES_PER_TRIAL, "calibrations": 2, "anatomies": (IMPLANT,)}
_START_ERROR = np.repeat([4.0, 4.0], 3)
"""Maximum error of the registration's start poses, in millimetres and degrees."""
_PANEL = 300


def make_data(plan: DemoPlan) -> DemoTask:
    """The first step."""
    return DemoTask(
        "data",
        "Make small synthetic versions of both datasets",
        "Unlabelled ultrasound sweeps along bones with CT surfaces and tracked poses, as in UltraBones100k, and X-ray"
        " pairs of a knee implant with poses and calibrations, as in Veriserum. Nothing is downloaded; medcli download"
        " fetches the real data.",
        command_words("demo --out", plan.out, f"{'--quick ' if plan.quick else ''}--seed {plan.seed} --data-only"),
        lambda specimens: _outcome(plan, specimens),
        work=lambda: _make(plan),
        writes=(
            *("ultrabones/specimen*/**/UltrasoundImages/*", "ultrabones/specimen*/**/*.stl"),
            *(f"veriserum/{name}/*" for name in (IMAGE_FOLDER, GRID_FOLDER, "csv_files", "veriserum_anatomies")),
            *("drifting/specimen*/**/UltrasoundImages/*", "drifting/specimen*/**/*.stl"),
            *(f"knee/{name}/*" for name in (IMAGE_FOLDER, "csv_files", "veriserum_anatomies")),
        ),
        free=plan.parallel,
    )


def study_of(plan: DemoPlan) -> Study:
    """The ground truth of the X-ray pairs; writes no file."""
    return Study(FluoroscopySettings(pairs=plan.size.pairs, seed=plan.seed, **_STUDY))


def _make(plan: DemoPlan) -> int:
    """Make what is missing; returns the number of specimens."""
    specimens, size = _make_sweeps(plan), plan.size
    _make_drifting(plan)
    made = make_veriserum(plan.veriserum, size.pairs, plan.seed, workers=plan.workers, progress=plan.progress, **_STUDY)
    make_knee(plan)
    _write_start_poses(plan, made.study, registered_pairs(made.study, size.registered))
    return specimens


def _outcome(plan: DemoPlan, specimens: int) -> StepOutcome:
    pairs, motion = plan.size.pairs, plan.size.motion_frames
    trial = f"; one of {quantity(motion, 'pair')} with both components" if motion else ""
    return StepOutcome(
        {
            "ultrasound": f"{quantity(len(frames_of(plan)), 'frame')} of {quantity(specimens, 'specimen')}",
            "X-ray": f"{quantity(pairs, 'pair')} in {quantity(-(-pairs // FRAMES_PER_TRIAL), 'trial')}{trial}",
        },
        images=(_example_sheet(plan),),
    )


def frames_of(plan: DemoPlan, specimens: Iterable[int] | None = None) -> list[Path]:
    """The ultrasound frames of some specimens or of all, sorted."""
    folders = ["specimen*"] if specimens is None else map(_folder, specimens)
    return sorted(path for name in folders for path in plan.ultrabones.glob(f"{name}/**/UltrasoundImages/*.png"))


def _sizes(plan: DemoPlan) -> dict[int, int]:
    """Frames in each sweep, by specimen."""
    training = dict.fromkeys((*plan.size.train_specimens, *VAL_SPECIMENS), plan.size.train_frames)
    return training | dict.fromkeys(TEST_SPECIMENS, plan.size.test_frames)


def _make_sweeps(plan: DemoPlan) -> int:
    """Make each missing specimen, complete or not at all; returns the number of specimens."""
    sizes, partial = _sizes(plan), plan.out / ".making"
    missing = [number for number in sizes if not (plan.ultrabones / _folder(number)).is_dir()]
    plan.ultrabones.mkdir(exist_ok=True)
    with plan.progress.task("making ultrasound", len(missing), "specimens") as advance:
        for number in missing:
            shutil.rmtree(partial, ignore_errors=True)
            settings = SweepSettings(sizes[number], plan.size.frame_scale, optimized_columns=False, labels=False)
            make_ultrabones(partial, (number,), seed=plan.seed, anatomies=ANATOMIES, settings=settings)
            (partial / SYNTHETIC).replace(plan.ultrabones / SYNTHETIC)
            (partial / _folder(number)).rename(plan.ultrabones / _folder(number))
            advance(1)
    shutil.rmtree(partial, ignore_errors=True)
    return len(sizes)


def _make_drifting(plan: DemoPlan) -> None:
    """Make the sweep that is refined as one motion, complete or not at all."""
    if not plan.size.motion_frames or plan.drifting.is_dir():
        return
    partial = plan.out / ".making"
    shutil.rmtree(partial, ignore_errors=True)
    errors: dict[str, Any] = {"pose_error_mm": 0.1, "pose_error_deg": 0.05, "drift_mm": 0.5, "drift_deg": 0.5}
    settings = SweepSettings(DRIFTING_FRAMES, plan.size.frame_scale, optimized_columns=False, labels=False, **errors)
    make_ultrabones(partial, TEST_SPECIMENS[:1], seed=plan.seed, settings=settings)
    partial.rename(plan.drifting)


def _folder(specimen: int) -> str:
    return f"specimen{specimen:02d}"


def registered_pairs(study: Study, count: int) -> list[int]:
    """Pairs to register: one from each of the first trials, without those whose pose is marked obsolete."""
    usable = [number for number, frame in study.frames.items() if not frame.obsolete]
    return usable[::FRAMES_PER_TRIAL][:count]


def _write_start_poses(plan: DemoPlan, study: Study, numbers: Iterable[int]) -> None:
    """Poses near the ground truth, as a person or a well-trained network would give."""
    lines = ["id,tx,ty,tz,rz,rx,ry"]
    for number in numbers:
        error = np.random.default_rng([plan.seed, number]).uniform(-1, 1, 6) * _START_ERROR
        row = study.pose_row(number)
        start = np.array([row[name] for name in lines[0].split(",")[1:]]) + error
        lines.append(",".join([str(number), *(f"{value:.4f}" for value in start)]))
    write_text(plan.start_poses, "\n".join(lines) + "\n")


def _example_sheet(plan: DemoPlan) -> ResultImage:
    """A frame of each bone and an X-ray pair."""
    frames = [
        next(iter(plan.ultrabones.glob(f"*/**/{anatomy}/record01/UltrasoundImages/*.png"))) for anatomy in ANATOMIES
    ]
    pair = [plan.veriserum / IMAGE_FOLDER / f"{plane}_000001.jpg" for plane in PLANES]
    headings = [*(f"ultrasound, {anatomy}" for anatomy in ANATOMIES), *(f"X-ray, plane {plane}" for plane in PLANES)]
    panels = [pad_to_square(read_grey(path)) for path in (*frames, *pair)]
    return plan.save_image(
        "data.jpg",
        contact_sheet([panels], headings, [""], _PANEL),
        "Synthetic ultrasound frames of a fibula and a tibia, and both X-ray images of a knee implant",
        "Frames of a fibula and a tibia: a bright bone line with an acoustic shadow below. Both planes of an X-ray"
        " pair, distorted by the image intensifiers.",
    )


def pad_to_square(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """An image in the middle of a black square."""
    height, width = image.shape[:2]
    side = max(height, width)
    square = np.zeros((side, side, *image.shape[2:]), np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = image
    return square
