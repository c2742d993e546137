"""The runs in a folder, and the reader of each kind of run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from medcli.core.errors import DataError
from medcli.report import (
    calibration,
    kinematics,
    labels_and_bones,
    motion_comparison,
    pose,
    segmentation,
    tracked_trials,
    training,
)
from medcli.report.bones import registration as bone_reports
from medcli.report.run_files import NO_PROVENANCE, ProvenanceRecord, RunReport, read_provenance
from medcli.workspace import runs
from medcli.workspace.bone_figures import is_registration

Reader = Callable[[Path, ProvenanceRecord], RunReport | None]
_ULTRABONES, _VERISERUM = "UltraBones100k", "Veriserum"
READERS: Mapping[str, tuple[Reader, str]] = {
    runs.TRAIN_SEG: (training.read_training, _ULTRABONES),
    runs.TRAIN_POSE: (training.read_training, _VERISERUM),
    runs.CROSS_VALIDATION: (training.read_cross_validation, _ULTRABONES),
    runs.EVALUATE_SEG: (segmentation.read_segmentation_evaluation, _ULTRABONES),
    runs.EVALUATE_POSE: (pose.read_pose_evaluation, _VERISERUM),
    runs.RECONSTRUCT: (labels_and_bones.read_reconstruction, _ULTRABONES),
    runs.CALIBRATE: (calibration.read_calibration, _VERISERUM),
    runs.PREDICT_SEG: (segmentation.read_prediction, _ULTRABONES),
    runs.LABEL: (labels_and_bones.read_labels, _ULTRABONES),
    runs.PREDICT_POSE: (pose.read_estimated, _VERISERUM),
    runs.KINEMATICS: (kinematics.read_kinematics, _VERISERUM),
    runs.EVALUATE_KINEMATICS: (motion_comparison.read_motion_comparison, _VERISERUM),
    runs.REGISTER: (pose.read_registered, _VERISERUM),
    runs.REGISTER_TRIAL: (tracked_trials.read_tracked, _VERISERUM),
    runs.REGISTER_BONE: (bone_reports.read_bone_registration, _ULTRABONES),
    runs.EVALUATE_REGISTRATION: (bone_reports.read_registration_evaluation, _ULTRABONES),
}
"""The reader and the dataset of each command, in the order of the report."""
_BY_PROVENANCE = (runs.RECONSTRUCT, runs.PREDICT_SEG, runs.LABEL, runs.PREDICT_POSE, runs.REGISTER, runs.REGISTER_TRIAL)
"""Commands reported from the provenance record alone: their files may be elsewhere, or be several tables."""


def runs_in(folder: Path, table: Path | None = None) -> list[RunReport]:
    """The runs with files in ``folder`` itself or in its ``calibrated``, or only the one that left ``table`` in it,
    a table or the result of ``medcli register bone``.

    Raises:
        DataError: a file of a run is damaged, or has unexpected contents.
    """
    try:
        found = list(_runs_in(folder, table))
        calibrated = folder / "calibrated"
        if (
            table is None
            and runs.CALIBRATE not in runs.commands_of(folder)
            and runs.CALIBRATE in runs.commands_of(calibrated)
        ):
            found += _runs_in(calibrated)
        return found
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise DataError(
            f"a file in {folder} is damaged, or of another version of medcli: {type(error).__name__} {error}",
            "run the command that wrote it again",
        ) from error


def _runs_in(folder: Path, table: Path | None = None) -> Iterator[RunReport]:
    records, commands = read_provenance(folder), set(runs.commands_of(folder))
    if table is not None:
        records = [record for record in records if record.table.stem == table.stem]
        commands = {runs.REGISTER_BONE} if is_registration(table) else set()
    for command, (read, dataset) in READERS.items():
        own = [record for record in records if command.startswith(record.verb)]
        if command not in commands and not (own and command in _BY_PROVENANCE):
            continue
        for provenance in own or [NO_PROVENANCE]:
            run = read(folder, provenance)
            if run is not None:
                if len(own) > 1:
                    run = dataclasses.replace(run, title=f"{run.title}: {provenance.table.name}")
                seconds = provenance.result.get("seconds") if run.seconds is None else run.seconds
                yield dataclasses.replace(run, dataset=dataset, origin=provenance.content, seconds=seconds)
