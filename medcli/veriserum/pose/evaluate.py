"""Errors of poses on pairs with reference poses: ``medcli evaluate pose``."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd

from medcli.core.errors import DataError, UsageError, quantity
from medcli.core.files import make_output_folder, write_json, write_text
from medcli.core.progress import SILENT, Progress
from medcli.core.run_provenance import note_run
from medcli.core.run_records.earlier_run import refuse_other_run
from medcli.veriserum.dataset.pose_tables import matrices_of, pose_matrices
from medcli.veriserum.dataset.publication import ABOUT
from medcli.veriserum.dataset.study import VeriserumStudy
from medcli.veriserum.dataset.trial_splits import Ids, count_leaks
from medcli.veriserum.geometry.biplane import read_inter_plane
from medcli.veriserum.geometry.pair_geometry import PairGeometry
from medcli.veriserum.pose.estimates import Estimates, estimate, estimates_from_table
from medcli.veriserum.pose.evaluated_pairs import PoseEvaluationSettings, choose_evaluated
from medcli.veriserum.pose.inference import PosePredictor
from medcli.veriserum.pose.metrics import (
    POSE_MEASURES,
    PoseBias,
    PoseComparison,
    Summary,
    bias_of,
    pose_errors,
    summarise_errors,
)
from medcli.veriserum.pose.pairs import Pairs

_LOG = logging.getLogger(__name__)
Known = TypeVar("Known")
VERB, RESULT = "evaluate pose", "evaluation.json"
_OVERLAY_SIZE = 512


@dataclass(frozen=True)
class PoseEvaluation:
    """Result of ``medcli evaluate pose``; millimetres and degrees, missing values are NaN.

    Attributes:
        source: the checkpoint or the table of predictions.
        reference: origin of the reference poses.
        pairs: number of evaluated pairs.
        anatomies: number of pairs per ``anatomy_id``.
        split: the evaluated split and its rule.
        leaks: pairs with a neighbouring training pair of the same recording in nearly the same pose.
        errors: measure -> summary, see :data:`medcli.veriserum.pose.metrics.POSE_MEASURES`.
        bias: signed difference -> mean and standard deviation, see :data:`medcli.veriserum.pose.metrics.SIGNED`.
        mean_pose: the same as errors for the mean pose of the training pairs as estimate; None if unknown.
        single_plane: published errors of deep single-plane pose by percentile, to compare with.
        geometry: the inter-plane geometry used.
        out: folder with ``evaluation.json``, ``pairs.csv``, ``errors.png`` and ``overlays.jpg``.
        warnings: limitations of the results.
        failures: pairs that could not be evaluated, one line each.
    """

    source: str
    reference: str
    pairs: int
    anatomies: dict[int, int]
    split: str
    leaks: int
    errors: dict[str, Summary]
    bias: dict[str, PoseBias]
    mean_pose: dict[str, Summary] | None
    single_plane: dict[str, dict[int, float]]
    geometry: str
    out: Path | None
    warnings: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()
    schema: str = "medcli.evaluate.pose.v1"


def evaluate_pose(
    root: Path,
    checkpoint: PosePredictor | None = None,
    predictions: Path | None = None,
    settings: PoseEvaluationSettings | None = None,
    out: Path | None = None,
    name: str = "",
    progress: Progress = SILENT,
    overwrite: bool = False,
) -> PoseEvaluation:
    """Compare poses with reference poses.

    Args:
        root: the dataset's folder.
        checkpoint: a network that estimates the poses; or
        predictions: a table of estimated poses with columns id, tx, ty, tz, rz, rx, ry; where it has anatomy_id, the
            row of an id is that of the component evaluated.
        settings: selection and references.
        out: folder for results; None writes nothing.
        name: of the checkpoint, in the result.
        overwrite: replace the results of other poses or settings in ``out``.

    Raises:
        DataError: nothing to evaluate.
        UsageError: not exactly one source of poses; ids have several components and nothing says which is meant; or
            ``out`` has results of other poses or settings.
    """
    if (checkpoint is None) == (predictions is None):
        raise UsageError("give either --checkpoint or --predictions")
    settings = settings or PoseEvaluationSettings()
    options = {"root": Path(root), **vars(settings), "evaluated": name or str(predictions)}
    if out is not None:
        refuse_other_run(out, RESULT, VERB, options, overwrite)
        make_output_folder(out)
    study = VeriserumStudy(Path(root), settings.calibrated)
    chosen = choose_evaluated(study, settings, checkpoint.metadata if checkpoint else None, predictions)
    pairs, ids, train = chosen.pairs, chosen.ids, chosen.train
    found = _estimates(ids, pairs, checkpoint, predictions, progress)
    world = PairGeometry(pairs.study, pairs.poses, read_inter_plane(settings.inter_plane), settings.frame)
    poses, missing = _compare(found, pairs, world)
    errors, guess = _errors(poses, pairs, found.ids), None
    if checkpoint is not None:
        mean = matrices_of(checkpoint.metadata.mean_pose)
        always_mean = world.to_world(found.ids, np.broadcast_to(mean, found.poses.shape))
        guess = _errors(dataclasses.replace(poses, estimates=always_mean), pairs, found.ids)
    leaks = 0 if train is None else count_leaks(pairs.poses, train, found.ids)
    anatomies = errors["anatomy_id"].tolist()
    result = PoseEvaluation(
        source=name or str(predictions),
        reference=chosen.reference,
        pairs=len(found.ids),
        anatomies={number: anatomies.count(number) for number in sorted(set(anatomies))},
        split=chosen.split,
        leaks=leaks,
        errors=summarise_errors(errors),
        bias=bias_of(errors),
        mean_pose=None if guess is None else summarise_errors(guess),
        single_plane={one.name: dict(one.single_plane) for one in POSE_MEASURES if one.single_plane},
        geometry=f"planes: {settings.inter_plane or 'published geometry'}; poses in frame {settings.frame.value}",
        out=out,
        warnings=_warn(leaks, len(found.ids), missing),
        failures=tuple(found.failures),
    )
    if out is not None:
        write_json(out / RESULT, result)
        write_text(out / "pairs.csv", errors.round(5).to_csv(lineterminator="\n"))
        _draw(out, errors, guess, poses, pairs)
        device = checkpoint.device if checkpoint else ""
        note_run(out, VERB, ABOUT, Path(root), options, device=device)
    return result


def _estimates(
    ids: Ids, pairs: Pairs, checkpoint: PosePredictor | None, predictions: Path | None, progress: Progress
) -> Estimates:
    """The poses to evaluate, from the network or the table."""
    if checkpoint is not None:
        found = estimate(checkpoint, pairs.reader(checkpoint.metadata.size), pairs.select(ids), "evaluating", progress)
    else:
        assert predictions is not None
        found = estimates_from_table(predictions, pairs.poses.loc[ids.tolist(), "anatomy_id"])
    if not len(found.ids):
        raise DataError(f"none of {quantity(len(ids), 'pair')} could be evaluated: {found.failures[0]}")
    return found


def _compare(found: Estimates, pairs: Pairs, world: PairGeometry) -> tuple[PoseComparison, list[str]]:
    """Estimates with references, and reasons for missing geometry."""
    missing: list[str] = []

    def known(ask: Callable[[int], Known]) -> list[Known | None]:
        answers: list[Known | None] = []
        for number in found.ids.tolist():
            try:
                answers.append(ask(number))
            except DataError as error:
                answers.append(None)
                missing.append(error.message)
        return answers

    references = pose_matrices(pairs.poses.loc[found.ids.tolist()])
    poses = PoseComparison(
        estimates=world.to_world(found.ids, found.poses),
        references=world.to_world(found.ids, references),
        implants=known(world.implant),
        cameras=known(world.cameras),
        planes=world.planes,
    )
    return poses, list(dict.fromkeys(missing))


def _errors(poses: PoseComparison, pairs: Pairs, ids: Ids) -> pd.DataFrame:
    """Table of errors by id."""
    anatomies = pairs.poses.loc[ids.tolist(), "anatomy_id"].astype(int)
    table = pose_errors(poses).set_index(anatomies.index)
    table.insert(0, "anatomy_id", anatomies)
    return table


def _warn(leaks: int, pairs: int, missing: Sequence[str]) -> tuple[str, ...]:
    """Log the limitations of the results, and return them."""
    warnings = [f"no outline errors: {reason}" for reason in missing]
    if leaks:
        near = f"{leaks} of {quantity(pairs, 'pair')} have neighbours among the training pairs"
        warnings.insert(0, f"{near}: errors on new recordings are larger")
    for warning in warnings:
        _LOG.warning("%s", warning)
    return tuple(warnings)


def _draw(out: Path, errors: pd.DataFrame, guess: pd.DataFrame | None, poses: PoseComparison, pairs: Pairs) -> None:
    """Draw error distributions, and overlays of the best, median and worst pair with images, cameras and implant."""
    from medcli.veriserum.pose.figures import draw_errors, draw_pose_examples, rank

    draw_errors(errors, guess, out / "errors.png")
    examples = []
    for words, number in rank(errors):
        i = errors.index.tolist().index(number)
        implant, both = poses.implants[i], poses.cameras[i]
        if implant is None or both is None or number not in pairs.files:
            continue
        row = errors.loc[number]
        note = f"{words}: id {number}, {row['distance_mm']:.1f} mm, {row['rotation_deg']:.1f} degrees"
        shown = (poses.references[i], poses.estimates[i])
        examples.append((note, pairs.files[number], implant.mesh, both, shown))
    if examples:
        draw_pose_examples(examples, pairs.reader(_OVERLAY_SIZE), out / "overlays.jpg")
    else:  # none of an evaluation that this one replaces stay
        (out / "overlays.jpg").unlink(missing_ok=True)
