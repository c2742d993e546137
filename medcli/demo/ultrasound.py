"""The steps on ultrasound: label, train, evaluate, predict, reconstruct."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from statistics import median
from typing import Any

from medcli.core.contact_sheet import contact_sheet
from medcli.core.image_io import read_rgb
from medcli.demo.data import ANATOMIES, frames_of, squared
from medcli.demo.plan import (
    ARCH,
    ENCODER,
    TEST_SPECIMENS,
    VAL_SPECIMENS,
    DemoPlan,
    DemoTask,
    StepOutcome,
    listed,
    typed,
)
from medcli.demo.result import ResultImage
from medcli.demo.training import first_and_last

_LR, _BATCH_SIZE = 5e-3, 4
_PER_MM = 10  # of the thresholds 0.0, 0.1, … 2.0 mm
_PANEL = 380
_FRAMES = ("ultrabones/*/**/UltrasoundImages/*",)
_LABELS, _TRACKING = "ultrabones/*/**/Labels/*", "ultrabones/*/**/tracking.csv"


def ultrasound_tasks(plan: DemoPlan) -> list[DemoTask]:
    """All steps on ultrasound, in order."""
    return [
        _label(plan),
        _label_refined(plan),
        _train(plan),
        _make_untrained(plan),
        _evaluate(plan, trained=False),
        _evaluate(plan, trained=True),
        _predict(plan),
        _reconstruct(plan),
    ]


def _label(plan: DemoPlan) -> DemoTask:
    specimens = (*plan.size.train_specimens, *VAL_SPECIMENS)
    return DemoTask(
        "label",
        "Label the ultrasound to learn from",
        "Cuts the bone surfaces of the CT with the image plane of every frame, at the pose that the tracking says.",
        typed("label ultrabones --root", plan.ultrabones, f"--specimens {listed(specimens)}"),
        lambda done: StepOutcome({"labelled": f"{done.frames} frames"}),
        reads=_FRAMES,
        leaves=_labels_of(specimens),
        needs=("data",),
        free=plan.parallel,
    )


def _label_refined(plan: DemoPlan) -> DemoTask:
    def outcome(done: Any) -> StepOutcome:
        moved = [record.refinement for record in done.records if record.refinement]
        frames = sum(one.refined for one in moved)
        by = sum(one.moved_mm * one.refined for one in moved) / max(frames, 1)
        seen = sum(record.visible_share * record.frames for record in done.records) / max(done.frames, 1)
        numbers = {
            "poses refined": f"{frames} of {done.frames}, by {by:.2f} mm",
            "seen by the probe": f"{100 * seen:.0f} % of the bone section",
        }
        return StepOutcome(numbers, done.records[0].folder, (_overlays(plan),))

    return DemoTask(
        "label-refined",
        "Refine the poses of the test specimens, and label them",
        "Tracking is off by some tenths of a millimetre. The pose of each frame is refined until bright pixels lie on"
        " the bone (Wu et al. 2025); labels are made from the refined poses.",
        typed("label ultrabones --root", plan.ultrabones, f"--specimens {listed(TEST_SPECIMENS)} --refine --overlay"),
        outcome,
        reads=_FRAMES,
        leaves=_labels_of(TEST_SPECIMENS),
        needs=("data",),
        free=plan.parallel,
    )


def _labels_of(specimens: Iterable[int]) -> tuple[str, ...]:
    """Patterns of the label files of some specimens."""
    return tuple(f"ultrabones/specimen{n:02d}/**/{kind}/*" for n in specimens for kind in ("Labels", "Labels_full"))


def _overlays(plan: DemoPlan) -> ResultImage:
    """Labels on a frame of each bone of the first specimens."""
    rows, notes = [], []
    for specimen in TEST_SPECIMENS[:2]:
        folder = plan.ultrabones / f"specimen{specimen:02d}"
        files = [next(iter(sorted(folder.glob(f"**/{anatomy}/record01/Overlays/*")))) for anatomy in ANATOMIES]
        rows.append([squared(read_rgb(file)) for file in files])
        notes.append(f"specimen {specimen}")
    return plan.picture(
        "labels.jpg",
        contact_sheet(rows, ANATOMIES, notes, _PANEL),
        "Four ultrasound frames with their labels laid over them",
        "Labels from the refined poses. Orange: bone that the probe can see (Labels); with blue: the whole section"
        " (Labels_full).",
    )


def _train(plan: DemoPlan) -> DemoTask:
    size, out = plan.size, plan.trained.parent

    def outcome(done: Any) -> StepOutcome:
        numbers = {
            "validation Dice": f"{done.best_metrics['val_dice']:.2f} at best (epoch {done.best_epoch})",
            "training loss": first_and_last(out / "metrics.csv", "train_loss"),
            "learned from": f"{done.train_frames} frames, {done.epochs} times each",
        }
        return StepOutcome(numbers, out)

    return DemoTask(
        "train-seg",
        "Train a bone segmentation",
        "A small network from random weights, on one core of the CPU. The published one (FPN on ResNet-34, 100 epochs)"
        " is what medcli train seg trains without these options; it wants a GPU.",
        typed(
            "train seg --root",
            plan.ultrabones,
            f"--train-specimens {listed(size.train_specimens)} --val-specimens {listed(VAL_SPECIMENS)} --arch {ARCH}",
            f"--encoder {ENCODER} --encoder-weights none --augment none --epochs {size.seg_epochs}",
            f"--batch-size {_BATCH_SIZE} --lr {_LR:g} --gpus 0 --seed {plan.seed} --out",
            out,
        ),
        outcome,
        reads=(*_FRAMES, _LABELS),
        leaves=("runs/seg/small/*",),
        needs=("label",),
        one_core=True,
    )


def _make_untrained(plan: DemoPlan) -> DemoTask:
    return DemoTask(
        "untrained",
        "Keep the same network untrained, to compare with",
        "Its weights are those that the training above began with.",
        typed(
            "checkpoint new",
            plan.untrained,
            f"--arch {ARCH} --encoder {ENCODER} --encoder-weights none --seed {plan.seed}",
        ),
        lambda made: StepOutcome({"random weights": f"{made.parameters:,}", "network": f"{ARCH} on {ENCODER}"}),
        leaves=("runs/untrained.*",),
    )


def _evaluate(plan: DemoPlan, trained: bool) -> DemoTask:
    which = "trained" if trained else "untrained"
    checkpoint = plan.trained if trained else plan.untrained
    out = plan.runs / "evaluate" / f"seg-{which}"

    def outcome(done: Any) -> StepOutcome:
        precision, recall = (_figure(done.paper.curves[key]) for key in ("precision", "recall"))
        numbers = {
            **{
                f"F1 at 1 mm, {which}, {name}": _figure(getattr(done, name).curves["f1"])
                for name in ("paper", "strict")
            },
            "precision and recall, paper": f"{precision} and {recall}",
            "frames": f"{len(frames_of(plan, TEST_SPECIMENS))} of specimens {listed(TEST_SPECIMENS)}",
        }
        return StepOutcome(numbers, out)

    about = (
        "Measures in millimetres of bone surface, on specimens that the network never saw, by the published protocol"
        " (paper) and by one that leaves no frame out (strict)."
    )
    return DemoTask(
        f"evaluate-{which}",
        f"Evaluate the {which} network on held-out specimens",
        about if trained else f"{about} What chance gives: the trained network must do better.",
        typed(
            "evaluate seg --root",
            plan.ultrabones,
            f"--specimens {listed(TEST_SPECIMENS)} --checkpoint",
            checkpoint,
            "--protocol both --device cpu --out",
            out,
        ),
        outcome,
        reads=(*_FRAMES, _LABELS, _TRACKING, plan.relative(checkpoint)),
        leaves=(f"{plan.relative(out)}/*",),
        needs=("label-refined", "train-seg" if trained else "untrained"),
        free=plan.parallel,
        one_core=True,
    )


def _predict(plan: DemoPlan) -> DemoTask:
    return DemoTask(
        "predict-seg",
        "Predict bone in every frame of the test specimens",
        "Writes a mask of each frame's own size beside it (Labels_pred), as for frames without any label.",
        typed(
            "predict seg --root",
            plan.ultrabones,
            f"--specimens {listed(TEST_SPECIMENS)} --checkpoint",
            plan.trained,
            "--overlay --device cpu",
        ),
        lambda done: StepOutcome({"masks": f"{done.frames}, {done.frames_without_bone} without bone"}, plan.ultrabones),
        reads=(*_FRAMES, plan.relative(plan.trained)),
        leaves=("ultrabones/*/**/Labels_pred/*.png",),
        needs=("data", "train-seg"),
        free=plan.parallel,
    )


def _reconstruct(plan: DemoPlan) -> DemoTask:
    out = plan.runs / "reconstruct"

    def outcome(done: Any) -> StepOutcome:
        found = [record.distance_mm for record in done.records if record.distance_mm]
        points = sum(record.points for record in done.records)
        numbers = {"points": f"{points:,} of {len(done.records)} sweeps"}
        if found:
            numbers = {
                "from the CT surface, median": f"{median(one.median for one in found):.2f} mm",
                "95 % of points within": f"{median(one.percentile_95 for one in found):.2f} mm",
                **numbers,
            }
        return StepOutcome(numbers, out)

    return DemoTask(
        "reconstruct",
        "Rebuild the bones in 3D from the predictions",
        "Puts every predicted pixel into space by the refined poses and measures how far it lies from the CT surface.",
        typed(
            "reconstruct ultrabones --root",
            plan.ultrabones,
            f"--specimens {listed(plan.size.rebuilt)} --mask Labels_pred --poses optimized --out",
            out,
        ),
        outcome,
        reads=("ultrabones/*/**/Labels_pred/*.png", _TRACKING),
        leaves=("runs/reconstruct/*",),
        needs=("label-refined", "predict-seg"),
        free=plan.parallel,
    )


def _figure(curves: Mapping[str, list[float]]) -> str:
    """The value of a curve at 1 mm over all bone; a network that finds nothing has none."""
    value = curves["all"][_PER_MM]
    return "none (nothing found)" if math.isnan(value) else f"{value:.3f}"
