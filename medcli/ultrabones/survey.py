"""What an UltraBones100k folder holds (for ``medcli info``)."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

from medcli.inventory import DataFolder
from medcli.ultrabones.index import IndexReport, scan_frames
from medcli.ultrabones.registry import PUBLISHED_SPECIMENS, TEST_SPECIMENS

_MOST_CHECKED = 2000
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_END = b"IEND\xaeB`\x82"


def survey(root: Path) -> DataFolder:
    """Count what is in ``root`` and say what is missing or wrong; bad data are a problem of the answer, no error."""
    folder = DataFolder("UltraBones100k", root)
    if not root.is_dir():
        folder.problems.append("the folder is not there")
        folder.next_commands.append("medcli download ultrabones")
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
    _propose(folder, root, report)
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


def _propose(folder: DataFolder, root: Path, report: IndexReport) -> None:
    if not report.images:
        folder.problems.append("no frame: expected …/record01/UltrasoundImages/<timestamp>.png")
        folder.next_commands.append(f"medcli download ultrabones --dest {root}")
        return
    absent = sorted(set(PUBLISHED_SPECIMENS) - set(report.specimens))
    if absent and set(report.specimens) & set(PUBLISHED_SPECIMENS):
        folder.problems.append(f"specimens not here: {' '.join(map(str, absent))}")
        specimens = " ".join(map(str, absent))
        folder.next_commands.append(f"medcli download ultrabones --dest {root} --specimens {specimens}")
    kind = "" if report.labelled else " --labels full"
    if (report.labelled or report.labelled_full) and report.tracked:
        folder.next_commands.append(f"medcli train seg --root {root}{kind}")
        if set(TEST_SPECIMENS) <= set(report.specimens):
            specimens = " ".join(map(str, TEST_SPECIMENS))
            folder.next_commands.append(f"medcli evaluate --root {root} --specimens {specimens}{kind}")
