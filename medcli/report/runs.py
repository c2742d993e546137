"""Which runs a folder holds, and who reads each: a reader for each command that leaves a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from medcli.core.errors import DataError
from medcli.report import calibration, labels_and_bones, pose, segmentation, training
from medcli.report.run_files import NO_NOTE, RunNote, RunReport, read_notes
from medcli.workspace import runs

Reader = Callable[[Path, RunNote], RunReport | None]
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
    runs.REGISTER: (pose.read_registered, _VERISERUM),
}
"""What reads the files of each command, and whose data it works on, in the order of the report."""
_BY_NOTE = (runs.RECONSTRUCT, runs.PREDICT_SEG, runs.LABEL, runs.PREDICT_POSE, runs.REGISTER)
"""Commands whose note alone makes a report: their files may lie elsewhere, or be several tables."""
LOOKED_FOR = (
    f"{', '.join(f'{kind.leaves} ({kind.verb})' for kind in runs.KINDS)}, *medcli-run.json, or demo.json (demo)"
)


def runs_in(folder: Path) -> list[RunReport]:
    """The runs whose files lie in ``folder`` itself, or in its ``calibrated``; none where there are none.

    Raises:
        DataError: a file of a run is damaged, or holds what its command does not write.
    """
    try:
        found = list(_runs_in(folder))
        calibrated = folder / "calibrated"
        if runs.CALIBRATE not in runs.commands_of(folder) and runs.CALIBRATE in runs.commands_of(calibrated):
            found += _runs_in(calibrated)
        return found
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise DataError(
            f"a file in {folder} is damaged, or of another version of medcli: {type(error).__name__} {error}",
            "run the command that wrote it again",
        ) from error


def _runs_in(folder: Path) -> Iterator[RunReport]:
    notes, commands = read_notes(folder), set(runs.commands_of(folder))
    for command, (read, dataset) in READERS.items():
        own = [note for note in notes if command.startswith(note.verb)]
        if command not in commands and not (own and command in _BY_NOTE):
            continue
        for note in own or [NO_NOTE]:
            run = read(folder, note)
            if run is not None:
                seconds = note.result.get("seconds") if run.seconds is None else run.seconds
                yield dataclasses.replace(run, dataset=dataset, origin=note.content, seconds=seconds)
