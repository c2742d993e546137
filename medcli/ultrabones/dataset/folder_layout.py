"""The published folder layouts of UltraBones100k, read from folder and file names alone.

First release::

    AI_Ultrasound_dataset/cadaver01_F231091[/Linear18]/record01/
        UltrasoundImages/<ts>.png, Labels/<ts>_label.png, tracking.csv
        (older copies: Label_partial_gradient/<ts>_label_partial_gradient.png, sweepProcessedAndOptimized.csv,
        LabelsManual/<ts>-labels.png)

Current release::

    UltraBones100k/specimen01/ultrasound_records/<fibula|foot|tibia>/record01/
        UltrasoundImages/<ts>.png, Labels/<ts>_label.png, Labels_full/<ts>_label.png,
        Labels_pred/<ts>_label_pred.png, tracking.csv
    UltraBones100k/specimen01/CT_bone_segmentations/<bone>.stl

UltraBonesHip, as its authors' code reads it::

    specimen00/ultrasound_records/<left_femur_axial|…|right_pelvis_coronal>/record01/
        UltrasoundImages/<ts>.png, poses.csv
    specimen00/CT_bone_segmentations/<left_femur|right_femur|pelvis>.stl
"""

from __future__ import annotations

import filecmp
import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from medcli.core.errors import answers
from medcli.ultrabones.dataset.constants import donor_in, donor_of

logger = logging.getLogger(__name__)
IMAGE_FOLDER = "UltrasoundImages"
PARTIAL_LABEL_FOLDERS = ("Labels", "Label_partial_gradient", "Labels_partial")
FULL_LABEL_FOLDERS = ("Labels_full", "Label_full")
LABEL_COLUMNS = {"partial": "label", "full": "label_full"}
"""Column of the index for each kind of label."""
HIP_TRACKING = "poses.csv"
"""Tracking table of a record of UltraBonesHip."""
HIP_SWEEPS = ("_axial", "_coronal")
"""How the names of its folders of sweeps end."""
RECONSTRUCTIONS = "3D_reconstructions"
"""Of a specimen: folder of clouds by record, as the authors' tools write it; holds no frames."""
IMPORT_NOTE = "imported.json"
"""In a record that ``medcli import`` made: from which file, and how."""
TRACKING_FILES = ("tracking.csv", "sweepProcessedAndOptimized.csv", "sweepInitial.csv", HIP_TRACKING)
_MASK_ENDINGS = {
    "Label_partial_gradient": "_label_partial_gradient.png",
    "Labels_pred": "_label_pred.png",
    "LabelsManual": "-labels.png",
}
_SPECIMEN = re.compile(r"^(?:cadaver|specimen)[_-]?(\d+)(?:[_-](.+))?$", re.IGNORECASE)
_RECORD = re.compile(r"^record[_-]?(\d+)", re.IGNORECASE)
_TIMESTAMPED = re.compile(r"^(\d+)(\D.*)?$")
_NOT_SEARCHED = frozenset({"CT_bone_segmentations", "pretrained_model", RECONSTRUCTIONS})
_DEEPEST = 8


@dataclass(frozen=True)
class RecordFolder:
    """One record (sweep) on disk.

    Attributes:
        path: the folder that holds ``UltrasoundImages``.
        specimen: its number, -1 when no folder above is named ``cadaver…`` or ``specimen…``.
        donor: donor code from the folder name or the registry, empty when unknown.
        anatomy: the folder below ``ultrasound_records``: ``fibula``, ``foot`` or ``tibia`` in the current release; else
            empty.
        record: its number, 0 when the folder's name has none.
        folders: names of the folders in it.
        files: names of the files in it.
    """

    path: str
    specimen: int
    donor: str
    anatomy: str
    record: int
    folders: frozenset[str]
    files: frozenset[str]

    @property
    def name(self) -> str:
        """See :func:`sweep_name`."""
        return sweep_name(self.specimen, self.anatomy, self.record)

    @property
    def is_hip(self) -> bool:
        """Whether it has the layout of UltraBonesHip, whose specimens are others than those of UltraBones100k."""
        return HIP_TRACKING in self.files and self.anatomy.endswith(HIP_SWEEPS)


def sweep_name(specimen: int, anatomy: str, record: int) -> str:
    """A record in words: ``specimen90 fibula record01``."""
    return " ".join(filter(None, (f"specimen{specimen:02d}", anatomy, f"record{record:02d}")))


def mask_name(timestamp: int, kind: str) -> str:
    """File name of a mask as the dataset writes it: ``mask_name(7, "Labels_pred")`` is ``7_label_pred.png``."""
    return f"{timestamp}{_MASK_ENDINGS.get(kind, '_label.png')}"


def find_records(root: Path) -> Iterator[RecordFolder]:
    """All record folders at or below ``root``, in any layout; folders reached twice through links come once."""
    yield from _find(os.path.abspath(root), set(), _DEEPEST)  # noqa: PTH100 (keeps links as the user typed them)


def list_timestamps(folder: str) -> tuple[dict[int, str], list[str]]:
    """PNG files of a folder by the timestamp their name begins with, and the names that have none.

    Of two names with one timestamp (``7.png``, ``007.png``) the first in sorted order counts; the other is returned
    with the unexpected names. Where they hold different images none counts, since nobody can tell which is meant, and a
    warning names them. A folder that cannot be read counts as empty.
    """
    found: dict[int, str] = {}
    unexpected: list[str] = []
    doubles: dict[int, list[str]] = {}
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208 (names only: no object for each of 100,000 files)
    except OSError:
        return {}, [folder]
    for name in names:
        if name[0] == "." or not name.lower().endswith(".png"):
            continue
        match = _TIMESTAMPED.match(name)
        if match is None:
            unexpected.append(name)
        elif (timestamp := int(match[1])) in found:
            unexpected.append(name)
            doubles.setdefault(timestamp, []).append(name)
        else:
            found[timestamp] = name
    for timestamp, others in doubles.items():
        if any(_differ(folder, found[timestamp], other) for other in others):
            unexpected.append(found.pop(timestamp))
    return found, unexpected


def _differ(folder: str, name: str, other: str) -> bool:
    try:
        if filecmp.cmp(Path(folder, name), Path(folder, other), shallow=False):
            return False
    except OSError:
        pass  # it is left out as well
    _warn_once(f"{folder}: {name} and {other} are two different images of one frame, which is left out")
    return True


@lru_cache(maxsize=1000)
def _warn_once(text: str) -> None:
    """A folder is listed several times in one command."""
    logger.warning("%s", text)


def has_frames(record: RecordFolder) -> bool:
    """Whether a record has a frame, without listing all of them."""
    if IMAGE_FOLDER not in record.folders:
        return False
    try:
        with os.scandir(record.path + os.sep + IMAGE_FOLDER) as entries:
            return any(_TIMESTAMPED.match(entry.name) and entry.name.lower().endswith(".png") for entry in entries)
    except OSError:
        return False


def specimen_folder(record_dir: str | Path) -> Path | None:
    """The ``cadaver…`` or ``specimen…`` folder that holds a record, None when there is none."""
    return next((folder for folder in Path(record_dir).parents if _SPECIMEN.match(folder.name)), None)


def _find(folder: str, seen: set[str], depth: int) -> Iterator[RecordFolder]:
    real = os.path.realpath(folder)
    if real in seen:
        return
    seen.add(real)
    try:
        with os.scandir(folder) as entries:
            kinds = {entry.name: answers(entry.is_dir) for entry in entries if not entry.name.startswith(".")}
    except OSError:
        return
    folders = sorted(name for name, is_folder in kinds.items() if is_folder)
    if IMAGE_FOLDER in folders or _RECORD.match(Path(folder).name):
        yield _describe(folder, frozenset(folders), frozenset(kinds) - frozenset(folders))
    elif depth:
        for name in folders:
            if name not in _NOT_SEARCHED:
                yield from _find(str(Path(folder) / name), seen, depth - 1)


def _describe(folder: str, folders: frozenset[str], files: frozenset[str]) -> RecordFolder:
    parts = Path(folder).parts
    record = _RECORD.match(parts[-1])
    specimen, donor, anatomy = -1, "", ""
    for part in reversed(parts):
        match = _SPECIMEN.match(part)
        if match:
            specimen = int(match[1])
            donor = donor_in(match[2]) if match[2] else donor_of(specimen)
            break
    lowered = [part.lower() for part in parts]
    if "ultrasound_records" in lowered:
        below = parts[len(parts) - lowered[::-1].index("ultrasound_records") : -1]
        anatomy = below[0] if below else ""
    found = RecordFolder(folder, specimen, donor, anatomy, int(record[1]) if record else 0, folders, files)
    return replace(found, donor="") if found.is_hip else found
