"""The frames of each record of an UltraBones100k folder, record by record and by names alone: no image is opened.

Needs neither numpy nor pandas, and keeps nothing of a record once the next one is asked for.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from medcli.core.errors import DataError
from medcli.ultrabones.dataset.folder_layout import (
    FULL_LABEL_FOLDERS,
    IMAGE_FOLDER,
    PARTIAL_LABEL_FOLDERS,
    RecordFolder,
    find_records,
    list_timestamps,
)
from medcli.ultrabones.dataset.tracking_table import read_timestamps, tracking_file

_MOST_EXAMPLES = 5
DOWNLOAD_HINT = "get the data with: medcli download ultrabones"


@dataclass(frozen=True)
class Problem:
    """Something wrong with the data: how often, and where first.

    Attributes:
        what: such as ``images without label``.
        count: how many.
        examples: the first few paths.
    """

    what: str
    count: int
    examples: tuple[str, ...]

    def __str__(self) -> str:
        more = ", …" if self.count > len(self.examples) else ""
        return f"{self.count:,} {self.what}: {', '.join(self.examples)}{more}"


@dataclass
class Findings:
    """Collects what is wrong: how often, and the first few places."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, what: str, paths: Iterable[str]) -> None:
        """Something is wrong with ``paths``."""
        paths = list(paths)
        self.counts[what] += len(paths)
        kept = self.examples.setdefault(what, [])
        kept += paths[: _MOST_EXAMPLES - len(kept)]

    def problems(self) -> tuple[Problem, ...]:
        """What is wrong, most frequent first."""
        return tuple(Problem(what, n, tuple(self.examples[what])) for what, n in self.counts.most_common() if n)


@dataclass(frozen=True)
class RecordFrames:
    """The frames of one record, ascending by timestamp (milliseconds).

    Attributes:
        record: the folder.
        timestamps: of the frames.
        images: their paths.
        labels, labels_full: paths of the labels, empty text where there is none.
        tracking: row of each frame in the tracking table, -1 where there is none.
    """

    record: RecordFolder
    timestamps: list[int]
    images: list[str]
    labels: list[str]
    labels_full: list[str]
    tracking: list[int]

    def labels_of(self, kind: str) -> list[str]:
        """Paths of the ``partial`` or ``full`` labels, or of the masks in the folder ``kind``."""
        if kind in ("partial", "full"):
            return self.labels if kind == "partial" else self.labels_full
        masks = list_timestamps(self.record.path + os.sep + kind)[0]
        return [masks.get(timestamp, "") for timestamp in self.timestamps]

    def usable(self, kind: str) -> int:
        """Number of frames with a label of this kind and a tracked pose."""
        return sum(bool(label) and row >= 0 for label, row in zip(self.labels_of(kind), self.tracking, strict=True))


@dataclass
class FrameTally:
    """Counts frames, record by record.

    Attributes:
        specimens: their numbers.
        records: number of record folders.
        images: number of frames.
        labelled, labelled_full: frames with a partial label, and with a full one.
        tracked: frames with a row in the tracking table.
    """

    specimens: set[int] = field(default_factory=set)
    records: int = 0
    images: int = 0
    labelled: int = 0
    labelled_full: int = 0
    tracked: int = 0

    def add(self, frames: RecordFrames) -> None:
        """Count the frames of one more record."""
        self.specimens.add(frames.record.specimen)
        self.records += 1
        self.images += len(frames.images)
        self.labelled += sum(map(bool, frames.labels))
        self.labelled_full += sum(map(bool, frames.labels_full))
        self.tracked += sum(row >= 0 for row in frames.tracking)


def sorted_records(root: Path, findings: Findings | None = None) -> list[RecordFolder]:
    """The records of specimens at or below ``root``, by specimen, anatomy, record.

    Raises:
        DataError: the folder is missing.
    """
    if not root.is_dir():
        raise DataError(f"there is no folder {root}", f"name the data folder with --root, or {DOWNLOAD_HINT}")
    findings = findings or Findings()
    records = list(find_records(root))
    nameless = [record.path for record in records if record.specimen < 0]
    findings.add("records outside a specimen folder (left out)", nameless)
    records = sorted((r for r in records if r.specimen >= 0), key=lambda r: (r.specimen, r.anatomy, r.record, r.path))
    _find_doubles(records, findings)
    return records


def scan_records(records: Iterable[RecordFolder], findings: Findings | None = None) -> Iterator[RecordFrames]:
    """The frames of each record, in this order."""
    findings = findings or Findings()
    return (_index_record(record, findings) for record in records)


def no_frame(root: Path | str) -> DataError:
    """The error for a folder without frames."""
    return DataError(f"no frame in {root}: expected …/record01/{IMAGE_FOLDER}/<timestamp>.png", DOWNLOAD_HINT)


def _find_doubles(records: list[RecordFolder], findings: Findings) -> None:
    """Both releases in one folder would count each frame twice; that is said, since it may not be meant."""
    keys = Counter((r.specimen, r.anatomy, r.record) for r in records)
    findings.add(
        "records with a number used twice", [r.path for r in records if keys[r.specimen, r.anatomy, r.record] > 1]
    )
    layouts: dict[int, set[bool]] = {}
    for record in records:
        layouts.setdefault(record.specimen, set()).add(record.anatomy == "")
    mixed = [f"specimen {number}" for number, kinds in layouts.items() if len(kinds) > 1]
    findings.add("specimens in two layouts at once", mixed)


def _index_record(record: RecordFolder, findings: Findings) -> RecordFrames:
    image_folder = record.path + os.sep + IMAGE_FOLDER
    images = _list(record, IMAGE_FOLDER, findings)
    if IMAGE_FOLDER not in record.folders:
        findings.add(f"records without {IMAGE_FOLDER}", [record.path])
    timestamps = sorted(images)
    partial = _labels(record, PARTIAL_LABEL_FOLDERS, findings)
    full = _labels(record, FULL_LABEL_FOLDERS, findings)
    stray = sorted((set(partial) | set(full)) - set(images))
    findings.add("labels without image", [partial.get(ts) or full[ts] for ts in stray])
    unlabelled = [ts for ts in timestamps if ts not in partial and ts not in full]
    findings.add("images without label", [image_folder + os.sep + images[ts] for ts in unlabelled])
    rows = _tracking_rows(record, findings)
    if rows:
        absent = [image_folder + os.sep + images[ts] for ts in timestamps if ts not in rows]
        findings.add("images not in the tracking table", absent)
    return RecordFrames(
        record=record,
        timestamps=timestamps,
        images=[image_folder + os.sep + images[ts] for ts in timestamps],
        labels=[partial.get(ts, "") for ts in timestamps],
        labels_full=[full.get(ts, "") for ts in timestamps],
        tracking=[rows.get(ts, -1) for ts in timestamps],
    )


def _list(record: RecordFolder, folder: str, findings: Findings) -> dict[int, str]:
    if folder not in record.folders:
        return {}
    path = record.path + os.sep + folder
    names, unexpected = list_timestamps(path)
    findings.add("PNG files not named by a timestamp of their own", [path + os.sep + name for name in unexpected])
    return names


def _labels(record: RecordFolder, folders: tuple[str, ...], findings: Findings) -> dict[int, str]:
    """Label path by timestamp; where two folders hold one, the first folder counts."""
    paths: dict[int, str] = {}
    for folder in reversed(folders):
        prefix = record.path + os.sep + folder + os.sep
        paths |= {ts: prefix + name for ts, name in _list(record, folder, findings).items()}
    return paths


def _tracking_rows(record: RecordFolder, findings: Findings) -> dict[int, int]:
    """Row of each timestamp in the record's tracking table; of equal timestamps the first row counts."""
    path = tracking_file(record.path, record.files)
    if path is None:
        findings.add("records without tracking table", [record.path])
        return {}
    try:
        timestamps = read_timestamps(path)
    except DataError as error:
        findings.add("tracking tables that cannot be read", [error.message])
        return {}
    rows = {ts: row for row, ts in reversed(list(enumerate(timestamps))) if ts >= 0}
    if len(rows) < len(timestamps):
        findings.add("tracking tables with repeated or missing timestamps", [str(path)])
    return rows
