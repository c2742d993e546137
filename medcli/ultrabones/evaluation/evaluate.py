"""How good a segmentation is, on frames with labels: ``medcli evaluate seg``.

Frames are decoded, resized and measured on all cores; a model's forward passes run in between. The image is decoded
here and not taken from the frame cache, since which pixels are *visible* depends on grey values before rounding.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medcli.core import plausibility
from medcli.core.errors import DataError, quantity
from medcli.core.files import make_output_folder, usable_cores, write_json, write_text
from medcli.core.image_io import use_single_threaded_codecs
from medcli.core.json_text import read_object
from medcli.core.made_with import differences
from medcli.core.progress import SILENT, Progress
from medcli.core.run_provenance import is_synthetic, note_run
from medcli.ultrabones.dataset.constants import PIXEL_SPACING_MM
from medcli.ultrabones.dataset.folder_layout import FULL_LABEL_FOLDERS, PARTIAL_LABEL_FOLDERS
from medcli.ultrabones.dataset.frame_index import index_frames, positions_by_record
from medcli.ultrabones.dataset.presence import unmarked_masks
from medcli.ultrabones.dataset.publication import ABOUT
from medcli.ultrabones.dataset.published_networks import UNKNOWN_TRAINING
from medcli.ultrabones.dataset.splits import DonorOverlap, choose_frames, donor_overlap, donors_in, label_column
from medcli.ultrabones.dataset.tracking_table import read_tracking
from medcli.ultrabones.evaluation.aggregation import (
    EvaluationContext,
    SegmentationResult,
    frame_table,
    summarise_frames,
)
from medcli.ultrabones.evaluation.metrics import LISTED, FrameScore
from medcli.ultrabones.evaluation.prediction_sources import LoadedFrame, Prediction, PredictionSource, shrink_mask
from medcli.ultrabones.evaluation.protocols import paper_score, strict_score
from medcli.ultrabones.evaluation.published_result import compare_with_published, is_of_published_test
from medcli.ultrabones.evaluation.settings import PROTOCOLS, EvaluationSettings

logger = logging.getLogger(__name__)
_BATCH = 64
_OTHERS = ("examples.png", "reproduction.json")
"""What else may lie beside an evaluation: figures, and the verdict of ``medcli benchmark seg`` on the earlier one."""


@dataclass(frozen=True)
class Evaluation:
    """Results by protocol, and where they were written."""

    results: dict[str, SegmentationResult]
    out: Path | None

    def answer(self) -> SegmentationResult | BothResults:
        """The result of the one protocol, or of both under their names."""
        if len(self.results) == 1:
            return next(iter(self.results.values()))
        return BothResults(**self.results)


@dataclass(frozen=True)
class BothResults:
    """The same frames by both protocols."""

    paper: SegmentationResult
    strict: SegmentationResult

    @property
    def failures(self) -> list[str]:
        return self.paper.failures


@dataclass
class _Scores:
    """Scores of the frames read, by protocol, labelled frames in which nothing was predicted, and what went wrong."""

    by_protocol: dict[str, list[FrameScore | None]]
    missed: dict[str, list[bool]]
    rows: list[int] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def evaluate_segmentation(
    root: Path,
    source: PredictionSource,
    settings: EvaluationSettings | None = None,
    out: Path | None = None,
    workers: int | None = None,
    progress: Progress = SILENT,
) -> Evaluation:
    """Compare predictions with labels.

    Args:
        root: the data folder.
        source: where predictions come from (``prediction_sources.StoredMasks`` or ``Model``).
        settings: what is evaluated and how.
        out: folder for ``evaluation.json``, a table of frames, and images; None writes nothing.
        workers: threads; default: one for each usable core.
        progress: shows how far it is.

    Raises:
        DataError: no frame to evaluate, or no prediction at all.
    """
    settings = settings or EvaluationSettings()
    if out is not None:
        make_output_folder(out)
    index = index_frames(root)
    frames = choose_frames(index, settings.specimens, settings.labels, Path(root))
    source.attach(frames)
    _warn_of_labels(source, settings.labels)
    train = source.train if settings.train is None else settings.train
    overlap = _warn_of_overlap(frames, train, donors_in(index), source.is_network)
    if chosen_by := sorted({*source.validated} & {*frames["specimen"].tolist()}):
        which = " ".join(map(str, chosen_by))
        logger.warning("specimen %s: validation on it chose this checkpoint, so figures on it are optimistic", which)
    scores = _score_all(frames, source, settings, workers or usable_cores(), progress)
    if not scores.rows:
        raise DataError(f"none of {quantity(len(frames), 'frame')} could be evaluated: {scores.failures[0]}")
    trained = None if train is None else sorted(set(train))
    about = EvaluationContext(source.name, settings.labels, settings.visible_grey, overlap, scores.failures, trained)
    done = frames.iloc[scores.rows].reset_index(drop=True)
    results = {
        name: summarise_frames(name, done, mine, about, scores.missed[name])
        for name, mine in scores.by_protocol.items()
    }
    for folder, masks in sorted(Counter(Path(path).parent.name for path in source.unmarked).items()):
        logger.warning("%s", unmarked_masks(masks, folder))
    for result in results.values():
        if not result.frames:
            logger.warning("%s", _why_no_score(result))
    if not is_synthetic(Path(root)):
        results = {name: _beside_published(result) for name, result in results.items()}
    if out is not None:
        _write(out, done, source, scores.by_protocol, results, settings)
        note_run(out, "evaluate seg", ABOUT, Path(root), settings, device=source.device)
    return Evaluation(results, out)


def _why_no_score(result: SegmentationResult) -> str:
    """Why all frames are left out: without a label pixel by any protocol, without a predicted one by the paper's."""
    missed = result.frames_without_prediction if result.protocol == "paper" else 0
    lacks = "a label pixel" if not missed else "a predicted or a label pixel"
    hint = "; --protocol strict counts frames without a prediction" if missed else ""
    left_out = f"every frame is left out ({quantity(result.frames_skipped, 'frame')}), without {lacks}"
    return f"{result.protocol} protocol: no score, since {left_out}{hint}"


def _beside_published(result: SegmentationResult) -> SegmentationResult:
    return replace(result, published=compare_with_published(result)) if is_of_published_test(result) else result


def _warn_of_labels(source: PredictionSource, labels: str) -> None:
    """Say so where labels are compared with labels."""
    folders = {"partial": PARTIAL_LABEL_FOLDERS, "full": FULL_LABEL_FOLDERS}.get(labels, (labels,))
    if source.name in folders:
        logger.warning("the masks in %s are the labels: compared with themselves, they say nothing", source.name)
    elif source.name in (*PARTIAL_LABEL_FOLDERS, *FULL_LABEL_FOLDERS):
        logger.warning("the masks in %s are labels, cut from the CT mesh, and no predictions", source.name)


def _warn_of_overlap(
    frames: pd.DataFrame, train: Sequence[int] | None, donors: Mapping[int, str], is_network: bool
) -> list[DonorOverlap] | None:
    if train is None:
        if is_network:
            logger.warning("%s", UNKNOWN_TRAINING)
        return None
    tested = sorted(set(frames["specimen"].tolist()))
    seen = sorted(set(train) & set(tested))
    if seen:
        logger.warning("specimen %s: the model was trained on it", " ".join(map(str, seen)))
    overlap = donor_overlap(train, tested, donors)
    for one in overlap:
        if set(one.test) - set(one.train):
            logger.warning("%s: results on it are not those of a new person", one)
    return overlap


def _score_all(
    frames: pd.DataFrame, source: PredictionSource, settings: EvaluationSettings, workers: int, progress: Progress
) -> _Scores:
    use_single_threaded_codecs()
    spacings = _spacings_mm(frames) if "strict" in settings.protocols else [PIXEL_SPACING_MM] * len(frames)
    scores = _Scores({protocol: [] for protocol in settings.protocols}, {name: [] for name in settings.protocols})

    def measure(frame: LoadedFrame, prediction: Prediction) -> list[tuple[FrameScore | None, bool]]:
        grey, visible = frame.grey, settings.visible_grey
        found: list[tuple[FrameScore | None, bool]] = []
        for protocol in settings.protocols:
            if protocol == "paper":
                mask, label = prediction.small, shrink_mask(frame.label)
                score = paper_score(grey, mask, label, visible)
            else:
                mask, label = prediction.native, frame.label
                score = strict_score(grey, mask, label, spacings[frame.row], visible)
            found.append((score, bool(label.any()) and not mask.any()))
        return found

    images, masks = frames["image"].tolist(), frames[label_column(settings.labels)].tolist()

    def load(row: int) -> LoadedFrame:
        _check_spacing(spacings[row])
        return source.load(row, images[row], masks[row])

    with (
        progress.task("evaluating", len(frames), "frames") as advance,
        ThreadPoolExecutor(workers) as pool,
    ):
        for batch in _load_ahead(pool, frames, load, scores.failures, advance):
            measured = pool.map(measure, batch, source.predict(batch))
            for frame, found in zip(batch, measured, strict=True):
                scores.rows.append(frame.row)
                for protocol, (score, is_missed) in zip(settings.protocols, found, strict=True):
                    scores.by_protocol[protocol].append(score)
                    scores.missed[protocol].append(is_missed)
                advance(1)
    return scores


def _load_ahead(
    pool: ThreadPoolExecutor,
    frames: pd.DataFrame,
    load: Callable[[int], LoadedFrame],
    failures: list[str],
    advance: Callable[[float], None],
) -> Iterator[list[LoadedFrame]]:
    """Batches of frames that could be read; the next batch is read while the caller uses this one."""
    images = frames["image"].tolist()

    def begin(start: int) -> list[Future[LoadedFrame]]:
        rows = range(start, min(start + _BATCH, len(frames)))
        return [pool.submit(load, row) for row in rows]

    ahead = begin(0)
    for start in range(0, len(frames), _BATCH):
        current, ahead = ahead, begin(start + _BATCH)
        loaded = []
        for row, future in enumerate(current, start):
            try:
                loaded.append(future.result())
            except DataError as error:
                named = images[row] in error.message
                failures.append(error.message if named else f"{images[row]}: {error.message}")
                advance(1)
        yield loaded


def _check_spacing(spacing_mm: float) -> None:
    if problem := plausibility.MEASURED_SPACING_MM.problem(spacing_mm, "its space_factor in the tracking table"):
        raise DataError(problem)


def _spacings_mm(frames: pd.DataFrame) -> list[float]:
    """Edge of each frame's native pixels: the tracking table's ``space_factor``, or the published one."""
    spacings = np.full(len(frames), PIXEL_SPACING_MM)
    for record, rows in sorted(positions_by_record(frames).items()):
        try:
            factors = read_tracking(record)["space_factor"].to_numpy()
        except DataError:
            continue
        mine = factors[frames["tracking"].to_numpy()[rows]]
        spacings[rows] = np.where(np.isnan(mine), PIXEL_SPACING_MM, mine)
    return spacings.tolist()


def _write(
    out: Path,
    frames: pd.DataFrame,
    source: PredictionSource,
    scores: dict[str, list[FrameScore | None]],
    results: dict[str, SegmentationResult],
    settings: EvaluationSettings,
) -> None:
    _remove_earlier(out, source, settings)
    only = next(iter(results.values()))
    write_json(out / "evaluation.json", results if len(results) > 1 else only)
    for name in results:
        rows = frame_table(frames, scores[name])
        write_text(out / f"frames_{name}.csv", rows.to_csv(index=False, lineterminator="\n"))
    if not settings.figures:
        return
    # Last, since matplotlib takes as long to import as some evaluations do.
    from medcli.ultrabones.evaluation.figures import draw_curves, draw_segmentation_examples, write_examples

    for name, result in results.items():
        draw_curves(result, out / f"curves_{name}.png")
    ranked = rank_frames(next(iter(scores.values())))
    chosen = frames.iloc[[row for _, row, _ in ranked]].reset_index(drop=True)
    if ranked:
        source.attach(chosen)
    masks = chosen[label_column(settings.labels)]
    loaded = [source.load(i, image, mask) for i, (image, mask) in enumerate(zip(chosen["image"], masks, strict=True))]
    titles = [
        f"{rank}: specimen {row.specimen} {row.anatomy} record {row.record}, {row.timestamp}; F1 {value:.2f}"
        for (rank, _, value), row in zip(ranked, chosen.itertuples(), strict=True)
    ]
    images = list(zip(chosen["image"].tolist(), loaded, source.predict(loaded), titles, strict=True))
    draw_segmentation_examples(images, out / "examples.png")
    write_examples(images, out / "examples")


def _remove_earlier(out: Path, source: PredictionSource, settings: EvaluationSettings) -> None:
    """Remove all that an earlier evaluation left in the folder, so that none of it lies beside other numbers."""
    there = read_object(out / "evaluation.json")
    earlier = {name: there[name] for name in PROTOCOLS if isinstance(there.get(name), dict)} or {"": there}
    one = next(iter(earlier.values()))
    before = {name: one.get(name) for name in ("source", "labels", "visible_grey")}
    before["protocol"] = " and ".join(str(each.get("protocol")) for each in earlier.values())
    now: dict[str, Any] = {"protocol": " and ".join(settings.protocols), "source": source.name}
    now |= {"labels": settings.labels, "visible_grey": settings.visible_grey}
    if there and (differing := differences(before, now)):
        logger.warning("the evaluation in %s is replaced by another: %s", out, ", ".join(differing))
    written = [name for protocol in PROTOCOLS for name in (f"frames_{protocol}.csv", f"curves_{protocol}.png")]
    examples = sorted((out / "examples").glob("[0-9][0-9].jpg"))
    for path in (out / "examples" / "examples.json", *examples, *(out / name for name in (*written, *_OTHERS))):
        path.unlink(missing_ok=True)
    with suppress(OSError):
        (out / "examples").rmdir()


def rank_frames(scores: Sequence[FrameScore | None], count: int = 3) -> list[tuple[str, int, float]]:
    """The best, middle and worst frames by F1 at 0.5 mm: rank, place in ``scores``, F1."""
    values = np.array(
        [score.curves["f1"][0, LISTED[0]] if score is not None and score.labelled else np.nan for score in scores]
    )
    order = [int(i) for i in np.argsort(-values, kind="stable") if not np.isnan(values[i])]
    middle = max((len(order) - count) // 2, 0)
    picks = {"best": order[:count], "median": order[middle : middle + count], "worst": order[-count:]}
    return [(rank, i, float(values[i])) for rank, rows in picks.items() for i in rows]
