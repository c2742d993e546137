"""What an UltraBones100k folder holds (for ``medcli info``), counted record by record in little memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medcli.core.dataset_status import DataFolder
from medcli.core.files import open_regular
from medcli.core.run_provenance import is_synthetic
from medcli.ultrabones.dataset.constants import PUBLISHED_SPECIMENS
from medcli.ultrabones.dataset.folder_layout import IMAGE_FOLDER, LABEL_COLUMNS, list_timestamps, specimen_folder
from medcli.ultrabones.dataset.publication import ABOUT_HIP
from medcli.ultrabones.dataset.record_frames import Findings, FrameTally, RecordFrames, scan_records, sorted_records
from medcli.ultrabones.dataset.splits import PUBLISHED_SPLIT, split_to_begin_with

_MOST_CHECKED = 2000
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_END = b"IEND\xaeB`\x82"


@dataclass
class _Contents:
    """What is kept of the frames: counts, and the paths of those to look into.

    Attributes:
        chosen: rows of the frames to look into, in the order of the records.
        sample: their paths, by column.
        specimens: the first record of each specimen with frames.
    """

    chosen: Sequence[int] = ()
    tally: FrameTally = field(default_factory=FrameTally)
    anatomies: Counter[str] = field(default_factory=Counter)
    donors: dict[str, set[int]] = field(default_factory=dict)
    usable: dict[str, set[int]] = field(default_factory=lambda: {labels: set() for labels in LABEL_COLUMNS})
    sample: dict[str, list[str]] = field(default_factory=lambda: {"image": [], "label": [], "label_full": []})
    specimens: dict[int, Path] = field(default_factory=dict)
    has_label_folder: bool = False
    hip_records: int = 0
    _next: int = 0

    def add(self, frames: RecordFrames) -> None:
        """Count one more record."""
        record, first = frames.record, self.tally.images
        self.tally.add(frames)
        if not frames.images:
            return
        self.hip_records += record.is_hip
        self.specimens.setdefault(record.specimen, Path(record.path))
        self.has_label_folder |= "Labels" in record.folders
        if record.anatomy:
            self.anatomies[record.anatomy] += len(frames.images)
        if record.donor:
            self.donors.setdefault(record.donor, set()).add(record.specimen)
        for labels, specimens in self.usable.items():
            if frames.usable(labels):
                specimens.add(record.specimen)
        columns = (frames.images, frames.labels, frames.labels_full)
        while self._next < len(self.chosen) and (row := self.chosen[self._next] - first) < len(frames.images):
            for paths, column in zip(self.sample.values(), columns, strict=True):
                paths.append(column[row])
            self._next += 1


def survey_ultrabones(root: Path) -> DataFolder:
    """Count what is in ``root`` and say what is missing or wrong; bad data are a problem of the answer, no error."""
    folder = DataFolder("UltraBones100k", root)
    if not root.is_dir():
        folder.problems.append("the folder does not exist")
        folder.propose("download", "bring the ultrasound (42 GB; --specimens for a part)", "ultrabones", "--dest", root)
        return folder
    findings = Findings()
    records = sorted_records(root, findings)
    total = sum(len(list_timestamps(str(Path(record.path, IMAGE_FOLDER)))[0]) for record in records)
    contents = _Contents(_spread(total, _MOST_CHECKED))
    for frames in scan_records(records, findings):
        contents.add(frames)
    if contents.tally.images:
        if contents.hip_records == contents.tally.records:
            folder.name = ABOUT_HIP.dataset
        _describe(folder, contents)
    folder.problems.extend(map(str, findings.problems()))
    damaged, checked = find_damaged(contents.sample)
    if damaged:
        share = "" if checked == 2 * contents.tally.images else f" of {checked:,} looked at"
        examples = ", ".join(damaged[:3]) + (", …" if len(damaged) > 3 else "")
        folder.problems.append(f"{len(damaged):,} PNG files empty or truncated{share}: {examples}")
    _propose(folder, root, contents)
    return folder


def find_damaged(columns: Mapping[str, Iterable[str]]) -> tuple[list[str], int]:
    """PNG files without their beginning or end among columns of paths, and how many were read.

    It reads a few bytes of each; building the frame cache decodes every frame and names the rest.
    """
    paths = [path for column in columns.values() for path in column if path]
    return [path for path in paths if not _is_whole(path)], len(paths)


def _spread(count: int, most: int) -> list[int]:
    """At most ``most`` rows of ``count``, evenly over all."""
    if count <= most:
        return list(range(count))
    step = (count - 1) / max(most - 1, 1)
    return sorted({int(number * step) for number in range(most - 1)} | {count - 1 if most > 1 else 0})


def _is_whole(path: str) -> bool:
    try:
        with open_regular(path) as file:
            if file.read(8) != _SIGNATURE:
                return False
            file.seek(-8, 2)
            return file.read(8) == _END
    except OSError:
        return False


def _describe(folder: DataFolder, contents: _Contents) -> None:
    tally = contents.tally
    folder.found["specimens"] = f"{len(tally.specimens)}: {' '.join(map(str, sorted(tally.specimens)))}"
    folder.found["records"] = f"{tally.records:,}"
    by_anatomy = ", ".join(f"{count:,} {name}" for name, count in sorted(contents.anatomies.items()))
    folder.found["frames"] = f"{tally.images:,}{f' ({by_anatomy})' if by_anatomy else ''}"
    folder.found["labels"] = f"{tally.labelled:,} partial, {tally.labelled_full:,} full"
    folder.found["tracked frames"] = f"{tally.tracked:,}"
    pairs = [" and ".join(map(str, sorted(both))) for both in contents.donors.values() if len(both) > 1]
    if pairs:
        folder.found["legs of one donor"] = "; ".join(pairs)


def _propose(folder: DataFolder, root: Path, contents: _Contents) -> None:
    specimens = contents.tally.specimens
    if not contents.tally.images:
        folder.problems.append("no frame: expected …/record01/UltrasoundImages/<timestamp>.png")
        folder.propose("download", "bring the ultrasound (42 GB; --specimens for a part)", "ultrabones", "--dest", root)
        return
    folder.usable = {labels: sorted(specimens) for labels, specimens in contents.usable.items()}
    if any(folder.usable.values()):
        _propose_training(folder, root)
        if contents.has_label_folder and _has_meshes(contents):
            folder.propose("reconstruct", "rebuild the labelled bone in 3D", "ultrabones", "--root", root)
    elif contents.tally.tracked and _has_meshes(contents):
        folder.propose("label", "make labels from the CT", "ultrabones", "--root", root)
    absent = sorted(set(PUBLISHED_SPECIMENS) - specimens)
    if contents.hip_records:
        return  # its specimens are numbered like those of UltraBones100k, and are others
    if absent and specimens & set(PUBLISHED_SPECIMENS) and not is_synthetic(root):
        folder.problems.append(f"specimens not here: {' '.join(map(str, absent))}")
        words = ("ultrabones", "--dest", root, "--specimens", *absent)
        folder.propose("download", "bring the specimens that are not here", *words)


def _propose_training(folder: DataFolder, root: Path) -> None:
    labels = next(name for name in ("partial", "full") if folder.usable[name])
    words: list[object] = ["seg", "--root", root, *(["--labels", labels] if labels != "partial" else [])]
    split = split_to_begin_with(folder.usable[labels])
    if split is None:
        folder.problems.append("labelled frames of one specimen only: training needs another one to validate on")
        return
    if split != PUBLISHED_SPLIT:
        words += ["--train-specimens", *split.train, "--val-specimens", *split.val]
    folder.propose("train", "train the bone segmentation", *words)


def _has_meshes(contents: _Contents) -> bool:
    folders = [folder for record in contents.specimens.values() if (folder := specimen_folder(record)) is not None]
    return any(next((folder / "CT_bone_segmentations").glob("*.stl"), None) for folder in folders)
