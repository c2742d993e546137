"""Which runs a folder holds: each room looks for the files that its commands leave."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from medcli.core.errors import DataError
from medcli.report import calibration, labels_and_bones, pose, segmentation, training
from medcli.report.run_files import RunFiles

_READERS: tuple[Callable[[Path], RunFiles | None], ...] = (
    training.read_training,
    segmentation.read_segmentation_evaluation,
    pose.read_pose_evaluation,
    labels_and_bones.read_reconstruction,
    calibration.read_calibration,
    segmentation.read_prediction,
    labels_and_bones.read_labels,
)
LOOKED_FOR = (
    "settings.json or result.json (train), evaluation.json (evaluate), predictions.json (predict seg), "
    "medcli_calibration.json (calibrate), labels.json (label), a record's .json (reconstruct), *medcli-run.json, "
    "or demo.json (demo)"
)
_DEPTH, _MOST_NAMED = 4, 8
_NEVER_INSIDE = frozenset({"examples", "overlays", "UltrasoundImages", "node_modules", "__pycache__"})


def runs_in(folder: Path) -> list[RunFiles]:
    """The runs whose files lie in ``folder`` itself; none where there are none.

    Raises:
        DataError: a file of a run is damaged, or holds what its command does not write.
    """
    try:
        found = [run for read in _READERS if (run := read(folder)) is not None]
        return [*found, *pose.read_tables(folder)]
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise DataError(
            f"a file in {folder} is damaged, or of another version of medcli: {type(error).__name__} {error}",
            "run the command that wrote it again",
        ) from error


def run_folders(folder: Path) -> list[Path]:
    """Folders below ``folder`` that hold runs, nearest first, at most some."""
    found = []
    for place in _below(folder):
        try:
            has_run = bool(runs_in(place))
        except DataError:
            has_run = True  # damaged, but a run: its own report will say so
        if has_run:
            found.append(place)
            if len(found) == _MOST_NAMED:
                break
    return found


def _below(folder: Path) -> Iterator[Path]:
    """Folders with a JSON file in them, level by level."""
    level = [folder]
    for _ in range(_DEPTH):
        deeper: list[Path] = []
        for place in level:
            try:
                entries = sorted(os.scandir(place), key=lambda entry: entry.name)
            except OSError:
                continue
            folders = [e for e in entries if e.is_dir() and not e.name.startswith(".") and e.name not in _NEVER_INSIDE]
            deeper += [Path(entry.path) for entry in folders]
            if place is not folder and any(entry.name.endswith(".json") for entry in entries):
                yield place
        level = deeper
    yield from ()
