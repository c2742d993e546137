"""What an UltraBones100k folder holds (for ``medcli info``)."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

from medcli.core.dataset_status import DataFolder
from medcli.core.run_provenance import is_synthetic
from medcli.ultrabones.dataset.constants import PUBLISHED_SPECIMENS
from medcli.ultrabones.dataset.folder_layout import LABEL_COLUMNS, specimen_folder
from medcli.ultrabones.dataset.frame_index import IndexReport, scan_frames
from medcli.ultrabones.dataset.splits import PUBLISHED_SPLIT, is_usable, split_to_begin_with

_MOST_CHECKED = 2000
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_END = b"IEND\xaeB`\x82"


def survey_ultrabones(root: Path) -> DataFolder:
    """Count what is in ``root`` and say what is missing or wrong; bad data are a problem of the answer, no error."""
    folder = DataFolder("UltraBones100k", root)
    if not root.is_dir():
        folder.problems.append("the folder does not exist")
        folder.propose("download", "bring the ultrasound (42 GB; --specimens for a part)", "ultrabones", *_to(root))
        return folder
    frames, report = scan_frames(root)
    if report.images:
        _describe(folder, frames, report)
    folder.problems.extend(str(problem) for problem in report.problems)
    damaged, checked = find_damaged(frames)
    if damaged:
        share = "" if checked == 2 * len(frames) else f" of {checked:,} looked at"
        examples = ", ".join(damaged[:3]) + (", …" if len(damaged) > 3 else "")
        folder.problems.append(f"{len(damaged):,} PNG files empty or cut off{share}: {examples}")
    _propose(folder, root, frames, report)
    return folder


def find_damaged(frames: pd.DataFrame, most: int = _MOST_CHECKED) -> tuple[list[str], int]:
    """PNG files without their beginning or end among ``most`` frames spread over the table, and how many were read.

    It reads a few bytes of each; building the frame cache decodes every frame and names the rest.
    """
    rows = np.unique(np.linspace(0, max(len(frames) - 1, 0), min(most, len(frames))).astype(int))
    chosen = frames.iloc[rows]
    paths = [path for column in ("image", "label", "label_full") for path in chosen[column] if path]
    return [path for path in paths if not _is_whole(path)], len(paths)


def _is_whole(path: str) -> bool:
    try:
        with Path(path).open("rb") as file:
            if file.read(8) != _SIGNATURE:
                return False
            file.seek(-8, 2)
            return file.read(8) == _END
    except OSError:
        return False


def _describe(folder: DataFolder, frames: pd.DataFrame, report: IndexReport) -> None:
    folder.found["specimens"] = f"{len(report.specimens)}: {' '.join(map(str, report.specimens))}"
    folder.found["records"] = f"{report.records:,}"
    anatomies = Counter(name for name in frames["anatomy"] if name)
    by_anatomy = ", ".join(f"{count:,} {name}" for name, count in sorted(anatomies.items()))
    folder.found["frames"] = f"{report.images:,}{f' ({by_anatomy})' if by_anatomy else ''}"
    folder.found["labels"] = f"{report.labelled:,} partial, {report.labelled_full:,} full"
    folder.found["tracked frames"] = f"{report.tracked:,}"
    numbers: dict[str, set[int]] = {}
    for donor, specimen in zip(frames["donor"].tolist(), frames["specimen"].tolist(), strict=True):
        if donor:
            numbers.setdefault(donor, set()).add(specimen)
    pairs = [" and ".join(map(str, sorted(both))) for both in numbers.values() if len(both) > 1]
    if pairs:
        folder.found["legs of one donor"] = "; ".join(pairs)


def _propose(folder: DataFolder, root: Path, frames: pd.DataFrame, report: IndexReport) -> None:
    if not report.images:
        folder.problems.append("no frame: expected …/record01/UltrasoundImages/<timestamp>.png")
        folder.propose("download", "bring the ultrasound (42 GB; --specimens for a part)", "ultrabones", *_to(root))
        return
    folder.usable = _usable(frames)
    if any(folder.usable.values()):
        _propose_training(folder, root)
        if _has_meshes(frames) and any((Path(record) / "Labels").is_dir() for record in set(frames["record_dir"])):
            folder.propose("reconstruct", "rebuild the labelled bone in 3D", "ultrabones", "--root", root)
    elif report.tracked and _has_meshes(frames):
        folder.propose("label", "make labels from the CT", "ultrabones", "--root", root)
    absent = sorted(set(PUBLISHED_SPECIMENS) - set(report.specimens))
    if absent and set(report.specimens) & set(PUBLISHED_SPECIMENS) and not is_synthetic(root):
        folder.problems.append(f"specimens not here: {' '.join(map(str, absent))}")
        words = ("ultrabones", *_to(root), "--specimens", *absent)
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


def _usable(frames: pd.DataFrame) -> dict[str, list[int]]:
    """Specimens with labelled and tracked frames, by kind of label."""
    return {labels: sorted(set(frames["specimen"][is_usable(frames, labels)].tolist())) for labels in LABEL_COLUMNS}


def _has_meshes(frames: pd.DataFrame) -> bool:
    records = frames.drop_duplicates("specimen")["record_dir"].tolist()
    folders = [folder for record in records if (folder := specimen_folder(Path(record))) is not None]
    return any(next((folder / "CT_bone_segmentations").glob("*.stl"), None) for folder in folders)


def _to(root: Path) -> tuple[object, ...]:
    return "--dest", root
