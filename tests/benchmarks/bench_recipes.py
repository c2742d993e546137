"""Does ``--recipe strong``, or ``--tta``, segment better than the published training after the same processor time?

Run: ``python tests/benchmarks/bench_recipes.py [--seeds 1 2 3] [--minutes 2] [--data FOLDER]``

Both recipes train the same small network from the same random weights. The numbers of epochs that take equal processor
time are measured first, on one thread, since the clock also counts what other programs take. The learning rate of each
recipe is chosen from ``--rates`` and its own default, with a seed that is not reported, by strict F1 at 1 mm on the
validation specimens, which also choose the epoch. The test specimens take part in no choice; all legs are synthetic
and of different donors.

``--data`` adds the example record's frames (``specimen90`` to train, ``specimen91`` to evaluate), with the rates chosen
above, half the time, and the last epoch. Both are one leg: this shows how the recipes work on real frames, not how they
generalise. The defaults are short. ``--out`` keeps data and runs; the same command resumes there, given ``--epochs`` as
printed.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is loaded
sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np

from medcli.synthetic.ultrasound.dataset import SweepSettings, make_ultrabones
from medcli.ultrabones.evaluation.aggregation import SegmentationResult
from medcli.ultrabones.evaluation.evaluate import evaluate_segmentation
from medcli.ultrabones.evaluation.metrics import LISTED, THRESHOLDS_MM
from medcli.ultrabones.evaluation.prediction_sources import Model
from medcli.ultrabones.evaluation.settings import PROTOCOLS, EvaluationSettings
from medcli.ultrabones.segmentation.settings import LEARNING_RATES, RECIPES, SegmentationSettings
from medcli.ultrabones.segmentation.train import TrainResult, train_segmentation

TRAIN, VALIDATE, TEST = tuple(range(21, 33)), (41, 42, 43), tuple(range(51, 57))
ANATOMIES = ("fibula", "tibia")
LEARN_FRAMES, TEST_FRAMES = 2, 3
"""Of each sweep; a specimen has one of each anatomy."""
FRAME_SCALE = 0.5
REAL_TRAIN, REAL_TEST = (90,), (91,)
REAL_SHARE = 0.5
"""Of the time: a single sweep needs fewer steps."""
TUNING_SEED = 0


@dataclass(frozen=True)
class Trial:
    """One training: a recipe with a highest learning rate and a seed."""

    recipe: str
    lr: float
    seed: int

    @property
    def title(self) -> str:
        return f"{self.recipe}, {self.lr:g}"


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, nargs="+", default=[1], help=f"reported; {TUNING_SEED} chooses the rates")
    parser.add_argument("--minutes", type=float, default=0.25, help="processor time of a training")
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-2, 3e-3])
    parser.add_argument("--epochs", type=int, nargs=2, metavar=tuple(RECIPES), help="instead of measuring them")
    parser.add_argument("--arch", default="pan")
    parser.add_argument("--encoder", default="tu-mobilenetv3_small_050")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--data", type=Path, help="folder with specimen90 and specimen91 of the example record")
    parser.add_argument("--out", type=Path, help="keep data and runs here")
    options = parser.parse_args()
    if TUNING_SEED in options.seeds:
        parser.error(f"seed {TUNING_SEED} chooses the rates and is not reported")
    logging.basicConfig(level=logging.ERROR)
    with tempfile.TemporaryDirectory() as place:
        compare(options, options.out or Path(place))
    return 0


def compare(options: argparse.Namespace, out: Path) -> None:
    os.environ["MEDCLI_CACHE_DIR"] = str(out / "cache")
    settings = synthetic_settings(options, out / "data")
    epochs = dict(zip(RECIPES, options.epochs, strict=True)) if options.epochs else {}
    epochs = epochs or equal_epochs(settings, 60 * options.minutes, out / "measure")
    print("epochs:", ", ".join(f"{recipe} {count}" for recipe, count in epochs.items()), flush=True)
    rates = {recipe: choose_rate(settings, recipe, options.rates, epochs[recipe], out / "tune") for recipe in RECIPES}
    report("synthetic, test specimens", settings, rates, options.seeds, epochs, TEST, out / "synthetic")
    if options.data:
        real = replace(settings, root=options.data, train_specimens=REAL_TRAIN, val_specimens=REAL_TEST, labels="full")
        share = REAL_SHARE * frames_of(settings) / frames_of(real)
        fewer = {recipe: max(1, round(count * share)) for recipe, count in epochs.items()}
        report("example record, later frames", real, rates, options.seeds, fewer, REAL_TEST, out / "real")


def synthetic_settings(options: argparse.Namespace, root: Path) -> SegmentationSettings:
    """Makes the synthetic legs in ``root``, and says how to train on them; recipe, rate and epochs are set later."""
    if not root.exists():
        make_ultrabones(root, TRAIN + VALIDATE, anatomies=ANATOMIES, settings=SweepSettings(LEARN_FRAMES, FRAME_SCALE))
        make_ultrabones(root, TEST, anatomies=ANATOMIES, settings=SweepSettings(TEST_FRAMES, FRAME_SCALE))
    return SegmentationSettings(
        root=root,
        train_specimens=TRAIN,
        val_specimens=VALIDATE,
        batch_size=options.batch_size,
        arch=options.arch,
        encoder=options.encoder,
        encoder_weights="none",
        gpus="0",
    )


def frames_of(settings: SegmentationSettings) -> int:
    from medcli.ultrabones.dataset.splits import SpecimenSplit, split_frames

    split = SpecimenSplit(settings.train_specimens, settings.val_specimens)
    return len(split_frames(settings.root, split, settings.labels).train)


def equal_epochs(settings: SegmentationSettings, seconds: float, out: Path) -> dict[str, int]:
    """Epochs of each recipe that take this much processor time; measured in turns, the fastest of each counts."""
    few, more = 1, 5
    best: dict[tuple[str, int], float] = {}
    for turn in range(3):  # the first one also compiles and decodes
        for recipe in RECIPES:
            for count in (few, more):
                _, took = train(settings, Trial(recipe, LEARNING_RATES[recipe], turn), count, out)
                best[recipe, count] = min(took, best.get((recipe, count), np.inf))
    epochs = {}
    for recipe in RECIPES:
        each = (best[recipe, more] - best[recipe, few]) / (more - few)
        epochs[recipe] = max(1, round((seconds - best[recipe, few]) / each + few))
        print(f"{recipe}: {each:.2f} s of processor time an epoch", flush=True)
    return epochs


def choose_rate(settings: SegmentationSettings, recipe: str, rates: Sequence[float], epochs: int, out: Path) -> float:
    """The rate with the best strict F1 at 1 mm on the validation specimens, of ``rates`` and the recipe's own."""
    scores = {}
    for rate in sorted({*rates, LEARNING_RATES[recipe]}, reverse=True):
        trained, took = train(settings, Trial(recipe, rate, TUNING_SEED), epochs, out)
        result = evaluate(settings, trained.best, VALIDATE, tta=False)["strict"]
        scores[rate] = result.curves["f1"]["all"][LISTED[1]]
        print(f"validation: {recipe}, {rate:g}: F1 at 1 mm {scores[rate]:.3f}; {took:.0f} s", flush=True)
    return max(scores, key=lambda rate: scores[rate])


def report(
    name: str,
    settings: SegmentationSettings,
    rates: dict[str, float],
    seeds: Sequence[int],
    epochs: dict[str, int],
    test: tuple[int, ...],
    out: Path,
) -> None:
    """Train each recipe with each seed, evaluate, and print a Markdown table: mean (lowest to highest) of the seeds."""
    found: dict[tuple[str, bool, str], list[list[float]]] = {}
    for seed in seeds:
        for recipe, rate in rates.items():
            trial = Trial(recipe, rate, seed)
            trained, took = train(settings, trial, epochs[recipe], out)
            # Test frames must not choose the epoch: where no others validate, the last one counts.
            checkpoint = trained.last if test == settings.val_specimens else trained.best
            for tta in (False, True):
                for protocol, result in evaluate(settings, checkpoint, test, tta).items():
                    found.setdefault((trial.title, tta, protocol), []).append(row_of(result))
            f1 = found[trial.title, False, "strict"][-1][1]
            done = f"{trained.epochs} epochs, best {trained.best_epoch}, {took:.0f} s; strict F1 at 1 mm {f1:.3f}"
            print(f"{name}: {trial.title}, seed {seed}: {done}", flush=True)
    distances = " | ".join(f"F1 at {THRESHOLDS_MM[i]:g} mm" for i in LISTED)
    print(f"\n| {name} | protocol | {distances} | mean surface distance, mm | without prediction |")
    print("|---|---|" + "---:|" * (len(LISTED) + 2))
    for protocol in PROTOCOLS:
        for (title, tta, of), rows in found.items():
            if of == protocol:
                cells = [spread(values) for values in zip(*rows, strict=True)]
                print(f"| {title}{' --tta' if tta else ''} | {protocol} | {' | '.join(cells)} |", flush=True)
    print()


def train(settings: SegmentationSettings, trial: Trial, epochs: int, out: Path) -> tuple[TrainResult, float]:
    """A training and the seconds of processor time that it took here: 0 where it was done before."""
    settings = replace(settings, recipe=trial.recipe, lr=trial.lr, seed=trial.seed, epochs=epochs)
    folder = out / f"{trial.recipe}-{trial.lr:g}-{trial.seed}-{epochs}"
    start = time.process_time()
    return train_segmentation(settings, folder), time.process_time() - start


def evaluate(
    settings: SegmentationSettings, checkpoint: Path, specimens: tuple[int, ...], tta: bool
) -> dict[str, SegmentationResult]:
    """Results by protocol."""
    source = Model.from_checkpoint(checkpoint, "cpu", engine="torch", tta=tta)
    chosen = EvaluationSettings(specimens, settings.labels, PROTOCOLS, figures=False)
    return evaluate_segmentation(settings.root, source, chosen, workers=1).results


def row_of(result: SegmentationResult) -> list[float]:
    """F1 at the listed thresholds, mean surface distance in mm, share of the frames without prediction."""
    frames = result.frames + result.frames_skipped
    without = result.frames_skipped if result.protocol == "paper" else result.frames_without_prediction
    curve = result.curves["f1"]["all"]
    return [*(curve[i] for i in LISTED), result.scalars["assd_mm"], without / frames]


def spread(values: Sequence[float]) -> str:
    mean = f"{np.mean(values):.3f}"
    return mean if min(values) == max(values) else f"{mean} ({min(values):.3f} to {max(values):.3f})"


if __name__ == "__main__":
    sys.exit(main())
