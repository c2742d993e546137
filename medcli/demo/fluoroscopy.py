"""The steps on X-ray pairs: calibrate, train and evaluate poses, register."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medcli.core.errors import quantity
from medcli.demo.data import IMPLANT, registered_pairs, study_of
from medcli.demo.plan import DemoPlan, DemoTask, StepOutcome, command_words, first_and_last_loss
from medcli.demo.result import BeforeAfter, ResultImage

_BACKBONE, _SIZE, _BATCH_SIZE, _LR = "resnet18", 64, 4, 3e-4
_IMAGES = ("veriserum/veriserum_collection_compressed/*",)
_CALIBRATED = "veriserum/calibrated/*.jpg"
_TABLES = "veriserum/csv_files/*.csv"
_TRANSLATION = (("in-plane", "in_plane_bs_mm", "mm"), ("out-of-plane", "out_of_plane_bs_mm", "mm"))
_ROTATION = ("rotation", "rotation_deg", "degrees")


def fluoroscopy_tasks(plan: DemoPlan) -> list[DemoTask]:
    """All steps on X-ray pairs, in order."""
    return [_calibrate(plan), _train(plan), _evaluate(plan), _register(plan), _check(plan)]


def _calibrate(plan: DemoPlan) -> DemoTask:
    out = plan.veriserum / "calibrated"

    def outcome(done: Any) -> StepOutcome:
        from medcli.demo.calibration_figures import compare

        shown = compare(plan.veriserum, out, study_of(plan), done.settings)
        before, after = shown.grid
        slider = BeforeAfter(
            plan.save_image("grid_before.jpg", before).path,
            plan.save_image("grid_after.jpg", after).path,
            "A quarter of the bead grid of plane bs with straight lines, before and after calibration",
            "Before calibration the beads deviate from the straight lines; after calibration they lie on them.",
        )
        numbers = {
            "distortion": f"{shown.distortion_mm:.1f} mm at most; corrected in "
            f"{quantity(done.done + done.skipped, 'image')}",
            "X-ray RMS error to ground truth": f"{shown.error_after:.1f} grey levels; before {shown.error_before:.1f}",
        }
        image = plan.save_image(
            "calibration.jpg",
            shown.sheet,
            "Bead grid and X-ray pairs in both planes, as recorded and calibrated",
            "As recorded and calibrated. Upper row: bead grid with straight lines. Bright streaks at the rim come from"
            " the published procedure, which replicates edge pixels; --resample area leaves this area black.",
        )
        return StepOutcome(numbers, out, (image,), slider)

    return DemoTask(
        "calibrate",
        "Correct the distortion of the X-ray images",
        "Image intensifiers distort straight lines by millimetres. This is the published procedure, bit for bit.",
        command_words("calibrate veriserum --root", plan.veriserum),
        outcome,
        reads=_IMAGES,
        writes=(_CALIBRATED,),
        needs=("data",),
        free=plan.parallel,
    )


def _train(plan: DemoPlan) -> DemoTask:
    out, epochs = plan.trained_pose.parent, plan.size.pose_epochs

    def outcome(done: Any) -> StepOutcome:
        numbers = {
            "pose training loss": first_and_last_loss(out),
            "trained on": f"{quantity(done.train_pairs, 'pair')}, {quantity(done.epochs, 'epoch')}",
            "published settings": "250 epochs on large images: hours on a GPU",
        }
        return StepOutcome(numbers, out)

    return DemoTask(
        "train-pose",
        "Train a network for the pose of a knee implant from both planes",
        "A few seconds show that the loss decreases, not how accurate such a network becomes: training with the"
        " published settings takes hours on a GPU.",
        command_words(
            "train pose --root",
            plan.veriserum,
            f"--anatomy {IMPLANT} --backbone {_BACKBONE} --backbone-weights none --size {_SIZE} --epochs {epochs}",
            f"--batch-size {_BATCH_SIZE} --lr {_LR:g} --gpus 0 --seed {plan.seed} --out",
            out,
        ),
        outcome,
        reads=(_CALIBRATED, _TABLES),
        writes=("runs/pose/small/*",),
        needs=("calibrate",),
        one_core=True,
    )


def _evaluate(plan: DemoPlan) -> DemoTask:
    out = plan.runs / "evaluate" / "pose"

    def outcome(done: Any) -> StepOutcome:
        numbers = {}
        for words, name, unit in (_ROTATION, *_TRANSLATION):
            guess = f"; mean pose: {done.mean_pose[name].mean:.1f}" if done.mean_pose else ""
            numbers[f"{words} error"] = f"{done.errors[name].mean:.1f} {unit}{guess}"
        numbers["pairs"] = f"{done.pairs} from held-out trials"
        return StepOutcome(numbers, out)

    return DemoTask(
        "evaluate-pose",
        "Compare the pose network with always predicting the mean pose",
        "Mean errors on held-out trials. After so little training the rotation may be better than the mean pose, but"
        " the position hardly is; out of plane, too, the mean pose can be as good.",
        command_words(
            "evaluate pose --root", plan.veriserum, "--checkpoint", plan.trained_pose, "--device cpu --out", out
        ),
        outcome,
        reads=(_CALIBRATED, _TABLES, plan.relative(plan.trained_pose)),
        writes=("runs/evaluate/pose/*",),
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
            "registered": quantity(len(table), "pair"),
            "gradient correlation": f"{after:.2f}; before {before:.2f}, 1 is perfect",
            "mean displacement": f"{table['displacement_mm'].mean():.1f} mm, {table['rotation_deg'].mean():.1f} deg",
        }
        image = ResultImage(
            plan.relative(overlays / f"register_{int(table['id'].iloc[0]):06d}.png"),
            "Outlines of the implant on both X-ray planes at the start and after registration",
            "Outline of the implant at the start pose (orange) and registered (green).",
        )
        return StepOutcome(numbers, out.parent, (image,))

    return DemoTask(
        "register",
        "Register implants to X-ray pairs",
        "Optimises the implant pose, from a start with errors of up to 4 mm and 4 degrees per parameter, until its"
        " rendering matches both planes.",
        command_words(
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
        writes=("runs/register/*.csv", "runs/register/overlays/*"),
        needs=("calibrate",),
        free=plan.parallel,
    )


def _check(plan: DemoPlan) -> DemoTask:
    out = plan.runs / "evaluate" / "registered"
    pairs = registered_pairs(study_of(plan), plan.size.registered)

    def outcome(done: Any) -> StepOutcome:
        from medcli.veriserum.pose.evaluate import evaluate_pose
        from medcli.veriserum.pose.evaluated_pairs import PoseEvaluationSettings

        settings = PoseEvaluationSettings(anatomy=str(IMPLANT), ids=[(number, number) for number in pairs])
        start = evaluate_pose(plan.veriserum, None, plan.start_poses, settings)
        numbers = {}
        for words, name, unit in (*_TRANSLATION, _ROTATION):
            before, after = start.errors[name].median, done.errors[name].median
            numbers[f"registered, {words} error"] = f"{after:.2f} {unit}; at the start {before:.2f}"
        return StepOutcome(numbers, out)

    return DemoTask(
        "evaluate-registered",
        "Evaluate the registered poses",
        "Compares them with the pose table, which contains the ground truth here; median errors.",
        command_words(
            "evaluate pose --root",
            plan.veriserum,
            "--predictions",
            _registered(plan),
            f"--anatomy {IMPLANT} --ids {','.join(map(str, pairs))} --out",
            out,
        ),
        outcome,
        reads=(_TABLES, "runs/register/poses.csv"),
        writes=("runs/evaluate/registered/*",),
        needs=("register",),
    )
