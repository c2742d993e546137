"""Every frame of an UltraBones100k folder as one table, whatever the layout, without opening an image."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from medcli.core.errors import DataError
from medcli.ultrabones.dataset.folder_layout import (
    FULL_LABEL_FOLDERS,
    IMAGE_FOLDER,
    PARTIAL_LABEL_FOLDERS,
    RecordFolder,
    find_records,
    list_timestamps,
)
from medcli.ultrabones.dataset.tracking_table import read_timestamps, read_tracking, tracking_file

__all__ = ["COLUMNS", "IndexReport", "Problem", "index_frames", "mask_path", "read_tracking", "scan_frames"]

COLUMNS = (
    "specimen",
    "donor",
    "anatomy",
    "record",
    "timestamp",
    "image",
    "label",
    "label_full",
    "record_dir",
    "tracking",
)
_MOST_EXAMPLES = 5
_DOWNLOAD_HINT = "get the data with: medcli download ultrabones"


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


@dataclass(frozen=True)
class IndexReport:
    """Counts and problems of an index.

    Attributes:
        root: the folder.
        specimens: their numbers.
        records: number of record folders.
        images: number of frames.
        labelled: frames with a partial label.
        labelled_full: frames with a full label.
        tracked: frames with a row in the tracking table.
        problems: what is wrong, most frequent first.
    """

    root: Path
    specimens: tuple[int, ...]
    records: int
    images: int
    labelled: int
    labelled_full: int
    tracked: int
    problems: tuple[Problem, ...]


@dataclass
class _Findings:
    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, what: str, paths: Iterable[str]) -> None:
        paths = list(paths)
        self.counts[what] += len(paths)
        kept = self.examples.setdefault(what, [])
        kept += paths[: _MOST_EXAMPLES - len(kept)]

    def problems(self) -> tuple[Problem, ...]:
        return tuple(Problem(what, n, tuple(self.examples[what])) for what, n in self.counts.most_common() if n)


def index_frames(root: Path | str) -> pd.DataFrame:
    """All frames at or below ``root``: a data folder of any published layout, a specimen, or a record.

    Returns:
        one row a frame, sorted by specimen, anatomy, record, timestamp, with the columns :data:`COLUMNS`:
        ``specimen`` (int), ``donor`` (text, empty when unknown), ``anatomy`` (text, empty when the layout has none),
        ``record`` (int), ``timestamp`` (int, milliseconds), ``image`` (path), ``label`` (path of the partial label or
        empty), ``label_full`` (path or empty), ``record_dir`` (path), ``tracking`` (row of
        :func:`read_tracking`, -1 when absent).

    Raises:
        DataError: the folder is missing or holds no frame.
    """
    frames, report = scan_frames(root)
    if report.images == 0:
        raise DataError(f"no frame in {root}: expected …/record01/{IMAGE_FOLDER}/<timestamp>.png", _DOWNLOAD_HINT)
    return frames


def scan_frames(root: Path | str) -> tuple[pd.DataFrame, IndexReport]:
    """Like :func:`index_frames`, with what is wrong beside it; a folder without frames gives an empty table.

    Raises:
        DataError: the folder is missing.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"there is no folder {root}", f"name the data folder with --root, or {_DOWNLOAD_HINT}")
    findings = _Findings()
    records = list(find_records(root))
    nameless = [record.path for record in records if record.specimen < 0]
    findings.add("records outside a specimen folder (left out)", nameless)
    records = sorted((r for r in records if r.specimen >= 0), key=lambda r: (r.specimen, r.anatomy, r.record, r.path))
    _find_doubles(records, findings)
    frames = _as_table([_index_record(record, findings) for record in records])
    report = IndexReport(
        root=root,
        specimens=tuple(sorted({record.specimen for record in records})),
        records=len(records),
        images=len(frames),
        labelled=int((frames["label"] != "").sum()),
        labelled_full=int((frames["label_full"] != "").sum()),
        tracked=int((frames["tracking"] >= 0).sum()),
        problems=findings.problems(),
    )
    return frames, report


def mask_path(frames: Any, kind: str) -> Any:
    """Paths of the masks in folder ``kind`` (``Labels_pred``, ``LabelsManual``, …) of each frame's record.

    Args:
        frames: a table with ``record_dir`` and ``timestamp``, or one row of it.
        kind: name of a mask folder.

    Returns:
        for a table a Series of paths with the table's index, empty text where there is no mask; for a row one path.
    """
    if not isinstance(frames, pd.DataFrame):
        return _mask_of(*_list_masks(frames.record_dir, kind), int(frames.timestamp))
    folders = {record: _list_masks(record, kind) for record in frames["record_dir"].unique()}
    paths = [
        _mask_of(*folders[record], timestamp)
        for record, timestamp in zip(frames["record_dir"], frames["timestamp"].tolist(), strict=True)
    ]
    return pd.Series(paths, index=frames.index, dtype="str", name=kind)


def _list_masks(record_dir: str, kind: str) -> tuple[str, dict[int, str]]:
    folder = str(Path(record_dir) / kind)
    return folder, list_timestamps(folder)[0]


def _mask_of(folder: str, names: dict[int, str], timestamp: int) -> str:
    name = names.get(timestamp)
    return folder + os.sep + name if name else ""


def _find_doubles(records: list[RecordFolder], findings: _Findings) -> None:
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


def _index_record(record: RecordFolder, findings: _Findings) -> dict[str, Any]:
    """The columns of one record's frames, by name."""
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
    return {
        "record": record,
        "timestamp": timestamps,
        "image": [image_folder + os.sep + images[ts] for ts in timestamps],
        "label": [partial.get(ts, "") for ts in timestamps],
        "label_full": [full.get(ts, "") for ts in timestamps],
        "tracking": [rows.get(ts, -1) for ts in timestamps],
    }


def _list(record: RecordFolder, folder: str, findings: _Findings) -> dict[int, str]:
    if folder not in record.folders:
        return {}
    path = record.path + os.sep + folder
    names, unexpected = list_timestamps(path)
    findings.add("PNG files not named by a timestamp of their own", [path + os.sep + name for name in unexpected])
    return names


def _labels(record: RecordFolder, folders: tuple[str, ...], findings: _Findings) -> dict[int, str]:
    """Label path by timestamp; where two folders hold one, the first folder counts."""
    paths: dict[int, str] = {}
    for folder in reversed(folders):
        prefix = record.path + os.sep + folder + os.sep
        paths |= {ts: prefix + name for ts, name in _list(record, folder, findings).items()}
    return paths


def _tracking_rows(record: RecordFolder, findings: _Findings) -> dict[int, int]:
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


def _as_table(parts: list[dict[str, Any]]) -> pd.DataFrame:
    lengths = [len(part["timestamp"]) for part in parts]
    records = [cast(RecordFolder, part["record"]) for part in parts]

    def of_record(values: list[Any], kind: type) -> Any:
        return np.repeat(np.array(values, dtype=kind), lengths) if lengths else np.array([], dtype=kind)

    def of_frame(name: str, kind: type) -> Any:
        return np.array([value for part in parts for value in part[name]], dtype=kind)

    columns = {
        "specimen": of_record([record.specimen for record in records], np.int64),
        "donor": of_record([record.donor for record in records], object),
        "anatomy": of_record([record.anatomy for record in records], object),
        "record": of_record([record.record for record in records], np.int64),
        "timestamp": of_frame("timestamp", np.int64),
        "image": of_frame("image", object),
        "label": of_frame("label", object),
        "label_full": of_frame("label_full", object),
        "record_dir": of_record([record.path for record in records], object),
        "tracking": of_frame("tracking", np.int64),
    }
    return pd.DataFrame(columns, columns=list(COLUMNS))
