"""The steps on ultrasound: label, train, evaluate, predict, reconstruct."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from statistics import median
from typing import Any

from medcli.core.contact_sheet import contact_sheet
from medcli.core.errors import quantity
from medcli.core.image_io import read_rgb
from medcli.demo.data import ANATOMIES, frames_of, pad_to_square
from medcli.demo.plan import (
    ARCH,
    ENCODER,
    TEST_SPECIMENS,
    VAL_SPECIMENS,
    DemoPlan,
    DemoTask,
    StepOutcome,
    command_words,
    first_and_last_loss,
    listed,
)
from medcli.demo.result import ResultImage

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
        *([_refine_sweep(plan)] if plan.size.motion_frames else []),
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
        "Label the ultrasound for training",
        "Intersects the CT bone surfaces with the image plane of every frame at its tracked pose.",
        command_words("label ultrabones --root", plan.ultrabones, f"--specimens {listed(specimens)}"),
        lambda done: StepOutcome({"labelled": quantity(done.frames, "frame")}),
        reads=_FRAMES,
        writes=_labels_of(specimens),
        needs=("data",),
        free=plan.parallel,
    )


def _label_refined(plan: DemoPlan) -> DemoTask:
    def outcome(done: Any) -> StepOutcome:
        refinements = [record.refinement for record in done.records if record.refinement]
        frames = sum(one.refined for one in refinements)
        mean_mm = sum(one.displacement_mm * one.refined for one in refinements) / max(frames, 1)
        visible = sum(record.visible_share * record.frames for record in done.records) / max(done.frames, 1)
        numbers = {
            "poses refined": f"{frames} of {done.frames}, by {mean_mm:.2f} mm",
            "visible to the probe": f"{100 * visible:.0f} % of the bone section",
        }
        return StepOutcome(numbers, done.records[0].folder, (_overlays(plan),))

    return DemoTask(
        "label-refined",
        "Refine the poses of the test specimens and label them",
        "Tracking has errors of some tenths of a millimetre. The pose of each frame is refined until bright pixels lie"
        " on the bone (Wu et al. 2025); the labels are made from the refined poses.",
        command_words(
            "label ultrabones --root", plan.ultrabones, f"--specimens {listed(TEST_SPECIMENS)} --refine --overlay"
        ),
        outcome,
        reads=_FRAMES,
        writes=_labels_of(TEST_SPECIMENS),
        needs=("data",),
        free=plan.parallel,
    )


def _refine_sweep(plan: DemoPlan) -> DemoTask:
    def outcome(done: Any) -> StepOutcome:
        moved = done.records[0].refinement
        echoes = moved.checks[0]
        numbers = {
            "held-out gain": f"{moved.held_out_gain:.2f} times, {100 * moved.held_out_better:.0f} % of frames better",
            "echoes to the CT surface": f"{echoes.median_mm[1]:.2f} mm; at the tracked poses {echoes.median_mm[0]:.2f}",
            "change from frame to frame": f"{moved.jitter_mm:.3f} mm, {moved.jitter_deg:.3f} degrees",
        }
        return StepOutcome(numbers, plan.drifting)

    return DemoTask(
        "refine-sweep",
        "Refine a sweep with drifting tracking as one motion",
        "One smooth correction of the whole sweep, as stiff as frames ask for that it was fitted without. Echoes, found"
        " in the images without the mesh, check it.",
        command_words("label ultrabones --root", plan.drifting, "--refine sweep --kind partial"),
        outcome,
        reads=("drifting/*/**/UltrasoundImages/*",),
        writes=("drifting/*/**/Labels/*", "drifting/*/**/refinement.csv"),
        needs=("data",),
        free=plan.parallel,
    )


def _labels_of(specimens: Iterable[int]) -> tuple[str, ...]:
    """Patterns of the label files of some specimens."""
    return tuple(f"ultrabones/specimen{n:02d}/**/{kind}/*" for n in specimens for kind in ("Labels", "Labels_full"))


def _overlays(plan: DemoPlan) -> ResultImage:
    """Label overlays of one frame per bone of the first specimens."""
    rows, titles = [], []
    for specimen in TEST_SPECIMENS[:2]:
        folder = plan.ultrabones / f"specimen{specimen:02d}"
        files = [next(iter(sorted(folder.glob(f"**/{anatomy}/record01/Overlays/*")))) for anatomy in ANATOMIES]
        rows.append([pad_to_square(read_rgb(file)) for file in files])
        titles.append(f"specimen {specimen}")
    return plan.save_image(
        "labels.jpg",
        contact_sheet(rows, ANATOMIES, titles, _PANEL),
        "Four ultrasound frames with their labels overlaid",
        "Labels from the refined poses. Orange: bone that the probe can see (Labels); with blue: the whole section"
        " (Labels_full).",
    )


def _train(plan: DemoPlan) -> DemoTask:
    size, out = plan.size, plan.trained.parent

    def outcome(done: Any) -> StepOutcome:
        numbers = {
            "validation Dice": f"{done.best_metrics['val_dice']:.2f} at best (epoch {done.best_epoch})",
            "training loss": first_and_last_loss(out),
            "trained on": f"{quantity(done.train_frames, 'frame')}, {quantity(done.epochs, 'epoch')}",
        }
        return StepOutcome(numbers, out)

    return DemoTask(
        "train-seg",
        "Train a bone segmentation network",
        "A small network from random weights, on one CPU core. Without these options medcli train seg trains the"
        " published network (FPN on ResNet-34, 100 epochs), which requires a GPU.",
        command_words(
            "train seg --root",
            plan.ultrabones,
            f"--train-specimens {listed(size.train_specimens)} --val-specimens {listed(VAL_SPECIMENS)} --arch {ARCH}",
            f"--encoder {ENCODER} --encoder-weights none --augment none --epochs {size.seg_epochs}",
            f"--batch-size {_BATCH_SIZE} --lr {_LR:g} --gpus 0 --seed {plan.seed} --out",
            out,
        ),
        outcome,
        reads=(*_FRAMES, _LABELS),
        writes=("runs/seg/small/*",),
        needs=("label",),
        one_core=True,
    )


def _make_untrained(plan: DemoPlan) -> DemoTask:
    return DemoTask(
        "untrained",
        "Save the same network untrained for comparison",
        "Its weights are the initial weights of the training above.",
        command_words(
            "checkpoint new",
            plan.untrained,
            f"--arch {ARCH} --encoder {ENCODER} --encoder-weights none --seed {plan.seed}",
        ),
        lambda made: StepOutcome({"random weights": f"{made.parameters:,}", "network": f"{ARCH} on {ENCODER}"}),
        writes=("runs/untrained.*",),
    )


def _evaluate(plan: DemoPlan, trained: bool) -> DemoTask:
    which = "trained" if trained else "untrained"
    checkpoint = plan.trained if trained else plan.untrained
    out = plan.runs / "evaluate" / f"seg-{which}"

    def outcome(done: Any) -> StepOutcome:
        precision, recall = (_value_at_1_mm(done.paper.curves[key]) for key in ("precision", "recall"))
        numbers = {
            **{
                f"F1 at 1 mm, {which}, {name}": _value_at_1_mm(getattr(done, name).curves["f1"])
                for name in ("paper", "strict")
            },
            "precision and recall, paper": f"{precision} and {recall}",
            "frames": f"{len(frames_of(plan, TEST_SPECIMENS))} of specimens {listed(TEST_SPECIMENS)}",
        }
        return StepOutcome(numbers, out)

    about = (
        "Distances between bone surfaces in millimetres on held-out specimens, by the published protocol (paper) and by"
        " one that excludes no frame (strict)."
    )
    return DemoTask(
        f"evaluate-{which}",
        f"Evaluate the {which} network on held-out specimens",
        about if trained else f"{about} This is chance level: the trained network must do better.",
        command_words(
            "evaluate seg --root",
            plan.ultrabones,
            f"--specimens {listed(TEST_SPECIMENS)} --checkpoint",
            checkpoint,
            "--protocol both --device cpu --out",
            out,
        ),
        outcome,
        reads=(*_FRAMES, _LABELS, _TRACKING, plan.relative(checkpoint)),
        writes=(f"{plan.relative(out)}/*",),
        needs=("label-refined", "train-seg" if trained else "untrained"),
        free=plan.parallel,
        one_core=True,
    )


def _predict(plan: DemoPlan) -> DemoTask:
    return DemoTask(
        "predict-seg",
        "Predict bone in every frame of the test specimens",
        "Writes a mask of the frame's size for each frame (Labels_pred); no label is needed.",
        command_words(
            "predict seg --root",
            plan.ultrabones,
            f"--specimens {listed(TEST_SPECIMENS)} --checkpoint",
            plan.trained,
            "--overlay --device cpu --overwrite",
        ),
        lambda done: StepOutcome({"masks": f"{done.frames}, {done.frames_without_bone} without bone"}, plan.ultrabones),
        reads=(*_FRAMES, plan.relative(plan.trained)),
        writes=("ultrabones/*/**/Labels_pred/*.png",),
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
                "median distance to the CT surface": f"{median(one.median for one in found):.2f} mm",
                "95 % of points within": f"{median(one.percentile_95 for one in found):.2f} mm",
                **numbers,
            }
        return StepOutcome(numbers, out)

    return DemoTask(
        "reconstruct",
        "Reconstruct the bones in 3D from the predictions",
        "Maps every predicted pixel into CT space by the refined poses and measures its distance to the CT surface.",
        command_words(
            "reconstruct ultrabones --root",
            plan.ultrabones,
            f"--specimens {listed(plan.size.rebuilt)} --mask Labels_pred --poses optimized --out",
            out,
        ),
        outcome,
        reads=("ultrabones/*/**/Labels_pred/*.png", _TRACKING),
        writes=("runs/reconstruct/*",),
        needs=("label-refined", "predict-seg"),
        free=plan.parallel,
    )


def _value_at_1_mm(curves: Mapping[str, list[float]]) -> str:
    """The value of a curve at 1 mm over all bone; undefined if the network detects nothing."""
    value = curves["all"][_PER_MM]
    return "none (nothing detected)" if math.isnan(value) else f"{value:.3f}"
