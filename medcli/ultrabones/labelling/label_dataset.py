"""Make labels of tracked ultrasound from CT bone meshes (``medcli label ultrabones``)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from medcli.core.errors import MedcliError, UsageError, quantity
from medcli.core.files import make_output_folder, usable_cores
from medcli.core.image_io import use_single_threaded_codecs
from medcli.core.progress import SILENT, Progress, record_part
from medcli.core.run_provenance import note_run
from medcli.core.run_records.options import note_path
from medcli.ultrabones.dataset.folder_layout import mask_name
from medcli.ultrabones.dataset.probe import ULTRABONES100K, Probe
from medcli.ultrabones.dataset.publication import about_records
from medcli.ultrabones.dataset.records import (
    INITIAL,
    OPTIMIZED,
    Poses,
    Sweep,
    contradicting_timestamps,
    find_sweeps,
    read_poses,
)
from medcli.ultrabones.dataset.tracking_table import has_optimized_poses, tracking_file
from medcli.ultrabones.geometry.bone_meshes import for_each_record
from medcli.ultrabones.geometry.bone_surface import Surface
from medcli.ultrabones.labelling.label_origin import STAMP
from medcli.ultrabones.labelling.label_record import (
    FrameLabel,
    RecordLabelling,
    label_overlay_path,
    label_sweep,
    refuse_other_labels,
    refuse_unless_near,
    refuse_unrefined,
)
from medcli.ultrabones.labelling.label_rules import BOTH, FIRST_RUN, refuse_initial_poses, rules_of, visible_rule
from medcli.ultrabones.pose_refinement.refine_frame import RefineSettings
from medcli.ultrabones.pose_refinement.refine_record import plan_refinement, refine_sweep
from medcli.ultrabones.pose_refinement.refinement_report import FRAMES, SWEEP
from medcli.ultrabones.pose_refinement.refinement_summary import SweepRefinement, shared_constant

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LabelSettings:
    """What to write, and from what.

    Attributes:
        kind: name of a label rule, or ``both`` for full and partial labels.
        poses: ``initial`` or ``optimized``; None takes the optimised ones where the table has them.
        meshes: folder of meshes, None for the specimen's own.
        merged: use the merged mesh of all bones.
        visible_rule: what counts as visible, one of :data:`medcli.ultrabones.labelling.label_rules.VISIBLE_RULES`.
        refine: refine the poses first: ``frames`` (or True) each by itself, ``sweep`` as one motion; False: do not.
        refine_settings: how.
        overlay: also draw labels over frames.
        overwrite: replace what is there.
        dry_run: only say what would be done.
        probe: the calibration of the probe, None for each record's own.
    """

    kind: str = BOTH
    poses: str | None = None
    meshes: Path | None = None
    merged: bool = False
    visible_rule: str = FIRST_RUN
    refine: bool | str = False
    refine_settings: RefineSettings = field(default_factory=RefineSettings)
    overlay: bool = False
    overwrite: bool = False
    dry_run: bool = False
    probe: Probe | None = None

    @property
    def way(self) -> str:
        """How poses are refined, empty if they are not."""
        return FRAMES if self.refine is True else self.refine or ""


@dataclass(frozen=True)
class LabelledRecord:
    """What became of one record.

    Attributes:
        name: specimen, anatomy and record.
        folder: where.
        bones: names of the meshes.
        poses: ``initial`` or ``optimized``.
        frames: tracked frames.
        untracked: images without a row in the tracking table, which cannot be labelled.
        written: files written (in a dry run: labels and overlays that would be).
        present: label files that were there and were left alone.
        empty: frames that no mesh meets.
        missed: bone -> frames that its mesh does not meet.
        visible_share: label pixels that the probe can see over all label pixels.
        refinement: None when the poses were not refined.
        probe: whose calibration was used: the name of a preset, or a file.
        rejected: frames without labels, or without an overlay, for the reasons in the result's ``failures``.
        contradicting: timestamps that several rows of the tracking table give different poses; the first row counts.
    """

    name: str
    folder: Path
    bones: tuple[str, ...]
    poses: str
    frames: int
    untracked: int
    written: int = 0
    present: int = 0
    empty: int = 0
    missed: dict[str, int] = field(default_factory=dict)
    visible_share: float = 0.0
    refinement: SweepRefinement | None = None
    probe: str = ULTRABONES100K.name
    contradicting: int = 0
    rejected: int = 0


@dataclass(frozen=True)
class LabelResult:
    """The answer of ``medcli label ultrabones``."""

    root: Path
    kind: str
    dry_run: bool
    frames: int
    written: int
    present: int
    empty: int
    records: tuple[LabelledRecord, ...]
    failures: tuple[str, ...] = ()
    schema: str = "medcli.label.v1"

    @property
    def shared_corrections(self) -> list[str]:
        """A sentence for each specimen in whose records the constant part of the corrections is alike."""
        constants: dict[str, list[tuple[float, ...]]] = {}
        for record in self.records:
            if record.refinement:
                constants.setdefault(record.name.split()[0], []).append(record.refinement.validated_constant)
        sentences = [(specimen, shared_constant(found)) for specimen, found in constants.items()]
        return [f"{specimen}: {sentence}" for specimen, sentence in sentences if sentence]


def label_ultrabones(
    root: Path | str,
    specimens: Sequence[int] | None = None,
    records: Sequence[int] | None = None,
    settings: LabelSettings = LabelSettings(),
    workers: int | None = None,
    progress: Progress = SILENT,
) -> LabelResult:
    """Label every tracked frame of some records, or of all.

    Full labels go to ``Labels_full``, partial ones to ``Labels``; with ``refine``, the ``_optimized`` columns of the
    tracking table and ``refinement.csv`` are written first and labels are made from those poses. Files that are there
    are left alone unless ``overwrite``. The result does not depend on ``workers``.

    Raises:
        DataError: no frames, or no record at all could be labelled (the first reason).
        UsageError: settings that contradict each other.
    """
    refuse_initial_poses(bool(settings.refine), settings.poses)
    if settings.way not in ("", FRAMES, SWEEP):
        raise UsageError(f"refine is {FRAMES} or {SWEEP}, not {settings.way}")
    rules_of(settings.kind, settings.visible_rule)  # refuses an unknown one before any work is done
    use_single_threaded_codecs()
    sweeps = find_sweeps(root, specimens, records, settings.probe)
    label = partial(_label_record, settings=settings, workers=workers or usable_cores())
    tasks = 2 if settings.refine else 1

    def label_part(sweep: Sweep, surfaces: Sequence[Surface]) -> tuple[LabelledRecord, list[str]]:
        with record_part(advance, sweep.tracked, sweep.name, tasks) as part:
            return label(sweep, surfaces, progress=part)

    shown = SILENT if settings.dry_run else progress
    with shown.task("labelling", sum(sweep.tracked for sweep in sweeps), "frames") as advance:
        labelled, failures = for_each_record(sweeps, settings.meshes, settings.merged, label_part)
    result = LabelResult(
        root=Path(root),
        kind=settings.kind,
        dry_run=settings.dry_run,
        frames=sum(record.frames for record in labelled),
        written=sum(record.written for record in labelled),
        present=sum(record.present for record in labelled),
        empty=sum(record.empty for record in labelled),
        records=tuple(labelled),
        failures=tuple(failures),
    )
    made_here = any((sweep.folder / STAMP).exists() for sweep in sweeps)
    was_killed = made_here and not note_path(Path(root), "label ultrabones").exists()  # after the last label
    if (result.written or was_killed) and not settings.dry_run:
        about = about_records(sweep.folder for sweep in sweeps)
        note_run(Path(root), "label ultrabones", about, Path(root), settings, result, "cpu")
    return result


def _label_record(
    sweep: Sweep, surfaces: Sequence[Surface], settings: LabelSettings, workers: int, progress: Progress
) -> tuple[LabelledRecord, list[str]]:
    contradicting = _warn_of_contradictions(sweep)
    if settings.dry_run:
        return replace(_plan(sweep, surfaces, settings), contradicting=contradicting), []
    _require_writable(sweep.folder)
    refinement, rules = None, rules_of(settings.kind, settings.visible_rule)
    if settings.refine:
        if not settings.overwrite:
            refuse_unrefined(sweep, rules)
        refuse_unless_near(sweep, read_poses(sweep, INITIAL), surfaces)
        refinement = refine_sweep(
            sweep, surfaces, settings.refine_settings, workers, settings.overwrite, progress, settings.way
        )
    poses = read_poses(sweep, OPTIMIZED if settings.refine else settings.poses)
    labels = label_sweep(_labelling(sweep, poses, surfaces, settings), workers, progress)
    failures = list(dict.fromkeys(label.failure for label in labels if label.failure))
    if refinement is not None:
        failures = list(dict.fromkeys([*refinement.failures, *failures]))
    return replace(_summary(sweep, poses.kind, surfaces, labels, refinement), contradicting=contradicting), failures


def _labelling(sweep: Sweep, poses: Poses, surfaces: Sequence[Surface], settings: LabelSettings) -> RecordLabelling:
    rules, visible = rules_of(settings.kind, settings.visible_rule), visible_rule(settings.visible_rule)
    return RecordLabelling(sweep, poses, surfaces, rules, visible, settings.overlay, settings.overwrite)


def _warn_of_contradictions(sweep: Sweep) -> int:
    """How many timestamps have several poses, after a warning that names the first."""
    found = contradicting_timestamps(sweep)
    if found:
        several = quantity(len(found), "timestamp has", "timestamps have")
        logger.warning(
            "%s: %s rows with different poses in %s, such as %d; of each the first row counts",
            sweep.name,
            several,
            tracking_file(sweep.folder),
            found[0],
        )
    return len(found)


def _require_writable(folder: Path) -> None:
    try:
        make_output_folder(folder)
    except MedcliError as error:
        raise MedcliError(
            error.message, "labels lie beside their frames: copy the data to where you may write"
        ) from error


def _plan(sweep: Sweep, surfaces: Sequence[Surface], settings: LabelSettings) -> LabelledRecord:
    """What a run would do, refused where the run would be."""
    rules = rules_of(settings.kind)
    poses, refinement = read_poses(sweep, INITIAL if settings.refine else settings.poses), None
    if settings.refine and not settings.overwrite:
        refuse_unrefined(sweep, rules)
    refuse_unless_near(sweep, poses, surfaces)
    known = True
    if settings.refine:
        plan = plan_refinement(sweep, surfaces, settings.refine_settings, settings.overwrite, settings.way)
        refinement = SweepRefinement(foreign=True) if plan is None else SweepRefinement(computed=len(plan.todo))
        known = refinement.computed == 0 and has_optimized_poses(sweep.folder)
        poses = read_poses(sweep, OPTIMIZED) if known else poses
    if known and not settings.overwrite:  # else the poses are known only after they are refined
        refuse_other_labels(_labelling(sweep, poses, surfaces, settings))
    tracked = [ts for ts, row in zip(sweep.timestamps, sweep.rows, strict=True) if row >= 0]
    paths = [sweep.folder / rule.folder / mask_name(ts, rule.folder) for rule in rules for ts in tracked]
    overlays = [label_overlay_path(sweep, ts) for ts in tracked] if settings.overlay else []
    present = 0 if settings.overwrite else sum(path.exists() for path in paths)
    drawn = 0 if settings.overwrite else sum(path.exists() for path in overlays)
    return LabelledRecord(
        name=sweep.name,
        folder=sweep.folder,
        bones=tuple(surface.name for surface in surfaces),
        poses=OPTIMIZED if settings.refine else poses.kind,
        frames=len(tracked),
        untracked=len(sweep.timestamps) - len(tracked),
        written=len(paths) - present + len(overlays) - drawn,
        present=present,
        refinement=refinement,
        probe=sweep.probe.name,
    )


def _summary(
    sweep: Sweep,
    kind: str,
    surfaces: Sequence[Surface],
    labels: Sequence[FrameLabel],
    refinement: SweepRefinement | None,
) -> LabelledRecord:
    done = [label for label in labels if not label.failure]
    pixels = np.array([label.pixels for label in done]).reshape(-1, len(surfaces))
    total = int(pixels.sum())
    return LabelledRecord(
        name=sweep.name,
        folder=sweep.folder,
        bones=tuple(surface.name for surface in surfaces),
        poses=kind,
        frames=len(labels),
        untracked=len(sweep.timestamps) - len(labels),
        written=sum(label.written for label in labels),
        present=sum(label.present for label in done),
        empty=int((pixels.sum(axis=1) == 0).sum()),
        missed={s.name: int(n) for s, n in zip(surfaces, (pixels == 0).sum(axis=0), strict=True)},
        visible_share=sum(label.seen for label in done) / total if total else 0.0,
        rejected=len(labels) - len(done),
        refinement=refinement,
        probe=sweep.probe.name,
    )
