"""Reproduce the published result: the published protocol on the complete published test split, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medcli.core.errors import quantity
from medcli.core.files import write_json
from medcli.core.progress import SILENT, Progress
from medcli.ultrabones.dataset.constants import TEST_SPECIMENS
from medcli.ultrabones.evaluation.aggregation import PublishedDifference, SegmentationResult
from medcli.ultrabones.evaluation.evaluate import evaluate_segmentation
from medcli.ultrabones.evaluation.prediction_sources import PredictionSource
from medcli.ultrabones.evaluation.published_result import TOLERANCE, Verdict, compare_with_published
from medcli.ultrabones.evaluation.published_split import check_not_trained_on_test, check_published_split
from medcli.ultrabones.evaluation.settings import EvaluationSettings

RESULT = "reproduction.json"


@dataclass(frozen=True)
class Reproduction:
    """What ``medcli benchmark seg`` answers.

    Attributes:
        reproduced: every difference is within ``tolerance``, and every frame could be read.
        beyond: number of values that differ by more.
        largest: the largest difference.
        differences: of precision, recall and F1, in all, visible and invisible bone, at 0.5, 1 and 2 mm.
        train_specimens: what the network was trained on; None if unknown.
        failures: frames that could not be read.
        out: the evaluation itself.
    """

    reproduced: bool
    tolerance: float
    beyond: int
    largest: PublishedDifference
    differences: list[PublishedDifference]
    source: str
    train_specimens: list[int] | None
    frames: int
    frames_skipped: int
    failures: list[str]
    out: Path
    schema: str = "medcli.benchmark.seg.v1"

    @property
    def verdict(self) -> str:
        """In a line."""
        if self.reproduced:
            return f"reproduced: all {len(self.differences)} values within {self.tolerance:g} of the published ones"
        if not self.beyond:
            return f"not reproduced: {quantity(len(self.failures), 'frame')} could not be read"
        one = self.largest
        return (
            f"not reproduced: {self.beyond} of {len(self.differences)} values differ by more than {self.tolerance:g}, "
            f"most {one.measure} of {one.region} bone within {one.within_mm:g} mm ({one.found:.4f}, published "
            f"{one.published:.4f})"
        )


def reproduce_published(
    root: Path,
    source: PredictionSource,
    out: Path,
    train: Sequence[int] | None = None,
    workers: int | None = None,
    progress: Progress = SILENT,
) -> tuple[Reproduction, SegmentationResult]:
    """Evaluate as published and compare with the published curves.

    Args:
        root: the data folder.
        source: the network.
        out: folder of the evaluation, with the verdict in ``reproduction.json``.
        train: specimens that the network was trained on, if it does not say itself.

    Raises:
        DataError: the test split is not complete.
        UsageError: the network was trained on a specimen of it.
    """
    check_published_split(root)
    check_not_trained_on_test(train or source.train, source.name)
    settings = EvaluationSettings(specimens=TEST_SPECIMENS, train=tuple(train) if train else None)
    result = evaluate_segmentation(root, source, settings, out, workers, progress).results["paper"]
    differences = compare_with_published(result)
    verdict = Verdict.of(differences)
    done = Reproduction(
        reproduced=not verdict.beyond and not result.failures,
        tolerance=TOLERANCE,
        beyond=verdict.beyond,
        largest=verdict.largest,
        differences=differences,
        source=result.source,
        train_specimens=result.train_specimens,
        frames=result.frames,
        frames_skipped=result.frames_skipped,
        failures=result.failures,
        out=out,
    )
    write_json(out / RESULT, done)
    return done, result
