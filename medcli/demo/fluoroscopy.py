"""The steps on X-ray pairs: calibrate, train and evaluate poses, register."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medcli.demo.data import IMPLANT, registered_pairs, study_of
from medcli.demo.plan import DemoPlan, DemoTask, StepOutcome, typed
from medcli.demo.result import BeforeAfter, ResultImage
from medcli.demo.training import first_and_last

_BACKBONE, _SIZE, _BATCH_SIZE, _LR = "resnet18", 64, 4, 3e-4
_IMAGES = ("veriserum/veriserum_collection_compressed/*",)
_CALIBRATED = "veriserum/calibrated/*.jpg"
_TABLES = "veriserum/csv_files/*.csv"
_TRANSLATION = (("in plane", "in_plane_bs_mm", "mm"), ("out of plane", "out_of_plane_bs_mm", "mm"))
_ROTATION = ("rotation", "rotation_deg", "degrees")


def fluoroscopy_tasks(plan: DemoPlan) -> list[DemoTask]:
    """All steps on X-ray pairs, in order."""
    return [_calibrate(plan), _train(plan), _evaluate(plan), _register(plan), _check(plan)]


def _calibrate(plan: DemoPlan) -> DemoTask:
    out = plan.veriserum / "calibrated"

    def outcome(done: Any) -> StepOutcome:
        from medcli.demo.calibration_figures import compare

        shown = compare(plan.veriserum, out, study_of(plan), done.settings)
        before, after = (
            plan.picture(f"grid_{when}.jpg", grid).path
            for when, grid in zip(("before", "after"), shown.grid, strict=True)
        )
        numbers = {
            "distortion": f"{shown.distortion_mm:.1f} mm at most, taken out of {done.done + done.skipped} images",
            "X-ray images off the truth": f"{shown.error_before:.1f} grey levels before, {shown.error_after:.1f} after",
        }
        picture = plan.picture(
            "calibration.jpg",
            shown.sheet,
            "Bead grid and X-ray pairs in both planes, as recorded and calibrated",
            "As recorded and calibrated. Upper row: bead grid under straight lines. Light smears at the rim are the"
            " published procedure's, which repeats the image's edge there; --resample area leaves such places black.",
        )
        slider = BeforeAfter(
            before,
            after,
            "A quarter of the bead grid of plane bs under straight lines, before and after calibration",
            "Before calibration the beads leave the straight lines; after it they stand on them.",
        )
        return StepOutcome(numbers, out, (picture,), slider)

    return DemoTask(
        "calibrate",
        "Correct the distortion of the X-ray images",
        "Image intensifiers bend straight lines by millimetres. The published procedure, bit for bit.",
        typed("calibrate veriserum --root", plan.veriserum),
        outcome,
        reads=_IMAGES,
        leaves=(_CALIBRATED,),
        needs=("data",),
        free=plan.parallel,
    )


def _train(plan: DemoPlan) -> DemoTask:
    out, epochs = plan.trained_pose.parent, plan.size.pose_epochs

    def outcome(done: Any) -> StepOutcome:
        numbers = {
            "pose training loss": first_and_last(out / "metrics.csv", "train_loss"),
            "learned from": f"{done.train_pairs} pairs, {done.epochs} times each",
            "published setting": "250 epochs of large images: hours on a GPU",
        }
        return StepOutcome(numbers, out)

    return DemoTask(
        "train-pose",
        "Train the pose of a knee implant from both planes",
        "A few seconds show that the loss falls, not how good such a network gets: the published setting takes hours"
        " on a GPU.",
        typed(
            "train pose --root",
            plan.veriserum,
            f"--anatomy {IMPLANT} --backbone {_BACKBONE} --backbone-weights none --size {_SIZE} --epochs {epochs}",
            f"--batch-size {_BATCH_SIZE} --lr {_LR:g} --gpus 0 --seed {plan.seed} --out",
            out,
        ),
        outcome,
        reads=(_CALIBRATED, _TABLES),
        leaves=("runs/pose/small/*",),
        needs=("calibrate",),
        one_core=True,
    )


def _evaluate(plan: DemoPlan) -> DemoTask:
    out = plan.runs / "evaluate" / "pose"

    def outcome(done: Any) -> StepOutcome:
        numbers = {}
        for words, name, unit in (_ROTATION, *_TRANSLATION):
            guess = f"; the mean pose: {done.mean_pose[name].mean:.1f}" if done.mean_pose else ""
            numbers[f"{words} off by"] = f"{done.errors[name].mean:.1f} {unit}{guess}"
        numbers["pairs"] = f"{done.pairs} of trials that it never saw"
        return StepOutcome(numbers, out)

    return DemoTask(
        "evaluate-pose",
        "Evaluate the pose network beside guessing the mean pose",
        "Mean errors on trials held out. So little training may turn the implant better than a guess does, but hardly"
        " places it; out of plane, too, a guess can be as good.",
        typed("evaluate pose --root", plan.veriserum, "--checkpoint", plan.trained_pose, "--device cpu --out", out),
        outcome,
        reads=(_CALIBRATED, _TABLES, plan.relative(plan.trained_pose)),
        leaves=("runs/evaluate/pose/*",),
        needs=("train-pose",),
    )


def _registered(plan: DemoPlan) -> Path:
    return plan.runs / "register" / "poses.csv"


def _register(plan: DemoPlan) -> DemoTask:
    out = _registered(plan)
    overlays = out.parent / "overlays"

    def outcome(done: Any) -> StepOutcome:
        import pandas as pd

        table = pd.read_csv(out)
        before, after = (float(table[f"similarity_{when}"].mean()) for when in ("before", "after"))
        numbers = {
            "registered": f"{len(table)} pairs",
            "gradient correlation": f"{before:.2f} before, {after:.2f} after (1 is perfect)",
            "moved by": f"{table['moved_mm'].mean():.1f} mm and {table['turned_deg'].mean():.1f} degrees",
        }
        picture = ResultImage(
            plan.relative(overlays / f"register_{int(table['id'].iloc[0]):06d}.png"),
            "Outlines of the implant on both X-ray planes at the start and after registration",
            "Outline of the implant at the start pose (orange) and registered (green).",
        )
        return StepOutcome(numbers, out.parent, (picture,))

    return DemoTask(
        "register",
        "Register implants to X-ray pairs",
        "Moves the implant from a start pose, off by up to 4 mm and 4 degrees a number, until its rendering matches"
        " both planes.",
        typed(
            "register pose --root",
            plan.veriserum,
            "--start",
            plan.start_poses,
            "--out",
            out,
            "--overlays",
            overlays,
        ),
        outcome,
        reads=(_CALIBRATED, _TABLES, "start_poses.csv"),
        leaves=("runs/register/*.csv", "runs/register/overlays/*"),
        needs=("calibrate",),
        free=plan.parallel,
    )


def _check(plan: DemoPlan) -> DemoTask:
    out = plan.runs / "evaluate" / "registered"
    pairs = registered_pairs(study_of(plan), plan.size.registered)

    def outcome(done: Any) -> StepOutcome:
        from medcli.veriserum.pose.evaluate import PoseEvaluationSettings, evaluate_pose

        settings = PoseEvaluationSettings(anatomy=str(IMPLANT), ids=[(number, number) for number in pairs])
        start = evaluate_pose(plan.veriserum, None, plan.start_poses, settings)
        numbers = {}
        for words, name, unit in (*_TRANSLATION, _ROTATION):
            before, after = start.errors[name].median, done.errors[name].median
            numbers[f"registered, {words} off by"] = f"{after:.2f} {unit}; at the start {before:.2f}"
        return StepOutcome(numbers, out)

    return DemoTask(
        "evaluate-registered",
        "Measure the registered poses",
        "Compares them with the pose table, which holds the truth here; medians.",
        typed(
            "evaluate pose --root",
            plan.veriserum,
            "--predictions",
            _registered(plan),
            f"--anatomy {IMPLANT} --ids {','.join(map(str, pairs))} --out",
            out,
        ),
        outcome,
        reads=(_TABLES, "runs/register/poses.csv"),
        leaves=("runs/evaluate/registered/*",),
        needs=("register",),
    )
