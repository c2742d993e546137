"""The steps on a trial of a walking knee: from X-ray pairs without start poses to the motion of the joint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from medcli.core.errors import quantity
from medcli.demo.plan import DemoPlan, DemoTask, StepOutcome, command_words
from medcli.demo.result import ResultImage

if TYPE_CHECKING:
    from medcli.veriserum.kinematics.compare_motion import MotionComparison

FEMUR = 1
_IMAGES = ("knee/veriserum_collection_compressed/*", "knee/csv_files/*")
_CALIBRATED = "knee/calibrated/*.jpg"
_POSES = "runs/knee/poses.csv"
_SHOWN = {
    "flexion_deg": "flexion",
    "adduction_deg": "adduction",
    "internal_rotation_deg": "rotation",
    "anterior_mm": "anterior shift",
}


def make_knee(plan: DemoPlan) -> None:
    """One trial with the true poses of both components; nothing where the demonstration has no such steps."""
    from medcli.synthetic.fluoroscopy.dataset import make_veriserum

    if plan.size.motion_frames:
        frames = plan.size.motion_frames
        make_veriserum(
            plan.knee,
            frames,
            plan.seed,
            workers=plan.workers,
            progress=plan.progress,
            frames_per_trial=frames,
            calibrations=1,
            anatomies=(FEMUR,),
            obsolete_every=0,
            both_poses=True,
        )


def knee_motion_tasks(plan: DemoPlan) -> list[DemoTask]:
    """All steps on the trial, in order; none where it has no frames."""
    return [_calibrate(plan), _track(plan), _motion(plan), _compare(plan)] if plan.size.motion_frames else []


def _poses(plan: DemoPlan) -> Path:
    return plan.out / _POSES


def _calibrate(plan: DemoPlan) -> DemoTask:
    def outcome(done: Any) -> StepOutcome:
        return StepOutcome({"images": f"{done.done + done.skipped}, corrected"}, plan.knee / "calibrated")

    return DemoTask(
        "calibrate-knee",
        "Correct the distortion of a trial",
        "Consecutive X-ray pairs of a walking knee with a femoral and a tibial component.",
        command_words("calibrate veriserum --root", plan.knee),
        outcome,
        reads=_IMAGES,
        writes=(_CALIBRATED,),
        needs=("data",),
        free=plan.parallel,
    )


def _track(plan: DemoPlan) -> DemoTask:
    out = _poses(plan)
    overlays = out.parent / "overlays"

    def outcome(done: Any) -> StepOutcome:
        import pandas as pd

        statuses = pd.read_csv(out)["status"].value_counts()
        numbers = {
            "tracked": f"{quantity(plan.size.motion_frames, 'frame')}, both components, no start pose",
            "status": ", ".join(f"{count} {name}" for name, count in statuses.items()),
        }
        image = ResultImage(
            plan.relative(next(overlays.glob("*.png"))),
            "Frames of the trial in both planes with the outlines of both components",
            "Outlines of both components where they were found, in both planes.",
        )
        return StepOutcome(numbers, out.parent, (image,))

    return DemoTask(
        "register-trial",
        "Track both components through the trial, without start poses",
        "The first frame is searched in all orientations; each further one is predicted from those before and refined.",
        command_words("register trial --root", plan.knee, "--out", out, "--overlays", overlays),
        outcome,
        reads=(*_IMAGES, _CALIBRATED),
        writes=("runs/knee/*.csv", "runs/knee/overlays/*"),
        needs=("calibrate-knee",),
        free=plan.parallel,
    )


def _motion(plan: DemoPlan) -> DemoTask:
    out = plan.runs / "kinematics"

    def outcome(done: Any) -> StepOutcome:
        low, high = done.trials[0].ranges["flexion_deg"]
        numbers = {
            "flexion": f"{low:.0f} to {high:.0f} degrees",
            "frames": f"{done.frames}; missing {done.missing}, doubtful {done.doubtful}",
        }
        return StepOutcome(numbers, out)

    return DemoTask(
        "kinematics",
        "Compute how the knee moves",
        "Six joint coordinates by Grood and Suntay, and the lowest points of both condyles over the tray.",
        command_words(
            "kinematics veriserum --root", plan.knee, "--poses", _poses(plan), "--side left --frame-rate 25 --out", out
        ),
        outcome,
        reads=(*_IMAGES, _POSES),
        writes=("runs/kinematics/*",),
        needs=("register-trial",),
    )


def _compare(plan: DemoPlan) -> DemoTask:
    out = plan.runs / "evaluate" / "kinematics"

    def outcome(done: MotionComparison) -> StepOutcome:
        numbers = {}
        for name, words in _SHOWN.items():
            unit = "mm" if name.endswith("_mm") else "degrees"
            numbers[f"{words} RMS error"] = f"{done.overall[name].rms:.2f} {unit}"
        return StepOutcome(numbers, out, (_flexion_curves(plan),))

    return DemoTask(
        "evaluate-kinematics",
        "Compare the motion with the true one",
        "The pose table holds the true poses here; it was not used for the tracking. Both are evaluated with the same"
        " axes.",
        command_words("evaluate kinematics", _poses(plan), "--root", plan.knee, "--side left --out", out),
        outcome,
        reads=(*_IMAGES, _POSES),
        writes=("runs/evaluate/kinematics/*",),
        needs=("register-trial",),
    )


def _flexion_curves(plan: DemoPlan) -> ResultImage:
    """Flexion over time by the registered poses, and the truth."""
    from matplotlib.figure import Figure

    from medcli.veriserum.dataset.study import VeriserumStudy
    from medcli.veriserum.kinematics.kinematics import KinematicsSettings, compute_motion

    study = VeriserumStudy(plan.knee)
    found, truth = (
        compute_motion(study, KinematicsSettings(poses=poses, side="left", frame_rate=25)).motion.table
        for poses in (_poses(plan), None)
    )
    target = plan.images / "flexion.png"
    figure = Figure(figsize=(8, 3.6), dpi=100, layout="constrained")
    panel = figure.subplots()
    panel.plot(truth["time_s"], truth["flexion_deg"], color="#1a7f37", linewidth=5, alpha=0.35, label="true")
    panel.plot(found["time_s"], found["flexion_deg"], "o-", color="#1f5fbf", markersize=4, label="registered")
    panel.set(xlabel="time, s", ylabel="knee flexion, degrees")
    panel.legend(frameon=False)
    figure.savefig(target)
    return ResultImage(
        plan.relative(target),
        "Knee flexion over time: by the registered poses, and the true one",
        "Knee flexion by the registered poses (blue) on the true curve (green).",
    )
